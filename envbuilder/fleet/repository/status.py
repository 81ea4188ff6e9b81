"""``envbuilder status``: each model of a repository, its environment, and what is known of that."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from envbuilder.archive.names import ARCHIVE
from envbuilder.config.models import read_rules
from envbuilder.deployment.environments import read_environment
from envbuilder.errors import EnvbuilderError
from envbuilder.fleet.repository.environments import disk_size, inventory_at, place_of
from envbuilder.fleet.repository.releases import fitting_releases, spans
from envbuilder.fleet.repository.survey import Model, model_digest, survey
from envbuilder.fleet.repository.verified import read_verified
from envbuilder.inventory.audit import Audit, audit
from envbuilder.lockfile.check import check_lock
from envbuilder.lockfile.digest import lock_digest
from envbuilder.store.session import Session
from envbuilder.util.text import human


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelStatus:
    """What is known of one model."""

    model: str
    state: str
    """``deployed``, ``not deployed``, ``untouched`` or ``broken``."""
    reason: str | None = None
    """Why it is untouched or broken."""
    environment: str | None = None
    """The name of its environment."""
    sha256: str | None = None
    """Of its archive; of an unpacked environment, of its manifest."""
    recipe: str | None = None
    lock: str | None = None
    """``current``; ``another``: the environment is not of the lock; or why there is none."""
    releases: tuple[str, ...] = ()
    """Those that its manifest fits, see :mod:`envbuilder.fleet.repository.releases`."""
    verified: str | None = None
    """When, with which server, and what was found."""
    advisories: tuple[str, ...] | None = None
    """None: no database is configured."""
    shared_size: int = 0
    """Bytes on disk that other models use, too."""
    own_size: int = 0
    """Bytes on disk of its folder, and of an environment that no other model uses."""

    def cells(self) -> tuple[str, ...]:
        """Return it as a row of a table."""
        if self.environment is None:
            return (
                self.model,
                self.state,
                self.recipe or "-",
                "-",
                "-",
                "-",
                "-",
                human(self.own_size),
                self.reason or "",
            )
        advisories = (
            "?" if self.advisories is None else str(len(self.advisories)) if self.advisories else "none"
        )
        return (
            self.model,
            self.environment,
            self.recipe or "-",
            self.lock or "-",
            spans(self.releases),
            self.verified or "never",
            advisories,
            f"{human(self.own_size)} + {human(self.shared_size)} shared",
            ", ".join(self.advisories or ()),
        )  # fmt: skip


def status(
    repository: Path, session: Session, *, archives: Path = Path("envs"), advisories: Path | None = None
) -> list[ModelStatus]:
    """Return what is known of each model of *repository*.

    *archives* is the folder that they were built into, beside which verifications are kept; *advisories* a database of
    OSV records (None: the one that envbuilder.toml names, if it does).

    Raises:
        DeployError: the repository cannot be read.
        RecipeError: ``[models]`` says what cannot be, or there is no such database.
    """
    here = session.at(Path.cwd(), remote=False)
    models = survey(repository, read_rules(Path.cwd(), repository.absolute()))
    places = {model.name: None if model.left is not None else place_of(model) for model in models}
    users: dict[str, int] = {}
    for place in places.values():
        if isinstance(place, Path):
            users[str(place)] = users.get(str(place), 0) + 1
    database = advisories or here.settings.advisories
    known: dict[str, _Environment] = {}
    for place in places.values():
        if isinstance(place, Path) and str(place) not in known:
            known[str(place)] = _read(place, database)
    return [_status(model, places[model.name], users, known, archives) for model in models]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Environment:
    sha256: str | None
    recipe: str | None = None
    lock_digest: str | None = None
    releases: tuple[str, ...] = ()
    found: Audit | None = None
    size: int = 0
    problem: str | None = None


def _read(place: Path, database: Path | None) -> _Environment:
    size = disk_size(place)
    try:
        manifest, sha256 = read_environment(place)
        found = audit(inventory_at(place), database) if database is not None else None
    except EnvbuilderError as error:
        return _Environment(sha256=None, size=size, problem=error.message)
    return _Environment(
        sha256=sha256,
        recipe=manifest.recipe,
        lock_digest=manifest.lock_digest,
        releases=fitting_releases(manifest),
        found=found,
        size=size,
    )


def _status(
    model: Model,
    place: Path | EnvbuilderError | None,
    users: Mapping[str, int],
    known: Mapping[str, _Environment],
    archives: Path,
) -> ModelStatus:
    own, recipe = disk_size(model.folder), model.recipe.name if model.recipe else None
    if model.error is not None:
        said = " ".join(model.error.message.split())
        return ModelStatus(model=model.name, state="broken", reason=said, own_size=own)
    if place is None:
        state = "untouched" if model.left else "not deployed"
        return ModelStatus(model=model.name, state=state, reason=model.left, recipe=recipe, own_size=own)
    if isinstance(place, EnvbuilderError):
        return ModelStatus(
            model=model.name, state="broken", reason=place.message, recipe=recipe, own_size=own
        )
    found = known[str(place)]
    inside = place.is_relative_to(os.path.realpath(model.folder))
    used_by_others = users[str(place)] > 1
    return ModelStatus(
        model=model.name,
        state="broken" if found.problem else "deployed",
        reason=found.problem,
        environment=place.name,
        sha256=found.sha256,
        recipe=found.recipe or recipe,
        lock=_lock_state(model, found),
        releases=found.releases,
        verified=_verified(model, place, found, archives),
        advisories=_advisories(found.found),
        shared_size=found.size if used_by_others else 0,
        own_size=own + (found.size if not inside and not used_by_others else 0),
    )


def _lock_state(model: Model, found: _Environment) -> str:
    if model.recipe is None:
        return "no recipe"
    try:
        lock = check_lock(model.recipe)
    except EnvbuilderError as error:
        return "stale" if "changed since" in error.message else "not locked"
    return "current" if lock_digest(lock) == found.lock_digest else "another"


def _verified(model: Model, place: Path, found: _Environment, archives: Path) -> str | None:
    named = ARCHIVE.fullmatch(place.name)
    if found.sha256 is None or named is None:
        return None
    candidates = [
        archives / f"{named['stem'].removeprefix('env-')}-{named['digest']}{suffix}"
        for suffix in (".tar.gz", ".tar")
    ]
    for archive in candidates:
        try:
            one = read_verified(archive, found.sha256).get(model_digest(model))
        except EnvbuilderError:
            return None
        if one is not None:
            outcome = "passed" if one.passed else f"failed: {', '.join(one.failed)}"
            return f"{one.time[:10]}, {one.server or 'no server'}: {outcome}"
    return None


def _advisories(found: Audit | None) -> tuple[str, ...] | None:
    if found is None:
        return None
    return tuple(f"{one.id} ({one.component.name} {one.component.version})" for one in found.counting)
