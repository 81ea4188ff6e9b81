"""Files that name the folder where they were packed: what they are, and that each hint about them is true."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from pathlib import Path

from envbuilder.foreign.folder import pack_folder
from envbuilder.progress import SILENT
from envbuilder.verification.report import Check
from envbuilder.verification.static.archive import check_archive
from envbuilder.verification.static.extracted import open_archive


def named(archive: Path, scratch: Path, folder: Path | None = None) -> Check:
    """What is said of the prefixes in *archive*, which is that of *folder*, if of one."""
    opened = open_archive(archive, scratch / "extracted", lambda _: [], SILENT)
    checks = check_archive(dataclasses.replace(opened, folder=folder), None)
    (found,) = [one for one in checks if one.id == "paths.prefixes"]
    return found


def test_scripts_are_rewritten_by_conda_pack_and_the_rest_by_conda_unpack(
    prefix: Path, packed: Path, tmp_path: Path
) -> None:
    plain = tmp_path / "plain.tar"
    subprocess.run(["tar", "-C", prefix, "-cf", plain, "."], check=True)
    before = named(plain, tmp_path / "a")
    assert before.status == "warning"
    assert "bin/where-python" in before.found
    assert "`conda-pack --prefix ENV --output NAME.tar.gz`, which rewrites scripts" in str(before.fix)
    after = named(packed, tmp_path / "b")  # packed as the hint says
    assert "bin/where-python" not in after.found
    assert after.found.startswith(
        "files that contain the path of another folder: lib/python3.11/_sysconfigdata"
    )
    said = "nothing to do, unless a model compiles extensions; in that case extract it to its final folder"
    assert str(after.fix).startswith(said)

    folder = tmp_path / "served"
    folder.mkdir()
    subprocess.run(["tar", "-C", folder, "-xf", packed], check=True)
    (command,) = re.findall("`([^`]+)`", str(after.fix))
    subprocess.run(command.split(), cwd=folder, check=True, env={"LD_LIBRARY_PATH": str(folder / "lib")})
    assert named(pack_folder(folder, tmp_path), tmp_path / "c", folder).status == "passed"
    moved = folder.rename(tmp_path / "moved")
    assert named(pack_folder(moved, tmp_path), tmp_path / "d", moved).status == "warning"
