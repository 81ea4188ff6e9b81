"""Static checks of environments that another tool packed: one broken thing at a time, and its cure."""

from __future__ import annotations

import re
import subprocess
import tarfile
from pathlib import Path

import pytest

from envbuilder.archive.extract import extract
from envbuilder.foreign.folder import pack_folder
from envbuilder.progress import SILENT
from envbuilder.verification.live.foreign import settle_links
from envbuilder.verification.report import check, failed, passed
from envbuilder.verification.static.archive import check_archive
from envbuilder.verification.static.extracted import open_archive
from tests.helpers.environments import SITE, Tree, add, environment, failures, pack, verdicts


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


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.size = kind, link, size
    return made


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"a": member("pipe", tarfile.FIFOTYPE)}, "device nodes or fifos: pipe (fifo); a model needs none"),
        ({"a": member("bin/activate")}, "duplicate members: bin/activate; the last of each counts"),
        (
            {"bin/py": "python3", "a": member("bin/again", tarfile.LNKTYPE, "bin/py")},
            "hard links: bin/again (to bin/py); when several models",
        ),
    ],
)
def test_members_that_a_server_extracts_all_the_same(tmp_path: Path, more: Tree, text: str) -> None:
    checks = verdicts(pack(environment() | more, tmp_path), tmp_path)
    assert failures(checks) == {}
    (found,) = [one for one in checks if one.id == "archive.members"]
    assert found.status == "warning"
    assert found.found.startswith(text)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "`git lfs pull` fetches"),
        (b"<html><body>Sign in</body></html>", "it is an HTML page"),
        (b"", "it is empty"),
        (b"\x1f\x8b\x08", "its gzip stream is incomplete"),
    ],
)
def test_of_what_cannot_be_read_nothing_else_is_said(tmp_path: Path, data: bytes, text: str) -> None:
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(data)
    failed = failures(verdicts(archive, tmp_path))
    found, fix = failed.pop("archive.readable")
    assert text in found
    assert fix == "copy it again, or pack the environment again"
    assert failed == {}


def test_an_archive_that_was_cut_lacks_nothing_but_its_end(tmp_path: Path) -> None:
    whole = pack(environment(), tmp_path)
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(whole.read_bytes()[:2000])
    assert failures(verdicts(cut, tmp_path)).keys() == {"archive.readable"}


def test_a_file_with_the_name_of_a_folder_is_not_extracted(tmp_path: Path) -> None:
    checks = verdicts(pack(environment() | {"a": member("bin/odd/")}, tmp_path), tmp_path)
    assert failures(checks)["archive.members"][0] == (
        "members of an unknown kind: bin/odd/ (a file, with the name of a folder)"
    )


def test_of_duplicates_the_last_is_extracted(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as tar:
        add(tar, "share/y", b"1")
        add(tar, "share/x", "../lib")
        add(tar, "share/x", b"22")
        add(tar, "share/y", "x")
        tar.addfile(member("label", b"V"))
    contents = extract(archive, tmp_path / "x")
    assert contents.problems == (("twice", "share/x"), ("twice", "share/y"))
    assert (tmp_path / "x" / "share" / "y").read_bytes() == b"22"
    assert contents.tree.resolve("share/y").path == "share/x"
    assert {path: (one.size, one.link) for path, one in contents.members.items()} == {
        "share/x": (2, None),
        "share/y": (0, "x"),
    }


@pytest.mark.parametrize("link", [True, False])
def test_pax_records_that_no_server_converts_and_their_cure(tmp_path: Path, link: bool) -> None:
    plain, archive = pack(environment(), tmp_path), tmp_path / "pax.tar"
    with tarfile.open(plain) as old, tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        for one in old:
            tar.addfile(one, old.extractfile(one))
        add(tar, "share/a" if link else "share/\xe9", "\xe9" if link else b"1")
    wrong = failures(verdicts(archive, tmp_path))
    assert wrong.keys() == {"archive.members"}
    text, fix = wrong["archive.members"]
    assert text.startswith("members whose PAX records are not ASCII")
    (cure,) = re.findall("`([^`]+)`", str(fix))
    (tmp_path / "ENV").mkdir()
    subprocess.run(["tar", "-C", "ENV", "-xf", archive], cwd=tmp_path, check=True)
    subprocess.run(cure.split(), cwd=tmp_path, check=True)
    (tmp_path / "again").mkdir()
    assert failures(verdicts(tmp_path / "NAME.tar.gz", tmp_path / "again")) == {}
    folder = pack_folder(tmp_path / "ENV", tmp_path)
    (tmp_path / "folder").mkdir()
    assert failures(verdicts(folder, tmp_path / "folder")) == {}


def test_a_date_in_its_name_is_no_digest(tmp_path: Path) -> None:
    archive = pack(environment(), tmp_path)
    archive = archive.rename(tmp_path / "env-202411301530.tar.gz")
    assert failures(verdicts(archive, tmp_path)) == {}


def test_a_record_that_nobody_understands_fails_nothing(tmp_path: Path) -> None:
    checks = verdicts(pack(environment() | {"conda-meta/x-1-0.json": b"{"}, tmp_path), tmp_path)
    assert failures(checks) == {}
    (found,) = [one for one in checks if one.id == "manifest.present"]
    assert found.status == "warning"
    assert "conda-meta/x-1-0.json: is not JSON" in found.found


@pytest.mark.parametrize(("machine", "text"), [(183, "is for aarch64"), (None, "is no ELF file")])
def test_a_python_for_another_processor(tmp_path: Path, machine: int | None, text: str) -> None:
    path = "lib/libpython3.11.so.1.0"
    tree = environment()
    data = bytearray(tree[path])  # type: ignore[arg-type]  # a file's bytes
    data[18:20] = (machine or 0).to_bytes(2, "little")
    tree[path] = bytes(data) if machine else b"\x7fELF"
    wrong = failures(verdicts(pack(tree, tmp_path), tmp_path))
    assert wrong["layout.libpython"][0] == f"{path} {text}; the stub of pytriton-0.7.0 is for x86-64"
    cure = "create the environment on x86-64 Linux" if machine else "reinstall its Python"
    assert wrong["layout.libpython"][1] == cure
