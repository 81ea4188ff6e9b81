"""Load and check recipes, which are YAML files."""

from __future__ import annotations

import datetime
import difflib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from packaging.version import InvalidVersion, Version

from envbuilder.catalog.torch import find_problem, newest_python, table
from envbuilder.catalog.triton import Release, find_release
from envbuilder.errors import RecipeError
from envbuilder.recipe.conda import read_conda_keys
from envbuilder.recipe.dependencies import read_dependencies
from envbuilder.recipe.model import AuditOptions, LicenceOptions, PackOptions, Recipe, VerifyOptions
from envbuilder.recipe.schema import CUDA_PATTERN, KEYS, NAME_PATTERN, SONAME_PATTERN, schema
from envbuilder.recipe.template import template
from envbuilder.util.yaml import Value, plain, read_document, read_keys

__all__ = [
    "PackOptions",
    "Recipe",
    "VerifyOptions",
    "find_recipe",
    "load_recipe",
    "schema",
    "template",
]


_FIRST_YEAR: Final = 1970
_LAST_YEAR: Final = 9998


def find_recipe(name_or_path: str, root: Path) -> Recipe:
    """Load the recipe called *name_or_path* in ``root/recipes``, or the file of that path.

    Raises:
        RecipeError: it is missing or invalid.
    """
    return load_recipe(find_recipe_file(name_or_path, root))


def find_recipe_file(name_or_path: str, root: Path) -> Path:
    """Return the file of the recipe called *name_or_path* in ``root/recipes``, or that path.

    Raises:
        RecipeError: there is none of that name.
    """
    if name_or_path.endswith((".yaml", ".yml")) or "/" in name_or_path:
        return Path(name_or_path)
    folder = root / "recipes"
    path = folder / f"{name_or_path}.yaml"
    if not path.exists():
        names = sorted(other.stem for other in folder.glob("*.yaml"))
        near = difflib.get_close_matches(name_or_path, names, n=1, cutoff=0.5)
        guess = f", did you mean `{near[0]}`?" if near else ""
        known = (
            f"recipes here: {', '.join(names)}" if names else f"`envbuilder init {name_or_path}` writes one"
        )
        raise RecipeError(f"no recipe {name_or_path!r} in {folder}{guess}", hint=known)
    return path


def load_recipe(path: Path) -> Recipe:
    """Read and check the recipe in the file *path*.

    Raises:
        RecipeError: it cannot be read or is invalid; the message has file and line.
    """
    return parse_recipe(read_document(path), path, path.stem)


def load_recipes(names: Sequence[str], root: Path) -> list[Recipe]:
    """Load the recipes *names*: names in ``recipes/`` of *root*, or paths; none means all.

    Raises:
        RecipeError: one is not there is invalid, or there are no recipes.
    """
    if names:
        return [find_recipe(name, root) for name in names]
    found = sorted((root / "recipes").glob("*.yaml"))
    if not found:
        raise RecipeError(
            f"no recipes in {root / 'recipes'}", hint="`envbuilder init NAME` writes one to start from"
        )
    return [load_recipe(path) for path in found]


