"""A repository of every kind of model: planned, applied, interrupted, and what is known of it afterwards."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from envbuilder import api
from envbuilder.aot.precompile import look
from envbuilder.deployment.compiled import KEY_FILE, Compiled
from envbuilder.deployment.config import read_config
from envbuilder.deployment.layout import deploy
from envbuilder.deployment.locking import STAGED
from envbuilder.deployment.mark import MARK
from envbuilder.deployment.model_directory import model_files
from envbuilder.errors import DeployError
from envbuilder.fleet.repository.apply import Applied, ApplyOptions, apply
from envbuilder.store.local import CACHE_VARIABLE, Store
from envbuilder.store.objects import RemoteObjects
from envbuilder.store.session import Session
from tests.fleet.repository.conftest import Verifying, call
from tests.helpers.notes import Notes
from tests.helpers.repositories import make_repository, write_own
from tests.helpers.workspace import MODEL, Workspace


def states(done: Applied) -> dict[str, str]:
    return {row.model.name: row.state for row in done.rows}


def test_what_a_killed_deployment_had_set_aside_is_back(tmp_path: Path) -> None:
    repository = tmp_path / "served"
    aside = tmp_path / ".served.deploying" / "net.set-aside"
    aside.mkdir(parents=True)
    repository.mkdir()
    (aside.parent / STAGED).touch()
    (aside / "config.pbtxt").write_text('backend: "onnxruntime"\n')
    session = Session(store=Store(root=tmp_path / "store"))
    assert apply(repository, session, ApplyOptions(plan=True)).rows == ()
    (row,) = apply(repository, session, ApplyOptions(archives=tmp_path / "envs")).rows
    assert (row.state, (repository / "net" / "config.pbtxt").exists()) == ("untouched", True)
    assert not aside.parent.exists()


def test_planned_applied_and_nothing_to_do(workspace: Workspace) -> None:
    repository = workspace.folder / "repository"
    make_repository(repository, (2, 2, 1, 1, 1, 1))
    before = {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()}
    planned = call("apply", repository, "--plan", "--json")
    assert planned.exit_code == 9
    assert {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()} == before
    assert not (workspace.folder / "envs").exists()
    rows = {row["model"]: row for row in json.loads(planned.stdout)["models"]}
    assert rows["own1"]["then"] == "other (to be built)"
    assert rows["ensemble0"] == {
        "model": "ensemble0",
        "state": "untouched",
        "now": None,
        "then": None,
        "why": "an ensemble: it has no environment of its own",
    }
    assert rows["onnx0"]["why"] == "served by onnxruntime_onnx"
    assert rows["broken0"]["why"].startswith(f"{repository}/broken0/config.pbtxt, line ")

    verifying = Verifying()
    done = apply(repository, Session.open(), verifier=verifying)
    expected = {
        **dict.fromkeys(["own0", "own1", "runtime0", "runtime1", "bls0"], "change"),
        **dict.fromkeys(["ensemble0", "onnx0"], "untouched"),
        "broken0": "refused",
    }
    assert states(done) == expected
    # runtime1 is the same model under another name.
    assert sorted(name for _, name in verifying.asked) == ["bls0", "own0", "own1", "runtime0"]
    shared = read_config(repository / "runtime0").environment
    assert shared == read_config(repository / "runtime1").environment
    assert shared is not None
    assert shared.startswith(f"{workspace.folder}/environments/small-")
    own = read_config(repository / "own1").environment
    assert own is not None
    assert own.startswith("$$TRITON_MODEL_DIRECTORY/other-")
    for kind in ("ensemble0", "onnx0", "broken0"):
        assert all(
            (repository / path).read_bytes() == content
            for path, content in before.items()
            if kind in path.parts
        )

    again = call("apply", repository, "--plan")
    assert again.exit_code == DeployError.exit_code  # the broken one tells
    shutil.rmtree(repository / "broken0")
    assert call("apply", repository, "--plan").exit_code == 0
    assert states(apply(repository, Session.open(), verifier=Verifying())) == {
        name: "untouched" if state == "untouched" else "current"
        for name, state in expected.items()
        if state != "refused"
    }


def test_a_model_that_its_environment_does_not_serve_is_not_deployed(workspace: Workspace) -> None:
    repository = workspace.folder / "repository"
    make_repository(repository, (2, 0, 1, 0, 0, 0))
    before = (repository / "own0" / "config.pbtxt").read_bytes()
    done = apply(repository, Session.open(), verifier=Verifying("own0"))
    assert states(done) == {"own0": "refused", "own1": "change", "bls0": "change"}
    (row,) = done.failures
    assert row.why.startswith("its environment does not serve it: probe.answer (envbuilder verify ")
    assert (repository / "own0" / "config.pbtxt").read_bytes() == before
    # Verified again, for it failed; the others are not.
    verifying = Verifying()
    assert states(apply(repository, Session.open(), verifier=verifying))["own0"] == "change"
    assert [name for _, name in verifying.asked] == ["own0"]


def test_interrupted_and_run_again_it_goes_on(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = workspace.folder / "repository"
    make_repository(repository, (3, 0, 0, 0, 0, 0))
    verifying = Verifying()
    deployed: list[str] = []

    def interrupted(archive: Path, model: Path, *args: object, **named: object) -> object:
        if not named.get("reporter"):  # the plan's look
            return deploy(archive, model, *args, **named)  # type: ignore[arg-type]
        if len(deployed) == 1:
            raise KeyboardInterrupt
        deployed.append(model.name)
        return deploy(archive, model, *args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr("envbuilder.fleet.repository.apply.deploy", interrupted)
    with pytest.raises(KeyboardInterrupt):
        apply(repository, Session.open(), verifier=verifying)
    monkeypatch.undo()
    monkeypatch.chdir(workspace.folder)
    monkeypatch.setenv(CACHE_VARIABLE, str(workspace.folder.parent / "cache"))
    assert [name for _, name in verifying.asked] == ["own0", "own1"]
    archives = {path: path.stat().st_mtime_ns for path in Path("envs").glob("*.tar.gz")}
    again = Verifying()
    done = apply(repository, Session.open(), verifier=again)
    assert states(done) == {"own0": "current", "own1": "change", "own2": "change"}
    assert [name for _, name in again.asked] == ["own2"]
    assert {path: path.stat().st_mtime_ns for path in Path("envs").glob("*.tar.gz")} == archives


def test_a_lock_that_is_stale_stops_its_models_only(workspace: Workspace) -> None:
    repository = workspace.folder / "repository"
    make_repository(repository, (2, 0, 0, 0, 0, 0))
    workspace.recipe.write_text(workspace.recipe.read_text().replace("[alpha, beta]", "[alpha]"))
    done = call("apply", repository, "--no-verify")
    assert done.exit_code == 3
    assert "small.yaml changed since it was locked" in done.stdout.replace("\n", " ")
    assert read_config(repository / "own0").environment is None
    assert read_config(repository / "own1").environment is not None


def test_a_recipe_of_the_models_own_counts_before_the_table(workspace: Workspace) -> None:
    repository = workspace.folder / "repository"
    make_repository(repository, (2, 0, 0, 0, 0, 0))
    for name in ("own0", "own1"):
        shutil.copy(workspace.recipe.with_name("other.yaml"), repository / name / "recipe.yaml")
        lock = workspace.lock.with_name("pylock.other.toml").read_text()
        (repository / name / "pylock.recipe.toml").write_text(lock.replace('"other"', '"recipe"'))
    done = apply(repository, Session.open(), ApplyOptions(verify=False))
    assert states(done) == {"own0": "refused", "own1": "refused"}
    # The lock's own digest tells that it was edited: lock them as a user would.
    for name in ("own0", "own1"):
        (repository / name / "pylock.recipe.toml").unlink()
        session = Session.open(find_links=[str(workspace.folder / "wheels")])
        api.lock(api.load_recipe(repository / name / "recipe.yaml"), session=session)
    done = apply(repository, Session.open(), ApplyOptions(verify=False))
    assert states(done) == {"own0": "change", "own1": "change"}
    environment = read_config(repository / "own0").environment
    assert environment is not None
    assert environment.startswith("$$TRITON_MODEL_DIRECTORY/recipe-")


def test_into_another_folder_and_an_object_store(workspace: Workspace, bucket: str) -> None:
    repository, output = workspace.folder / "repository", workspace.folder / "served"
    make_repository(repository, (1, 0, 0, 1, 1, 0))
    before = {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()}
    options = ApplyOptions(output=str(output), verify=False)
    assert states(apply(repository, Session.open(), options)) == {
        "own0": "change",
        "ensemble0": "change",
        "onnx0": "change",
    }
    assert {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()} == before
    assert read_config(output / "own0").environment is not None
    assert (output / "ensemble0" / "config.pbtxt").read_bytes() == before[
        repository / "ensemble0" / "config.pbtxt"
    ]
    assert states(apply(repository, Session.open(), options))["own0"] == "current"
    (repository / "own0" / "1" / "model.py").write_text("class TritonPythonModel:\n    pass\n")
    (changed,) = (row for row in apply(repository, Session.open(), options).rows if row.state == "change")
    assert changed.why == "the model or its runtime changed"

    remote = ApplyOptions(output=f"{bucket}/models", verify=False)
    first = apply(repository, Session.open(), remote)
    assert states(first)["own0"] == "change"
    whys = {row.model.name: row.why for row in first.rows if row.model.name != "own0"}
    assert {name: why.endswith("; copied as it is") for name, why in whys.items()} == {
        "ensemble0": True,
        "onnx0": True,
    }
    there = RemoteObjects(f"{bucket}/models", timeout=60)
    copied = {path: there.read_small(f"ensemble0/{path}", 2**16) for path in there.walk("ensemble0")}
    assert copied.pop(MARK)
    folder = repository / "ensemble0"
    assert copied == {path: (folder / path).read_bytes() for path in model_files(folder)}
    second = apply(repository, Session.open(), remote)
    assert states(second)["own0"] == "current"
    assert not any("copied" in row.why for row in second.rows)


@pytest.mark.parametrize("possible", [True, False])
def test_precompile_of_a_model_that_is_deployed_is_a_change(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, possible: bool
) -> None:
    repository = workspace.folder / "repository"
    make_repository(repository, (0, 1, 0, 0, 0, 0))
    quick = ApplyOptions(verify=False)
    assert states(apply(repository, Session.open(), quick)) == {"runtime0": "change"}
    assert call("apply", repository, "--plan").exit_code == 0

    def compiling(
        archive: Path, model: Path, scratch: Path, *, present: Path | None, **_: object
    ) -> tuple[Compiled, ...]:
        """Write what the guest would, without torch."""
        (made_of,) = look(archive, model, scratch, present=present).pending.values()
        file = scratch / "compiled.cpu.pt2"
        with zipfile.ZipFile(file, "w") as packed:
            packed.writestr(KEY_FILE, json.dumps({"made of": made_of, "kind": "CPU"}))
        said = {"difference": None, "kept": False, "version": "1", "device": "CPU"}
        reason = None if possible else "its shapes depend on data"
        return (Compiled(file=file if possible else None, reason=reason, **said),)  # type: ignore[arg-type]

    monkeypatch.setattr("envbuilder.aot.deploy.compile_ahead", compiling)
    settings = workspace.folder / "envbuilder.toml"
    settings.write_text(
        settings.read_text().replace('layout = "shared"', 'layout = "shared", precompile = true')
    )
    (row,) = apply(repository, Session.open(), ApplyOptions(plan=True)).rows
    assert (row.state, row.why) == ("change", "is to be compiled ahead of time")
    done = states(apply(repository, Session.open(), quick))
    assert done == {"runtime0": "change" if possible else "current"}
    assert (repository / "runtime0" / "1" / "compiled.cpu.pt2").exists() == possible
    assert call("apply", repository, "--plan").exit_code == 0  # what cannot be compiled is not tried for ever
    # Of another model, nothing is known.
    (repository / "runtime0" / "1" / "model.py").write_text(MODEL.replace("Net", "Other"))
    (row,) = apply(repository, Session.open(), ApplyOptions(plan=True)).rows
    assert row.state == "change"


def test_what_cannot_be_said_in_the_table(workspace: Workspace) -> None:
    repository = workspace.folder / "repository"
    write_own(repository, "own")
    settings = workspace.folder / "envbuilder.toml"
    for wrong, said in (
        ('"*" = {recipes = "small"}', "models.*: recipes: unknown"),
        ('"*" = 3', "models.*"),
        ('"*" = {precompile = "yes"}', "precompile"),
    ):
        settings.write_text(settings.read_text().partition("[models]")[0] + f"[models]\n{wrong}\n")
        done = call("apply", repository)
        assert done.exit_code == 2
        assert said.split(":")[0] in done.stderr
    settings.write_text(settings.read_text().partition("[models]")[0] + '[models]\n"*" = "smal"\nonw = "x"\n')
    done = call("apply", repository)
    assert done.exit_code == 2
    assert "did you mean `small`?" in done.stdout.replace("\n", " ")
    notes = Notes()
    apply(repository, Session.open(reporter=notes), ApplyOptions(plan=True))
    assert notes.notes == [f"[models] of envbuilder.toml: 'onw' matches no model in {repository}"]


ENSEMBLE = 'platform: "ensemble"\nensemble_scheduling { step [ { model_name: "x" model_version: -1 } ] }\n'


@pytest.mark.parametrize("address", ["{folder}/served", "memory://served"])
def test_what_lies_where_a_model_is_copied_to(tmp_path: Path, address: str) -> None:
    """Planned and applied alike: nothing of somebody else's goes but with ``replace``, and then it is said."""
    repository, there = tmp_path / "repository", RemoteObjects(address.format(folder=tmp_path))
    for path, text in {
        "ens/config.pbtxt": ENSEMBLE,
        "data/list.txt": "listed",
        "data/more.txt": "more",
    }.items():
        (repository / path).parent.mkdir(parents=True, exist_ok=True)
        (repository / path).write_text(text)
    theirs = {"ens/2/precious.bin": b"theirs", "data/mine": b"mine", "data/list.txt": b"another list"}
    for path, data in theirs.items():
        (tmp_path / "object").write_bytes(data)
        there.replace(path, tmp_path / "object")

    def run(*, plan: bool = False, replace: bool = False) -> dict[str, tuple[str, str]]:
        output = address.format(folder=tmp_path)
        asked = ApplyOptions(output=output, archives=tmp_path / "envs", plan=plan, replace=replace)
        rows = apply(repository, Session(store=Store(root=tmp_path / "store")), asked).rows
        return {row.model.name: (row.state, row.why) for row in rows}

    before = there.walk("")
    refused = run()
    assert refused == run(plan=True)
    assert {state for state, _ in refused.values()} == {"refused"}
    assert "contains files that the model directory does not: 'mine'" in refused["data"][1]
    assert "--replace" in refused["data"][1]
    assert there.walk("") == before
    planned = run(plan=True, replace=True)
    assert there.walk("") == before
    assert planned["data"] == (
        "change",
        "has no config.pbtxt; copied as it is; removed there: 'mine'; replaced there: 'list.txt'",
    )
    assert run(replace=True) == planned
    # What was copied is replaced and removed without a word, and nothing else.
    assert {state for state, _ in run().values()} == {"untouched"}
    (repository / "data" / "list.txt").write_text("longer than it was")
    (repository / "data" / "more.txt").unlink()
    assert run()["data"][1].endswith("copied as it is; removed there: 'more.txt'")
    (tmp_path / "object").write_bytes(b"edited there")
    there.replace("data/list.txt", tmp_path / "object")
    assert run()["data"][0] == "refused"


def test_an_empty_folder_is_not_copied(tmp_path: Path) -> None:
    (tmp_path / "repository" / "data").mkdir(parents=True)
    for output in (str(tmp_path / "served"), "memory://empty"):
        (tmp_path / "object").write_bytes(b"theirs")
        RemoteObjects(output).replace("data/theirs", tmp_path / "object")
        options = ApplyOptions(output=output, archives=tmp_path / "envs", replace=True)
        (row,) = apply(tmp_path / "repository", Session(store=Store(root=tmp_path / "store")), options).rows
        assert (row.state, RemoteObjects(output).walk("data")) == ("untouched", {"theirs": 6})
