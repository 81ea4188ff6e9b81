"""Where what is to be patched is: locks, archives, deployed environments, aliases and images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from envbuilder.errors import DeployError, EnvbuilderError
from envbuilder.fetch.beside import with_files_beside
from envbuilder.fleet.patching.holdings import Holding, Outdated, Pointing, held_by, held_in, labels_of
from envbuilder.fleet.patching.images import images_in_layouts
from envbuilder.fleet.patching.pointing import Targets, Unanswered, images_of
from envbuilder.fleet.patching.rows import PatchedRecipe, label, relative
from envbuilder.fleet.patching.subject import Subject
from envbuilder.fleet.plan import Job
from envbuilder.fleet.repository.built import find_of_lock
from envbuilder.fleet.repository.environments import Inventories, place_of
from envbuilder.fleet.repository.survey import Model
from envbuilder.lockfile.check import check_lock
from envbuilder.lockfile.digest import lock_digest
from envbuilder.recipe.model import Recipe
from envbuilder.store.session import Session


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """Where to look."""

    recipes: Sequence[Recipe]
    models: Sequence[Model]
    """The models of the repositories."""
    archives: Path
    images: tuple[str, ...] = ()
    """References of images in registries."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """What was found."""

    holdings: tuple[Holding, ...]
    rows: tuple[PatchedRecipe, ...]
    """Rows of what relocking cannot fix: what cannot be read or examined, and what contains it without a recipe."""
    inventories: Inventories


@dataclass(kw_only=True, slots=True)
class _Found:
    """A recipe, and what was found so far."""

    holding: Holding
    session: Session
    digest: str
    """The digest of its lock."""
    aliases: list[Pointing] = field(default_factory=list)
    images: list[Pointing] = field(default_factory=list)
    layouts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.holding.job.recipe.name


def search(subject: Subject, scope: Scope, session: Session) -> Search:
    """Find everything that holds *subject*. Nothing is written."""
    inventories = Inventories()
    rows: list[PatchedRecipe] = []
    outdated: dict[Path, list[Outdated]] = {}
    for found in _deployed(subject, scope.models, inventories):
        if isinstance(found, Outdated) and found.model.recipe is not None:
            outdated.setdefault(found.model.recipe.path, []).append(found)
        else:
            rows.append(_without_recipe(found) if isinstance(found, Outdated) else found)
    every: list[_Found] = []
    for recipe in scope.recipes:
        try:
            every.append(_of_recipe(subject, recipe, scope, session, inventories))
        except EnvbuilderError as error:
            path = recipe.path
            rows.append(PatchedRecipe(recipe=label(path), state="refused", error=error, path=path))
    targets = Targets(subject, inventories, scope.archives)
    _add_aliases(every, targets)
    rows += _add_images(every, targets, scope, session)
    _add_layouts(every, scope.archives)
    holdings = []
    for one in every:
        path = one.holding.job.recipe.path
        holding = replace(
            one.holding,
            outdated=tuple(outdated.get(path, ())),
            aliases=tuple(one.aliases),
            images=tuple(one.images),
            layouts=tuple(one.layouts),
            notes=tuple(one.notes),
        )
        if holding.held or holding.outdated or holding.aliases or holding.images:
            holdings.append(holding)
        elif one.notes:
            rows.append(
                PatchedRecipe(recipe=label(path), state="not searched", notes=holding.notes, path=path)
            )
    return Search(holdings=tuple(holdings), rows=tuple(rows), inventories=inventories)


def _deployed(
    subject: Subject, models: Iterable[Model], inventories: Inventories
) -> Iterator[Outdated | PatchedRecipe]:
    """Yield the models whose environment contains it, and rows of models for which that cannot be determined."""
    for model in models:
        place = place_of(model) if model.config is not None else model.error
        problem: EnvbuilderError | None = None
        if isinstance(place, Path):
            try:
                held = held_in(subject, inventories.of(place))
                if held:
                    yield Outdated(model=model, environment=place.name, held=held)
            except EnvbuilderError as error:
                problem = error
        else:
            problem = place
        if problem is not None:
            notes = (f"its environment was not searched: {' '.join(problem.message.split())}",)
            folder = model.folder
            yield PatchedRecipe(recipe=relative(folder), state="not searched", notes=notes, path=folder)


def _without_recipe(found: Outdated) -> PatchedRecipe:
    model, said = found.model, labels_of(found.held)
    error = model.error or DeployError(
        f"{model.name} is deployed with {found.environment}, which holds {', '.join(said)}, and has no recipe",
        hint="name its recipe in [models] of envbuilder.toml, and run `envbuilder patch` again",
    )
    return PatchedRecipe(
        recipe=relative(model.folder),
        state="refused",
        found=said,
        models=(model.name,),
        error=error,
        path=model.folder,
    )


def _of_recipe(
    subject: Subject, recipe: Recipe, scope: Scope, session: Session, inventories: Inventories
) -> _Found:
    there = with_files_beside(recipe, session.at(recipe.path.parent))
    job = Job(recipe=recipe, lock=check_lock(recipe), settings=there.settings)
    archive = find_of_lock(job, there, scope.archives)
    inventory = None if archive is None else inventories.of(archive)
    holding = Holding(
        job=job,
        held=held_by(subject, job.lock, inventory, archive),
        archive=archive,
        inventory=inventory,
        models=tuple(
            one for one in scope.models if one.recipe is not None and one.recipe.path == recipe.path
        ),
    )
    found = _Found(holding=holding, session=there, digest=lock_digest(job.lock))
    if archive is None:
        found.notes.append(
            f"not looked inside: {scope.archives} has no archive of its lock (`envbuilder build {label(recipe.path)}`)"
        )
    return found


def _owner(every: Sequence[_Found], recipe: str, digest: str) -> _Found | None:
    """Return the recipe that an archive is of: of several of one name, the one with its lock."""
    named = [one for one in every if one.name == recipe]
    return next((one for one in named if one.digest == digest), next(iter(named), None))


def _add_aliases(every: Sequence[_Found], targets: Targets) -> None:
    asked: set[tuple[str, str]] = set()
    for one in every:
        remote = one.session.store.remote
        if remote is None or (remote.url, one.name) in asked:
            continue  # models' own recipes are all called `recipe`
        asked.add((remote.url, one.name))
        found, notes = targets.aliases(one.name, one.session)
        one.notes += notes
        for pointing in found:
            owner = _owner(every, one.name, pointing.lock_digest) or one
            owner.aliases.append(pointing)


def _add_images(
    every: Sequence[_Found], targets: Targets, scope: Scope, session: Session
) -> Iterator[PatchedRecipe]:
    """Add the images to their recipes; yield rows of images that cannot be examined, or belong to no recipe."""
    sessions = [one.session for one in every]
    for found in images_of(scope.images, sessions, session.with_remote()):
        if isinstance(found, Unanswered):
            notes, path = (found.error.message,), Path(found.name)
            yield PatchedRecipe(recipe=found.name, state="not searched", notes=notes, path=path)
            continue
        owner = _owner(every, found.recipe, found.lock_digest)
        pointing, unknown = targets.image(found, session if owner is None else owner.session)
        if pointing is None:
            continue
        if unknown is not None and owner is not None and owner.digest == pointing.lock_digest:
            # The archive is not on this machine, but its lock is known.
            pointing = replace(pointing, held=owner.holding.held)
            unknown = None if pointing.held or owner.holding.archive is not None else unknown
        if pointing.held and owner is not None:
            owner.images.append(pointing)
        elif pointing.held:
            yield _image_without_recipe(pointing)
        elif unknown is not None:
            row = PatchedRecipe(
                recipe=found.name, state="not searched", notes=(unknown,), path=Path(found.name)
            )
            yield row


def _image_without_recipe(pointing: Pointing) -> PatchedRecipe:
    said = labels_of(pointing.held)
    return PatchedRecipe(
        recipe=pointing.name,
        state="refused",
        found=said,
        images=(pointing.name,),
        error=DeployError(
            f"{pointing.name} holds {', '.join(said)}, and its recipe is not here",
            hint="run `envbuilder patch` where its recipe is, or remove the tag",
        ),
        path=Path(pointing.name),
    )


def _add_layouts(every: Sequence[_Found], archives: Path) -> None:
    """Name the layouts of archives that hold it; older ones are kept as older archives are."""
    try:
        layouts = list(images_in_layouts(archives))
    except EnvbuilderError as error:
        for one in every:
            one.notes += [f"image layouts were not searched: {error.message}"] if one.holding.held else []
        return
    for found in layouts:
        owner = _owner(every, found.recipe, found.lock_digest)
        known = set() if owner is None else {pointing.sha256 for pointing in (*owner.aliases, *owner.images)}
        if owner is not None and (
            found.sha256 in known or (owner.holding.held and owner.digest == found.lock_digest)
        ):
            owner.layouts.append(found.name)
