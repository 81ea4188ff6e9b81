"""The models of a repository: whose they are, which recipe each has, and what tells one from another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from envbuilder.config.models import Rule, Rules
from envbuilder.deployment.pbtxt import set_parameter
from envbuilder.errors import DeployError
from envbuilder.fleet.repository.survey import Model, model_digest, survey
from tests.helpers.repositories import make_repository, write_model, write_own

RECIPE = 'triton: "25.06"\ntorch: "2.7.1"\ncuda: cpu\n'


def rules(root: Path, **recipes: str) -> Rules:
    made = tuple(Rule(pattern=pattern, recipe=recipe) for pattern, recipe in recipes.items())
    return Rules(root=root, rules=made)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "gpu.yaml").write_text(RECIPE)
    return tmp_path / "repository"


def by_name(repository: Path, **recipes: str) -> dict[str, Model]:
    return {one.name: one for one in survey(repository, rules(repository.parent, **recipes))}


def test_each_kind_of_model(repository: Path) -> None:
    make_repository(repository)
    (repository / ".hidden").mkdir()
    (repository / "lost+found").mkdir()
    (repository / "README").touch()
    (repository / "data").mkdir()
    write_model(repository, "plan", 'default_model_filename: "model.plan"\n')
    write_model(repository, "untold", "max_batch_size: 1\n")
    found = survey(repository, Rules(root=repository.parent, rules=(Rule(pattern="*", recipe="gpu"),)))
    assert {one.name: one.left for one in found} == {
        "bls0": None,
        "broken0": None,
        "data": "has no config.pbtxt",
        "ensemble0": "an ensemble: it has no environment of its own",
        "onnx0": "served by onnxruntime_onnx",
        "own0": None,
        "plan": "served by model.plan",
        "runtime0": None,
        "untold": None,
    }
    assert [one.name for one in found if one.recipe is not None] == ["bls0", "own0", "runtime0", "untold"]
    (broken,) = (one for one in found if one.error is not None)
    assert broken.error is not None
    assert broken.error.message.startswith(f"{repository}/broken0/config.pbtxt, line ")


def test_a_recipe_of_its_own_comes_before_the_table(repository: Path) -> None:
    for name in ("a", "b", "c"):
        write_own(repository, name)
    (repository / "a" / "recipe.yaml").write_text(RECIPE)
    found = by_name(repository, b="gpu")
    assert found["a"].recipe is not None
    assert found["a"].recipe.path == repository / "a" / "recipe.yaml"
    assert found["b"].recipe is not None
    assert found["b"].recipe.name == "gpu"
    assert found["c"].left == (
        "no recipe: its folder has no recipe.yaml, and no line of [models] in envbuilder.toml matches its name"
    )


def test_a_recipe_by_its_path_and_one_that_is_not_there(repository: Path) -> None:
    for name in ("a", "b", "c"):
        write_own(repository, name)
    found = by_name(repository, a="recipes/gpu.yaml", b="gpx", c="gpx")
    assert found["a"].recipe is not None
    assert found["a"].recipe.path == repository.parent / "recipes" / "gpu.yaml"
    assert found["b"].error is not None
    assert found["b"].error is found["c"].error, "it is looked for once"


def test_a_repository_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(
        DeployError, match=r"^the repository .*/gone cannot be read: No such file or directory$"
    ):
        survey(tmp_path / "gone", Rules(root=tmp_path))


@pytest.mark.parametrize(
    ("config", "environment"),
    [
        ('backend: "python"\n', ""),
        (set_parameter('backend: "python"\n', "EXECUTION_ENV_PATH", "/srv/gpu-1.tar.gz/"), "gpu-1.tar.gz"),
        ('backend: "torch-gpu"\nruntime: "model.py"\n', "backend torch-gpu"),
    ],
)
def test_the_environment_that_a_configuration_names(repository: Path, config: str, environment: str) -> None:
    write_model(repository, "a", config)
    assert by_name(repository)["a"].environment == environment
    assert Model(name="x", folder=repository, choice=by_name(repository)["a"].choice).environment == ""


# -- which model it is -----------------------------------------------------------------------------


def digest(repository: Path) -> str:
    return model_digest(by_name(repository)["a"])


def _append(path: str, text: str) -> Callable[[Path], object]:
    def append(folder: Path) -> None:
        with (folder / path).open("a") as file:
            file.write(text)

    return append


SAME: dict[str, Callable[[Path], object]] = {
    "its name": lambda folder: (folder / "config.pbtxt").write_text(
        'name: "a"\n' + (folder / "config.pbtxt").read_text()
    ),
    "its environment": lambda folder: (folder / "config.pbtxt").write_text(
        set_parameter((folder / "config.pbtxt").read_text(), "EXECUTION_ENV_PATH", "/x.tar.gz")
    ),
    "the runtime": _append("1/torch_runtime.py", "class TritonPythonModel: pass"),
    "a comment": _append("config.pbtxt", "# a comment\n"),
    "its recipe": _append("recipe.yaml", RECIPE),
    "its lock": _append("pylock.recipe.toml", "x"),
}
OTHER: dict[str, Callable[[Path], object]] = {
    "its code": _append("1/model.py", "# changed\n"),
    "a file more": _append("1/weights.pt", "x"),
    "a batch size": _append("config.pbtxt", "max_batch_size: 3\n"),
    "a parameter": lambda folder: (folder / "config.pbtxt").write_text(
        set_parameter((folder / "config.pbtxt").read_text(), "MINE", "x")
    ),
}


@pytest.mark.parametrize("change", SAME)
def test_what_a_deployment_adds_makes_no_other_model(repository: Path, change: str) -> None:
    write_own(repository, "a")
    before = digest(repository)
    SAME[change](repository / "a")
    assert digest(repository) == before


@pytest.mark.parametrize("change", OTHER)
def test_what_makes_another_model(repository: Path, change: str) -> None:
    write_own(repository, "a")
    before = digest(repository)
    OTHER[change](repository / "a")
    assert digest(repository) != before
