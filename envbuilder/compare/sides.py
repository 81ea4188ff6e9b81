"""One side of a comparison: a recipe, a lock or an archive, described in the same terms."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from packaging.requirements import Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from envbuilder.archive.manifest import Manifest, ManifestFile, manifest_beside, read_manifest
from envbuilder.catalog.cuda import DRIVER_FLOORS
from envbuilder.errors import RecipeError
from envbuilder.foreign.measured import MeasuredManifest, measure_all
from envbuilder.foreign.survey import is_environment, survey
from envbuilder.inventory.components import take_inventory
from envbuilder.lockfile.pylock import read_lock
from envbuilder.progress import SILENT, Reporter
from envbuilder.recipe.load import find_recipe
from envbuilder.recipe.model import Recipe
from envbuilder.util.files import kind_of_file

Kind = Literal["recipe", "lock", "archive"]

_ARCHIVES: Final = (
    *(".tar.gz", ".tgz", ".tar"),
    *(".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".zip"),  # conda-pack's other formats
)
_LEGACY: Final = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}
"""glibc of the tags of PEP 513, 571 and 599."""
_CUDA_OF: Final = re.compile(r"nvidia-cuda-runtime(?:-cu(?P<major>\d+))?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Package:
    """A package of one side."""

    version: str
    """For a recipe, the required version."""
    sha256: str | None = None
    size: int | None = None
    """Bytes of its artifact."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One side of a comparison."""

    kind: Kind
    name: str
    facts: Mapping[str, str | None]
    """Its release, versions and packing options."""
    demands: Mapping[str, str | None]
    """Its requirements on the machine that serves it."""
    packages: Mapping[str, Package]
    files: Mapping[str, ManifestFile] = field(default_factory=dict)
    """The files of an archive by path."""
    size: int | None = None
    """Size in bytes of the archive, or of a lock's artifacts."""
    unpacked_size: int | None = None


def read_side(name: str, root: Path, *, reporter: Reporter = SILENT) -> Side:
    """Read a recipe (a name in ``recipes/`` of *root*, or a ``.yaml``), a lock (``.toml``), an archive or a manifest.

    For an archive its manifest is read: the one beside it, or else the one inside. Archives of other tools, and
    folders, are measured.

    Raises:
        RecipeError: the file or recipe does not exist.
        StaleLockError, IntegrityError: it is not a valid lock, manifest or archive.
    """
    path = Path(name)
    if name.endswith(".toml"):
        return _of_lock(path)
    if path.is_dir() and is_environment(path):
        found = survey(path, reporter=reporter)
        return _of_archive(measure_all(found, where=name), path.absolute().name, None)
    if not name.endswith((*_ARCHIVES, ".json")):
        return _of_recipe(find_recipe(name, root))
    if path.exists() and not path.is_file():
        raise RecipeError(f"{name}: is {kind_of_file(path.stat().st_mode)}, not a file")
    if not path.is_file():
        raise RecipeError(f"{name}: no such file", hint="`envbuilder build` writes archives to envs/")
    if name.endswith(".json"):
        return _of_archive(read_manifest(path), path.name, None)
    beside = manifest_beside(path)
    if not beside.is_file():
        manifest = take_inventory(path, reporter=reporter).manifest
        return _of_archive(manifest, path.name, path.stat().st_size)
    return _of_archive(read_manifest(beside), path.name, path.stat().st_size)


def _of_recipe(recipe: Recipe) -> Side:
    release = recipe.release
    wanted = [*map(Requirement, recipe.dependencies), *map(Requirement, release.demands)]
    asked: dict[str, dict[str, None]] = {"torch": {f"=={recipe.torch_version}": None}}
    for one in wanted:
        asked.setdefault(canonicalize_name(one.name), {})[_asked(one)] = None
    packages = {name: Package(version=", ".join(all_of_it)) for name, all_of_it in asked.items()}
    return Side(
        kind="recipe",
        name=recipe.name,
        facts={
            "Triton": recipe.triton,
            "Python": recipe.python,
            "torch": recipe.torch,
            "CUDA": recipe.cuda,
            "provider": recipe.provider,
            "compiler": recipe.compiler,
            "exclude-newer": recipe.exclude_newer.isoformat() if recipe.exclude_newer else None,
            "pack: bytecode": str(recipe.pack.bytecode).lower(),
            "pack: level": str(recipe.pack.level),
            "pack: uncompressed": str(recipe.pack.uncompressed).lower(),
            "pack: exclude": "the default rules"
            if recipe.pack.exclude is None
            else _json(recipe.pack.exclude),
        },
        demands={
            "glibc at most": release.wheel_glibc,
            "GLIBCXX at most": release.glibcxx,
            "NVIDIA driver": _driver(recipe.cuda, ()),
        },
        packages=dict(sorted(packages.items())),
    )