def parse_recipe(document: Value, path: Path, name: str) -> Recipe:
    """Parse *document*, read from *path*, as the recipe *name*.

    Raises:
        RecipeError: see :func:`load_recipe`.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        raise RecipeError(
            f"{path}: a recipe's name may contain letters, digits, - and _, because it also names the lock"
        )
    if isinstance(document.data, dict):
        _refuse_lists(document.data)
    found = read_keys(document, KEYS)
    triton = found["triton"].data
    try:
        release = find_release(triton)
    except RecipeError as error:
        raise found["triton"].error(error.message, error.hint) from error
    torch, cuda = _torch(found["torch"]), _cuda(found["cuda"])
    python = _python(found, release, torch)
    conda = read_conda_keys(found, path)
    # Only the solver knows which torch a channel has.
    problem = None if conda.torch else find_problem(torch, cuda, python)
    if problem is not None:
        raise found.get(problem.key, found["torch"]).error(problem.message, problem.hint)
    keys = ("dependencies", "constraints", "build-from-source", "exclude-dependencies")
    dependencies, constraints, build, excluded = (_items(found.get(key)) for key in keys)
    asked = read_dependencies(dependencies, constraints, build, excluded, path)
    return Recipe(
        name=name,
        path=path.absolute(),
        triton=triton,
        torch=torch,
        cuda=cuda,
        python=python,
        dependencies=tuple(asked.requirements),
        constraints=tuple(asked.constraints),
        prereleases=_plain(found, "prereleases", False),
        build_from_source=tuple(dict.fromkeys(asked.build_from_source)),
        exclude_dependencies=tuple(dict.fromkeys(asked.exclude_dependencies)),
        provider=_plain(found, "provider", "cpython"),
        channels=conda.channels,
        conda=conda.specs,
        link_scripts=conda.link_scripts,
        anaconda_terms="anaconda-terms" in found,
        compiler=_plain(found, "compiler", "none"),
        system_libraries=tuple(sorted({_soname(item) for item in _items(found.get("system-libraries"))})),
        exclude_newer=_exclude_newer(found.get("exclude-newer")),
        pack=_pack(found.get("pack")),
        verify=_verify(found.get("verify"), path),
    )


def _refuse_lists(found: dict[str, Value]) -> None:
    for name, value in found.items():
        if name in KEYS and KEYS[name].matrix and isinstance(value.data, list):
            raise value.error(
                f"`{name}` is a list",
                hint="a recipe with lists stands for several: lock and build it with --matrix",
            )


def _torch(value: Value) -> str:
    try:
        version = Version(value.data)
    except InvalidVersion:
        raise value.error(
            f"`torch` is {value.data!r}, which is not a version",
            'use an exact one, for example torch: "2.11.0"',
        ) from None
    if version.local is not None:
        raise value.error(
            f"`torch` is {value.data!r}: set the build with `cuda`, not with a local version",
            f'torch: "{version.public}" with cuda: {version.local}',
        )
    if version.is_prerelease or version.is_postrelease or version.epoch or len(version.release) > 3:
        raise value.error(f"`torch` is {value.data!r}; only releases (X.Y.Z) can be locked permanently")
    return f"{version.major}.{version.minor}.{version.micro}"


def _cuda(value: Value) -> str:
    cuda: str = value.data
    if not re.fullmatch(CUDA_PATTERN, cuda):
        dotted = re.fullmatch(r"(?:cuda|cu)?-?(\d\d)\.(\d)", cuda)
        near = (
            [f"cu{dotted[1]}{dotted[2]}"] if dotted else difflib.get_close_matches(cuda, _known_cuda(), n=1)
        )
        guess = f", did you mean `{near[0]}`?" if near else ""
        raise value.error(
            f"`cuda` is {cuda!r}{guess}", "cpu, cuXYZ as in cu126, or pypi (the index's own build)"
        )
    return cuda


def _known_cuda() -> list[str]:
    return sorted({variant for build in table() for variant in build.variants})


def _python(found: dict[str, Value], release: Release, torch: str) -> str:
    value = found.get("python")
    if value is None:
        return newest_python(torch, release.pythons)
    python: str = value.data
    if python not in release.pythons:
        raise value.error(
            f"`python` is {python!r}, but Triton {release.name} has a stub for {', '.join(release.pythons)} only",
            "omit `python`" if len(release.pythons) == 1 else None,
        )
    return python


def _exclude_newer(value: Value | None) -> datetime.date | None:
    if value is None:
        return None
    day: datetime.date = value.data
    if not _FIRST_YEAR <= day.year <= _LAST_YEAR:  # for solvers the limit is the next day
        raise value.error(f"`exclude-newer` is the date {day}, not from {_FIRST_YEAR} to {_LAST_YEAR}")
    return day


def _soname(value: Value) -> str:
    name: str = value.data
    if not re.fullmatch(SONAME_PATTERN, name):
        raise value.error(
            f"`system-libraries` has {name!r}, which is not a soname",
            "expected the loader's name, libGL.so.1 (not a path or the package libgl1)",
        )
    return name


def _pack(value: Value | None) -> PackOptions:
    found = {} if value is None else value.data
    exclude = found.get("exclude")
    return PackOptions(
        bytecode=_plain(found, "bytecode", True),
        level=_plain(found, "level", 4),
        uncompressed=_plain(found, "uncompressed", False),
        exclude=None if exclude is None else tuple(plain(exclude)),
    )


def _verify(value: Value | None, path: Path) -> VerifyOptions:
    found = {} if value is None else value.data
    options = found["compile"].data if "compile" in found else {}
    if "mode" in options and "options" in options:
        raise options["options"].error(
            "`verify.compile.mode` and `verify.compile.options` exclude each other"
        )
    model = _beside(found.get("model"), path)
    if "expected" in found and "inputs" not in found:
        raise found["expected"].error(
            "`verify.expected` requires `verify.inputs`, for which it contains the answers"
        )
    for name in ("rtol", "atol"):
        if name in found and "inputs" not in found:
            raise found[name].error(f"`verify.{name}` requires `verify.inputs` and `verify.expected`")
    return VerifyOptions(
        model=model,
        inputs=_beside(found.get("inputs"), path),
        expected=_beside(found.get("expected"), path),
        tolerance={name: float(found[name].data) for name in ("rtol", "atol") if name in found} or None,
        compile={name: plain(option) for name, option in options.items()},
        server=_plain(found, "server", True),
        sbom=_plain(found, "sbom", False),
        licences=_licences(found.get("licences")),
        audit=_audit(found.get("audit"), path),
    )


def _beside(value: Value | None, path: Path) -> Path | None:
    """Return *value* as an absolute path, relative to the folder of the recipe *path*."""
    return None if value is None else Path(os.path.normpath(path.absolute().parent / value.data))


def _licences(value: Value | None) -> LicenceOptions | None:
    if value is None:
        return None
    found = value.data
    packages = found["packages"].data if "packages" in found else {}
    for name, licence in packages.items():
        if not isinstance(licence.data, str):
            raise licence.error(
                f"`verify.licences.packages.{name}` is not a text: expected an SPDX expression"
            )
    return LicenceOptions(
        allow=tuple(plain(found["allow"])) if "allow" in found else (),
        deny=tuple(plain(found["deny"])) if "deny" in found else (),
        packages={name: licence.data for name, licence in packages.items()},
    )


def _audit(value: Value | None, path: Path) -> AuditOptions | None:
    if value is None:
        return None
    found = value.data
    return AuditOptions(
        advisories=Path(os.path.normpath(path.absolute().parent / found["advisories"].data)),
        ignore=tuple(plain(found["ignore"])) if "ignore" in found else (),
    )


def _plain(found: dict[str, Value], name: str, default: Any) -> Any:
    return found[name].data if name in found else default


def _items(value: Value | None) -> list[Value]:
    return [] if value is None else value.data
