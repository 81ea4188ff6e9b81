from __future__ import annotations

import random
from contextlib import nullcontext
from pathlib import Path

import pytest

from envbuilder.archive.entry import Entry
from envbuilder.archive.exclude import PackRules
from envbuilder.errors import AssembleError
from envbuilder.lockfile.model import Artifact
from envbuilder.store.damage import DamagedArtifactError
from envbuilder.store.local import Store
from tests.assemble.conftest import MakeAssembler
from tests.helpers.notes import Notes
from tests.helpers.wheels import write_wheel

SITE = "lib/python3.11/site-packages"


@pytest.fixture
def wheel(tmp_path: Path, kept: Store) -> tuple[Artifact, Path]:
    artifact = write_wheel(
        tmp_path / "wheels",
        "alpha",
        files={
            "alpha/__init__.py": b"x = 1\n",
            "alpha/bad.py": b"def (\n",
            "alpha/data.bin": random.Random(2).randbytes(60_000),
            "alpha-1.0.data/scripts/tool.py": b"#!python\n",
        },
    )
    # As another process would: this one has yet to look at it.
    with Store.open(kept.root).artifact_writer(artifact.sha256) as writer:
        writer.write((tmp_path / "wheels" / artifact.filename).read_bytes())
    return artifact, kept.artifact_path(artifact.sha256)


def test_a_wheel_is_made_once(make: MakeAssembler, wheel: tuple[Artifact, Path]) -> None:
    first, again = make(), make()
    segment = first.wheel(*wheel)
    assert (first.made, segment.label, segment.artifact) == (1, wheel[0].filename, wheel[0].sha256)
    assert again.wheel(*wheel) == segment
    assert again.made == 0
    assert {file.path for file in segment.files} == {
        f"{SITE}/alpha/__init__.py",
        f"{SITE}/alpha/__pycache__/__init__.cpython-311.pyc",  # and none of bad.py, nor of a script
        f"{SITE}/alpha/bad.py",
        f"{SITE}/alpha/data.bin",
        "bin/tool.py",
        *(f"{SITE}/alpha-1.0.dist-info/{name}" for name in ("INSTALLER", "METADATA", "RECORD", "WHEEL")),
    }


def test_a_large_wheel_shows_its_progress(
    make: MakeAssembler, wheel: tuple[Artifact, Path], notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: dict[str, int] = {}

    class Shown:
        def __init__(self, text: str) -> None:
            self._text = text

        def advance(self, amount: int, *, from_store: bool = False) -> None:
            shown[self._text] = shown.get(self._text, 0) + amount

    monkeypatch.setattr(notes, "task", lambda text, total, unit="bytes": nullcontext(Shown(text)))
    monkeypatch.setattr("envbuilder.assemble.assembler.LARGE", wheel[0].size + 1)
    make(PackRules(level=5)).wheel(*wheel)
    assert shown == {}
    monkeypatch.setattr("envbuilder.assemble.assembler.LARGE", wheel[0].size)
    segment = make(PackRules(level=6)).wheel(*wheel)
    assert shown == {f"Assembling {wheel[0].filename}": segment.size}


@pytest.mark.parametrize(
    ("rules", "changes"),
    [(PackRules(level=5), {}), (PackRules(bytecode=False), {}), (PackRules(), {"version": "3.11.99"})],
)
def test_another_python_or_other_rules_make_another(
    make: MakeAssembler, wheel: tuple[Artifact, Path], rules: PackRules, changes: dict[str, str]
) -> None:
    first = make(PackRules()).wheel(*wheel)
    assembler = make(rules, **changes)
    assert assembler.wheel(*wheel).key != first.key
    assert assembler.made == 1


def test_what_is_omitted_is_named_and_in_record(make: MakeAssembler, wheel: tuple[Artifact, Path]) -> None:
    omit = frozenset({f"{SITE}/alpha/__init__.py"})
    whole, part = make().wheel(*wheel), make().wheel(*wheel, omit)
    assert part.key != whole.key
    assert [file.path for file in part.omitted] == [f"{SITE}/alpha/__init__.py"]
    missing = {file.path for file in whole.files} - {file.path for file in part.files}
    assert missing == {*omit, f"{SITE}/alpha/__pycache__/__init__.cpython-311.pyc"}
    records = [next(f.sha256 for f in one.files if f.path.endswith("/RECORD")) for one in (whole, part)]
    assert records[0] == records[1]


def test_a_listing_is_kept_and_made_again_where_it_cannot_be_read(
    make: MakeAssembler, kept: Store, wheel: tuple[Artifact, Path]
) -> None:
    listed = make().list_wheel(*wheel)
    assert f"{SITE}/alpha/data.bin" in listed.paths
    (listing,) = (kept.root / "listings").glob("*/*")
    listing.write_bytes(b"\xff")
    assert make().list_wheel(*wheel) == listed
    assert listing.read_bytes() != b"\xff"


def test_a_damaged_artifact_is_removed(
    kept: Store, make: MakeAssembler, wheel: tuple[Artifact, Path]
) -> None:
    artifact, path = wheel
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    for read in (make().wheel, make().list_wheel):
        with pytest.raises(DamagedArtifactError) as caught:
            read(artifact, path)
        assert caught.value.artifact == artifact
        assert not path.exists()


def test_a_wheel_that_is_none_stays(make: MakeAssembler, kept: Store, tmp_path: Path) -> None:
    artifact = write_wheel(tmp_path / "wheels", "liar", files={"liar-1.0.data/else/x": b""})
    # As another process would: this one has yet to look at it.
    with Store.open(kept.root).artifact_writer(artifact.sha256) as writer:
        writer.write((tmp_path / "wheels" / artifact.filename).read_bytes())
    path = kept.artifact_path(artifact.sha256)
    with pytest.raises(AssembleError, match=r"has an unknown scheme$"):
        make().wheel(artifact, path)
    assert path.exists()
    assert list((kept.root / "tmp").iterdir()) == []


def test_a_damaged_segment_is_made_again(
    make: MakeAssembler, notes: Notes, wheel: tuple[Artifact, Path]
) -> None:
    segment = make().wheel(*wheel)
    (segment.folder / "literals").unlink()
    assert make().wheel(*wheel) == segment
    assert notes.notes == [
        f"the segment of {wheel[0].filename} in the store was damaged "
        f"({segment.key[:12]}: No such file or directory); rebuilding it"
    ]


def test_the_base_and_its_activation_are_made_once(make: MakeAssembler) -> None:
    first, again = make(), make()
    base, activation = first.base()
    assert (first.made, base.label, activation.label) == (2, "base", "activation")
    assert again.base() == (base, activation)
    assert again.made == 0
    assert "bin/activate" in {file.path for file in activation.files}
    assert not {file.path for file in base.files} & {file.path for file in activation.files}


def test_what_is_an_environments_own_is_not_kept(make: MakeAssembler, kept: Store, tmp_path: Path) -> None:

    segment = make().environment_segment([Entry("x", data=b"x")], tmp_path / "own")
    assert (segment.label, segment.folder) == ("environment", tmp_path / "own")
    assert kept.entries() == []