def _of_lock(path: Path) -> Side:
    lock = read_lock(path)
    return Side(
        kind="lock",
        name=path.name,
        facts={
            "Triton": lock.release,
            "Python": lock.python,
            "torch": lock.torch,
            "CUDA": lock.cuda,
            "interpreter": _interpreter(
                lock.interpreter.version, lock.interpreter.origin, lock.interpreter.digest
            ),
            "required by Triton": ", ".join(lock.demands),
            **{f"solved by {name}": version for name, version in lock.tools},
            **{f"built: {name}": source for name, source in lock.built},
        },
        demands={
            "glibc": _glibc_of_wheels(one.filename for one in lock.artifacts),
            "NVIDIA driver": _driver(lock.cuda, (one.name for one in lock.artifacts)),
        },
        packages={
            one.name: Package(version=one.version, sha256=one.sha256, size=one.size)
            for one in lock.all_artifacts
        },
        size=sum(one.size for one in lock.all_artifacts),
    )


def _of_archive(manifest: Manifest, name: str, size: int | None) -> Side:
    interpreter = manifest.interpreter
    if isinstance(manifest, MeasuredManifest):
        return _of_foreign(manifest, name, size)
    return Side(
        kind="archive",
        name=name,
        facts={
            "recipe": manifest.recipe,
            "Triton": manifest.release,
            "Python": manifest.python,
            "torch": manifest.torch,
            "CUDA": manifest.cuda,
            "interpreter": _interpreter(interpreter.version, interpreter.origin, interpreter.digest),
            "required by Triton": ", ".join(manifest.demands),
            "recipe's digest": manifest.recipe_digest[:12],
            "lock's digest": manifest.lock_digest[:12],
            **{f"pack: {key}": _json(value) for key, value in sorted(manifest.pack.items())},
            **{f"packed by {tool}": version for tool, version in sorted(manifest.tools.items())},
        },
        demands=_demands(manifest),
        packages=_packages(manifest),
        files={file.path: file for file in manifest.files},
        size=size,
        unpacked_size=manifest.unpacked_size,
    )


def _of_foreign(manifest: MeasuredManifest, name: str, size: int | None) -> Side:
    """Return the side of an archive that another tool made, which has no recipe."""
    return Side(
        kind="archive",
        name=name,
        facts={
            "Python": manifest.python,
            "torch": manifest.torch or None,
            "CUDA": manifest.cuda,
            "interpreter": f"{manifest.interpreter.version} ({manifest.interpreter.origin})",
        },
        demands=_demands(manifest),
        packages=_packages(manifest),
        files={file.path: file for file in manifest.files},
        size=size,
        unpacked_size=manifest.unpacked_size,
    )


def _demands(manifest: Manifest) -> dict[str, str | None]:
    return {
        "glibc": manifest.glibc,
        "GLIBCXX": manifest.glibcxx,
        "NVIDIA driver": _driver(manifest.cuda, (one.name for one in manifest.packages)),
    }


def _packages(manifest: Manifest) -> dict[str, Package]:
    return {
        canonicalize_name(one.name): Package(
            version=one.version, sha256=one.sha256 or None, size=one.size if one.sha256 else None
        )
        for one in manifest.all_packages
    }


def _asked(requirement: Requirement) -> str:
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    source = f" @ {requirement.url}" if requirement.url else ""
    marker = f"; {requirement.marker}" if requirement.marker else ""
    return f"{extras}{source}{requirement.specifier}{marker}" or "any"


def _interpreter(version: str, origin: str, digest: str) -> str:
    return f"{version} ({origin}, {digest[:12]})"


def _driver(cuda: str, packages: Iterable[str]) -> str | None:
    """Return the minimum NVIDIA driver, from the CUDA variant or the package of the CUDA runtime."""
    major = cuda[2:4] if re.fullmatch(r"cu\d{3}", cuda) else None
    for name in packages if cuda == "pypi" else ():
        match = _CUDA_OF.fullmatch(name)
        if match is not None:
            major = match["major"] or "13"  # from CUDA 13 on its packages have no suffix
    floor = DRIVER_FLOORS.get(int(major)) if major else None
    return ".".join(map(str, floor)) if floor else None


def _glibc_of_wheels(filenames: Iterable[str]) -> str | None:
    """Return the minimum glibc for all wheels, from their tags."""
    asked = []
    for filename in filenames:
        try:
            tags = parse_wheel_filename(filename)[3]
        except InvalidWheelFilename:
            continue  # a conda package
        fitting = [version for tag in tags if (version := _glibc_of_tag(tag.platform)) is not None]
        if fitting:
            asked.append(min(fitting))
    return ".".join(map(str, max(asked))) if asked else None


def _glibc_of_tag(platform: str) -> tuple[int, int] | None:
    match = re.fullmatch(r"manylinux_(\d+)_(\d+)_x86_64", platform)
    if match is not None:
        return int(match[1]), int(match[2])
    return _LEGACY.get(platform.removesuffix("_x86_64"))


def _json(value: object) -> str:
    return json.dumps(value)
