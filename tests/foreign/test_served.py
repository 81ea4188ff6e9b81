"""The one law, for what other tools packed: what verification calls failed a real server gets wrong, and only that."""

from __future__ import annotations

import bz2
import re
import shlex
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http
from tritonclient.utils import InferenceServerException
from uv import find_uv_bin

from envbuilder.base.relocate import patchelf
from envbuilder.config.settings import Settings
from envbuilder.fetch.artifacts import fetch
from envbuilder.lockfile.pylock import read_lock
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from envbuilder.verification.live.foreign import model_without_torch
from envbuilder.verification.server.process import RunningServer
from envbuilder.verification.server.servers import ServerChoice, StartOptions
from envbuilder.verification.server.tritonserver import TritonServer
from envbuilder.verification.verify import Report, VerifyRequest, verify
from tests.conftest import REPOSITORY
from tests.helpers.environments import Tree, failures
from tests.helpers.foreign import conda_packed, make_prefix, pip_install, repacked
from tests.helpers.libraries import shared_library

pytestmark = [pytest.mark.server, pytest.mark.network, pytest.mark.slow]
SITE = "lib/python3.11/site-packages"


@pytest.fixture(scope="module")
def made(
    once: Callable[[str, Callable[[Path], None]], Path], conda_channel: Path, settings: Settings, store: Store
) -> Path:
    """A folder with a conda prefix with NumPy, conda-pack's archive of it, and a venv with the same."""

    def fill(folder: Path) -> None:
        prefix = make_prefix(conda_channel, folder / "env", ["python", "libstdcxx"])
        lock = read_lock(REPOSITORY / "recipes" / "pylock.cpu.toml")
        wheels = [one for one in lock.artifacts if one.name == "numpy"]
        ((wheel, path),) = fetch(wheels, lock.cuda, Session(settings=settings, store=store))
        named = folder / wheel.filename
        shutil.copyfile(path, named)
        pip_install(prefix / "bin" / "python3.11", [named], folder / "uv")
        conda_packed(prefix, folder / "env.tar.gz")
        command = [find_uv_bin(), "venv", "--quiet", "--no-config", "--relocatable", "--python", "3.11"]
        subprocess.run([*command, str(folder / "venv")], check=True)
        pip_install(folder / "venv" / "bin" / "python3", [named], folder / "uv")
        shutil.rmtree(folder / "env-cache")

    return once("foreign-numpy", fill)


def verified(archive: Path, settings: Settings, store: Store, *, ask: bool) -> Report:
    request = VerifyRequest(server=ServerChoice(ask=ask))
    return verify(archive, Session(settings=settings, store=store), request)


def link(name: str, target: str) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = tarfile.LNKTYPE, target
    return made


Change = Callable[[Path, Path], object]
"""Makes an archive (the second) of a whole one (the first)."""


def change(*gone: str, more: Tree | None = None, rename: Callable[[str], str] = str) -> Change:
    return lambda whole, archive: repacked(whole, archive, gone=gone, more=more or {}, rename=rename)


OLD = shared_library(soname="libstdc++.so.6", defines=("GLIBCXX_3.4", "GLIBCXX_3.4.19"))
NEEDS = shared_library(asks=("libnowhere.so.1", "NOWHERE_1"))
WHOLE: dict[str, Change] = {
    "whole": change(),
    "dots": change(
        "bin/conda-unpack",
        more={"bin/tool": b"#!/home/me/env/bin/python3.11\n"},
        rename=lambda name: f"./{name}",
    ),
    "links": change(
        more={
            "lib/x": "/etc/passwd",
            "share/y": "../../../nowhere",
            "bin/again": link("bin/again", "bin/activate"),
            f"{SITE}/plugin.so": NEEDS,
        }
    ),
    "libstdcxx": change(r"lib/libstdc\+\+.*"),
}
BROKEN: dict[str, Change] = {
    "around": change(rename=lambda name: f"env/{name}"),
    "activate": change("bin/activate"),
    "numpy": change(f"{SITE}/numpy.*"),
    "other": change(rename=lambda name: name.replace("python3.11", "python3.10")),
    "old": change(r"lib/libstdc\+\+.*", more={"lib/libstdc++.so.6": OLD}),
    "bzip2": lambda whole, archive: archive.write_bytes(bz2.compress(whole.read_bytes(), 1)),
}


