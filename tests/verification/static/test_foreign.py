"""Static checks of environments that another tool packed: one broken thing at a time, and its cure."""

from __future__ import annotations

import re
import subprocess
import tarfile
from pathlib import Path

import pytest

from envbuilder.progress import SILENT
from envbuilder.verification.live.foreign import settle_links
from envbuilder.verification.report import check, failed, passed
from envbuilder.verification.static.archive import check_archive
from envbuilder.verification.static.extracted import open_archive
from tests.helpers.environments import SITE, environment, failures, pack, verdicts


def test_a_folder_around_everything_and_its_cure(tmp_path: Path) -> None:
    with tarfile.open(pack(environment(), tmp_path)) as tar:
        tar.extractall(tmp_path / "source" / "env", filter="data")
    archive = tmp_path / "around.tar.gz"
    subprocess.run(["tar", "-C", tmp_path / "source", "-czf", archive, "env"], check=True)
    text, fix = failures(verdicts(archive, tmp_path))["layout.activate"]
    assert text == "everything is in the folder env/: Triton expects bin/activate and lib/ at the top level"
    assert fix == f"`tar -xf {archive.name}`, then `tar -C env -czf NAME.tar.gz .`"
    cure = re.sub("NAME", "cured", " && ".join(re.findall("`([^`]+)`", fix)))
    subprocess.run(["bash", "-c", cure], cwd=tmp_path, check=True)
    (tmp_path / "again").mkdir()
    assert failures(verdicts(tmp_path / "cured.tar.gz", tmp_path / "again")) == {}


@pytest.mark.parametrize("suffix", ["tar.bz2", "tar.xz", "zip"])
def test_what_triton_does_not_extract_and_its_cure(tmp_path: Path, suffix: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with tarfile.open(pack(environment(), tmp_path)) as tar:
        tar.extractall(source, filter="data")
    name = f"my env.{suffix}"
    how = ["zip", "-qry", f"../{name}", "."] if suffix == "zip" else ["tar", "-caf", f"../{name}", "."]
    subprocess.run(how, cwd=source, check=True)
    wrong = failures(verdicts(tmp_path / name, tmp_path))
    assert wrong.keys() == {"archive.readable"}  # all else is checked, and well
    text, fix = wrong["archive.readable"]
    assert text.endswith("Triton does not extract this")
    assert fix is not None
    assert "conda-pack" not in fix  # nothing in it is conda's
    cure = " && ".join(re.findall("`([^`]+)`", fix)).replace("NAME", "cured")
    subprocess.run(["bash", "-c", cure], cwd=tmp_path, check=True)
    (tmp_path / "again").mkdir()
    assert failures(verdicts(tmp_path / "cured.tar.gz", tmp_path / "again")) == {}


def test_packages_that_stayed_elsewhere(tmp_path: Path) -> None:
    tree = environment() | {f"{SITE}/__editable__.mine.pth": b"/home/me/mine\n"}
    (found,) = [one for one in verdicts(pack(tree, tmp_path), tmp_path) if one.id == "layout.editable"]
    assert (found.status, found.fix) == (
        "warning",
        "install them into the environment (`pip install .`, without -e) and pack it again",
    )


def test_hard_links_are_there_and_told(tmp_path: Path) -> None:
    link = tarfile.TarInfo("bin/again")
    link.type, link.linkname = tarfile.LNKTYPE, "bin/activate"
    checks = verdicts(pack(environment() | {"bin/again": link}, tmp_path), tmp_path)
    (found,) = [one for one in checks if one.id == "archive.members"]
    assert (found.status, found.fix) == (
        "warning",
        "store every file separately, as `tar --hard-dereference` does",
    )


def test_links_out_are_not_known_and_their_cure(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"1")
    (tmp_path / "source").mkdir()
    with tarfile.open(pack(environment() | {"lib/x": str(outside)}, tmp_path)) as tar:
        tar.extractall(tmp_path / "source", filter="fully_trusted")
    archive = tmp_path / "links.tar.gz"
    for number, options in enumerate(((), ("--dereference",))):  # then done as the hint says
        subprocess.run(["tar", *options, "-C", tmp_path / "source", "-czf", archive, "."], check=True)
        folder = tmp_path / str(number)
        folder.mkdir()
        checks = verdicts(archive, folder)
        assert failures(checks) == {}
        (found,) = [one for one in checks if one.id == "paths.links"]
        assert found.status == ("passed" if options else "unknown"), found
        if not options:
            assert found.found.startswith(
                f"links that point outside the environment: lib/x -> {outside}; whether their"
            )
            assert "`tar --dereference` does" in str(found.fix)
        assert (folder / "extracted" / "lib" / "x").is_symlink() != bool(options)  # and nobody followed it


def test_a_server_that_answers_settles_links_that_lead_out() -> None:
    link = check(
        "paths.links", "unknown", "lib/x -> /y; whether their targets exist on a server is not known"
    )
    answered, broken = passed("server.grpc", "answers"), failed("server.http", "none", "see the log")
    for said, status in (([], "unknown"), ([answered], "warning"), ([answered, broken], "unknown")):
        place = [link]
        settle_links(place, said)
        assert place[0].status == status


def test_a_lock_cannot_be_compared(tmp_path: Path) -> None:
    from tests.helpers.wheels import small_lock, small_recipe

    archive = pack(environment(), tmp_path)
    extracted = open_archive(archive, tmp_path / "a", lambda _: [], SILENT)
    recipe = small_recipe(tmp_path)
    from envbuilder.base.interpreter import describe, find_interpreter

    lock = small_lock(recipe, [], describe(find_interpreter("3.11")))
    assert "manifest.lock" in failures(check_archive(extracted, lock))
