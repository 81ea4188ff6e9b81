from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from envbuilder import api
from envbuilder.base.interpreter import Interpreter
from envbuilder.cli import cli
from envbuilder.lockfile.check import check_lock
from envbuilder.lockfile.model import Artifact, Lock, LockedInterpreter
from envbuilder.recipe.load import load_recipe
from envbuilder.store.local import CACHE_VARIABLE
from tests.helpers.wheels import Zipped, small_lock, small_recipe, wheel_members, write_artifact, zip_bytes
from tests.helpers.workspace import Workspace, make_workspace

SBOM = {
    "bomFormat": "CycloneDX",
    "components": [
        {"type": "library", "name": "zlib", "version": "1.2.11", "purl": "pkg:generic/zlib@1.2.11"}
    ],
}


def write_wheel(folder: Path, name: str, version: str, *, requires: str = "", sbom: Any = None) -> None:
    files: dict[str, bytes | Zipped] = {f"{name}/__init__.py": f"VERSION = {version!r}\n".encode()}
    info = f"{name}-{version}.dist-info"
    if sbom is not None:
        files[f"{info}/sboms/x.json"] = json.dumps(sbom).encode()
    members = wheel_members(name, version, files)
    if requires:
        members = [
            Zipped(name=one.name, data=one.data + f"Requires-Dist: {requires}\n".encode())
            if str(one.name).endswith("METADATA")
            else one
            for one in members
            if not str(one.name).endswith("RECORD")
        ]
        rows = "".join(f"{one.name!s},,\n" for one in members)
        members.append(Zipped(name=f"{info}/RECORD", data=f"{rows}{info}/RECORD,,\n".encode()))
    write_artifact(folder, name, version, zip_bytes(members))


def advisory(package: str = "beta", *, ecosystem: str = "PyPI", fixed: str = "1.1") -> dict[str, Any]:
    events = [{"introduced": "0"}, {"fixed": fixed}]
    affected: dict[str, Any] = {
        "package": {"ecosystem": ecosystem, "name": package},
        "ranges": [{"type": "ECOSYSTEM", "events": events}],
    }
    return {"id": "GHSA-9", "aliases": ["CVE-9"], "affected": [affected]}


@pytest.fixture
def one(tmp_path: Path, python311: Interpreter, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """The recipe small (alpha, beta), locked and built; newer wheels beside it."""
    made = _project(tmp_path, python311, monkeypatch)
    for name in ("other.yaml", "pylock.other.toml", "pylock.small.toml"):
        made.recipe.with_name(name).unlink()
    api.lock(api.load_recipe(made.recipe))
    assert [found.failure for found in api.build_many(api.load_recipes())] == [None]
    _newer(made)
    return made


@pytest.fixture
def workspace(tmp_path: Path, python311: Interpreter, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Recipes small (alpha, beta), other (beta) and pinned (beta==1.0), locked and built; newer wheels beside them."""
    made = _project(tmp_path, python311, monkeypatch)
    write_wheel(made.folder / "wheels", "gamma", "1.0", requires="beta<1.1")
    text = made.recipe.read_text()
    for name, dependencies in (("pinned", "['beta==1.0']"), ("held", "[gamma, beta]")):
        made.recipe.with_name(f"{name}.yaml").write_text(text.replace("[alpha, beta]", dependencies))
    recipes = api.load_recipes()
    for recipe in recipes:
        made.lock.with_name(f"pylock.{recipe.name}.toml").unlink(missing_ok=True)
        api.lock(recipe)
    assert [one.failure for one in api.build_many(recipes)] == [None] * 4
    _newer(made)
    return made


def _project(folder: Path, python: Interpreter, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv(CACHE_VARIABLE, str(folder / "cache"))
    made = make_workspace(folder / "work", python)
    monkeypatch.chdir(made.folder)
    for key, value in made.variables.items():
        monkeypatch.setenv(key, value)
    write_wheel(made.folder / "wheels", "alpha", "1.0", sbom=SBOM)
    return made


def _newer(made: Workspace) -> None:
    wheels = made.folder / "wheels"
    write_wheel(wheels, "beta", "1.1")
    write_wheel(wheels, "alpha", "1.1")
    write_wheel(wheels, "numpy", "1.26.9")  # nobody asked for it
    (made.folder / "osv.json").write_text(json.dumps(advisory()))


def call(*args: object) -> Result:
    return CliRunner().invoke(cli, [*map(str, args), "-q"], catch_exceptions=False)


def rows(done: Result) -> dict[str, Any]:
    return {row["recipe"]: row for row in json.loads(done.stdout)}


def versions(workspace: Workspace, name: str) -> dict[str, str]:
    lock = check_lock(load_recipe(workspace.recipe.with_name(f"{name}.yaml")))
    return {artifact.name: artifact.version for artifact in lock.artifacts}


def wheel(name: str, version: str = "1.0") -> Artifact:
    return Artifact(
        name=name, version=version, filename=f"{name}-{version}-py3-none-any.whl", sha256="1" * 64, size=1
    )


def lock_of(folder: Path, *artifacts: Artifact) -> Lock:
    python = LockedInterpreter(version="3.11.7", origin="host", digest="3" * 64)
    return small_lock(small_recipe(folder), artifacts, python)