def test_verification_and_a_server_agree(
    made: Path, tmp_path: Path, server: TritonServer, settings: Settings, store: Store
) -> None:
    report = verified(made / "env.tar.gz", settings, store, ask=True)
    assert failures(report.checks) == {}
    assert report.releases == ("pytriton-0.7.0",)
    assert {"server.http", "server.grpc"} <= {one.id for one in report.checks if one.status == "passed"}
    (child,) = [one for one in report.checks if one.id == "probe.child"]
    assert child.status == "warning"  # its python finds the libpython of the system only

    whole = tmp_path / "whole.tar"
    follow(str(child.fix), made / "env.tar.gz", whole)
    archives = {}
    for name, make in (WHOLE | BROKEN).items():
        archives[name] = tmp_path / f"{name}.tar"
        if name != "whole":
            make(whole, archives[name])
    environments = {"venv": made / "venv"} | archives
    reports = {name: verified(path, settings, store, ask=False) for name, path in environments.items()}
    assert "probe.child" in {one.id for one in reports["whole"].checks if one.status == "passed"}
    told = {name: sorted(failures(report.checks)) for name, report in reports.items()}
    right = answered(server, environments, tmp_path)
    assert {name: not ids for name, ids in told.items()} == right, told
    assert right == dict.fromkeys([*WHOLE, "venv"], True) | dict.fromkeys(BROKEN, False)


def follow(hint: str, archive: Path, cured: Path) -> None:
    """Do to what is in *archive* what the *hint* about its python says."""
    (command,) = [one for one in re.findall("`([^`]+)`", hint) if "patchelf" in one]
    program, *options, python = shlex.split(command)
    assert (program, python) == ("patchelf", "ENV/bin/python3.X")
    file = cured.with_name("python3.11")
    with tarfile.open(archive) as tar:
        file.write_bytes(tar.extractfile("bin/python3.11").read())  # type: ignore[union-attr]  # it is a file
    subprocess.run([patchelf(), *options, str(file)], check=True)
    repacked(archive, cured, gone=["bin/python3.11"], more={"bin/python3.11": file.read_bytes()})


def answered(server: TritonServer, environments: Mapping[str, Path], folder: Path) -> dict[str, bool]:
    """Whether one *server* with a model for each of *environments* answers rightly."""
    repository = folder / "models"
    for name, environment in environments.items():
        model = model_without_torch(folder / name)
        with (model / "config.pbtxt").open("a") as config:
            value = f'{{ key: "EXECUTION_ENV_PATH" value: {{ string_value: "{environment}" }} }}'
            config.write(f"parameters [ {value} ]\n")
        shutil.copytree(model, repository / name)
    # One by one: where an archive cannot be extracted, the server extracts none after it; and it waits for a stub that
    # has died of its libstdc++.
    options = StartOptions(extra_args=("--model-control-mode=explicit",), ready_timeout=300, unload=False)
    with server.start(repository, python="3.11", log=folder / "server.log", options=options) as running:
        return {name: answers(running, name) for name in environments}


def answers(running: RunningServer, name: str) -> bool:
    request = tritonclient.http.InferInput("x", [1, 4], "FP32")
    request.set_data_from_numpy(np.ones((1, 4), np.float32))
    with tritonclient.http.InferenceServerClient(
        running.http, network_timeout=10 if name == "old" else 60
    ) as asking:
        try:
            asking.load_model(name)
            return bool((asking.infer(name, [request]).as_numpy("y") == 2).all())
        except (InferenceServerException, OSError, ValueError):
            return False
