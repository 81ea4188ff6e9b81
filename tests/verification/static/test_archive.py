"""Every way in which an archive can be wrong that needs nothing of it to run."""

from __future__ import annotations

import json
import py_compile
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from envbuilder.errors import VerifyError
from envbuilder.lockfile.model import Artifact, Lock, LockedInterpreter
from envbuilder.progress import SILENT
from envbuilder.verification.static.archive import check_archive
from envbuilder.verification.static.extracted import open_archive
from tests.helpers.environments import (
    SITE,
    Tree,
    environment,
    failures,
    manifest,
    pack,
    package,
    tampered,
    verdicts,
)
from tests.helpers.packages import distribution
from tests.verification.static.conftest import found, member

REBUILD = "build it again with `envbuilder build`"
OTHER_TOOL = f"a different version of envbuilder built it: {REBUILD}"


def test_a_sound_archive_fails_nothing(tmp_path: Path) -> None:
    tree = environment()
    checks = verdicts(pack(tree, tmp_path, listed=tree), tmp_path)
    assert {check.id: check.found for check in checks if check.status != "passed"} == {}
    ids = [check.id for check in checks]
    assert len(ids) == len(set(ids)) == 23
    assert all(check.fix is None for check in checks)


def test_a_plain_tar_is_sound(tmp_path: Path) -> None:
    tree = environment()
    assert failures(verdicts(pack(tree, tmp_path, listed=tree, mode="w"), tmp_path)) == {}


# -- the file --------------------------------------------------------------------------------------


def test_truncated_in_its_gzip(tmp_path: Path) -> None:
    tree = environment()
    archive = tampered(pack(tree, tmp_path, listed=tree), lambda data: data[:-2000])
    wrong = failures(verdicts(archive, tmp_path))
    text, fix = wrong["archive.readable"]
    assert text.startswith(f"{archive.name}: it is truncated: its gzip stream is incomplete (at ")
    assert fix == f"copy it again, or {REBUILD}"
    assert wrong["archive.name"][0].startswith(
        f"the file name {archive.name} says {archive.name[5:17]}, but the sha256 begins with "
    )


def test_truncated_between_members(tmp_path: Path) -> None:
    tree = environment()
    archive = pack(tree, tmp_path, listed=tree, mode="w")
    with tarfile.open(archive) as tar:
        last = tar.getmembers()[-1]
    archive = tampered(archive, lambda data: data[: last.offset])
    text, _ = failures(verdicts(archive, tmp_path))["archive.readable"]
    assert (
        text == f"{archive.name}: it is truncated: it ends after {list(tree)[-1]}, without a tar end marker"
    )


def test_truncated_within_a_member(tmp_path: Path) -> None:
    tree = environment()
    archive = tampered(pack(tree, tmp_path, listed=tree, mode="w"), lambda data: data[:3000])
    text, _ = failures(verdicts(archive, tmp_path))["archive.readable"]
    assert text == (
        f"{archive.name}: it is truncated, or deceives: 'lib/libpython3.11.so.1.0' says that it has 30.2 kB, "
        "more than the archive can contain (at bin/python3)"
    )


def test_garbage_in_the_middle(tmp_path: Path) -> None:
    tree = environment()
    archive = tampered(
        pack(tree, tmp_path, listed=tree, mode="w"), lambda data: data[:1024] + b"\xaa" * 512 + data[1536:]
    )
    text, _ = failures(verdicts(archive, tmp_path))["archive.readable"]
    assert text == f"{archive.name}: there is no readable header after bin/activate"


def test_damaged_gzip(tmp_path: Path) -> None:
    tree = environment()
    archive = tampered(
        pack(tree, tmp_path, listed=tree), lambda data: data[:2000] + b"\xff" * 64 + data[2064:]
    )
    text, _ = failures(verdicts(archive, tmp_path))["archive.readable"]
    assert text.startswith(f"{archive.name}: its gzip stream is damaged: ")


