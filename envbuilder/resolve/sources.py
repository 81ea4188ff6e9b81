"""Choose the index for each package."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from envbuilder.config.settings import TORCH_FAMILY, Settings
from envbuilder.errors import ResolveError
from envbuilder.recipe.model import Recipe
from envbuilder.resolve.solver import Index, Question
from envbuilder.resolve.target import Target
from envbuilder.resolve.wheelhouse import Wheelhouse
from envbuilder.util.files import read_text


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How the packages of one recipe are looked for."""

    recipe: Recipe
    dependencies: tuple[str, ...]
    """The recipe's, git references held at their commit."""
    settings: Settings
    target: Target
    houses: tuple[Wheelhouse, ...]
    provided: Mapping[str, str] = field(default_factory=dict)
    """Name and version of what conda packages contain: it comes from *stand_ins*, and from nowhere else."""
    stand_ins: Index | None = None

    def question(self) -> Question:
        """Return what the solver is asked first."""
        recipe = self.recipe
        provided = [f"{name}=={version}" for name, version in sorted(self.provided.items())]
        torch = [] if "torch" in self.provided else [f"torch=={recipe.torch_version}"]
        texts = (*torch, *provided, *self.dependencies, *recipe.release.demands)
        requirements = [Requirement(text) for text in texts]
        names = [
            canonicalize_name(requirement.name) for requirement in requirements if requirement.url is None
        ]
        return Question(
            requirements=texts,
            indexes=(*self._house_indexes(), *self.package_indexes()),
            pinned={
                name: self.family_index(name)
                for name in names
                if self.is_family(name) or name in self.provided
            },
            constraints=(
                *_constraints(self.settings.constraints, recipe),
                *recipe.constraints,
                *self._other_builds(),
            ),
            excluded=recipe.exclude_dependencies,
            prereleases=recipe.prereleases,
            exclude_newer=recipe.exclude_newer,
            build=tuple(
                canonicalize_name(requirement.name)
                for requirement in requirements
                if is_source(requirement.url)
            ),
        )

    def is_family(self, name: str) -> bool:
        """Say whether *name* comes from PyTorch's index (or a wheelhouse) and no other."""
        if name in self.provided:
            return False
        return self.recipe.cuda != "pypi" and name in TORCH_FAMILY and name not in self._by_place()

    def keep_family(self, question: Question, names: Iterable[str]) -> Question:
        """Return *question* with those of *names* that are the torch family's kept to the index they come from."""
        new = [name for name in sorted(names) if self.is_family(name) and name not in question.pinned]
        return replace(
            question,
            requirements=(*question.requirements, *new),
            pinned={**question.pinned, **{name: self.family_index(name) for name in new}},
        )

    def leave_wheelhouses(self, question: Question, names: Iterable[str]) -> Question:
        """Return *question* with those of *names* that a wheelhouse holds, but no version that fits, kept to PyTorch's.

        Not torch itself: its version is exact, and what lies in the wheelhouse is the one.
        """
        moved = {name for name in names if name != "torch" and name in question.pinned}
        pinned = {
            name: self._pytorch() if name in moved and index.flat and index != self.stand_ins else index
            for name, index in question.pinned.items()
        }
        return replace(question, pinned=pinned)

    def family_index(self, name: str) -> Index:
        """Return the one place that *name* comes from: a wheelhouse with a build that fits, or PyTorch's index.

        A wheelhouse that holds one makes PyTorch's index unnecessary, so that it need not be reachable. What conda
        packages contain comes from its stand-in.
        """
        if name in self.provided and self.stand_ins is not None:
            return self.stand_ins
        for index, house in zip(self._house_indexes(), self.houses, strict=True):
            if any(self._fits(name, wheel.name, wheel.version, wheel.filename) for wheel in house.wheels):
                return index
        return self._pytorch()

    def package_indexes(self) -> tuple[Index, ...]:
        """Return the indexes of everything but the torch family."""
        if self.settings.no_index:
            return ()
        urls = dict.fromkeys((self.settings.index_url, *self.settings.extra_index_urls))
        return tuple(Index(name=f"index-{number}", url=url) for number, url in enumerate(urls, start=1))

    def _pytorch(self) -> Index:
        return Index(name="pytorch", url=f"{self.settings.pytorch_index}/{self.recipe.cuda}")

    def _by_place(self) -> set[str]:
        """Return the projects that the recipe takes from a path, a URL or a repository."""
        requirements = [Requirement(text) for text in self.dependencies]
        return {
            canonicalize_name(requirement.name) for requirement in requirements if requirement.url is not None
        }

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


def is_source(url: str | None) -> bool:
    """Say whether a reference leads to sources that a wheel is built of: a repository, or a local folder."""
    return url is not None and (
        url.startswith("git+") or (url.startswith("file:") and not url.endswith(".whl"))
    )


def _constraints(files: Iterable[Path], recipe: Recipe) -> list[str]:
    """Read pip's constraints files; what caps torch itself below the recipe's version is left out."""
    found = []
    for path in files:
        try:
            lines = read_text(path).splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ResolveError(f"constraints file {path}: {error}") from error
        for line in lines:
            text = line.split(" #")[0].strip()
            if not text or text.startswith(("#", "-")):
                continue
            try:
                requirement = Requirement(text)
            except InvalidRequirement as error:
                raise ResolveError(f"constraints file {path}: {text!r} is not a requirement") from error
            is_torch = canonicalize_name(requirement.name) == "torch"
            if not (is_torch and not requirement.specifier.contains(recipe.torch_version)):
                found.append(text)
    return found
