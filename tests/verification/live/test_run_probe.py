"""Models that work and models that do not, in the real environment, by the shipped runtime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from envbuilder.archive.manifest import MANIFEST_PATH, Manifest, read_manifest
from envbuilder.catalog.triton import Launch, find_release
from envbuilder.deployment.config import read_config
from envbuilder.progress import SILENT
from envbuilder.verification.live.evaluate import check_probe
from envbuilder.verification.live.evaluate_model import ModelFacts
from envbuilder.verification.live.inputs import made_up
from envbuilder.verification.live.launch import Sandbox
from envbuilder.verification.live.run_probe import Probed, prepare, run_probe
from envbuilder.verification.report import Check
from tests.helpers.environments import assert_all_passed, failures
from tests.helpers.runtime import add_helpers

pytestmark = [pytest.mark.torch, pytest.mark.network, pytest.mark.slow]

CONFIG = """
backend: "python"
max_batch_size: 4
input [ { name: "x" data_type: TYPE_FP32 dims: [ 3 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 3 ] } ]
"""
MODEL = """
import torch

class Model(torch.nn.Module):
    def forward(self, x):
        {body}
"""
OWN = """
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        arrays = [pb_utils.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("y", {answer})]) for x in arrays]
"""
EAGER = {"backend": "eager"}
"""Dynamo and no code generation: seconds instead of tens of them."""


@pytest.fixture
def manifest(cpu_environment: Path) -> Manifest:
    return read_manifest(cpu_environment / MANIFEST_PATH)


def model(folder: Path, source: str, *, parameters: str = "", config: str = CONFIG) -> Path:
    directory = folder / "model"
    (directory / "1").mkdir(parents=True)
    (directory / "1" / "model.py").write_text(source)
    (directory / "config.pbtxt").write_text(config + parameters)
    return directory


def probe(
    directory: Path,
    folder: Path,
    archive: Path,
    environment: Path,
    *,
    compile: Mapping[str, Any] = EAGER,
    launch: Launch = "sourced",
) -> Probed:
    """Run the probe with *directory*'s model in the environment where it lies."""
    made = Sandbox.make(folder / "root", isolate=False)
    sandbox = Sandbox(root=made.root, environment=environment, isolated=False)
    subject = prepare(archive, directory, sandbox, folder / "envs", compile=compile, reporter=SILENT)
    return run_probe(replace(subject, questions=made_up(subject.config)), launch)


def judged(probed: Probed, manifest: Manifest, **known: Any) -> dict[str, Check]:
    subject = ModelFacts(**known)
    checks = check_probe(probed, find_release("pytriton-0.7.0"), manifest, True, subject=subject)
    return {check.id: check for check in checks}


@pytest.mark.parametrize("launch", ["sourced", "direct"])
def test_a_model_that_works(
    tmp_path: Path, cpu_archive: Path, cpu_environment: Path, manifest: Manifest, launch: Launch
) -> None:
    directory = model(tmp_path, MODEL.format(body="return torch.relu(x) * 2"))
    helped = add_helpers(directory / "1") + (directory / "1" / "model.py").read_text()
    (directory / "1" / "model.py").write_text(helped)
    probed = probe(directory, tmp_path, cpu_archive, cpu_environment, launch=launch)
    checks = judged(probed, manifest)
    assert_all_passed(checks.values())
    assert checks["probe.answers"].found == "batches of 1, 2, 3, 4: the same as eager"
    assert checks["probe.recompiles"].found.endswith("graphs serve every batch size: 1, 2, 3, 4")
    assert probed.answer is not None
    assert probed.answer["conditions"]["isolated"] == 1
    assert probed.answer["conditions"]["utf8_mode"] == 0
    assert probed.answer["conditions"]["locale"] == "C"
    variables = set(probed.answer["conditions"]["variables"])
    assert ("VIRTUAL_ENV" in variables) is (launch == "direct")
    assert {"PYTHONPATH", "ENVBUILDER_CACHE"} & variables == set()


DYNAMIC = """
parameters { key: "TORCH_COMPILE_OPTIONAL_PARAMETERS" value { string_value: "{\\"dynamic\\": true}" } }
"""


@pytest.mark.parametrize(
    ("source", "parameters", "compile", "asked"),
    [
        (MODEL.format(body="return x"), "", {}, "{}"),
        (MODEL.format(body="return x"), "", EAGER, '{"backend": "eager"}'),
        (MODEL.format(body="return x"), DYNAMIC, {}, '{"dynamic": true}'),
        (MODEL.format(body="return x"), DYNAMIC, EAGER, '{"backend": "eager"}'),
        (OWN.format(answer="x"), "", {}, ""),
    ],
)
def test_server_and_probe_ask_for_torch_compile(
    tmp_path: Path, cpu_archive: Path, source: str, parameters: str, compile: Mapping[str, Any], asked: str
) -> None:
    directory = model(tmp_path, source, parameters=parameters)
    sandbox = Sandbox.make(tmp_path / "root", isolate=False)
    subject = prepare(cpu_archive, directory, sandbox, tmp_path / "envs", compile=compile, reporter=SILENT)
    key = "TORCH_COMPILE_OPTIONAL_PARAMETERS"
    assert subject.config.parameters[key].string_value == asked
    assert (directory / "config.pbtxt").read_text() == CONFIG + parameters  # the user's own stays as it is
    deployed = read_config(subject.folder).message
    assert deployed.parameters[key].string_value == asked