def test_empty(tmp_path: Path) -> None:
    archive = tmp_path / "empty.tar.gz"
    archive.touch()
    assert failures(verdicts(archive, tmp_path))["archive.readable"][0] == "empty.tar.gz: it is empty"


@pytest.mark.parametrize(("mode", "name"), [("w:xz", "xz"), ("w:bz2", "bzip2")])
def test_a_filter_that_triton_does_not_read(tmp_path: Path, mode: str, name: str) -> None:
    tree = environment()
    archive = pack(tree, tmp_path, listed=tree, mode=mode)
    text, _ = failures(verdicts(archive, tmp_path))["archive.readable"]
    assert text == f"{archive.name}: it is compressed by {name}; Triton's libarchive reads gzip and plain tar"


def test_no_archive(tmp_path: Path) -> None:
    with pytest.raises(VerifyError) as caught:
        verdicts(tmp_path / "none.tar.gz", tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}/none.tar.gz: No such file or directory\n  hint: `envbuilder build` writes archives to envs/"
    )
    assert caught.value.exit_code == 7


def test_a_name_that_tells_nothing_is_a_warning(tmp_path: Path) -> None:
    tree = environment()
    archive = pack(tree, tmp_path, listed=tree)
    digest = archive.name[5:17]
    archive = archive.rename(tmp_path / "env.tar.gz")
    (check,) = [check for check in verdicts(archive, tmp_path) if check.id == "archive.name"]
    assert check.status == "warning"
    assert check.found.startswith(f"the file name env.tar.gz does not contain the archive's sha256, {digest}")
    assert check.fix == (
        f"name it NAME-{digest}.tar.gz: Triton identifies an environment by its path, not by its content"
    )


# -- members ---------------------------------------------------------------------------------------

UNSAFE = [
    pytest.param(
        member("../evil", tarfile.REGTYPE),
        "members with '..' in their name: ../evil",
        "write members with paths relative to the environment's folder",
        id="parent",
    ),
    pytest.param(
        member("/evil", tarfile.REGTYPE),
        "members with an absolute name: /evil",
        "write members with paths relative to the environment's folder",
        id="absolute",
    ),
    pytest.param(
        member("bin/again", tarfile.LNKTYPE, "bin/activate"),
        "hard links: bin/again (to bin/activate)",
        "store every file separately: when several models load in parallel, Triton fails to extract hard links",
        id="hard-link",
    ),
    pytest.param(
        member("dev/null", tarfile.CHRTYPE),
        "device nodes or fifos: dev/null (character device)",
        "pack files, folders and symbolic links only",
        id="device",
    ),
    pytest.param(
        member("pipe", tarfile.FIFOTYPE),
        "device nodes or fifos: pipe (fifo)",
        "pack files, folders and symbolic links only",
        id="fifo",
    ),
    pytest.param(
        member("bin/activate", tarfile.REGTYPE),
        "duplicate members: bin/activate",
        "pack each path once",
        id="twice",
    ),
    pytest.param(
        member("lib", tarfile.REGTYPE),
        "duplicate members: lib",
        "pack each path once",
        id="file-over-folder",
    ),
]


@pytest.mark.parametrize(("bad", "text", "fix"), UNSAFE)
def test_unsafe_members(tmp_path: Path, bad: tarfile.TarInfo, text: str, fix: str) -> None:
    tree = environment()
    archive = pack({**tree, "bad member": bad}, tmp_path, listed=tree)
    wrong = failures(verdicts(archive, tmp_path))
    assert wrong.pop("archive.members") == (text, fix)
    assert wrong.keys() <= {"manifest.files"}  # of a duplicate the last counts, as on a server
    assert not (tmp_path / "evil").exists()
    assert not Path("/evil").exists()


