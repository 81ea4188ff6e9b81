"""What py-rattler put aside comes to its place: links first, then what goes through them."""

from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.base.clobbered import own_path, put_back
from envbuilder.base.conda_package import PackageContent
from envbuilder.errors import AssembleError
from envbuilder.lockfile.model import CondaPackage
from tests.helpers.conda_compiler import SYSROOT, sysroot_cuts
from tests.helpers.conda_project import Project, extract
from tests.helpers.notes import Notes


def contents(**links: dict[str, str]) -> dict[CondaPackage, PackageContent]:
    """Packages with the links of each."""
    return {
        CondaPackage(
            name=name,
            version="1.0",
            filename=f"{name}-1.0-0.conda",
            sha256=name[0] * 64,
            size=1,
            channel="c",
            subdir="linux-64",
            build="0",
        ): PackageContent(
            paths=tuple(own), placeholders=(), links=tuple(own.items()), scripts=(), metadata=()
        )
        for name, own in links.items()
    }


def write(folder: Path, files: dict[str, str]) -> None:
    """Write texts, and links where a text begins with ``->``."""
    for path, text in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if text.startswith("->"):
            place.symlink_to(text[2:])
        else:
            place.write_text(text)


def tree(folder: Path) -> dict[str, str]:
    """Read what :func:`write` writes."""
    return {
        str(path.relative_to(folder)): f"->{path.readlink()}" if path.is_symlink() else path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def test_a_link_and_what_goes_through_it(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "sysroot/usr/lib64/one": "1",
            "sysroot/lib/two": "2",
            "__clobbers__/links-1.0-0/sysroot/lib": "->usr/lib64",
            "__clobbers__/through-1.0-0/sysroot/lib/three": "3",
            "__clobbers__/through-1.0-0/elsewhere/four": "4",
            "__clobbers__/links-1.0-0/elsewhere/link": "->four",
        },
    )
    notes = Notes()
    put_back(contents(links={"sysroot/lib": "usr/lib64", "elsewhere/link": "four"}), tmp_path, notes)
    assert tree(tmp_path) == {
        "elsewhere/four": "4",
        "elsewhere/link": "->four",
        "sysroot/lib": "->usr/lib64",
        "sysroot/usr/lib64/one": "1",
        "sysroot/usr/lib64/three": "3",
        "sysroot/usr/lib64/two": "2",
    }
    assert notes.notes == []


def test_two_files_of_one_path(tmp_path: Path) -> None:
    """As py-rattler decided, who knows in which order they are installed; only what differs is worth a word."""
    write(
        tmp_path,
        {
            "share/same": "1",
            "share/other": "1",
            "__clobbers__/late-1.0-0/share/same": "1",
            "__clobbers__/late-1.0-0/share/other": "2",
        },
    )
    notes = Notes()
    put_back(contents(late={}), tmp_path, notes)
    assert tree(tmp_path) == {"share/other": "1", "share/same": "1"}
    assert notes.notes == ["share/other: two packages contain this path; the file of late-1.0-0 is not used"]


def test_a_link_that_leads_out(tmp_path: Path) -> None:
    write(tmp_path / "prefix", {"lib/one": "1"})
    with pytest.raises(AssembleError) as caught:
        put_back(contents(links={"lib": "../../outside"}), tmp_path / "prefix", Notes())
    assert caught.value.message == "the link lib points to ../../outside, outside the environment"


def test_where_a_record_says_that_it_was() -> None:
    assert own_path("__clobbers__/gcc-12-0/lib/x") == "lib/x"
    assert own_path("lib/__clobbers__/x") == "lib/__clobbers__/x"


def test_a_sysroot_in_two_packages(conda_project: Project) -> None:
    conda_project.publish(*sysroot_cuts())
    report = conda_project.build(conda_project.recipe(conda=["sysroot_linux-64"]))
    root = extract(report.archive, conda_project.folder / "env") / SYSROOT
    links = {name: str((root / name).readlink()) for name in ("lib", "lib64", "usr/lib")}
    assert links == {"lib": "lib64", "lib64": "usr/lib64", "usr/lib": "lib64"}
    assert {"crt1.o", "crti.o", "libc.so"} <= {path.name for path in (root / "usr/lib64").iterdir()}
