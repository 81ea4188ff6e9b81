"""uv's own installation of the wheels that an archive was built of."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from envbuilder.archive.manifest import ManifestPackage
from envbuilder.store.local import Store
from envbuilder.verification.live.uv_install import UvInstallation
from envbuilder.verification.static.packages import Installed
from tests.helpers.environments import environment, manifest
from tests.helpers.wheels import write_wheel

ENDS = {
    "leaves": b"raise SystemExit(0)",
    "quits": b"import os; os._exit(0)",
    "crashes": b"import atexit, os; atexit.register(os.abort)",
    "home": b"import os; os.listdir(os.environ['HOME'])",
}


@pytest.fixture
def installation(tmp_path: Path) -> UvInstallation:
    store = Store.open(tmp_path / "store")
    packages, installed = [], {}
    sources = {"alpha": b"import beta", "beta": b"", "gamma": b"import nowhere", **ENDS}
    for name, source in sources.items():
        artifact = write_wheel(tmp_path / "wheels", name, files={f"{name}.py": source})
        with store.artifact_writer(artifact.sha256) as writer:
            writer.write((tmp_path / "wheels" / artifact.filename).read_bytes())
        packages.append(ManifestPackage(**dataclasses.asdict(artifact)))
        installed[name] = Installed(
            name=name,
            version="1.0",
            site="lib/python3.11/site-packages",
            files=frozenset(),
            requires=frozenset({"beta"} if name == "alpha" else ()),
        )
    return UvInstallation(
        manifest=dataclasses.replace(manifest(environment()), packages=tuple(packages)),
        installed=installed,
        store=store,
        folder=tmp_path / "uv",
    )


def test_what_uv_installs_is_imported_or_not(installation: UvInstallation) -> None:
    installation.folder.mkdir()
    assert installation.imports("alpha", "alpha") is True
    assert installation.imports("gamma", "gamma") is False
    assert installation.imports("beta", "beta") is True


def test_what_ends_the_process_was_not_imported(installation: UvInstallation) -> None:
    installation.folder.mkdir()
    found = {name: installation.imports(name, name) for name in ENDS}
    assert found == {"leaves": False, "quits": False, "crashes": True, "home": True}


def test_without_the_wheels_nothing_is_known(installation: UvInstallation) -> None:
    installation.folder.mkdir()
    installation.store.clear()
    assert installation.imports("alpha", "alpha") is None


def test_without_such_a_python_nothing_is_known(
    installation: UvInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("envbuilder.verification.live.uv_install.find_interpreters", lambda minor: ([], []))
    installation.folder.mkdir()
    assert installation.imports("alpha", "alpha") is None
