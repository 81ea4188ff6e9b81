"""What ELF files need: found as the loader finds it."""

from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.catalog.triton import find_release
from envbuilder.verification.report import Check
from envbuilder.verification.static import loader
from envbuilder.verification.static.needs import check_needs, check_runpaths, settle_needs
from tests.helpers.environments import SITE, Tree, environment, failures, pack, patched, some_elf, verdicts
from tests.helpers.packages import distribution, opened

OTHER_TOOL = "a different version of envbuilder built it: build it again with `envbuilder build`"
CHANGED = "it changed after it was built: copy the archive again, or build it again with `envbuilder build`"


@pytest.fixture(autouse=True)
def _a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "host_libraries", lambda: frozenset({"libgomp.so.1"}))


def found(tree: Tree, tmp_path: Path, listed: Tree | None = None) -> dict[str, tuple[str, str | None]]:
    return failures(verdicts(pack(tree, tmp_path, listed=listed or tree), tmp_path))


def elf(tmp_path: Path, *options: str) -> bytes:
    return patched(some_elf(), tmp_path, *options)


# -- RUNPATHs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("runpath", ["/opt/build/python/lib", "$ORIGIN/../../..", "lib"])
def test_a_host_runpath_of_the_base(tmp_path: Path, runpath: str) -> None:
    tree = environment() | {"lib/x.so": elf(tmp_path, "--set-rpath", runpath)}
    text = f"RUNPATHs that point outside the environment: lib/x.so ({runpath})"
    assert found(tree, tmp_path) == {"linking.runpath": (text, OTHER_TOOL)}
    # Changed since: as it was built, there is nothing against it.
    (tmp_path / "again").mkdir()
    built = environment() | {"lib/x.so": some_elf()}
    wrong = failures(verdicts(pack(tree, tmp_path, listed=built), tmp_path / "again"))
    assert wrong["linking.runpath"] == (text, CHANGED)
    (tmp_path / "cured").mkdir()
    assert failures(verdicts(pack(built, tmp_path, listed=built), tmp_path / "cured")) == {}


@pytest.mark.parametrize("runpath", ["$ORIGIN", "${ORIGIN}/../lib", "$ORIGIN/deep/../.."])
def test_a_runpath_inside(tmp_path: Path, runpath: str) -> None:
    assert found(environment() | {"lib/x.so": elf(tmp_path, "--set-rpath", runpath)}, tmp_path) == {}


@pytest.mark.parametrize("runpath", ["/opt/_internal/cpython-3.11/lib", "$ORIGIN/../../../../../..", "lib"])
def test_a_dead_runpath_of_a_package_is_a_note(tmp_path: Path, runpath: str) -> None:
    files = {"scipy/x.so": elf(tmp_path, "--set-rpath", f"$ORIGIN/../scipy.libs:{runpath}")}
    archive, _ = opened(distribution("scipy", files), tmp_path)
    (check,) = check_runpaths(archive)
    assert (check.status, check.fix) == ("passed", None)
    assert check.found == (
        "the RUNPATHs of 1 ELF file stay inside the environment, except those that packages are published with, which "
        f"point nowhere: {SITE}/scipy/x.so ({runpath})"
    )


# -- needs -----------------------------------------------------------------------------------------


def needs(
    tree: Tree, tmp_path: Path, release: str = "pytriton-0.7.0", system_libraries: tuple[str, ...] = ()
) -> Check:
    tmp_path.mkdir(exist_ok=True)
    archive, _ = opened(tree, tmp_path, system_libraries=system_libraries)
    return check_needs(archive, find_release(release))


def test_a_library_that_is_nowhere(tmp_path: Path) -> None:
    tree = environment() | {"lib/x.so": elf(tmp_path, "--add-needed", "libnowhere.so.3")}
    assert found(tree, tmp_path) == {
        "linking.needs": (
            "libraries that are missing from the environment and from this machine: libnowhere.so.3 (for lib/x.so)",
            OTHER_TOOL,
        )
    }
    (tmp_path / "again").mkdir()
    tree["lib/libnowhere.so.3"] = some_elf()
    assert failures(verdicts(pack(tree, tmp_path, listed=tree), tmp_path / "again")) == {}


