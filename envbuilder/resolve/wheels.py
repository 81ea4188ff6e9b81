"""From a recipe to its lock: which wheels, from which index, by which hash."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

import httpx2
from packaging.pylock import Package, PackageArchive, PackageWheel
from packaging.requirements import InvalidRequirement, Requirement
from packaging.tags import create_compatible_tags_selector
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

from envbuilder.errors import ResolveError
from envbuilder.fetch.sources import open_client, redacted
from envbuilder.lockfile import Artifact, Lock, LockedInterpreter
from envbuilder.progress import SILENT, Reporter
from envbuilder.recipe import Recipe
from envbuilder.resolve.solver import Index, NoSolution, Question, solve, uv_version
from envbuilder.resolve.target import Target
from envbuilder.resolve.torch_builds import is_newer_than_table, table
from envbuilder.resolve.wheelhouse import Wheelhouse, read_wheelhouses
from envbuilder.settings import TORCH_FAMILY, Settings
from envbuilder.store import Store

_ROUNDS = 5
"""How often the solver is asked again because an answer brought new members of the torch family in."""


def resolve(
    recipe: Recipe,
    settings: Settings,
    interpreter: LockedInterpreter,
    *,
    previous: Lock | None,
    upgrade: bool = False,
    upgrade_packages: Sequence[str] = (),
    store: Store,
    reporter: Reporter = SILENT,
) -> Lock:
    """Find the artifacts that fulfil *recipe* on *interpreter*.

    The versions in *previous* are kept where they still fit, but for those in *upgrade_packages*, or all with
    *upgrade*.

    Raises:
        ResolveError: there are none, or an index does not answer; the message says why.
    """
    target = Target(python=interpreter.version, glibc=recipe.release.wheel_glibc)
    if is_newer_than_table(recipe.torch):
        newest = table()[-1].version
        reporter.note(f"torch {recipe.torch} is newer than what is known here (up to {newest}): not checked")
    reporter.step(f"Resolving recipe {recipe.name} for Python {target.minor}, {recipe.release.name}")
    plan = _Plan(recipe=recipe, settings=settings, target=target, houses=read_wheelhouses(settings))
    question = replace(
        plan.question(),
        previous=previous,
        upgrade=upgrade,
        upgrade_packages=tuple(canonicalize_name(name) for name in upgrade_packages),
    )
    packages = _ask(plan, question, store)
    artifacts = [_artifact(package, target, settings) for package in packages]
    _check_torch(recipe, artifacts)
    return Lock(
        recipe=recipe.name,
        recipe_digest=recipe.digest(),
        release=recipe.release.name,
        python=recipe.python,
        torch=recipe.torch_version,
        cuda=recipe.cuda,
        demands=recipe.release.demands,
        artifacts=tuple(sorted(artifacts, key=lambda artifact: artifact.name)),
        interpreter=interpreter,
        tools=(("uv", uv_version()),),
    )


# -- where what comes from -------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plan:
    """Which index each package comes from."""

    recipe: Recipe
    settings: Settings
    target: Target
    houses: tuple[Wheelhouse, ...]

    def question(self) -> Question:
        """Return what the solver is asked first."""
        recipe = self.recipe
        requirements = (f"torch=={recipe.torch_version}", *recipe.dependencies, *recipe.release.demands)
        family = [Requirement(text) for text in requirements]
        return Question(
            requirements=requirements,
            indexes=(*self._house_indexes(), *self._package_indexes()),
            pinned={
                name: self.family_index(name)
                for name in (canonicalize_name(requirement.name) for requirement in family)
                if self.is_family(name)
            },
            constraints=(*_constraints(self.settings.constraints, recipe), *self._other_builds()),
            exclude_newer=recipe.exclude_newer,
        )

    def is_family(self, name: str) -> bool:
        """Say whether *name* comes from PyTorch's index (or a wheelhouse) and no other."""
        return self.recipe.cuda != "pypi" and name in TORCH_FAMILY

    def family_index(self, name: str) -> Index:
        """Return the one place that *name* comes from: a wheelhouse that has a build that fits, or PyTorch's index.

        A wheelhouse that holds one makes PyTorch's index unnecessary, so that it need not be reachable.
        """
        for index, house in zip(self._house_indexes(), self.houses, strict=True):
            if any(self._fits(name, wheel.name, wheel.version, wheel.filename) for wheel in house.wheels):
                return index
        url = f"{self.settings.pytorch_index}/{self.recipe.cuda}"
        return Index(name="pytorch", url=url)

    def _fits(self, wanted: str, name: str, version: Version, filename: str) -> bool:
        if name != wanted or not self.target.fits(filename):
            return False
        if name == "torch":
            return version == Version(self.recipe.torch_version)
        return version.local in (None, self.recipe.cuda)

    def _house_indexes(self) -> tuple[Index, ...]:
        return tuple(
            Index(name=f"wheelhouse-{number}", url=house.url, flat=True)
            for number, house in enumerate(self.houses, start=1)
        )

    def _package_indexes(self) -> tuple[Index, ...]:
        if self.settings.no_index:
            return ()
        urls = (self.settings.index_url, *self.settings.extra_index_urls)
        return tuple(Index(name=f"index-{number}", url=url) for number, url in enumerate(urls, start=1))

    def _other_builds(self) -> list[str]:
        """Rule out the torch family's builds for another CUDA that lie in wheelhouses.

        ``==2.13.0`` would allow ``2.13.0+cpu``.
        """
        mine = None if self.recipe.cuda == "pypi" else self.recipe.cuda
        return sorted(
            {
                f"{wheel.name}!={wheel.version}"
                for house in self.houses
                for wheel in house.wheels
                if wheel.name in TORCH_FAMILY and wheel.version.local not in (None, mine)
            }
        )