@pytest.mark.parametrize("target", ["/tmp", "../..", "lib/../../.."])
def test_a_link_that_leads_out_is_not_followed(tmp_path: Path, target: str) -> None:
    tree = environment()
    bad: Tree = {**tree, "out": target, "evil": member("out/evil", tarfile.REGTYPE)}
    wrong = failures(verdicts(pack(bad, tmp_path, listed={**tree, "out": target}), tmp_path))
    assert wrong == {
        "archive.members": (
            f"members written through a link that points outside the environment: out/evil (through out -> {target})",
            "use links to paths inside the environment only",
        ),
        "paths.links": (
            f"links that point outside the environment: out -> {target}",
            f"use links to paths inside the environment only; {OTHER_TOOL}",
        ),
    }
    assert not Path("/tmp/evil").exists()
    assert list(tmp_path.rglob("evil")) == []


def test_a_folder_in_place_of_a_link_is_not_made_through_it(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o700)
    tree = environment()
    folder = member("out", tarfile.DIRTYPE)
    folder.mode = 0o777
    archive = pack({**tree, "out": str(outside), "again": folder}, tmp_path, listed=tree)
    assert failures(verdicts(archive, tmp_path))["archive.members"][0] == "duplicate members: out"
    assert outside.stat().st_mode & 0o777 == 0o700


# -- layout ----------------------------------------------------------------------------------------


def test_without_activate(tmp_path: Path) -> None:
    tree = environment()
    del tree["bin/activate"]
    assert found(tree, tmp_path) == {
        "layout.activate": (
            "bin/activate is missing: Triton requires it in an execution environment",
            "pack the environment with `envbuilder build`, or with conda-pack",
        )
    }


def test_a_python_that_is_a_link_out(tmp_path: Path) -> None:
    tree = environment() | {"bin/python3": "/usr/bin/python3"}
    wrong = found(tree, tmp_path)
    assert wrong["layout.python"] == (
        "bin/python3 is missing or not executable: torch starts it for its compile workers",
        "the environment must contain its own interpreter, not a link to one outside",
    )


# -- the machine it was built on -------------------------------------------------------------------


def test_a_shebang_of_the_build_machine(tmp_path: Path) -> None:
    tree = environment() | {"bin/tool": b"#!/opt/build/env/bin/python3.11\n"}
    assert found(tree, tmp_path) == {
        "paths.shebangs": (
            "scripts whose #! line names a program of the build machine: bin/tool (#!/opt/build/env/bin/python3.11)",
            f"start them with #!/usr/bin/env python3; {OTHER_TOOL}",
        )
    }


def test_records_of_the_build_machine(tmp_path: Path) -> None:
    info = f"{SITE}/torch-2.13.0+cpu.dist-info"
    tree = environment() | {
        f"{info}/RECORD": b"/opt/build/bin/tool,sha256=x,3\n../../../bin/fine,,\n../../../../out,,\n",
        f"{info}/direct_url.json": json.dumps({"url": "file:///opt/build/torch"}).encode(),
    }
    assert found(tree, tmp_path) == {
        "paths.records": (
            "package records that name files of the build machine: "
            f"{info}/RECORD (/opt/build/bin/tool), {info}/RECORD (../../../../out), "
            f"{info}/direct_url.json (file:///opt/build/torch)",
            f"install from wheels, not in editable mode; {OTHER_TOOL}",
        )
    }


def test_sysconfigdata_of_the_build_machine(tmp_path: Path) -> None:
    path = "lib/python3.11/_sysconfigdata__linux_x86_64-linux-gnu.py"
    tree = environment() | {path: b"build_time_vars = {'prefix': '/opt/build/python',\n 'VERSION': '3.11'}\n"}
    assert found(tree, tmp_path) == {
        "paths.sysconfig": (
            f"_sysconfigdata with a prefix of the build machine: {path} (prefix = /opt/build/python)",
            f"compute the prefix from the folder that the file is loaded from; {OTHER_TOOL}",
        )
    }


