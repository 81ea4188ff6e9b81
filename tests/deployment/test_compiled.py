from __future__ import annotations

from pathlib import Path

from envbuilder.deployment.compiled import Compiled
from envbuilder.deployment.layout import add_compiled, deploy
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
    assert add_compiled(done.folder, [])
    assert not placed.exists()


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
    # Without it, it goes, and is listed: it belongs to a model that may be another one by now.
    again = deploy(archive, done.folder, repository)
    assert again.removed == ("1/compiled.cpu.pt2",)
