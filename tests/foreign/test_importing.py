"""An environment becomes a recipe, and each of its packages has a fate."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from envbuilder import api
from envbuilder.errors import RecipeError
from envbuilder.recipe.importing.convert import Import
from envbuilder.recipe.load import load_recipe
from tests.helpers.environments import environment, pack


def fates(made: Import) -> dict[str, tuple[str, str]]:
    """Text → fate and reason, of each line."""
    return {one.text: (one.fate, one.why) for one in made.remarks if one.text}


def test_an_archive_of_conda_pack(packed: Path, tmp_path: Path, conda_channel: Path) -> None:
    made = api.import_recipe(packed, root=tmp_path)
    recipe = load_recipe(made.recipe)
    assert made.kind == "an archive of conda-pack"
    assert (recipe.name, recipe.triton, recipe.python, recipe.provider) == (
        "env",
        "pytriton-0.7.0",
        "3.11",
        "conda",
    )
    assert recipe.channels == (f"file://{conda_channel}",)
    assert recipe.conda == ("greeting 1.0",)
    assert recipe.dependencies == ("beta==1.0",)
    assert recipe.constraints == ("alpha==1.0",)
    said = fates(made)
    assert said["greeting 1.0"] == ("carried over", "")
    assert said["python-libs 1.0"] == ("left out", "python depends on it; the solver chooses its version")
    assert said["libstdcxx 12.2.0"][0] == "left out"
    assert said["beta==1.0"][0] == "changed"  # it was installed from a file
    assert said["alpha==1.0"] == ("changed", "constraints: alpha==1.0")


def test_what_no_package_brought_and_what_was_changed(prefix: Path, tmp_path: Path) -> None:
    copy = tmp_path / "env"
    shutil.copytree(prefix, copy, symlinks=True)
    site = copy / "lib" / "python3.11" / "site-packages"
    (copy / "opt").mkdir()
    (copy / "opt" / "weights.bin").write_bytes(b"1")
    (site / "beta.py").unlink()
    (site / "beta.py").write_bytes(b"VALUE = 2\n")
    (site / "greeting.py").unlink()
    (site / "greeting.py").write_bytes(b"def main(): pass\n")
    said = fates(api.import_recipe(copy, root=tmp_path))
    assert said["opt/weights.bin"] == ("left out", "belongs to no package")
    changed = "lib/python3.11/site-packages/{}.py"
    assert said[changed.format("beta")] == (
        "left out",
        "changed after beta was installed: a build takes the package's own file",
    )
    assert said[changed.format("greeting")][0] == "left out"
    text = (tmp_path / "recipes" / "env.yaml").read_text()
    assert "opt/weights.bin: belongs to no package" in text


def test_what_was_installed_in_place(venv: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(
        "[build-system]\nrequires = []\nbuild-backend = 'x'\n[project]\nname = 'mine'\nversion = '1'\n"
    )
    info = venv / "lib" / "python3.11" / "site-packages" / "mine-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1\n")
    (info / "RECORD").write_text("mine-1.dist-info/METADATA,,\n")
    (info / "direct_url.json").write_text(f'{{"url": "file://{project}", "dir_info": {{"editable": true}}}}')
    said = fates(api.import_recipe(venv, root=tmp_path))
    assert said["mine==1"] == (
        "left out",
        f"installed in editable mode from {project}: `mine @ ./folder` in the dependencies has it built",
    )


def test_a_tar_of_a_venv(venv: Path, tmp_path: Path) -> None:
    archive = tmp_path / "packed venv.tar"
    subprocess.run(["tar", "-C", venv, "-cf", archive, "."], check=True)
    made = api.import_recipe(archive, root=tmp_path)
    assert made.kind == "an archive of a venv"
    assert made.recipe == tmp_path / "recipes" / "packed-venv.yaml"
    assert load_recipe(made.recipe).provider == "cpython"


def test_torchs_own_wheels_are_left_to_it(tmp_path: Path) -> None:
    info = "lib/python3.11/site-packages/nvidia_cublas_cu12-12.6.4.dist-info"
    tree = environment() | {
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: nvidia-cublas-cu12\nVersion: 12.6.4\n"
    }
    made = api.import_recipe(pack(tree, tmp_path), root=tmp_path)
    assert fates(made)["nvidia-cublas-cu12==12.6.4"] == ("left out", "determined by the build of torch")
    recipe = load_recipe(made.recipe)
    assert (recipe.torch, recipe.cuda) == ("2.13.0", "cpu")


def test_an_archive_of_a_build(tmp_path: Path) -> None:
    tree = environment()
    with pytest.raises(RecipeError, match="contains no environment made by another tool"):
        api.import_recipe(pack(tree, tmp_path, listed=tree), root=tmp_path)


def test_what_a_recipe_cannot_name_is_taken_from_an_index(tmp_path: Path) -> None:
    tree = environment() | {"conda-meta/bad-1-0.json": b"{"}
    for name, url, more in (
        ("alpha", "https://x.org/alpha", '"vcs_info": {"vcs": "svn", "commit_id": "12"}'),
        ("beta", "http://x.org/beta-1.0.tar.gz", '"archive_info": {}'),
        ("gamma", "https://x.org/gamma-1.0-py3-none-any.whl", '"archive_info": {}'),
    ):
        folder = f"lib/python3.11/site-packages/{name}-1.0.dist-info"
        tree[f"{folder}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode()
        tree[f"{folder}/direct_url.json"] = f'{{"url": "{url}", {more}}}'.encode()
    made = api.import_recipe(pack(tree, tmp_path), root=tmp_path)
    assert load_recipe(made.recipe).dependencies[:3] == (
        "alpha==1.0",
        "beta==1.0",
        "gamma @ https://x.org/gamma-1.0-py3-none-any.whl",
    )
    why = fates(made)["beta==1.0"]
    assert why == (
        "changed",
        "taken from an index in the same version: it was installed from beta-1.0.tar.gz",
    )
    assert any("conda-meta/bad-1-0.json: is not JSON" in one.why for one in made.remarks)
