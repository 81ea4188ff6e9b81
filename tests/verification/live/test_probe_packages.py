"""Every package of an archive imported once for each launch, and reported for each release."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from envbuilder.catalog.triton import Launch, find_release
from envbuilder.store.local import Store
from envbuilder.verification.live.launch import Sandbox
from envbuilder.verification.live.packages import Imported, ModuleOutcome, PackageOutcome
from envbuilder.verification.live.probe_packages import PackageProbe
from envbuilder.verification.static import loader
from envbuilder.verification.static.packages import Installed
from tests.helpers.environments import Tree
from tests.helpers.notes import Notes
from tests.helpers.packages import distribution, opened

GL = "libGL.so.1: cannot open shared object file: No such file or directory"
SOURCED, DIRECT = find_release("24.10"), find_release("26.06")
TREE: Tree = {
    **distribution("good", {"good.py": ""}),
    **distribution("gl", {"gl.py": f"raise ImportError({GL!r})"}),
}


@pytest.fixture(autouse=True)
def _a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose loader knows no more than every one has."""
    monkeypatch.setattr(loader, "host_libraries", lambda: frozenset())


def probe(tree: Tree, folder: Path) -> tuple[PackageProbe, Notes]:
    archive, sandbox = opened(tree, folder)
    notes = Notes()
    store = Store.open(folder / "store")
    (folder / "scratch").mkdir()
    return (
        PackageProbe(
            archive=archive, sandbox=sandbox, store=store, scratch=folder / "scratch", reporter=notes
        ),
        notes,
    )


def test_each_launch_imports_once(tmp_path: Path) -> None:
    packages, notes = probe(TREE, tmp_path)
    first = packages.imported(SOURCED, hidden=())
    assert first.found is not None
    assert first.found["good"].modules["good"].done
    assert packages.imported(find_release("23.08"), hidden=()) is first, "it is launched in the same way"
    direct = packages.imported(DIRECT, hidden=())
    assert direct is not first
    assert (first.launch, direct.launch) == (SOURCED.launch, DIRECT.launch)
    assert notes.steps == [f"Importing {len(packages.archive.installed)} packages"] * 2


def test_each_release_has_its_own_word_on_a_library(tmp_path: Path) -> None:
    packages, _ = probe(TREE, tmp_path)
    imported = packages.imported(SOURCED, hidden=())
    (check,) = packages.checks(imported, SOURCED)
    assert (check.id, check.status, check.release) == ("probe.packages", "failed", "24.10")
    assert check.found == f"gl: ImportError: {GL}"
    assert packages.missed(imported, SOURCED) == [("gl", "libGL.so.1")]
    (own,) = packages.checks(imported, find_release("pytriton-0.7.0"))
    assert own.fix != check.fix, "a server without an image is this machine"


def test_what_is_missing_and_no_library_is_not_among_them(tmp_path: Path) -> None:
    packages, _ = probe(distribution("lost", {"lost.py": "import nowhere"}), tmp_path)
    imported = packages.imported(SOURCED, hidden=())
    assert packages.missed(imported, SOURCED) == []


@pytest.mark.parametrize("goes_on", [True, False])
def test_a_library_that_only_this_machine_has_is_tried_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, goes_on: bool
) -> None:
    # Pillow loads libfribidi where it is found, and goes on where it is not.
    packages, _ = probe(distribution("lends", {"lends.py": ""}), tmp_path)
    packages.sandbox = dataclasses.replace(packages.sandbox, isolated=True)
    path = "/usr/lib/x86_64-linux-gnu/libfribidi.so.0.4.0"
    asked = []

    def importing(
        sandbox: Sandbox,
        launch: Launch,
        installed: Mapping[str, Installed],
        members: object,
        *,
        hidden: Sequence[str],
    ) -> Imported:
        asked.append((sorted(installed), list(hidden)))
        done = ModuleOutcome(done=path not in hidden or goes_on, error="OSError", text="file too short")
        libraries = () if path in hidden else (path,)
        found = {"lends": PackageOutcome(modules={"lends": done}, libraries=libraries)}
        return Imported(launch=launch, found=found, modules={"lends": ("lends",)}, ended="", seconds=0.0)

    monkeypatch.setattr("envbuilder.verification.live.probe_packages.import_packages", importing)
    imported = packages.imported(SOURCED, hidden=("/hidden",))
    (check,) = packages.checks(imported, SOURCED)
    assert check.status == ("passed" if goes_on else "failed")
    assert goes_on or check.found.startswith(
        f"lends: {path} of this machine was loaded, and the image of 24.10 has no"
    )
    assert packages.missed(imported, SOURCED) == ([] if goes_on else [("lends", "libfribidi.so.0")])
    assert asked[1:] == [(["lends"], ["/hidden", path])], "once for each launch"
    (own,) = packages.checks(imported, find_release("pytriton-0.7.0"))
    assert own.status == "passed", "a server without an image is this machine"