def test_a_model_that_raises(
    tmp_path: Path, cpu_archive: Path, cpu_environment: Path, manifest: Manifest
) -> None:
    directory = model(tmp_path, MODEL.format(body='raise KeyError("no such thing")'))
    checks = judged(probe(directory, tmp_path, cpu_archive, cpu_environment), manifest)
    text, fix = failures(checks.values())["probe.model"]
    assert text.startswith("the model does not load or answer: model 'model', version 1: the model fails on ")
    assert "no such thing" in text
    assert fix == "the model itself fails: run it in plain Python with the inputs that config.pbtxt describes"


def test_a_model_that_does_not_compile(
    tmp_path: Path, cpu_archive: Path, cpu_environment: Path, manifest: Manifest
) -> None:
    body = "torch._dynamo.graph_break(); return x * 2"
    directory = model(tmp_path, MODEL.format(body=body))
    compile = {"fullgraph": True, **EAGER}
    checks = judged(probe(directory, tmp_path, cpu_archive, cpu_environment, compile=compile), manifest)
    text, fix = failures(checks.values())["probe.compile"]
    assert text.startswith("torch.compile fails: model 'model', version 1: torch.compile failed: ")
    assert (
        fix == 'eager works: TORCH_COMPILE_OPTIONAL_PARAMETERS {"disable": true}, or COMPILE_FALLBACK "eager"'
    )


def test_compiled_answers_that_are_not_eagers(
    tmp_path: Path, cpu_archive: Path, cpu_environment: Path, manifest: Manifest
) -> None:
    body = "return x + 1 if torch.compiler.is_compiling() else x"
    directory = model(tmp_path, MODEL.format(body=body))
    checks = judged(probe(directory, tmp_path, cpu_archive, cpu_environment), manifest)
    assert failures(checks.values()) == {
        "probe.answers": (
            "compiled outputs differ from eager: "
            + ", ".join(f"batch of {size}: y differs from eager by up to 1" for size in (1, 2, 3, 4)),
            "compiled code may differ in the last digits only: does the model ask torch.compiler.is_compiling()?",
        )
    }


def test_requests_that_compile_are_told(
    tmp_path: Path, cpu_archive: Path, cpu_environment: Path, manifest: Manifest
) -> None:
    warm = 'parameters: { key: "WARMUP" value: { string_value: "{\\"batch\\": [1]}" } }\n'
    directory = model(tmp_path, MODEL.format(body="return x * 2"), parameters=warm)
    compile = {"dynamic": False, **EAGER}
    checks = judged(probe(directory, tmp_path, cpu_archive, cpu_environment, compile=compile), manifest)
    assert failures(checks.values()) == {}
    assert checks["probe.recompiles"].status == "warning"
    assert checks["probe.recompiles"].found == "3 graphs were compiled by requests, in batches of 1, 2, 3, 4"


def test_the_users_own_triton_model(
    tmp_path: Path, cpu_archive: Path, cpu_environment: Path, manifest: Manifest
) -> None:
    directory = model(tmp_path, OWN.format(answer="x * 2"))
    checks = judged(probe(directory, tmp_path, cpu_archive, cpu_environment), manifest, own=True)
    assert_all_passed(checks.values())
    assert checks["probe.answers"].found == (
        "batches of 1, 2, 3, 4: the same in two calls; a custom TritonPythonModel has no eager form"
    )


def test_the_users_own_triton_model_that_does_not_load(
    tmp_path: Path, cpu_archive: Path, cpu_environment: Path, manifest: Manifest
) -> None:
    source = (
        OWN.format(answer="x")
        + "\n    def initialize(self, args):\n        raise OSError(args['model_name'])\n"
    )
    probed = probe(model(tmp_path, source), tmp_path, cpu_archive, cpu_environment)
    check = judged(probed, manifest, own=True)["probe.model"]
    assert (check.status, check.found) == (
        "unknown",
        "not known, because the probe only imitates Triton's module: it does not load in the probe: OSError: model",
    )


def test_an_answer_that_is_empty(
    tmp_path: Path, cpu_archive: Path, cpu_environment: Path, manifest: Manifest
) -> None:
    directory = model(tmp_path, OWN.format(answer="np.empty((0, 3), np.float32)"))
    checks = judged(probe(directory, tmp_path, cpu_archive, cpu_environment), manifest, own=True)
    assert checks["probe.answers"].status == "warning"
    assert "y is float32[0, 3] in batch of " in checks["probe.answers"].found


