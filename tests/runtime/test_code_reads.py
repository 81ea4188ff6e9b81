"""Which files code reads by itself, as far as its text tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.deployment.code_reads import mentioned, read_by_code


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("torch.load('a.pt')", True),
        ("x = torch.load(os.path.join(HERE, 'a.pt'), map_location='cpu')", True),
        ("P = Path(__file__).parent / 'a.pt'\ntorch.load(P)", True),
        ("def f(path: str = 'a.pt'):\n    return load_file(path)", True),
        ("class A:\n    p: str = 'a.pt'\n    def f(self):\n        return torch.load(self.p)", True),
        ("Path('a.pt').read_bytes()", True),
        ("open('a.pt', 'rb')", True),
        ("torch.load('inside/a.pt')", True),
        ("open('a.pt', 'wb')", False),
        ("torch.save(x, 'a.pt')", False),
        ("'a.pt'", False),
        ("Thread('a.pt')", False),
        ("torch.load('data.pt')", False),
        ("if __name__ == '__main__':\n    torch.load('a.pt')", False),
        ("torch.load('a.pt'", False),
    ],
)
def test_what_is_read(tmp_path: Path, source: str, found: bool) -> None:
    (tmp_path / "model.py").write_text(source)
    (tmp_path / "gone.py").symlink_to("nothing.py")
    assert read_by_code(str(tmp_path), ["a.pt", "b.pt"]) == (["a.pt"] if found else [])


def test_what_is_mentioned(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("torch.save(x, 'a.pt')")
    assert mentioned(str(tmp_path), ["a.pt", "b.pt"]) == ["a.pt"]
