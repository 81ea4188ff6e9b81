"""Which models of a repository are verified, and which are there for them to ask."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from envbuilder.deployment.config import read_config
from envbuilder.deployment.versions import served_versions
from envbuilder.errors import DeployError, VerifyError
from envbuilder.verification.live import inputs as sample
from envbuilder.verification.live.deployed import DeployedModel, latest_version
from envbuilder.verification.live.launch import Sandbox
from envbuilder.verification.live.repository import Wanted, deploy_models, wanted_models, with_those_it_names
from tests.helpers.own_models import (
    COMPLETED,
    COUNTED,
    FLOATS,
    HELPER,
    OLDER,
    ROUTER,
    SHOUT,
    SHOUTS,
    TICKER,
    TICKS,
    TWICE,
    write,
    write_repository,
)


def names(paths: tuple[Path, ...]) -> list[str]:
    return sorted(path.name for path in paths)


def test_a_model_takes_along_those_that_it_names_and_those_that_they_name(tmp_path: Path) -> None:
    repository = write_repository(tmp_path / "models")
    assert names(with_those_it_names(repository / "router").others) == ["helper"]
    assert names(with_those_it_names(repository / "twice").others) == ["shout"]
    assert names(with_those_it_names(repository / "shout").others) == []
    chained = ROUTER.replace('"helper"', '"conductor"')
    write(repository, "first", chained, FLOATS)
    assert names(with_those_it_names(repository / "first").others) == ["conductor", "ticker"]


def test_a_name_in_a_parameter_counts_and_source_that_does_not_parse_is_looked_at(tmp_path: Path) -> None:
    parameter = 'parameters { key: "NEXT" value { string_value: "shout" } }\n'
    write(tmp_path, "shout", SHOUT, SHOUTS)
    by_parameter = write(tmp_path, "by-parameter", "x = 1\n", FLOATS + parameter)
    newer = write(tmp_path, "newer", "type X = ((\nname = 'shout'\n", FLOATS)
    helped = write(tmp_path, "helped", "from names import NEXT\n", FLOATS)
    (helped / "names.py").write_text("NEXT = 'shout'\n")  # the model's folder is on the path, too
    careless = write(tmp_path, "careless", "name = 1if 1else 'shout'\n", FLOATS)  # of which Python warns
    assert names(with_those_it_names(by_parameter).others) == ["shout"]
    assert names(with_those_it_names(newer).others) == ["shout"]
    assert names(with_those_it_names(careless).others) == ["shout"]
    assert names(with_those_it_names(helped).others) == ["shout"]


def test_models_that_name_each_other_end(tmp_path: Path) -> None:
    for name, other in (("a", "b"), ("b", "a")):
        write(tmp_path, name, f"NEXT = {other!r}\n", FLOATS)
    assert names(with_those_it_names(tmp_path / "a").others) == ["b"]


def test_all_models_or_those_that_are_named(tmp_path: Path) -> None:
    write(tmp_path, "shout", SHOUT, SHOUTS)
    write(tmp_path, "twice", None, TWICE)
    (tmp_path / "no-model").mkdir()
    write(tmp_path, "no-model-either", "import torch\n", None)  # no server loads it
    assert names(wanted_models(tmp_path, ()).models) == ["shout", "twice"]
    write(tmp_path, "itself", COMPLETED, None)
    assert names(wanted_models(tmp_path, ()).models) == ["itself", "shout", "twice"]
    shutil.rmtree(tmp_path / "itself")
    wanted = wanted_models(tmp_path, ("twice",))
    assert (names(wanted.models), names(wanted.others)) == (["twice"], ["shout"])
    with pytest.raises(VerifyError, match="contains no model 'thrice'") as caught:
        wanted_models(tmp_path, ("thrice",))
    assert caught.value.hint == "it has shout and twice"
    with pytest.raises(VerifyError, match="contains no model"):
        wanted_models(tmp_path / "no-model", ())
    with pytest.raises(VerifyError, match="cannot be read"):
        wanted_models(tmp_path / "nowhere", ())


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    return Sandbox.make(tmp_path / "sandbox", isolate=False)


def deployed(model: Path, sandbox: Sandbox) -> DeployedModel:
    """Copy a model as it is, as if it had been deployed with an archive."""
    folder = sandbox.root / "models" / model.name
    shutil.copytree(model, folder)
    config = read_config(folder).message
    if config.platform:
        raise DeployError(f"platform {config.platform}")
    config.name = model.name
    return DeployedModel(
        sandbox=sandbox,
        deployment=None,
        folder=folder,
        config=config,
        version=latest_version(folder, config),
        questions=sample.made_up(config),
    )


@pytest.mark.parametrize(
    ("policy", "served"),
    [
        ("", ["10"]),
        ("version_policy { latest { num_versions: 2 } }", ["2", "10"]),
        ("version_policy { latest { } }", ["10"]),
        ("version_policy { all { } }", ["-1", "1", "2", "10"]),
        ("version_policy { specific { versions: [ 1, 3 ] } }", ["1"]),
        ("version_policy { specific { versions: [ 3 ] } }", []),
    ],
)
def test_versions_that_are_served(tmp_path: Path, policy: str, served: list[str]) -> None:
    others = {f"{version}/model.py": b"" for version in ("2", "10", "011", "-1", "latest")}
    model = write(tmp_path, "m", HELPER, f"{FLOATS}{policy}\n", others)
    config = read_config(model).message
    assert served_versions(model, config) == served
    assert latest_version(model, config) == (served[-1] if served else "1")


@pytest.mark.parametrize(
    ("config", "files", "said"),
    [
        ("", {"1/model.py": b""}, None),
        ("", {"1/modle.py": b""}, "version 1 has no file model.py (Triton's default)"),
        ('default_model_filename: "own.py"', {"1/model.py": b""}, "version 1 has no file own.py"),
        ('default_model_filename: "own.py"', {"1/own.py": b""}, None),
        ("version_policy { all { } }", {"1/model.py": b"", "2/x": b""}, "version 2 has no file model.py"),
        ("", {"1/x": b"", "2/model.py": b""}, None),
        (
            "",
            {"1/model.py": b"", "2_old/model.py": b""},
            "folder '2_old' counts as version 2, and there is no",
        ),
        ("", {"2/model.py": b"", "2_old/model.py": b"", "01/x": b""}, None),
        ("", {"1/model.py": b"", f"{'9' * 19}/x": b""}, "folder '9999999999999999999' counts as a version"),
        (
            "version_policy { specific { versions: [ 3 ] } }",
            {"1/model.py": b""},
            "none of its version folders",
        ),
    ],
)
def test_what_no_server_can_load(
    tmp_path: Path, sandbox: Sandbox, config: str, files: dict[str, bytes], said: str | None
) -> None:
    model = write(tmp_path, "m", None, f"{FLOATS}{config}\n", files)
    other = write(tmp_path, "other", HELPER, FLOATS)
    for wanted in (Wanted(models=(other, model)), Wanted(models=(other,), others=(model,))):
        placed = deploy_models(
            wanted,
            tmp_path / "archive",
            sandbox,
            lambda path: deployed(path, sandbox),
            keep_environments=True,
        )
        judged = [one.name for one in placed.models]
        entry = {one.name: one for one in placed.models}["other"].neighbours["m"]
        if said is None:
            assert placed.refused == {}
            assert judged == ["other", "m"][: len(wanted.models)]
            assert "reason" not in entry
        else:
            assert judged == ["other"]
            assert [error.message.startswith(said) for error in placed.refused.values()] == [True] * len(
                wanted.models[1:]
            )
            assert entry["reason"].startswith(f"which no server can load: {said}")
            assert not (sandbox.root / "models" / "m").exists()  # a server would wait for it
        shutil.rmtree(sandbox.root / "models")
        (sandbox.root / "models").mkdir()


def renamed(model: Path, sandbox: Sandbox) -> DeployedModel:
    """Deploy a model as a deployment does: into a folder of its own name."""
    made = deployed(model, sandbox)
    said = read_config(model).message.name
    return replace(made, folder=made.folder.rename(made.folder.with_name(said)))


def test_a_name_that_is_not_the_folders(tmp_path: Path, sandbox: Sandbox) -> None:
    named = 'name: "other"\n'
    paths = (
        write(tmp_path, "twice", None, TWICE + named),
        write(tmp_path, "older", None, OLDER + named, {"1/model.onnx": b""}),
        write(tmp_path, "own", HELPER, FLOATS + named),
        write(tmp_path, "right", None, TWICE + 'name: "right"\n'),
    )
    others = (write(tmp_path, "beside", None, TWICE + named),)
    placed = deploy_models(
        Wanted(models=paths, others=others),
        tmp_path / "archive",
        sandbox,
        lambda path: deployed(path, sandbox),
        keep_environments=True,
    )
    assert [model.name for model in placed.models] == ["right"]
    assert {name: error.message for name, error in placed.refused.items()} == {
        name: f"config.pbtxt says name: 'other', and the folder is {name!r}: a server takes no other name"
        for name in ("twice", "older", "own")
    }
    assert (
        placed.models[0]
        .neighbours["beside"]["reason"]
        .startswith("which no server can load: config.pbtxt says")
    )
    for name, status in (("own", []), ("twice", ["twice"])):  # a deployment names the folder as the model
        shutil.rmtree(sandbox.root / "models")
        placed = deploy_models(
            Wanted(models=(tmp_path / name,)),
            tmp_path / "archive",
            sandbox,
            lambda path: renamed(path, sandbox),
            keep_environments=False,
        )
        assert list(placed.refused) == status


def test_an_ensemble_is_decoupled_where_a_step_is(tmp_path: Path, sandbox: Sandbox) -> None:
    inner = COUNTED.replace("STEP", "ticker")
    paths = (
        write(tmp_path, "outer", None, COUNTED.replace("STEP", "inner")),
        write(tmp_path, "inner", None, inner),
        write(tmp_path, "twice", None, TWICE),
        write(tmp_path, "itself", None, COUNTED.replace("STEP", "itself")),
    )
    others = (write(tmp_path, "ticker", TICKER, TICKS), write(tmp_path, "shout", SHOUT, SHOUTS))
    placed = deploy_models(
        Wanted(models=paths, others=others),
        tmp_path / "archive",
        sandbox,
        lambda path: deployed(path, sandbox),
        keep_environments=True,
    )
    assert placed.refused == {}
    found = {one.name: one for one in placed.models}
    assert {name: one.decoupled for name, one in found.items()} == {
        "outer": True,
        "inner": True,
        "twice": False,
        "itself": False,
    }
    assert found["outer"].neighbours["inner"]["config"]["model_transaction_policy"]["decoupled"]
    assert found["outer"].job()["config"]["model_transaction_policy"]["decoupled"]


def test_one_that_cannot_be_deployed_leaves_the_others(tmp_path: Path, sandbox: Sandbox) -> None:
    wanted = Wanted(
        models=(
            write(tmp_path, "broken", HELPER, "no: configuration"),
            write(tmp_path, "older", None, OLDER, {"1/model.onnx": b""}),
            write(tmp_path, "good", HELPER, FLOATS),
        )
    )
    archive = tmp_path / "archive"
    placed = deploy_models(
        wanted, archive, sandbox, lambda path: deployed(path, sandbox), keep_environments=True
    )
    assert list(placed.refused) == ["broken"]
    assert [one.name for one in placed.models] == ["older", "good"]
    assert placed.models[0].apart == "is for the backend 'onnxruntime_onnx'"
    assert placed.models[1].neighbours["broken"] == {"reason": "whose config.pbtxt cannot be read"}