def test_bytecode_of_the_build_machine(tmp_path: Path) -> None:
    source = tmp_path / "tool.py"
    source.write_text("def f(): return '/somewhere/else.py'\n")
    path = f"{SITE}/package/__pycache__/tool.cpython-311.pyc"

    def compiled(shown: str) -> bytes:
        py_compile.compile(str(source), cfile=str(tmp_path / "x.pyc"), dfile=shown)
        return (tmp_path / "x.pyc").read_bytes()

    tree = environment() | {path: compiled(f"/opt/build/env/{SITE}/package/tool.py")}
    assert found(tree, tmp_path) == {
        "paths.bytecode": (
            f"bytecode that contains a path of the build machine: {path} (/opt/build/env/{SITE}/package/tool.py)",
            f"compile it with relative paths; {OTHER_TOOL}",
        )
    }
    (tmp_path / "again").mkdir()
    tree[path] = compiled(f"{SITE}/package/tool.py")
    assert failures(verdicts(pack(tree, tmp_path, listed=tree), tmp_path / "again")) == {}


def test_a_folder_of_this_machine(tmp_path: Path) -> None:
    place = tmp_path / "interpreter"
    tree = environment() | {"share/notes": f"made at {place}/bin".encode()}
    wrong = failures(verdicts(pack(tree, tmp_path, listed=tree), tmp_path, places=[place]))
    assert wrong == {
        "paths.places": (
            f"files that contain the path of a folder of this machine: share/notes ({place})",
            f"replace that path in these files, too; {OTHER_TOOL}",
        )
    }


def test_what_a_package_was_published_with_is_a_note(tmp_path: Path) -> None:
    place = tmp_path / "interpreter"
    text = f"made at {place}/bin".encode()
    tree = environment() | distribution("numpy", {"made/notes": text}, version="1.26.4")
    checks = verdicts(pack(tree, tmp_path, listed=tree), tmp_path, places=[place])
    assert failures(checks) == {}
    (check,) = [check for check in checks if check.id == "paths.places"]
    assert check.found == (
        "no file contains the path of the interpreter, the store or this program, except what packages were published "
        f"with: {SITE}/made/notes ({place})"
    )
    # Changed since, it is a failure, and building again cures it.
    (tmp_path / "again").mkdir()
    before = tree | {f"{SITE}/made/notes": b""}
    wrong = failures(verdicts(pack(tree, tmp_path, listed=before), tmp_path / "again", places=[place]))
    assert wrong["paths.places"][1] == (
        "replace that path in these files, too; it changed after it was built: copy the archive again, or "
        f"{REBUILD}"
    )


# -- packages and manifest -------------------------------------------------------------------------


def test_a_package_too_many(tmp_path: Path) -> None:
    tree = environment() | package("six", "1.16.0")
    assert found(tree, tmp_path) == {
        "manifest.packages": ("packages: six 1.16.0 is not in the manifest", REBUILD)
    }


def test_torch_of_another_cuda(tmp_path: Path) -> None:
    version = b"__version__ = '2.13.0+cu130'\ncuda: Optional[str] = '13.0'\n"
    assert found(environment() | {f"{SITE}/torch/version.py": version}, tmp_path) == {
        "manifest.torch": (
            "the archive has torch 2.13.0+cu130, CUDA 13.0; its lock says torch 2.13.0+cpu, cuda: cpu",
            REBUILD,
        )
    }


def test_without_torch(tmp_path: Path) -> None:
    tree = environment()
    del tree[f"{SITE}/torch/version.py"]
    assert found(tree, tmp_path) == {
        "manifest.torch": ("torch is missing from the archive; the manifest lists 2.13.0+cpu", REBUILD)
    }


def test_without_a_manifest(tmp_path: Path) -> None:
    checks = verdicts(pack(environment(), tmp_path), tmp_path)
    assert failures(checks) == {}
    omitted = {check.id: check.found for check in checks if check.status == "omitted"}
    assert omitted == {
        "manifest.present": "no share/envbuilder/manifest.json: another tool packed it, so there is no list of files "
        "to compare with; it contains CPython 3.11 (unknown), 0 conda packages, 2 pip packages, torch 2.13.0+cpu"
    }


