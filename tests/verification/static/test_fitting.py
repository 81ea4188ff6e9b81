from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.progress import SILENT
from envbuilder.verification.static.extracted import open_archive
from envbuilder.verification.static.fitting import Fitting, check_all_releases
from tests.helpers.environments import environment, failures, pack, package
from tests.verification.static.conftest import with_python


def fitting(archive: Path, folder: Path) -> Fitting:
    """What all releases say of *archive*."""
    folder.mkdir()
    return check_all_releases(open_archive(archive, folder / "extracted", lambda _: [], SILENT))


@pytest.mark.parametrize(
    ("minor", "numpy", "names", "loaded"),
    [
        ("3.11", "1.26.4", ("pytriton-0.7.0",), "pytriton-0.7.0"),
        ("3.10", "1.26.4", ("pytriton-0.7.0", "24.10"), "pytriton-0.7.0, 23.08 \N{EN DASH} 24.10"),
        (
            "3.12",
            "2.1.0",
            ("25.07", "26.05", "26.06"),
            "24.11 \N{EN DASH} 25.07, 25.08 \N{EN DASH} 26.05, 26.06 and later",
        ),
    ],
)
def test_it_says_which_releases_would_load_it(
    tmp_path: Path, minor: str, numpy: str, names: tuple[str, ...], loaded: str
) -> None:
    tree = {path: data for path, data in environment().items() if "numpy-" not in path}
    archive = pack(with_python(minor, tree | package("numpy", numpy)), tmp_path)
    found = fitting(archive, tmp_path / "a")
    assert tuple(release.name for release in found.releases) == names
    said = found.checks[0]
    assert (said.id, said.status) == ("contract.releases", "passed")
    assert said.found.startswith(f"would be loaded by {loaded}")
    assert failures(found.checks) == {}


def test_no_stub_has_its_python(tmp_path: Path) -> None:
    found = fitting(pack(with_python("3.13"), tmp_path), tmp_path / "a")
    wrong = failures(found.checks)
    assert wrong["contract.releases"][0].startswith("no release would load it: ")
    text, fix = wrong["layout.libpython"]
    assert text.endswith("the archive has lib/libpython3.13.so.1.0")
    assert fix is not None
    assert "conda-pack" in fix
    assert "`envbuilder import`" in fix
