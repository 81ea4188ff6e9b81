"""Which index each package comes from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from envbuilder.errors import ResolveError
from envbuilder.recipe import Recipe
from envbuilder.resolve.solver import Index, Question
from envbuilder.resolve.target import Target
from envbuilder.resolve.wheelhouse import Wheelhouse
from envbuilder.settings import TORCH_FAMILY, Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How the packages of one recipe are looked for."""

    recipe: Recipe
    dependencies: tuple[str, ...]
    """The recipe's, git references held at their commit."""
    settings: Settings
    target: Target
    houses: tuple[Wheelhouse, ...]

    def question(self) -> Question:
        """Return what the solver is asked first."""
        recipe = self.recipe
        texts = (f"torch=={recipe.torch_version}", *self.dependencies, *recipe.release.demands)
        requirements = [Requirement(text) for text in texts]
        names = [
            canonicalize_name(requirement.name) for requirement in requirements if requirement.url is None
        ]
        return Question(
            requirements=texts,
            indexes=(*self._house_indexes(), *self.package_indexes()),
            pinned={name: self.family_index(name) for name in names if self.is_family(name)},
            constraints=(*_constraints(self.settings.constraints, recipe), *self._other_builds()),
            exclude_newer=recipe.exclude_newer,
            build=tuple(
                canonicalize_name(requirement.name)
                for requirement in requirements
                if (requirement.url or "").startswith("git+")
            ),
        )

    def is_family(self, name: str) -> bool:
        """Say whether *name* comes from PyTorch's index (or a wheelhouse) and no other."""
        return self.recipe.cuda != "pypi" and name in TORCH_FAMILY

    def family_index(self, name: str) -> Index:
        """Return the one place that *name* comes from: a wheelhouse with a build that fits, or PyTorch's index.

        A wheelhouse that holds one makes PyTorch's index unnecessary, so that it need not be reachable.
        """
        for index, house in zip(self._house_indexes(), self.houses, strict=True):
            if any(self._fits(name, wheel.name, wheel.version, wheel.filename) for wheel in house.wheels):
                return index
        return Index(name="pytorch", url=f"{self.settings.pytorch_index}/{self.recipe.cuda}")

    def package_indexes(self) -> tuple[Index, ...]:
        """Return the indexes of everything but the torch family."""
        if self.settings.no_index:
            return ()
        urls = (self.settings.index_url, *self.settings.extra_index_urls)
        return tuple(Index(name=f"index-{number}", url=url) for number, url in enumerate(urls, start=1))

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
            is_torch = canonicalize_name(requirement.name) == "torch"
            if not (is_torch and not requirement.specifier.contains(recipe.torch_version)):
                found.append(text)
    return found
