"""Models whose configurations are completed, by the model itself or by a server only."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from envbuilder.catalog.triton import Release, find_release
from envbuilder.deployment.config import read_config
from envbuilder.progress import SILENT
from envbuilder.verification.live import model_deployment, run_probe
from envbuilder.verification.live.deployed import DeployedModel, latest_version
from envbuilder.verification.live.evaluate_model import ModelEvaluator, ModelFacts, let_server_decide
from envbuilder.verification.live.launch import Sandbox
from envbuilder.verification.live.model_deployment import ModelChoice, ModelDeployment
from envbuilder.verification.report import Check
from tests.helpers.guest import run_guest_here
from tests.helpers.own_models import (
    BROKEN,
    COMPLETED,
    COUNTED,
    EARLY,
    FLOATS,
    HELPER,
    NEVER,
    ROOT,
    ROUTER,
    SCALING,
    SHY,
    TICKER,
    TICKS,
    UNTYPED,
    write,
)

RELEASE = find_release("24.10")
BARE = 'backend: "python"\n'
Deploy = Callable[..., tuple[list[DeployedModel], list[Check]]]


@pytest.fixture
def deploy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deploy:
    """Returns the models that are to be asked of a model directory or a repository, and what was said of them."""
    sandbox = Sandbox.make(tmp_path / "sandbox", isolate=False)

    def prepare(_: Path, model: Path, **__: object) -> DeployedModel:
        folder = sandbox.root / "models" / model.name
        shutil.copytree(model, folder)
        config = read_config(model).message
        config.name = model.name
        version = latest_version(folder, config)
        return DeployedModel(sandbox=sandbox, deployment=None, folder=folder, config=config, version=version)

    monkeypatch.setattr(model_deployment, "prepare", prepare)
    monkeypatch.setattr(run_probe, "run_guest", run_guest_here)

    def run(*, release: Release = RELEASE, **chosen: Any) -> tuple[list[DeployedModel], list[Check]]:
        deployment = ModelDeployment(
            archive=tmp_path / "archive",
            sandbox=sandbox,
            envs=tmp_path / "envs",
            compile={},
            compiler=None,
            reporter=SILENT,
        )
        models: list[DeployedModel] = []
        said = list(deployment.deploy(ModelChoice(**chosen), release, models))
        return models, [check for check in said if check.status != "passed"]

    return run


def labels(models: list[DeployedModel]) -> list[list[str]]:
    return [[case.label for case in model.questions.cases] for model in models]


@pytest.mark.parametrize("config", [BARE, UNTYPED, None])
def test_a_model_completes_its_configuration_wherever_it_has_that_from(
    tmp_path: Path, deploy: Deploy, config: str | None
) -> None:
    files = {"1/base.py": COMPLETED.encode()}
    models, said = deploy(
        model=write(tmp_path, "own", "from .base import TritonPythonModel\n", config, files)
    )
    assert said == []
    assert labels(models) == [["1", "2"]]


@pytest.mark.parametrize("config", [BARE, UNTYPED])
def test_what_only_a_server_completes_is_left_to_it(tmp_path: Path, deploy: Deploy, config: str) -> None:
    models, said = deploy(model=write(tmp_path, "shy", SHY, config))
    assert [(check.id, check.status) for check in said] == [
        ("probe.config", "unknown"),
        ("model.inputs", "unknown"),
    ]
    assert labels(models) == [[]]
    (model,) = models
    assert model.read_questions is not None
    completed = read_config(write(tmp_path, "complete", SHY, FLOATS)).message
    assert [case.label for case in model.read_questions(completed).cases] == ["1", "2", "3", "4"]
    let_server_decide(said, models, [Check(id="server.grpc", status="passed", found="it answers")])
    assert {check.status for check in said} == {"warning"}


def test_a_probe_of_a_model_that_it_cannot_ask_loads_it(tmp_path: Path, deploy: Deploy) -> None:
    for name, source, told in (
        ("good", HELPER, "it loads in the probe, but no request to it is known"),
        ("bad", BROKEN, "it does not load in the probe: OSError: no licence"),
    ):
        (model,), _ = deploy(model=write(tmp_path, name, source, BARE, {"1/scaling.py": SCALING.encode()}))
        probed = run_probe.run_probe(model, "direct")
        assert probed.answer is not None
        evaluator = ModelEvaluator(
            subject=ModelFacts(own=True, questions=model.questions),
            make=lambda id, status, found, fix: Check(id=id, status=status, found=found, fix=fix),
        )
        (check,) = evaluator.checks(probed.answer)
        assert (check.id, check.status) == ("probe.model", "unknown")
        assert check.found.endswith(told)


@pytest.mark.parametrize(
    ("source", "given", "hint"),
    [
        (ROOT, False, "give inputs that"),
        (NEVER, False, "test it on a real"),
        (ROOT, True, "test it on a real"),
    ],
)
def test_floats_that_a_model_refuses_are_tried_otherwise(
    tmp_path: Path, deploy: Deploy, source: str, given: bool, hint: str
) -> None:
    (model,), _ = deploy(model=write(tmp_path, "own", source, FLOATS))
    questions = replace(model.questions, made_up=not given)
    probed = run_probe.run_probe(replace(model, questions=questions), "direct")
    assert probed.answer is not None
    evaluator = ModelEvaluator(
        subject=ModelFacts(own=True, questions=questions),
        make=lambda id, status, found, fix: Check(id=id, status=status, found=found, fix=fix),
    )
    (check,) = evaluator.checks(probed.answer)
    assert (check.id, check.status, str(check.fix)[: len(hint)]) == ("probe.model", "unknown", hint)
    ours = ModelEvaluator(subject=ModelFacts(questions=questions), make=evaluator.make)
    (check,) = ours.checks({"failed": {**probed.answer["failed"], "stage": "eager"}})
    assert check.status == ("unknown" if hint.startswith("give") else "failed")


def test_a_model_that_completes_nothing_and_does_not_load_is_for_the_probe(
    tmp_path: Path, deploy: Deploy
) -> None:
    models, said = deploy(model=write(tmp_path, "early", EARLY, FLOATS, {"1/scaling.py": b""}))
    assert said == []
    assert labels(models) == [["1", "2", "3", "4"]]


def test_what_no_server_takes_and_no_completion_cures_fails(tmp_path: Path, deploy: Deploy) -> None:
    zero = FLOATS.replace("[ 3 ]", "[ 0 ]")
    for name, files in (("zero", {"1/scaling.py": SCALING.encode()}), ("unloaded", {})):
        models, said = deploy(model=write(tmp_path, name, HELPER, zero, files))
        assert (models, [(check.id, check.status) for check in said]) == ([], [("model.deployed", "failed")])


def test_an_ensemble_is_decoupled_by_a_step_that_completes_itself_so(tmp_path: Path, deploy: Deploy) -> None:
    hook = """
    @staticmethod
    def auto_complete_config(config):
        config.set_model_transaction_policy({"decoupled": True})
        return config
