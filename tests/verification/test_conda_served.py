"""Conda environments that go the whole way: solved, locked, built, verified, and asked through a real server."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from envbuilder import api
from envbuilder.base.interpreter import Interpreter
from envbuilder.config.settings import Settings
from envbuilder.fetch.artifacts import fetch
from envbuilder.lockfile.pylock import read_lock
from envbuilder.recipe.load import load_recipe
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from envbuilder.verification.report import Check
from envbuilder.verification.server.servers import ServerChoice
from envbuilder.verification.verify import VerifyRequest, verify
from tests.conftest import REPOSITORY
from tests.helpers.channels import make_channel
from tests.helpers.conda_compiler import compiler_cuts
from tests.helpers.conda_parts import interpreter_cuts
from tests.helpers.environments import failures
from tests.helpers.foreign import conda_packed, make_prefix, named_wheels, pip_install

pytestmark = [pytest.mark.torch, pytest.mark.server, pytest.mark.network, pytest.mark.slow]
REPORTED = ("paths.prefixes", "warning")
"""The shared interpreter's package names its prefix in a text that nothing makes relative."""


def write_recipe(folder: Path, channel: Path, **keys: object) -> Path:
    """Write a recipe for the real server with conda packages of *channel*."""
    values: dict[str, object] = {
        "triton": "pytriton-0.7.0",
        "python": "3.11",
        "torch": "2.13.0",
        "cuda": "cpu",
        "provider": "conda",
        "channels": [str(channel)],
        "dependencies": ["numpy", "safetensors"],
        "pack": {"level": 1},
        **keys,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "served.yaml"
    path.write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in values.items()))
    return path


def not_passed(checks: Sequence[Check]) -> list[tuple[str, str, str]]:
    return [(check.id, check.status, check.found) for check in checks if check.status != "passed"]


def found(checks: Sequence[Check], id: str) -> str:
    (text,) = {check.found for check in checks if check.id == id}
    return text


def conda_packed_torch(folder: Path, channel: Path, session: Session) -> Path:
    """conda-pack's archive of a prefix with the wheels, torch among them, that the recipe ``cpu`` is locked to."""
    prefix = make_prefix(channel, folder / "served", ["python", "greeting", "libstdcxx"])
    lock = read_lock(REPOSITORY / "recipes" / "pylock.cpu.toml")
    for _ in fetch(lock.artifacts, lock.cuda, session):
        pass
    wheels = named_wheels(lock.artifacts, session.store, folder / "wheels")
    pip_install(prefix / "bin" / "python3.11", wheels, folder / "cache")
    return conda_packed(prefix, folder / "served.tar", format="tar")


@pytest.mark.usefixtures("server")
def test_what_conda_pack_packed_is_proven_imported_and_locked(
    tmp_path: Path, conda_channel: Path, settings: Settings, store: Store
) -> None:
    """With torch and a real server; what is built of conda packages is proven by the next test."""
    session = Session(settings=settings, store=store)
    packed = conda_packed_torch(tmp_path / "packed", conda_channel, session)
    report = verify(packed, session, VerifyRequest(server=ServerChoice(ask=True)))
    assert failures(report.checks) == {}
    assert "torch 2.13.0" in found(report.checks, "manifest.present")
    for id in ("server.http", "server.grpc"):
        assert "the same as eager torch" in found(report.checks, id)

    made = api.import_recipe(packed, root=tmp_path)
    shutil.rmtree(packed.parent)
    with made.recipe.open("a") as file:
        file.write("pack: {level: 1}\n")
    recipe = load_recipe(made.recipe)
    assert (recipe.provider, recipe.torch, recipe.cuda) == ("conda", "2.13.0", "cpu")
    assert recipe.conda == ("greeting 1.0",)
    lock = api.lock(recipe, session=Session.open(store=store)).lock
    assert lock.conda is not None
    assert {one.name for one in lock.conda.packages} >= {"python", "greeting"}
    assert {one.name for one in lock.artifacts} >= {"torch", "numpy", "safetensors"}


@pytest.mark.usefixtures("server")
def test_the_compiler_that_travels_along(
    tmp_path: Path, python311: Interpreter, settings: Settings, store: Store
) -> None:
    base = interpreter_cuts(python311, tmp_path / "python")
    channel = make_channel(tmp_path / "channel", [*base, *compiler_cuts(tmp_path / "compiler", base)])
    recipe = load_recipe(write_recipe(tmp_path, channel, compiler="bundled"))
    lock = api.lock(recipe, session=Session.open(store=store)).lock
    built = api.build(recipe, output=tmp_path / "envs", session=Session.open(store=store))
    report = verify(
        built.archive,
        Session(settings=settings, store=store),
        VerifyRequest(lock=lock, server=ServerChoice(ask=True)),
    )
    assert [check[:2] for check in not_passed(report.checks)] == [REPORTED]
    assert "without a compiler of this machine" in found(report.checks, "contract.isolation")
    assert "/0/bin/g++; loaded" in found(report.checks, "probe.compile")
