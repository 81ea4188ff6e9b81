"""The recipe that an environment file becomes, and that it locks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from envbuilder import api
from envbuilder.cli import cli
from envbuilder.errors import RecipeError
from envbuilder.recipe.importing.convert import Choices, make_recipe, recipe_name
from envbuilder.recipe.importing.detect import read_import
from envbuilder.recipe.load import load_recipe
from tests.helpers.conda_parts import fake_cut
from tests.helpers.conda_project import Project
from tests.recipe.importing.conftest import becomes, dependencies, imported

ROOT = Path(__file__).parents[3]


TORCH = "pytorch=2.7.1", "cpuonly"


def test_a_whole_file(tmp_path: Path) -> None:
    text = dependencies("python=3.12", "pytorch=2.7.1=*cuda126*", "ffmpeg>=6", "gxx", "pip", "pip: [einops]")
    values, said = imported(tmp_path, text, triton="25.06")
    assert values == {
        "triton": "25.06",
        "torch": "2.7.1",
        "cuda": "cu126",
        "provider": "conda",
        "channels": ["conda-forge"],
        "conda": ["pytorch", "ffmpeg>=6"],
        "compiler": "bundled",
        "dependencies": ["einops"],
    }
    assert said == [
        '5: pytorch=2.7.1=*cuda126*: torch: "2.7.1", cuda: cu126',
        "7: gxx: compiler: bundled",
        "8: pip: wheels are installed without pip; add it with `conda: [pip]`",
    ]


def test_a_file_that_says_no_release(tmp_path: Path) -> None:
    values, said = imported(tmp_path, dependencies(*TORCH))
    assert values["triton"] == "pytriton-0.7.0"
    assert said[0].endswith(
        " sets no Triton release: triton: pytriton-0.7.0; --triton names a different release"
    )


def test_local_wheels_are_named_from_where_the_recipe_lies(tmp_path: Path) -> None:
    (tmp_path / "w-1.0-py3-none-any.whl").touch()
    values, _ = imported(tmp_path, dependencies(*TORCH, "pip: [./w-1.0-py3-none-any.whl]"), triton="25.06")
    assert values["dependencies"] == ["../w-1.0-py3-none-any.whl"]


def test_names(tmp_path: Path) -> None:
    for text, name in [("My Env!", "My-Env"), ("x/y", "x-y"), ("...", "environment")]:
        path = tmp_path / "e.yml"
        path.write_text(f"name: '{text}'\ndependencies: []\n")
        assert recipe_name(read_import(path)) == name


def test_the_environment_file_of_this_project(tmp_path: Path) -> None:
    found = make_recipe(read_import(ROOT / "environment.yml"), tmp_path, Choices(triton="25.06"))
    path = tmp_path / "own.yaml"
    path.write_text(found.text)
    recipe = load_recipe(path)
    assert (recipe.provider, recipe.channels, recipe.compiler) == ("conda", ("conda-forge",), "bundled")
    assert recipe.conda == ("git",)


def test_what_was_imported_is_locked(conda_project: Project) -> None:
    conda_project.publish(fake_cut("tool", "2.0"))
    path = conda_project.folder / "environment.yml"
    own = conda_project.folder / "own"
    path.write_text(
        f"name: there\nchannels:\n  - {own}\n  - {conda_project.channel}\ndependencies:\n"
        "  - python=3.11\n  - tool=2\n  - pip:\n    - torch==2.7.1+cpu\n    - numpy<2\n"
    )
    made = api.import_recipe(path, choices=Choices(triton="pytriton-0.7.0"), root=conda_project.folder)
    assert made.recipe == conda_project.folder / "recipes" / "there.yaml"
    lock = conda_project.lock(load_recipe(made.recipe)).lock
    assert lock.conda is not None
    assert {"python", "tool"} <= {package.name for package in lock.conda.packages}
    assert {wheel.name: wheel.version for wheel in lock.artifacts} == {
        "numpy": "1.26.4",
        "torch": "2.7.1+cpu",
    }


def test_specs_of_a_folder_and_of_a_build_are_locked(conda_project: Project) -> None:
    conda_project.publish(
        fake_cut("tool"),
        fake_cut("tool", "2.0"),
        fake_cut("pinned", build="py310_0"),
        fake_cut("pinned", build="py311_0"),
    )
    path = conda_project.folder / "environment.yml"
    path.write_text(
        f"name: there\nchannels: [./own, ./elsewhere/own, {conda_project.channel}]\ndependencies:\n"
        "  - python=3.11\n  - own::tool=1\n  - pinned=1.0=py311_0\n  - pip: [torch==2.7.1+cpu]\n"
    )
    made = api.import_recipe(path, root=conda_project.folder)
    assert [f"{one.text}: {one.why}" for one in made.remarks if one.fate == "left out"] == [
        "./elsewhere/own: there is a channel own already"
    ]
    lock = conda_project.lock(load_recipe(made.recipe)).lock
    assert lock.conda is not None
    found = {package.name: (package.version, package.build) for package in lock.conda.packages}
    assert (found["tool"], found["pinned"]) == (("1.0", "0"), ("1.0", "py311_0"))


@pytest.mark.parametrize(
    ("lines", "torch", "cuda"),
    [
        (
            ['torch==2.6.0+cpu; sys_platform=="darwin"', 'torch==2.7.1; sys_platform=="linux"'],
            "2.7.1",
            "pypi",
        ),
        (['torch==2.6.0; sys_platform=="win32"', "six"], "2.13.0", "cpu"),
        (['torchvision==0.16.0+cu121; sys_platform=="win32"', "six"], "2.13.0", "cpu"),
        # 3.12 is the newest Python, and torch 2.1.0 has no wheels for it.
        (['torch==2.1.0; python_version<"3.13"'], "2.1.0", "pypi"),
        (['torch==2.1.0; python_version>="3.12"', 'torch==2.5.1; python_version<"3.12"'], "2.5.1", "pypi"),
    ],
)
def test_only_lines_that_hold_on_a_server_choose_torch(
    tmp_path: Path, lines: list[str], torch: str, cuda: str
) -> None:
    values, fates = becomes(tmp_path, {"requirements.txt": "".join(f"{line}\n" for line in lines)})
    assert (values["torch"], values["cuda"]) == (torch, cuda)
    other = [line for line in fates if "win32" in line or "darwin" in line]
    assert all(": not for CPython 3.12 on Linux, x86-64" in line for line in other)


def test_the_recipe_has_the_python_that_its_lines_hold_with(tmp_path: Path) -> None:
    text = 'torch==2.1.0; python_version>="3.12"\ntorch==2.5.1; python_version<"3.12"\n'
    values, fates = becomes(tmp_path, {"requirements.txt": text})
    assert (values["torch"], values["python"]) == ("2.5.1", "3.11"), "2.1.0 has no wheels for 3.12"
    assert fates == [
        'changed: its lines for torch differ by Python: python: "3.11"; choose another with --python',
        'left out: 1: torch==2.1.0; python_version>="3.12": not for CPython 3.11 on Linux, x86-64',
        'changed: 2: torch==2.5.1; python_version<"3.12": torch: "2.5.1", cuda: pypi',
    ]


def test_a_line_has_one_fate(tmp_path: Path) -> None:
    text = 'Cython<3; python_version<"3.8" --hash=sha256:00\nsix --hash=sha256:00\n'
    _, fates = becomes(tmp_path, {"requirements.txt": text})
    assert fates[2:] == [
        'left out: 1: Cython<3; python_version<"3.8" --hash=sha256:00: not for CPython 3.12 on Linux, x86-64',
        "changed: 2: six --hash=sha256:00: six: its hashes are those of the lock",
    ]
    text = "channels: [a, b]\ndependencies:\n  - numpy  # [linux and py310]\n  - pip: [torch==2.7.1]\n"
    _, fates = becomes(tmp_path, {"environment.yml": text})
    assert [line for line in fates if "numpy" in line] == [
        "changed: 3: numpy: included, whatever its selector [linux and py310] says"
    ]


def test_channels_on_one_line_each_have_a_fate(tmp_path: Path) -> None:
    text = "channels: [conda-forge, 'https://me:secret@example.org/own']\ndependencies: [ffmpeg]\n"
    _, fates = becomes(tmp_path, {"environment.yml": text})
    assert "carried over: 1: conda-forge" in fates


def test_requirements_on_one_line_are_told_apart(tmp_path: Path) -> None:
    text = "channels: [conda-forge]\ndependencies: [numpy=1.26.0, pip: [numpy, six, torch==2.7.1]]\n"
    values, _ = becomes(tmp_path, {"environment.yml": text})
    assert (values["conda"], values["dependencies"]) == (["numpy=1.26.0"], ["six"])


def test_versions_that_contradict_each_other(tmp_path: Path) -> None:
    text = "six==1.16.0\nsix==1.17.0\nsix<2\nidna==3.10\n-c limits.txt\n"
    values, fates = becomes(tmp_path, {"requirements.txt": text, "limits.txt": "idna<3\n"})
    assert values["dependencies"] == ["six==1.16.0", "six<2", "idna==3.10"]
    assert "constraints" not in values
    assert [line for line in fates if "clash" in line] == [
        "left out: 2: six==1.17.0: clash: six==1.16.0 is taken, pip would refuse both",
        "left out: 1: idna<3: clash: idna==3.10 is taken, pip would refuse both",
    ]


def test_a_torch_that_is_no_version(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="'newest' is not a version of torch"):
        becomes(tmp_path, {"requirements.txt": "six\n"}, torch="newest")


def test_an_environment_has_no_groups(tmp_path: Path) -> None:
    (tmp_path / "conda-meta").mkdir()
    with pytest.raises(
        RecipeError, match="has no group or extra 'fast': it is an environment, not a project"
    ):
        api.import_recipe(tmp_path, "x", root=tmp_path, groups=["fast"])


# -- the command -----------------------------------------------------------------------------------


def call(folder: Path, monkeypatch: pytest.MonkeyPatch, *args: str) -> Result:
    monkeypatch.chdir(folder)
    return CliRunner().invoke(cli, ["import", *args])


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "environment.yml").write_text(
        "name: video\nchannels: [conda-forge]\ndependencies: [pytorch=2.7.1, cpuonly, pip]\n"
    )
    done = call(tmp_path, monkeypatch, "environment.yml", "--triton", "25.06")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [
        "wrote recipes/video.yaml from a conda environment file",
        "              found          became, or why not                                            line",
        "carried over  conda-forge                                                                     2",
        "changed       cpuonly        cuda: cpu                                                        3",
        'changed       pytorch=2.7.1  torch: "2.7.1", cuda: cpu                                        3',
        "left out      pip            wheels are installed without pip; add it with `conda: [pip]`     3",
    ]
    assert done.stderr == "next: envbuilder lock video\n"
    again = call(tmp_path, monkeypatch, "environment.yml", "--triton", "25.06")
    assert again.exit_code == 2
    assert "recipes/video.yaml already exists" in again.output
    done = call(tmp_path, monkeypatch, "environment.yml", "other.yaml", "--cuda", "cu126", "--json")
    said = json.loads(done.stdout)
    assert said["recipe"] == "other.yaml"
    (left_out,) = [one for one in said["remarks"] if one["fate"] == "left out"]
    assert (left_out["place"], left_out["text"]) == ("environment.yml:3", "pip")


def test_what_cannot_be_a_recipe_is_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "environment.yml").write_text("dependencies: [pytorch=2.7.1]\n")
    done = call(tmp_path, monkeypatch, "environment.yml", "x", "--cuda", "cu999x")
    assert done.exit_code == 2
    assert "cuda" in done.output
    assert list((tmp_path / "recipes").glob("*.yaml")) == []
    with pytest.raises(RecipeError, match=r"unknown Triton release '1\.0'"):
        api.import_recipe(tmp_path / "environment.yml", choices=Choices(triton="1.0"), root=tmp_path)
