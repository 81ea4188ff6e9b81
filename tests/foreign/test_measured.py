"""What a manifest would say of an environment that has none."""

from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.errors import IntegrityError
from envbuilder.foreign.measured import (
    MeasuredManifest,
    activated_folder,
    measure_all,
    read_measured,
)
from envbuilder.foreign.survey import survey
from tests.helpers.environments import SITE, environment, pack, package


def test_an_archive_of_conda_pack(packed: Path) -> None:
    found = read_measured(packed)
    assert isinstance(found, MeasuredManifest)
    assert (found.recipe, found.release, found.torch, found.cuda) == ("env", "pytriton-0.7.0", "", "cpu")
    assert found.python.startswith("3.11.")
    assert found.interpreter.origin == "conda"
    conda = {one.name: one for one in found.conda}
    assert conda.keys() == {"greeting", "libgcc", "libstdcxx", "python", "python-libs"}
    assert (conda["greeting"].filename, conda["greeting"].subdir) == ("greeting-1.0-py_0.conda", "noarch")
    assert conda["greeting"].channel == "channel"
    assert len(conda["greeting"].sha256) == 64
    assert [(one.name, one.version) for one in found.packages] == [("alpha", "1.0"), ("beta", "1.0")]
    assert found.provides == {"greeting": "1.0"}
    assert found.glibc is not None
    assert found.unpacked_size == sum(file.size for file in found.files)


def test_a_venv(venv: Path) -> None:
    found = read_measured(venv)
    assert found.python.startswith("3.11.")
    assert found.interpreter.origin.startswith("a venv of /")
    assert not found.conda


def test_torch_and_cuda_are_what_torch_says(tmp_path: Path) -> None:
    version = b"__version__ = '2.7.1+cu126'\ncuda: Optional[str] = '12.6'\n"
    tree = environment() | {f"{SITE}/torch/version.py": version}
    found = read_measured(pack(tree, tmp_path))
    assert (found.torch, found.cuda) == ("2.7.1+cu126", "cu126")


def test_eggs_are_packages(tmp_path: Path) -> None:
    egg = f"{SITE}/old-2.0-py3.11.egg-info"
    tree = environment() | {f"{egg}/PKG-INFO": b"Metadata-Version: 1.1\nName: old\nVersion: 2.0\n"}
    assert ("old", "2.0") in [(one.name, one.version) for one in read_measured(pack(tree, tmp_path)).packages]


def test_numpy_decides_the_release(tmp_path: Path) -> None:
    tree = {
        path.replace("3.11", "3.10"): data
        for path, data in (environment() | package("numpy", "1.26.4")).items()
    }
    assert read_measured(pack(tree, tmp_path)).release == "24.10"


def test_what_is_no_environment(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match=r"contains no Python environment: it has no lib/python3\.X"):
        read_measured(pack({"share/x": b"1"}, tmp_path))


@pytest.mark.parametrize("record", [b"{", b"[]", b'{"name": "../x", "version": "1"}'])
def test_a_record_that_cannot_be_understood(tmp_path: Path, record: bytes) -> None:
    archive = pack(environment() | {"conda-meta/x-1-0.json": record}, tmp_path)
    assert not read_measured(archive).conda, "a server does not read it"
    with pytest.raises(IntegrityError, match=r"conda-meta/x-1-0\.json") as caught:
        measure_all(survey(archive), where="x")
    assert caught.value.hint == "reinstall that package and pack again"


@pytest.mark.parametrize(
    ("text", "folder"),
    [
        (b"VIRTUAL_ENV='/home/me/venv'\nexport VIRTUAL_ENV", "/home/me/venv"),
        (b'export VIRTUAL_ENV="/opt/x"', "/opt/x"),
        (b'VIRTUAL_ENV="$(cd "$(dirname "$x")" && pwd)"', None),
        (b"export PATH", None),
    ],
)
def test_where_activate_leads(text: bytes, folder: str | None) -> None:
    assert activated_folder({"bin/activate": text}) == folder
