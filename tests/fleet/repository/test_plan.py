"""What is to become of each model, decided before anything is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from envbuilder import api
from envbuilder.config.models import Choice, read_rules
from envbuilder.deployment.copies import Copied
from envbuilder.deployment.layout import deploy
from envbuilder.errors import DeployError, RecipeError
from envbuilder.fleet.repository.plan import Row, Target, check_precompile, plan_models, refused, why_copied
from envbuilder.fleet.repository.survey import Model, survey
from envbuilder.store.session import Session
from tests.helpers.repositories import make_repository
from tests.helpers.workspace import Workspace

MODEL = Model(name="net", folder=Path("net"), choice=Choice(recipe=None, layout="shared", precompile=True))
ROW = Row(model=MODEL, state="change", now="", then="", why="")


@pytest.mark.parametrize(
    ("output", "remote", "folder"),
    [
        (None, False, "models"),
        ("served", False, "served"),
        ("file:///served", False, "/served"),
        ("s3://bucket/models", True, None),
    ],
)
def test_where_models_go(output: str | None, remote: bool, folder: str | None) -> None:
    target = Target(repository=Path("models"), output=output)
    assert target.is_remote == remote
    if folder is not None:
        assert target.folder == Path(folder)


def test_a_row_of_a_table() -> None:
    assert ROW.cells() == ("net", "change", "-", "-", "")
    assert ROW.options.layout == "shared"
    row = refused(ROW, RecipeError("two\n  lines", hint="mend it"))
    assert (row.state, row.why) == ("refused", "two lines (mend it)")
    assert refused(ROW, RecipeError("no hint")).why == "no hint"


def test_nothing_is_compiled_for_an_object_store() -> None:
    remote, here = (Target(repository=Path("m"), output=one) for one in ("s3://bucket", None))
    check_precompile(ROW, here)
    with pytest.raises(DeployError, match=r"^s3://bucket: what is compiled is put into a folder"):
        check_precompile(ROW, remote)
    plain = replace(MODEL, choice=replace(MODEL.choice, precompile=False))
    check_precompile(replace(ROW, model=plain), remote)


def test_what_a_copy_changed_is_said_behind_the_reason() -> None:
    left = replace(MODEL, left="served by onnxruntime")
    assert why_copied(left, Copied(changed=False)) == "served by onnxruntime"
    assert why_copied(left, Copied(changed=True)).startswith("served by onnxruntime; copied")


def test_from_nothing_built_to_nothing_to_do(workspace: Workspace) -> None:
    repository = workspace.folder / "repository"
    make_repository(repository, (1, 0, 0, 0, 1, 1))
    session, target = Session.open(workspace.folder), Target(repository=repository)

    def planned(target: Target = target) -> dict[str, Row]:
        models = survey(repository, read_rules(workspace.folder))
        return {row.model.name: row for row in plan_models(models, target, session, Path("envs"))}

    before = {path: path.stat().st_mtime_ns for path in workspace.folder.rglob("*")}
    first = planned()
    assert {path: path.stat().st_mtime_ns for path in workspace.folder.rglob("*")} == before
    assert {name: row.state for name, row in first.items()} == {
        "own0": "change",
        "onnx0": "untouched",
        "broken0": "refused",
    }
    own = first["own0"]
    assert (own.now, own.then, own.archive) == ("", "small (to be built)", None)
    assert own.why == "has no environment yet: recipe small"
    assert own.job is not None
    assert own.job.settings.find_links[0].endswith("wheels")

    api.build(api.load_recipe(workspace.recipe))
    own = planned()["own0"]
    assert own.archive is not None
    assert (own.then, own.why) == (own.archive.name, "has no environment yet")
    served = Target(repository=repository, output=str(workspace.folder / "served"))
    elsewhere = planned(served)
    assert elsewhere["onnx0"].why == "served by onnxruntime_onnx; copied as it is"
    deploy(own.archive, repository / "own0", served.folder, own.options)
    assert planned(served)["own0"].state == "current"
    with (repository / "own0" / "1" / "model.py").open("a") as file:
        file.write("# changed\n")
    assert planned(served)["own0"].why == "the model or its runtime changed"

    deploy(own.archive, repository / "own0", repository, own.options)
    own = planned()["own0"]
    assert (own.state, own.now, own.why) == ("current", own.then, "nothing to do")
    workspace.recipe.write_text(workspace.recipe.read_text().replace("[alpha, beta]", "[alpha]"))
    own = planned()["own0"]
    assert own.state == "refused"
    assert "small.yaml changed since it was locked" in own.why
