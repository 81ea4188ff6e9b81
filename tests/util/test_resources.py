from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from envbuilder.recipe.load import load_recipe
from envbuilder.util import resources
from tests.conftest import REPOSITORY


def test_in_a_checkout_they_are_its_own_files() -> None:
    assert resources.runtime_file() == REPOSITORY / "runtime" / "model.py"
    assert resources.shipped_recipes() == REPOSITORY / "recipes"
    assert resources.sample_model() == REPOSITORY / "tests" / "models" / "mlp"
    assert resources.runtime_file().is_file()
    engine = REPOSITORY / "runtime" / "_torch_runtime" / "engine.py"
    assert resources.runtime_package()["_torch_runtime/engine.py"] == engine
    assert (resources.sample_model() / "config.pbtxt").is_file()


def test_in_an_installation_they_are_inside_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "envbuilder" / "_data"
    for name in ("runtime", "recipes", "models/mlp"):
        (data / name).mkdir(parents=True)
    monkeypatch.setattr(resources, "PACKAGE", tmp_path / "envbuilder")
    assert resources.runtime_file() == data / "runtime" / "model.py"
    assert resources.shipped_recipes() == data / "recipes"
    assert resources.sample_model() == data / "models" / "mlp"


@pytest.mark.parametrize("path", sorted((REPOSITORY / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_no_shipped_recipe_names_a_place_of_the_checkout(path: Path) -> None:
    assert load_recipe(path).verify.model is None


@pytest.mark.slow
@pytest.mark.network
def test_the_wheel_works_by_itself(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    tracked = subprocess.run(
        ["git", "-C", REPOSITORY, "ls-files", "-z"], check=True, capture_output=True, text=True
    ).stdout.split("\0")
    for name in filter(None, tracked):
        if (REPOSITORY / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((REPOSITORY / name).read_bytes())
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, source],
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        names = opened.namelist()
        site = tmp_path / "site"
        opened.extractall(site)

    assert {name.partition("/")[0] for name in names} == {
        "envbuilder",
        f"{'-'.join(wheel.name.split('-')[:2])}.dist-info",
    }
    data = site / "envbuilder" / "_data"
    inside = {
        "recipes": REPOSITORY / "recipes",
        "runtime": REPOSITORY / "runtime",
        "models/mlp": REPOSITORY / "tests" / "models" / "mlp",
    }
    for name, original in inside.items():
        files = {
            path.relative_to(original).as_posix(): path.read_bytes()
            for path in original.rglob("*")
            if path.is_file() and str(path.relative_to(REPOSITORY)) in tracked
        }
        found = {p.relative_to(data / name).as_posix(): p for p in (data / name).rglob("*") if p.is_file()}
        assert {path: file.read_bytes() for path, file in found.items()} == files

    # Its own libraries are those of this environment; the package is the wheel's, not the checkout's.
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1))\n"
        "from envbuilder.util import resources\n"
        "from envbuilder.cli import main\n"
        "assert '_data' in resources.runtime_file().parts and resources.runtime_file().is_file()\n"
        "assert 'engine.py' in {path.name for path in resources.runtime_package().values() if '_data' in path.parts}\n"
        "main()"
    )
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    checked = subprocess.run(
        [sys.executable, "-I", "-c", code, site, "lock", "--check", data / "recipes" / "cpu.yaml"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout.startswith("site/envbuilder/_data/recipes/pylock.cpu.toml: current, ")
