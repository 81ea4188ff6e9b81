"""Check that a lock is up to date with its recipe, without solver or network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from envbuilder.config.settings import Settings
from envbuilder.errors import StaleLockError
from envbuilder.lockfile.model import WHEELHOUSE, Lock
from envbuilder.lockfile.pylock import lock_path, read_lock
from envbuilder.recipe.model import Recipe
from envbuilder.util.files import file_sha256
from envbuilder.util.source_tree import tree_digest


def with_wheelhouse(recipe: Recipe, settings: Settings) -> Settings:
    """Return *settings* with the files next to the recipe: its wheelhouse, the folders of its local wheels.

    For fetching, where only hashes count. A lock is resolved without them, or a wheelhouse once filled would
    hold every version back.
    """
    folders = [
        lock_path(recipe).parent / WHEELHOUSE,
        *(path.parent for path in _local(recipe).values() if path.suffix == ".whl"),
    ]
    links = [str(folder) for folder in folders if folder.is_dir()]
    return replace(settings, find_links=tuple(dict.fromkeys([*settings.find_links, *links])))


def _local(recipe: Recipe) -> dict[str, Path]:
    """Return the wheels and folders that the recipe names by their path, by project."""
    requirements = [Requirement(text) for text in recipe.dependencies]
    return {
        canonicalize_name(requirement.name): Path(url2pathname(urlsplit(requirement.url).path))
        for requirement in requirements
        if requirement.url is not None and requirement.url.startswith("file:")
    }


def check_lock(recipe: Recipe) -> Lock:
    """Return the lock of *recipe* if it is up to date. Needs no network.

    Raises:
        StaleLockError: it is missing, or the recipe or the release's requirements changed since.
        IntegrityError: the lock was edited or is broken.
    """
    path = lock_path(recipe)
    if not path.exists():
        raise StaleLockError(
            f"recipe {recipe.name} is not locked: there is no {path}", hint=recipe.lock_command
        )
    lock = read_lock(path)
    if lock.recipe != recipe.name:
        raise StaleLockError(
            f"{path}: is the lock of recipe {lock.recipe}, not of {recipe.name}",
            hint=recipe.lock_command,
        )
    if lock.recipe_digest != recipe.digest():
        raise StaleLockError(
            f"{path}: {recipe.path.name} changed since it was locked", hint=recipe.lock_command
        )
    hashes, built = {artifact.name: artifact.sha256 for artifact in lock.artifacts}, dict(lock.built)
    for name, local in _local(recipe).items():
        if local.suffix == ".whl":
            current = file_sha256(local) == hashes.get(name)
        else:
            current = f"folder:{tree_digest(local)}" == built.get(name)
        if not current:
            raise StaleLockError(
                f"{path}: {local.name} changed since it was locked", hint=recipe.lock_command
            )
    return lock
