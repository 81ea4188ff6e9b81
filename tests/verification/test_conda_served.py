"""Conda environments that go the whole way: solved, locked, built, verified, and asked through a real server."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from envbuilder import api
from envbuilder.base.interpreter import Interpreter
from envbuilder.config.settings import Settings
from envbuilder.fetch.download import fetch
from envbuilder.lockfile.pylock import read_lock
from envbuilder.recipe.load import load_recipe
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from envbuilder.verification.report import Check
from envbuilder.verification.server.servers import ServerChoice
from envbuilder.verification.verify import VerifyRequest, verify
from tests.conftest import REPOSITORY
from tests.helpers.channels import Cut, make_channel
from tests.helpers.conda_compiler import compiler_cuts
from tests.helpers.conda_parts import interpreter_cuts, wheel_cut

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


@pytest.mark.usefixtures("server")
def test_torch_of_the_wheel(tmp_path: Path, conda_channel: Path, settings: Settings, store: Store) -> None:
    recipe = load_recipe(write_recipe(tmp_path, conda_channel, conda=["greeting"]))
    lock = api.lock(recipe, session=Session.open(store=store)).lock
    built = api.build(recipe, output=tmp_path / "envs", session=Session.open(store=store))
    report = verify(
        built.archive,
        Session(settings=settings, store=store),
        VerifyRequest(lock=lock, server=ServerChoice(ask=True)),
    )
    text = "files that name a prefix that will not be there: share/base/where.txt"
    assert not_passed(report.checks) == [(*REPORTED, text)]
    assert "answers by http" in found(report.checks, "server.http")
    assert "answers by grpc" in found(report.checks, "server.grpc")
    assert "/usr/bin/" in found(report.checks, "probe.compile")


def torch_cuts(settings: Settings, store: Store) -> list[Cut]:
    """Cut torch and what it needs out of the wheels that the recipe ``cpu`` is locked to: torch is called pytorch."""
    lock = read_lock(REPOSITORY / "recipes" / "pylock.cpu.toml")
    wheels = [wheel for wheel in lock.artifacts if wheel.name not in ("numpy", "safetensors")]
    cuts = []
    with store.scratch("named") as folder:
        for wheel, path in fetch(wheels, lock.cuda, Session(settings=settings, store=store)):
            (folder / wheel.filename).symlink_to(path)
            cuts.append(wheel_cut(folder / wheel.filename, "3.11"))
    names = sorted(cut.name for cut in cuts if cut.name != "torch")
    return [
        dataclasses.replace(cut, name="pytorch", build="cpu_0", depends=[*cut.depends, *names])
        if cut.name == "torch"
        else cut
        for cut in cuts
    ]


@pytest.mark.usefixtures("server")
def test_torch_of_a_channel_and_the_compiler_that_travels_along(
    tmp_path: Path, python311: Interpreter, settings: Settings, store: Store
) -> None:
    base = interpreter_cuts(python311, tmp_path / "python")
    cuts = [*base, *compiler_cuts(tmp_path / "compiler", base), *torch_cuts(settings, store)]
    channel = make_channel(tmp_path / "channel", cuts)
    recipe = load_recipe(write_recipe(tmp_path, channel, compiler="bundled", conda=["pytorch"]))
    lock = api.lock(recipe, session=Session.open(store=store)).lock
    assert [artifact.name for artifact in lock.artifacts if artifact.name == "torch"] == []
    built = api.build(recipe, output=tmp_path / "envs", session=Session.open(store=store))
    report = verify(
        built.archive,
        Session(settings=settings, store=store),
        VerifyRequest(lock=lock, server=ServerChoice(ask=True)),
    )
    assert [check[:2] for check in not_passed(report.checks)] == [REPORTED]
    assert "no compiler of this machine" in found(report.checks, "contract.isolation")
    assert "/0/bin/g++; loaded" in found(report.checks, "probe.compile")