@pytest.mark.parametrize(
    "soname", ["libz.so.1", "libexpat.so.1", "libc.so.6", "libstdc++.so.6", "libcuda.so.1"]
)
@pytest.mark.parametrize("release", ["23.08", "26.06", "pytriton-0.7.0"])
def test_what_every_system_has_and_what_comes_with_the_driver(
    tmp_path: Path, soname: str, release: str
) -> None:
    tree = distribution("a", {"a/x.so": elf(tmp_path, "--add-needed", soname)})
    assert needs(tree, tmp_path / "it", release).status == "passed"


@pytest.mark.parametrize(
    ("release", "soname", "there"),
    [
        ("pytriton-0.7.0", "libgomp.so.1", True),  # this machine's
        ("pytriton-0.7.0", "libGL.so.1", False),
        ("24.10", "libgomp.so.1", True),
        ("24.10", "libGL.so.1", False),
        ("24.10", "libglib-2.0.so.0", True),
        ("26.06", "libglib-2.0.so.0", False),
        ("24.10", "libcublas.so.12", True),  # nobody knows
    ],
)
def test_what_the_system_of_a_release_has(tmp_path: Path, release: str, soname: str, there: bool) -> None:
    tree = distribution("a", {"a/x.so": elf(tmp_path, "--add-needed", soname)})
    check = needs(tree, tmp_path / "it", release)
    assert (check.status == "passed") == there
    own = needs(tree, tmp_path / "own", release, system_libraries=(soname,))
    assert own.status == "passed"


@pytest.mark.parametrize(
    ("name", "content", "runpath", "requires", "there"),
    [
        ("b/lib/libb.so.1", "soname", "", (), False),  # in another package: it may not be loaded by then
        ("b/lib/libb.so.1", "soname", "", ("b",), True),  # in one that is imported before
        ("a/lib/libb.so.1", "soname", "", (), True),  # in its own
        ("b/lib/libb.so.1", "soname", "$ORIGIN/../b/lib", (), True),  # where its RUNPATH leads
        ("b/lib/other.so", "soname", "", ("b",), True),  # by its soname
        ("b/lib/libb-1234.so.1", "none", "", ("b",), False),  # a private copy has another name
    ],
)
def test_where_a_library_is_found(
    tmp_path: Path, name: str, content: str, runpath: str, requires: tuple[str, ...], there: bool
) -> None:
    needing = elf(tmp_path, "--add-needed", "libb.so.1", *(["--set-rpath", runpath] if runpath else []))
    having = elf(tmp_path, *(["--set-soname", "libb.so.1"] if content == "soname" else []))
    files: dict[str, bytes | str] = {"a/x.so": needing}
    other: dict[str, bytes | str] = {"b/y.py": ""}
    (files if name.startswith("a/") else other)[name] = having
    tree = {**distribution("a", files, requires=requires), **distribution("b", other)}
    check = needs(tree, tmp_path / "it")
    assert (check.status == "passed") == there
    if not there:
        assert check.status == "warning"
        assert check.found == (
            "libraries that are missing from the environment and from this machine: libb.so.1 "
            f"(for {SITE}/a/x.so); whether an import needs them is not known"
        )


def test_env_lib_is_on_the_loaders_path(tmp_path: Path) -> None:
    tree = distribution("a", {"a/x.so": elf(tmp_path, "--add-needed", "libb.so.1")})
    assert needs({**tree, "lib/libb.so.1": some_elf()}, tmp_path / "it").status == "passed"


def test_a_plugin_that_no_import_comes_to_is_a_note(tmp_path: Path) -> None:
    files = {"numba/tbbpool.so": elf(tmp_path, "--add-needed", "libtbb.so.12")}
    release = find_release("pytriton-0.7.0")
    (tmp_path / "it").mkdir()
    archive, _ = opened(distribution("numba", files), tmp_path / "it")
    check = check_needs(archive, release)
    assert (check.status, check.fix) == ("warning", "`apt-get install libtbb12` on each machine that serves")
    (settled,) = settle_needs([check], archive, release, met=[])
    assert (settled.status, settled.fix) == ("passed", None)
    assert settled.found == (
        "no import needs the libraries that are missing from the environment and from this machine: libtbb.so.12 "
        f"(for {SITE}/numba/tbbpool.so)"
    )
    assert settle_needs([check], archive, release, met=[("numba", "libtbb.so.12")]) == [check]
