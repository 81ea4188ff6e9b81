"""``dependencies``, ``constraints`` and ``build-from-source``, one by one."""

from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.errors import RecipeError
from envbuilder.recipe.load import load_recipe
from envbuilder.recipe.model import Recipe

PLAIN = 'triton: "25.06"\ntorch: "2.7.1"\ncuda: cpu\n'


def load(folder: Path, more: str) -> Recipe:
    (folder / "recipes").mkdir(exist_ok=True)
    path = folder / "recipes" / "mine.yaml"
    path.write_text(PLAIN + more)
    return load_recipe(path)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "pyproject.toml").write_text('[project]\nname = "My_Own"\n')
    (tmp_path / "requirements.txt").write_text("numpy<3  # why\n-c limits.txt\n-e ./own\n--no-binary odd\n")
    (tmp_path / "limits.txt").write_text("urllib3<2\n")
    return tmp_path


def test_a_requirements_file(project: Path) -> None:
    recipe = load(project, 'dependencies: ["-r ../requirements.txt", pillow]\n')
    assert recipe.dependencies == ("numpy<3", f"My_Own @ file://{project}/own", "pillow")
    assert (recipe.constraints, recipe.build_from_source) == (("urllib3<2",), ("odd",))
    assert load(project, 'constraints: ["-r ../limits.txt", "idna<3"]\n').constraints == (
        "urllib3<2",
        "idna<3",
    )


@pytest.mark.parametrize("text", ["../own", "My_Own @ ../own", "my-own @ ../own/"])
def test_a_local_project(project: Path, text: str) -> None:
    (found,) = load(project, f'dependencies: ["{text}"]\n').dependencies
    assert found.partition(" @ ")[2] == f"file://{project}/own"


def test_extras_of_a_local_project(project: Path) -> None:
    (found,) = load(project, 'dependencies: ["my-own[fast] @ ../own"]\n').dependencies
    assert found == f"my-own[fast] @ file://{project}/own"


NOTHING = "constraints: []\nprereleases: false\nbuild-from-source: []\nexclude-dependencies: []\n"


def test_what_is_not_said_leaves_the_digest_as_it_was(project: Path) -> None:
    plain = load(project, "").digest()
    assert load(project, NOTHING).digest() == plain
    said = {
        load(project, more).digest()
        for more in (
            "constraints: [a<1]",
            "prereleases: true",
            "build-from-source: [a]",
            "exclude-dependencies: [a]",
        )
    }
    assert len({plain, *said}) == 5


def test_what_others_require_may_be_left_out(project: Path) -> None:
    recipe = load(
        project, "dependencies: [albumentations]\nexclude-dependencies: [OpenCV_Python, opencv-python]\n"
    )
    assert recipe.exclude_dependencies == ("opencv-python",)


@pytest.mark.parametrize(
    ("more", "message", "hint"),
    [
        (
            'dependencies: ["-r gone.txt"]',
            "-r gone.txt: {folder}/recipes/gone.txt cannot be read: No such file or directory",
            "at {folder}/recipes/mine.yaml:4",
        ),
        (
            'dependencies: ["-r ../bad.txt"]',
            "hg+https://example.org/x: expected a git reference (git+https: or git+ssh:)",
            "at {folder}/recipes/../bad.txt:1",
        ),
        (
            'dependencies: ["-r ../torch.txt"]',
            "{folder}/recipes/../torch.txt:1: torch among the requirements",
            "set its version with `torch`, and its build with `cuda`",
        ),
        ('dependencies: ["../gone"]', "'../gone': there is no folder {folder}/gone", None),
        (
            'dependencies: ["other @ ../own"]',
            "'other @ ../own': the project in {folder}/own is called My_Own",
            None,
        ),
        (
            'dependencies: ["x @ ../limits.txt"]',
            "'x @ ../limits.txt' is neither a wheel nor a folder, and only wheels can be pinned by hash",
            "build a wheel of it",
        ),
        (
            'constraints: ["x @ https://example.org/x.whl"]',
            "'x @ https://example.org/x.whl': a constraint sets versions only, without a place or extras",
            None,
        ),
        (
            'constraints: ["torch<3"]',
            "torch among `constraints`",
            "set its version with `torch`, and its build with `cuda`",
        ),
        ('constraints: ["="]', "'=' is not a constraint: ", None),
        ('build-from-source: ["a b"]', "`build-from-source` has 'a b'; expected a project's name", None),
        (
            'exclude-dependencies: ["a<2"]',
            "`exclude-dependencies` has 'a<2'; expected a project's name",
            None,
        ),
        (
            "exclude-dependencies: [NumPy]",
            "`exclude-dependencies` has numpy, without which no server runs a model",
            None,
        ),
        (
            "exclude-dependencies: [A.b]\ndependencies: ['a_b>1']",
            "a-b is in `dependencies` and in `exclude-dependencies`",
            "remove one of the two",
        ),
    ],
)
def test_what_is_refused(project: Path, more: str, message: str, hint: str | None) -> None:
    (project / "bad.txt").write_text("hg+https://example.org/x\n")
    (project / "torch.txt").write_text("torch\n")
    with pytest.raises(RecipeError) as raised:
        load(project, more + "\n")
    place = f"{project}/recipes/mine.yaml:4: "
    assert raised.value.message.startswith(place + message.replace("{folder}", str(project)))
    assert raised.value.hint == (hint and hint.replace("{folder}", str(project)))
