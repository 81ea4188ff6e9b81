"""Sixty models, applied, patched and rolled back under a real server, while a client asks all the time."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient import http

from envbuilder import api
from envbuilder.fleet.patching.patch import PatchOptions
from envbuilder.fleet.repository.apply import ApplyOptions
from envbuilder.lockfile.pylock import read_lock
from envbuilder.store.local import CACHE_VARIABLE, Store
from envbuilder.verification.server.process import RunningServer
from envbuilder.verification.server.servers import StartOptions
from envbuilder.verification.server.tritonserver import TritonServer
from tests.conftest import REPOSITORY
from tests.helpers.repositories import TENSORS, make_repository
from tests.helpers.wheels import write_wheel

pytestmark = [pytest.mark.server, pytest.mark.slow]

COUNTS = {"poll": (9, 1, 2, 22, 22, 4), "explicit": (10, 0, 2, 22, 22, 4)}
"""Own, runtime (each start extracts and imports torch: one, in one mode), BLS, ensemble, ONNX, broken: sixty."""
OWN = """\
import numpy as np
import triton_python_backend_utils as pb
from beta import VALUE


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            x = pb.get_input_tensor_by_name(request, "x").as_numpy()
            answers.append(pb.InferenceResponse([pb.Tensor("y", (x + {number} + VALUE).astype(np.float32))]))
        return answers
"""
RUNTIME = """\
import torch
from beta import VALUE


class Net(torch.nn.Module):
    def forward(self, x):
        return {{"y": x + {number} + VALUE}}
"""
EAGER = """\
parameters {
  key: "TORCH_COMPILE_OPTIONAL_PARAMETERS"
  value { string_value: '{"disable": true}' }
}
"""
OLD, NEW = 100, 200
"""What the wheel that is patched makes of every answer."""


@pytest.fixture
def project(
    tmp_path: Path, cpu_archive: Path, store: Store, monkeypatch: pytest.MonkeyPatch, mode: str
) -> tuple[Path, dict[str, list[str]]]:
    """A recipe of NumPy and a small wheel, one of torch and that wheel, both locked; and the repository."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    wheels, real = tmp_path / "wheels", tmp_path / "real"
    for name, version, value in (("torch", "2.13.0+cpu", 0), ("beta", "1.0", OLD)):
        write_wheel(wheels, name, version, files={f"{name}.py": f"VALUE = {value}\n".encode()})
    real.mkdir()
    for one in read_lock(REPOSITORY / "recipes" / "pylock.cpu.toml").artifacts:
        for folder in [real, *([wheels] if one.name == "numpy" else [])]:
            (folder / one.filename).symlink_to(store.artifact_path(one.sha256))
    for place, name, links in (("recipes", "served", "../wheels"), ("torched", "torched", "../real")):
        (tmp_path / place).mkdir()
        (tmp_path / place / f"{name}.yaml").write_text(
            'triton: pytriton-0.7.0\npython: "3.11"\ntorch: "2.13.0"\ncuda: cpu\ndependencies: [beta]\n'
        )
        (tmp_path / place / "envbuilder.toml").write_text(
            f'find-links = ["{links}", "../beta"]\nno-index = true\n'
        )
    (tmp_path / "beta").mkdir()
    (wheels / "beta-1.0-py3-none-any.whl").rename(tmp_path / "beta" / "beta-1.0-py3-none-any.whl")
    (tmp_path / "envbuilder.toml").write_text(
        '[models]\n"runtime*" = "torched/torched.yaml"\n"*" = {recipe = "served", layout = "shared"}\n'
    )
    for path in (tmp_path / "recipes" / "served.yaml", tmp_path / "torched" / "torched.yaml"):
        api.lock(api.load_recipe(path))
    repository = tmp_path / "repository"
    names = make_repository(repository, COUNTS[mode])
    for number, name in enumerate(names["own"]):
        (repository / name / "1" / "model.py").write_text(OWN.format(number=number))
    for number, name in enumerate(names["runtime"]):
        (repository / name / "1" / "model.py").write_text(RUNTIME.format(number=number))
        (repository / name / "config.pbtxt").write_text(f'backend: "python"\n{TENSORS}{EAGER}')
    assert sum(map(len, names.values())) == 60
    write_wheel(tmp_path / "served-later", "beta", "1.1", files={"beta.py": f"VALUE = {NEW}\n".encode()})
    return repository, names


