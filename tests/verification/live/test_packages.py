from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.util.documents import DocumentError
from envbuilder.verification.live.packages import modules_of, read_outcomes
from envbuilder.verification.static.packages import installed_packages
from tests.helpers.packages import distribution


@pytest.mark.parametrize(
    ("files", "modules"),
    [
        (["pkg/__init__.py", "pkg/sub.py", "pkg/sub/__init__.py"], ("pkg",)),
        (["one.py", "_two.cpython-311-x86_64-linux-gnu.so", "three.abi3.so"], ("_two", "one", "three")),
        (["space/pkg/__init__.py", "space/pkg/x.py", "space/single.py"], ("space.pkg", "space.single")),
        (["space/deep/pkg/__init__.py", "space/deep/pkg/more/__init__.py"], ("space.deep.pkg",)),
        (["pkg.libs/libx.so.1", "pkg-stubs/__init__.pyi", "pkg/__init__.py", "x.pth"], ("pkg",)),
        (["pkg/__init__.py", "tests/__init__.py", "setup.py", "conftest.py", "docs/conf.py"], ("pkg",)),
        (["../../../bin/tool.py", "pkg/__init__.py"], ("pkg",)),
    ],
)
def test_which_modules_people_import(tmp_path: Path, files: list[str], modules: tuple[str, ...]) -> None:
    tree = distribution("it", dict.fromkeys(files, b""))
    for path, content in tree.items():
        place = tmp_path / path
        place.parent.mkdir(parents=True, exist_ok=True)
        assert isinstance(content, bytes)
        place.write_bytes(content)
    (package,) = installed_packages(tmp_path, tree).values()
    assert modules_of(package, tree) == modules
    assert modules_of(package, [path for path in tree if "dist-info" in path]) == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "expected an object"),
        ('{"a": {"modules": []}}', "a.modules: expected"),
        ('{"a": {"modules": {"a": {"error": 3}}}}', "a.modules.a.error: expected"),
        ('{"a": {"modules": {}, "signal": -1}}', "a.signal: expected"),
    ],
)
def test_an_answer_that_is_none(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "answer").write_text(text)
    with pytest.raises(DocumentError) as caught:
        read_outcomes(tmp_path / "answer")
    assert said in str(caught.value)