"""
    write(tmp_path / "models", "ticker", TICKER + hook, TICKS.partition("model_transaction")[0])
    write(tmp_path / "models", "counted", None, COUNTED.replace("STEP", "ticker"))
    models, said = deploy(repository=tmp_path / "models")
    assert said == []
    assert {model.name: model.decoupled for model in models} == {"counted": True, "ticker": True}
    assert run_probe.run_probe(models[0], "direct").served is not None


def test_each_version_completes_the_configuration_by_itself(tmp_path: Path, deploy: Deploy) -> None:
    every = f"{BARE}version_policy {{ all {{ }} }}\n"
    wider = COMPLETED.replace('"TYPE_FP32", "dims": [3]', '"TYPE_INT32", "dims": [5]')
    models, said = deploy(model=write(tmp_path, "own", wider, every, {"2/model.py": COMPLETED.encode()}))
    assert said == []
    assert [(model.title, list(model.config.input[0].dims)) for model in models] == [
        ("own", [3]),
        ("own/1", [5]),
    ]
    assert models[1].questions.cases[0].inputs["X"].dtype == "int32"

    hookless = {"2/model.py": COMPLETED.encode()}
    failing = wider.replace("_model_config.set_max_batch_size(2)", "_model_config.no_such()")
    models, said = deploy(model=write(tmp_path, "old", failing, every, hookless))
    assert [(check.id, check.status) for check in said] == [
        ("probe.config", "unknown"),
        ("model.inputs", "unknown"),
    ]
    assert said[0].found.startswith("old/1: not known: auto_complete_config of model.py: AttributeError: ")
    assert [model.incomplete for model in models] == [False, True]


def test_a_model_that_is_called_completes_its_configuration_too(tmp_path: Path, deploy: Deploy) -> None:
    caller = write(tmp_path, "router", ROUTER.replace('"helper"', '"own"'), FLOATS)
    write(tmp_path, "own", COMPLETED, BARE)
    models, said = deploy(model=caller)
    assert said == []
    assert [model.name for model in models] == ["router"]
    assert [one["name"] for one in models[0].neighbours["own"]["config"]["input"]] == ["X"]

    shutil.rmtree(tmp_path / "sandbox" / "models")
    (tmp_path / "own" / "1" / "model.py").write_text(SHY)
    models, said = deploy(model=caller)
    assert said == [], "it is not asked itself"
    assert models[0].neighbours["own"]["reason"] == "whose configuration only a server can complete"


def test_a_version_that_completes_what_no_server_takes_fails(tmp_path: Path, deploy: Deploy) -> None:
    every = f"{BARE}version_policy {{ all {{ }} }}\n"
    zero = COMPLETED.replace('"dims": [3]', '"dims": [0]')
    models, (check,) = deploy(model=write(tmp_path, "own", zero, every, {"2/model.py": COMPLETED.encode()}))
    assert (check.id, check.status) == ("model.deployed", "failed")
    assert check.found.startswith("own/1: no server takes it: input 'X' has the dimension 0")
    assert [model.title for model in models] == ["own"]
    assert models[0].folder.is_dir()


def test_inputs_are_those_of_one_model(tmp_path: Path, deploy: Deploy) -> None:
    write(tmp_path / "models", "helper", HELPER, FLOATS, {"1/scaling.py": SCALING.encode()})
    write(tmp_path / "models", "root", ROOT, FLOATS)
    models, (check,) = deploy(repository=tmp_path / "models", inputs=tmp_path / "x.npz")
    assert (models, check.id) == ([], "model.deployed")
    assert check.found.endswith(
        "x.npz is what one model is asked, and " + str(tmp_path / "models") + " has several"
    )


def test_what_the_release_lacks_fails_where_a_configuration_is_completed(
    tmp_path: Path, deploy: Deploy
) -> None:
    hook = """
    @staticmethod
    def auto_complete_config(config):
        config.set_model_transaction_policy({"decoupled": True})
        return config
"""
    ticker = write(tmp_path, "ticker", TICKER + hook, TICKS)
    _, (check,) = deploy(model=ticker, release=find_release("23.10"))
    assert (check.id, check.status) == ("probe.names", "failed")
    assert "since release 23.11, ModelConfig.set_model_transaction_policy: AttributeError: " in check.found