def test_the_form_of_the_platform_handler(
    tmp_path: Path, cpu_archive: Path, cpu_environment: Path, manifest: Manifest
) -> None:
    directory = model(tmp_path, MODEL.format(body="return x * 2"), config=CONFIG + 'platform: "pytorch"\n')
    checks = judged(probe(directory, tmp_path, cpu_archive, cpu_environment), manifest)
    assert failures(checks.values()) == {}
    assert checks["probe.answers"].found == "batches of 1, 2, 3, 4: the same as eager"


STRINGS = """
backend: "python"
max_batch_size: 4
input [ { name: "x" data_type: TYPE_STRING dims: [ 1 ] } ]
output [ { name: "y" data_type: TYPE_STRING dims: [ 1 ] } ]
"""


def test_strings_and_no_batches(
    tmp_path: Path, cpu_archive: Path, cpu_environment: Path, manifest: Manifest
) -> None:
    source = MODEL.format(body="return [text.upper() for text in x]")
    directory = model(tmp_path, source, config=STRINGS)
    checks = judged(probe(directory, tmp_path, cpu_archive, cpu_environment), manifest)
    assert failures(checks.values()) == {}
    assert checks["probe.compile"].found.startswith(
        "nothing for torch.compile to do (TorchScript, AOTInductor, strings"
    )


MADE = """
import os
import torch

class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 3)
        self.more = torch.rand(3)  # no buffer
        self.shift = {shift}

    def forward(self, x):
        return self.layer(x) * self.more + self.shift + {noise}
"""
ONCE = "the same as eager; without a weights file, each start of a server creates different weights"
VARIES = "y varies from call to call, so only types and dims were compared"


@pytest.mark.parametrize(
    ("shift", "noise", "found"),
    [
        ("0.0", "0.0", ONCE),
        ("float(os.urandom(1)[0])", "0.0", VARIES),  # no seed makes it the same again
        ("0.0", "torch.rand_like(x)", VARIES),
    ],
)
def test_a_module_that_is_served_as_constructed_is_compared_with_itself(
    tmp_path: Path,
    cpu_archive: Path,
    cpu_environment: Path,
    manifest: Manifest,
    shift: str,
    noise: str,
    found: str,
) -> None:
    directory = model(tmp_path, MADE.format(shift=shift, noise=noise))
    probed = probe(directory, tmp_path, cpu_archive, cpu_environment)
    checks = judged(probed, manifest)
    assert failures(checks.values()) == {}
    assert checks["probe.answers"].found == f"batches of 1, 2, 3, 4: {found}"
    assert probed.served is not None
    assert probed.served["constructed"]  # so a server's answers are not compared by value


def test_a_module_that_is_the_same_each_time_is_compared_by_value(
    tmp_path: Path, cpu_archive: Path, cpu_environment: Path, manifest: Manifest
) -> None:
    source = MADE.format(shift="0.0", noise="0.0").replace("super()", "torch.manual_seed(3); super()")
    probed = probe(model(tmp_path, source), tmp_path, cpu_archive, cpu_environment)
    assert judged(probed, manifest)["probe.answers"].found == "batches of 1, 2, 3, 4: the same as eager"
    assert probed.served is not None
    assert not probed.served["constructed"]


def test_half_precision(tmp_path: Path, cpu_archive: Path, cpu_environment: Path, manifest: Manifest) -> None:
    config = CONFIG.replace("TYPE_FP32", "TYPE_BF16").replace("max_batch_size: 4", "max_batch_size: 0")
    directory = model(tmp_path, MODEL.format(body="return x * 2"), config=config)
    checks = judged(probe(directory, tmp_path, cpu_archive, cpu_environment), manifest)
    assert failures(checks.values()) == {}
    assert checks["probe.answers"].found == "batches of 1: the same as eager"


def test_no_compiler_is_no_failure(
    tmp_path: Path,
    cpu_archive: Path,
    cpu_environment: Path,
    manifest: Manifest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    empty = tmp_path / "no-programs"
    empty.mkdir()
    monkeypatch.setattr("envbuilder.verification.live.launch.SEARCH_PATH", str(empty))
    directory = model(tmp_path, MODEL.format(body="return x * 2"))
    probed = probe(
        directory, tmp_path, cpu_archive, cpu_environment, compile={"dynamic": True}, launch="direct"
    )
    checks = judged(probed, manifest)
    assert failures(checks.values()) == {}
    assert checks["probe.compile"].found.startswith(
        "no C++ compiler found: compiled by aot_eager, which needs none; loaded in "
    )


def test_a_probe_that_does_not_end(
    tmp_path: Path, cpu_archive: Path, cpu_environment: Path, manifest: Manifest
) -> None:
    directory = model(tmp_path, "import time\ntime.sleep(600)\n" + MODEL.format(body="return x"))
    made = Sandbox.make(tmp_path / "root", isolate=False)
    sandbox = Sandbox(root=made.root, environment=cpu_environment, isolated=False)
    subject = prepare(cpu_archive, directory, sandbox, tmp_path / "envs", compile={}, reporter=SILENT)
    text, _ = failures(judged(run_probe(subject, "direct", timeout=4), manifest).values())["contract.launch"]
    assert text == (
        "the environment's Python, launched direct as pytriton-0.7.0 does: it did not end within 4 s:\n  | (nothing)"
    )