def _constraints(files: Iterable[Path], recipe: Recipe) -> list[str]:
    """Read pip's constraints files; what caps torch itself below the recipe's version is left out."""
    found = []
    for path in files:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ResolveError(f"constraints file {path}: {error}") from error
        for line in lines:
            text = line.split(" #")[0].strip()
            if not text or text.startswith(("#", "-")):
                continue
            try:
                requirement = Requirement(text)
            except InvalidRequirement as error:
                raise ResolveError(f"constraints file {path}: {text!r} is no requirement") from error
            clashes = canonicalize_name(requirement.name) == "torch" and not requirement.specifier.contains(
                recipe.torch_version
            )
            found += [] if clashes else [text]
    return found


# -- asking ----------------------------------------------------------------------------------------


def _ask(plan: _Plan, question: Question, store: Store) -> list[Package]:
    """Ask until every member of the torch family in the answer came from where it must come from.

    uv keeps a package to an index only if it is required directly, so members that others bring in are added.
    """
    for _ in range(_ROUNDS):
        try:
            packages = solve(question, plan.target, plan.settings, store)
            named = {str(package.name) for package in packages}
        except NoSolution as refused:
            packages, named = [], {name for name in TORCH_FAMILY if name in refused.reason.replace(" ", "\n")}
            new = [name for name in sorted(named) if plan.is_family(name) and name not in question.pinned]
            if not new:
                raise _explain(refused, plan) from refused
        new = [name for name in sorted(named) if plan.is_family(name) and name not in question.pinned]
        if not new:
            return packages
        question = replace(
            question,
            requirements=(*question.requirements, *new),
            pinned={**question.pinned, **{name: plan.family_index(name) for name in new}},
        )
    raise ResolveError(f"recipe {plan.recipe.name}: the torch family changes with each answer of the solver")


def _explain(refused: NoSolution, plan: _Plan) -> ResolveError:
    recipe = plan.recipe
    wanted = f"torch=={recipe.torch_version}"
    if f"no version of {wanted}" in refused.reason:
        index = plan.family_index("torch") if recipe.cuda != "pypi" else None
        where = redacted(index.url) if index is not None else "the package index"
        return ResolveError(
            f"there is no torch {recipe.torch_version} for Python {recipe.python} on {where}",
            hint="see `torch` and `cuda` in the recipe",
        )
    reason = "\n".join(f"  {line}" for line in refused.reason.splitlines())
    return ResolveError(f"recipe {recipe.name}: no set of packages fulfils it:\n{reason}")


# -- answers ---------------------------------------------------------------------------------------


def _artifact(package: Package, target: Target, settings: Settings) -> Artifact:
    wheel = _best_wheel(package, target)
    url = wheel.url or wheel.path or ""
    filename = unquote(urlsplit(url).path.rsplit("/", 1)[-1])
    name, version, _, _ = parse_wheel_filename(filename)
    return Artifact(
        name=name,
        version=str(package.version or version),
        filename=filename,
        sha256=wheel.hashes["sha256"],
        size=wheel.size if wheel.size is not None else _size(url, settings),
    )


def _best_wheel(package: Package, target: Target) -> PackageWheel | PackageArchive:
    if package.archive is not None:
        return package.archive
    wheels = [(wheel, parse_wheel_filename(wheel.filename)[3]) for wheel in package.wheels or ()]
    return next(iter(create_compatible_tags_selector(target.tags())(wheels)))


def _size(url: str, settings: Settings) -> int:
    """Return the size of the file at *url* in bytes: PyTorch's index does not say it."""
    parts = urlsplit(url)
    if parts.scheme in ("", "file"):
        return Path(url2pathname(parts.path)).stat().st_size
    try:
        with open_client(settings) as client:
            answer = client.head(url)
            answer.raise_for_status()
            return int(answer.headers["Content-Length"])
    except (httpx2.HTTPError, KeyError, ValueError) as error:
        raise ResolveError(f"{redacted(url)}: its size cannot be had: {error}") from error


def _check_torch(recipe: Recipe, artifacts: Iterable[Artifact]) -> None:
    """Make sure that the build is the recipe's, whatever the indexes answered."""
    found = next((artifact.version for artifact in artifacts if artifact.name == "torch"), "none")
    if found != recipe.torch_version:
        raise ResolveError(
            f"recipe {recipe.name} wants torch {recipe.torch_version}, the solver answered {found}"
        )
