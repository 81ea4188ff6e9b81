"""A recipe, its lock and a wheelhouse, to be built by the command line from whatever wheels a test writes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from envbuilder.base.interpreter import Interpreter, describe
from envbuilder.lockfile.model import Artifact
from envbuilder.lockfile.pylock import lock_path, write_lock
from envbuilder.recipe.load import load_recipe
from tests.helpers.hostile import Outcome, Room
from tests.helpers.small import little
from tests.helpers.wheels import small_lock


def write_project(folder: Path, artifacts: Iterable[Artifact], interpreter: Interpreter) -> None:
    """Write ``recipes/small.yaml``, a lock of *artifacts*, and settings that know ``wheels`` only, into *folder*."""
    recipes = folder / "recipes"
    recipes.mkdir(parents=True, exist_ok=True)
    exclude = json.dumps([*(little(interpreter).exclude or ())])
    (recipes / "small.yaml").write_text(
        f'triton: pytriton-0.7.0\npython: "3.11"\ntorch: "2.13.0"\ncuda: cpu\npack: {{exclude: {exclude}}}\n'
    )
    (folder / "envbuilder.toml").write_text('no-index = true\nfind-links = ["wheels"]\n')
    recipe = load_recipe(recipes / "small.yaml")
    write_lock(small_lock(recipe, list(artifacts), describe(interpreter)), lock_path(recipe))


def build(room: Room) -> Outcome:
    """Build the project in the room's working directory; the archive goes to ``work/envs``."""
    return room.run("build", "small", "--quiet")


def fill_store(room: Room, store: Path) -> None:
    """Give the room the content of *store*, in links: the base of an environment takes a second to make."""
    shutil.rmtree(room.store)
    shutil.copytree(store, room.store, copy_function=os.link)
