from __future__ import annotations

from pathlib import Path

from envbuilder.deployment.compiled import Compiled
from envbuilder.deployment.layout import add_compiled, deploy
from envbuilder.deployment.mark import DEPLOYED, MARK
from envbuilder.deployment.options import DeployOptions
from tests.deployment.conftest import inodes


def test_what_was_compiled_is_added_at_once(
    archive: Path, model: Path, repository: Path, tmp_path: Path
) -> None:
    done = deploy(archive, model, repository, DeployOptions(unpacked=True))
    package = tmp_path / "compiled.cpu.pt2"
    package.write_bytes(b"package")
    one = Compiled(version="1", device="CPU", file=package, reason=None, difference=0.0, kept=False)
    before = inodes(done.folder)
    assert add_compiled(done.folder, [one])
    placed = done.folder / "1" / "compiled.cpu.pt2"
    assert placed.read_bytes() == b"package"
    after = inodes(done.folder)
    assert after.pop("1/compiled.cpu.pt2")
    assert after == before
    assert not add_compiled(done.folder, [one])
    assert not add_compiled(done.folder, [])
    assert placed.exists()


def test_what_lies_beside_stays(archive: Path, model: Path, repository: Path, tmp_path: Path) -> None:
    """Code for other devices, and folders that are no part of a model."""
    done = deploy(archive, model, repository, DeployOptions(unpacked=True))
    theirs = (".git/HEAD", ".ipynb_checkpoints/a", "1/.ipynb_checkpoints/b", "1/compiled.gpu.pt2")
    for path in theirs:
        (done.folder / path).parent.mkdir(exist_ok=True)
        (done.folder / path).write_text("theirs")
    package = tmp_path / "compiled.cpu.pt2"
    package.write_bytes(b"package")
    one = Compiled(version="1", device="CPU", file=package, reason=None, difference=0.0, kept=False)
    assert add_compiled(done.folder, [one])
    again = deploy(archive, done.folder, repository)
    assert (again.removed, again.changed) == ((), True)
    assert not deploy(archive, done.folder, repository).changed
    assert {(done.folder / path).read_text() for path in theirs} == {"theirs"}
    assert (done.folder / "1" / "compiled.cpu.pt2").read_bytes() == b"package"


def test_a_mark_stays(archive: Path, model: Path, repository: Path, tmp_path: Path) -> None:
    done = deploy(archive, model, repository)
    (done.folder / MARK).write_bytes(DEPLOYED.text())
    package = tmp_path / "compiled.cpu.pt2"
    package.write_bytes(b"package")
    one = Compiled(version="1", device="CPU", file=package, reason=None, difference=0.0, kept=False)
    assert add_compiled(done.folder, [one])
    assert (done.folder / MARK).read_bytes() == DEPLOYED.text()


def test_deployed_with_what_was_compiled(
    archive: Path, model: Path, repository: Path, tmp_path: Path
) -> None:
    package = tmp_path / "compiled.cpu.pt2"
    package.write_bytes(b"package")
    one = Compiled(version="1", device="CPU", file=package, reason=None, difference=1e-6, kept=False)
    done = deploy(archive, model, repository, compiled=[one])
    assert done.compiled[0].file == done.folder / "1" / "compiled.cpu.pt2"
    assert (
        "compiled ahead of time (version 1, CPU): compiled.cpu.pt2, at most 1e-06 away from eager"
        in done.lines()
    )
    # Without it, it goes, and is listed; what lies in the model directory itself is nobody else's, and stays.
    assert deploy(archive, done.folder, repository).removed == ()
    assert deploy(archive, model, repository).removed == ("1/compiled.cpu.pt2",)