def test_a_build_whose_manifest_is_gone(tmp_path: Path) -> None:
    tree = environment() | {"share/envbuilder/environment.json": b"{}"}
    checks = verdicts(pack(tree, tmp_path), tmp_path)
    assert failures(checks) == {
        "manifest.present": ("the archive has no share/envbuilder/manifest.json", REBUILD)
    }
    omitted = {check.id: check.found for check in checks if check.status == "omitted"}
    assert omitted == dict.fromkeys(
        ["manifest.files", "manifest.packages", "manifest.torch"],
        "the archive has no manifest to compare with",
    )


def test_a_manifest_that_is_none(tmp_path: Path) -> None:
    tree = environment() | {"share/envbuilder/manifest.json": b"{}"}
    text, _ = failures(verdicts(pack(tree, tmp_path), tmp_path))["manifest.present"]
    assert (
        text == "share/envbuilder/manifest.json: format: is missing; expected an integer from 1 to 2^63 - 1"
    )


def test_files_that_are_not_the_manifests(tmp_path: Path) -> None:
    listed = environment() | {"share/gone": b"1", "share/other": b"2", "share/link": "a"}
    tree = environment() | {"share/other": b"3", "share/link": "b", "share/more": b"4"}
    wrong = failures(verdicts(pack(tree, tmp_path, listed=listed), tmp_path))
    assert wrong == {
        "manifest.files": (
            "files missing: share/gone; changed: share/link, share/other; not in the manifest: share/more",
            REBUILD,
        )
    }


def test_a_mode_that_is_not_the_manifests(tmp_path: Path) -> None:
    tree = environment()
    info = tarfile.TarInfo("share/file")
    info.size, info.mode = 1, 0o755
    wrong = failures(
        verdicts(pack({**tree, "f": info}, tmp_path, listed={**tree, "share/file": b"x"}), tmp_path)
    )
    assert wrong == {"manifest.files": ("files changed: share/file (mode 755, not 644)", REBUILD)}


def test_another_manifest_beside_it(tmp_path: Path) -> None:
    tree = environment()
    archive = pack(tree, tmp_path, listed=tree)
    beside = tmp_path / archive.name.replace(".tar.gz", ".json")
    beside.write_text("{}")
    assert failures(verdicts(archive, tmp_path)) == {
        "manifest.present": (
            f"{beside.name} beside the archive differs from the manifest inside",
            "copy both files again, or delete the one beside the archive",
        )
    }


def test_another_lock(tmp_path: Path) -> None:
    tree = environment()
    listed = manifest(tree)
    artifacts = tuple(
        Artifact(name=p.name, version=p.version, filename=p.filename, sha256=p.sha256, size=p.size)
        for p in listed.packages
    )
    lock = Lock(
        recipe="tiny",
        recipe_digest="0" * 64,
        release="pytriton-0.7.0",
        python="3.11",
        torch="2.13.0+cpu",
        cuda="cpu",
        demands=("numpy<2",),
        artifacts=artifacts,
        interpreter=LockedInterpreter(version="3.11.7", origin="host", digest="2" * 64),
        tools=(),
    )
    (tmp_path / "extracted").mkdir()
    archive = open_archive(pack(tree, tmp_path, listed=tree), tmp_path / "extracted", lambda _: [], SILENT)
    (check,) = [c for c in check_archive(archive, lock) if c.id == "manifest.lock"]
    assert check.status == "warning"
    assert check.found == "the packages are the same, but the lock was changed after the archive was built"
    changed = replace(lock, artifacts=(replace(artifacts[0], sha256="4" * 64), artifacts[1]))
    (check,) = [c for c in check_archive(archive, changed) if c.id == "manifest.lock"]
    assert (check.status, check.found) == ("failed", "built from a different lock: numpy differ")
