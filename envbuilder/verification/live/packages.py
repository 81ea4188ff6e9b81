"""Import every package of an environment under a release's launch."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from envbuilder.archive.kept import module_of
from envbuilder.catalog.triton import Launch
from envbuilder.util.documents import DocumentError, Record, load_json
from envbuilder.verification.live.guest_process import run_guest
from envbuilder.verification.live.launch import Sandbox
from envbuilder.verification.static.packages import Installed, with_requirements

EACH: Final = 120.0
"""Limit for one package, in seconds: the slowest known ones take ten on a slow disk."""
TOTAL: Final = 300.0
"""Limit for all packages, in seconds."""
PARALLEL: Final = 4
_STRAY: Final = frozenset(
    (
        *(
            "benchmark",
            "benchmarks",
            "bin",
            "build",
            "conftest",
            "dist",
            "doc",
            "docs",
            "example",
            "examples",
        ),
        *("sample", "samples", "scripts", "setup", "test", "tests", "tools"),
    )
)
"""Names that packages leave in site-packages by mistake: they are never imported, and some have side effects."""
_DEEPEST: Final = 3
"""Depth to which packages are searched in namespaces (``google.cloud.storage``)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModuleOutcome:
    """The result of importing one module."""

    done: bool
    error: str = ""
    """The type of the exception; empty if there was none: the process ended, or ran out of time."""
    text: str = ""
    missing: str | None = None
    """The module that an ImportError names."""
    file: str | None = None
    """The file that an OSError names."""
    causes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class PackageOutcome:
    """The result of importing one package."""

    modules: Mapping[str, ModuleOutcome]
    libraries: tuple[str, ...] = ()
    """Shared libraries that were loaded from outside the environment."""
    timeout: bool = False
    signal: int | None = None
    """How the process ended."""
    exited: int = 0
    output: str = ""
    """The end of its output."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """The results of the packages under one launch."""

    launch: Launch
    found: Mapping[str, PackageOutcome] | None
    """By package; None: the run itself failed, see *ended*."""
    modules: Mapping[str, tuple[str, ...]]
    """The modules to import, by package."""
    ended: str
    seconds: float


def modules_of(package: Installed, members: Collection[str]) -> tuple[str, ...]:
    """Return the importable modules of *package*: the top-level ones, or those within namespaces."""
    minor = package.site.split("/")[1].removeprefix("python")
    folders = {path.rpartition("/")[0] for path in members if path.endswith("/__init__.py")}
    found = set()
    for path in package.files:
        if path not in members or not path.startswith(f"{package.site}/"):
            continue
        module = module_of(path, minor)
        if module is None or module.stdlib:
            continue
        parts = module.name.split(".")
        outer = [f"{package.site}/{'/'.join(parts[:depth])}" for depth in range(1, len(parts))]
        deepest = _DEEPEST if module.package else 2
        if len(parts) <= deepest and folders.isdisjoint(outer):
            found.add(module.name)
    public = {name for name in found if name.partition(".")[0] not in _STRAY and not name.startswith("__")}
    return tuple(sorted(public))


def import_packages(
    sandbox: Sandbox,
    launch: Launch,
    installed: Mapping[str, Installed],
    members: Collection[str],
    *,
    hidden: Sequence[str] = (),
    each: float = EACH,
    total: float = TOTAL,
) -> Imported:
    """Import every package of the environment in *place*, each in a child, as *launch* runs a stub.

    *each* and *total* are seconds. They cannot see the files *hidden*.
    """
    began = time.monotonic()
    modules = {name: modules_of(package, members) for name, package in installed.items()}
    # Packages with many requirements take longest.
    order = sorted(
        filter(modules.get, modules), key=lambda name: (-len(with_requirements(name, installed)), name)
    )
    job = {
        "task": "packages",
        "packages": [[name, modules[name]] for name in order],
        "parallel": PARALLEL,
        "each": each,
        "total": total,
    }
    done = run_guest(sandbox, launch, f"packages-{launch}", job, hidden=hidden, timeout=total + 60)
    ended, found = done.how, None
    try:
        found = read_outcomes(done.file)
    except DocumentError as error:
        ended = str(error)
    except OSError:  # it ended without one
        pass
    return Imported(
        launch=launch, found=found, modules=modules, ended=ended, seconds=time.monotonic() - began
    )


def read_outcomes(path: Path) -> dict[str, PackageOutcome]:
    """Read the results of :mod:`envbuilder.guest.packages`, which code of the archive may have changed.

    Raises:
        DocumentError: it is malformed.
        OSError: it cannot be read.
    """
    answer = load_json(path, where="the outcome of the imports")
    return {name: _outcome(answer.record(name)) for name in answer.value}


def _outcome(record: Record) -> PackageOutcome:
    modules = record.record("modules")
    return PackageOutcome(
        modules={name: _module(modules.record(name)) for name in modules.value},
        libraries=record.texts("libraries", most=10_000) if "libraries" in record else (),
        timeout="timeout" in record and record.boolean("timeout"),
        signal=record.integer("signal", most=255) if "signal" in record else None,
        exited=record.integer("exited", most=255) if "exited" in record else 0,
        output=record.free_text("output") if "output" in record else "",
    )


def _module(record: Record) -> ModuleOutcome:
    if "error" not in record:
        return ModuleOutcome(done="seconds" in record)
    return ModuleOutcome(
        done=False,
        error=record.text("error"),
        text=record.free_text("text"),
        missing=record.free_text("missing") if "missing" in record else None,
        file=record.free_text("file") if "file" in record else None,
        causes=record.free_texts("causes"),
    )


def required_by_none(installed: Mapping[str, Installed]) -> set[str]:
    """Return the packages that no other one requires, so that the recipe must have named them."""
    required = {name for package in installed.values() for name in package.requires if name != package.name}
    return set(installed) - required


def dependents(name: str, installed: Mapping[str, Installed], failed: Iterable[str]) -> set[str]:
    """Return those of the *failed* packages that require *name*, directly or indirectly."""
    return {other for other in failed if other != name and name in with_requirements(other, installed)}