class Client:
    """Asks one model after the other, all the time; what is wrong is kept."""

    def __init__(self, running: RunningServer, expected: dict[str, int]) -> None:
        self.running = running
        self.expected = expected
        self.problems: list[str] = []
        self.last: dict[str, int] = {}
        self.answers = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def ask(self, client: Any, name: str) -> int:
        request = http.InferInput("x", [1], "FP32")
        request.set_data_from_numpy(np.array([0.5], dtype=np.float32))
        value = float(client.infer(name, [request]).as_numpy("y")[0]) - 0.5 - self.expected[name]
        assert value in (OLD, NEW), f"{name} answers {value}"
        return int(value)

    def _run(self) -> None:
        with http.InferenceServerClient(self.running.http) as client:
            while not self._over.is_set():
                for name in self.expected:
                    try:
                        self.last[name] = self.ask(client, name)
                        self.answers += 1
                    except Exception as error:
                        self.problems.append(f"{name}: {error}")
                time.sleep(0.2)  # the models are loaded meanwhile, on the same cores

    def wait_for(self, value: int) -> None:
        deadline = time.monotonic() + 240
        while set(self.last.values()) != {value} or self.last.keys() != self.expected.keys():
            assert time.monotonic() < deadline, (self.last, self.problems[:3], self.running.last_lines())
            time.sleep(0.1)

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._over.set()
            self._thread.join()


@pytest.mark.parametrize("mode", list(COUNTS))
def test_applied_patched_and_rolled_back(
    project: tuple[Path, dict[str, list[str]]], server: TritonServer, tmp_path: Path, mode: str
) -> None:
    repository, names = project
    done = api.apply(repository, ApplyOptions(verify=False, interpreter_change=True))
    states = {kind: {row.state for row in done.rows if row.model.name in names[kind]} for kind in names}
    assert states == {
        "own": {"change"},
        "runtime": {"change"} if names["runtime"] else set(),
        "bls": {"change"},
        "ensemble": {"untouched"},
        "onnx": {"untouched"},
        "broken": {"refused"},
    }
    expected = {name: number for kind in ("own", "runtime") for number, name in enumerate(names[kind])}
    expected |= dict.fromkeys([*names["bls"], *names["ensemble"][:3]], 0)
    used = {"served": len(names["own"] + names["bls"]), "torched/torched.yaml": len(names["runtime"])}
    used = {recipe: count for recipe, count in used.items() if count}
    arguments = [f"--model-control-mode={mode}", "--exit-on-error=false", "--strict-readiness=false"]
    arguments += (
        ["--repository-poll-secs=1"] if mode == "poll" else [f"--load-model={name}" for name in expected]
    )
    options = StartOptions(extra_args=tuple(arguments))
    with server.start(repository, python="3.11", log=tmp_path / "log", options=options) as running:
        client = Client(running, expected)

        def load() -> None:
            """Tell a server that waits to be told."""
            if mode == "explicit":
                with http.InferenceServerClient(running.http) as admin:
                    for name in [*names["own"], *names["runtime"], *names["bls"]]:
                        admin.load_model(name)

        with client.asking():
            client.wait_for(OLD)
            client.problems.clear()  # of models that were still to be loaded
            shutil.copytree(tmp_path / "served-later", tmp_path / "beta", dirs_exist_ok=True)
            asked = PatchOptions(repositories=(repository,), verify=False, interpreter_change=True)
            rows = api.patch("beta==1.0", asked)
            assert [(row.recipe, row.state, row.changes, len(row.models)) for row in rows if row.found] == [
                (recipe, "patched", ("beta 1.0 -> 1.1",), count) for recipe, count in used.items()
            ]
            load()
            client.wait_for(NEW)
            assert [row.state for row in api.patch(None, asked)] == ["rolled back"] * len(used)
            load()
            client.wait_for(OLD)
        assert client.problems == []
        assert client.answers > 100
