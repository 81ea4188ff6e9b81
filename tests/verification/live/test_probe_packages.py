"""Every package of an archive imported once for each launch, and reported for each release."""

from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.catalog.triton import find_release
from envbuilder.store.local import Store
from envbuilder.verification.live.probe_packages import PackageProbe
from envbuilder.verification.static import loader
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
