"""Recompute the files that this tool itself writes into an archive from lock and members, and compare."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, fields, replace
from typing import Any, Final

from envbuilder.archive.elf import ElfFacts, highest
from envbuilder.archive.exclude import PackRules
from envbuilder.archive.extract import Contents, Member
from envbuilder.archive.manifest import (
    FORMAT,
    MANIFEST_PATH,
    Manifest,
    ManifestCondaPackage,
    ManifestFile,
    ManifestPackage,
)
from envbuilder.archive.segment import Excluded
from envbuilder.assemble.environment_file import environment_entry, sum_excluded
from envbuilder.assemble.packing import tools
from envbuilder.base.choose import find_compiler
from envbuilder.errors import AssembleError, IntegrityError
from envbuilder.lockfile.digest import lock_digest
from envbuilder.lockfile.model import Lock
from envbuilder.verification.origin.artifacts import lock_of
from envbuilder.verification.origin.expected import Contribution, Packing, contribution_of

_PATTERNS: Final = 1000
_PATTERN_LENGTH: Final = 1000
_WILDCARDS: Final = 8
"""Most wildcards in one pattern: matching time grows exponentially with their number."""


def packing_of(manifest: Manifest) -> Packing:
    """Return the packing options that an archive states.

    The modules that import files excluded by default rules are taken from it, not searched again: files kept for
    them are from the locked artifacts, too.

    Raises:
        IntegrityError: it states options that this tool would not write.
    """
    rules = _pack_rules(manifest.pack)
    kept = {one.path: one.imported_by for one in manifest.kept}
    for path in kept:
        if not rules.yields(path):
            raise IntegrityError(f"kept: {path!r:.200} is not excluded by the default rules")
    return Packing(rules=rules, kept=kept)


def _pack_rules(pack: Mapping[str, Any]) -> PackRules:
    kinds = {"bytecode": bool, "level": int, "uncompressed": bool, "exclude": list}
    if set(pack) != set(kinds) or any(type(pack[name]) is not kind for name, kind in kinds.items()):
        raise IntegrityError(f"pack is {dict(pack)!r:.200}, not {', '.join(kinds)}")
    patterns = pack["exclude"]
    for pattern in patterns if len(patterns) <= _PATTERNS else [None]:
        if not isinstance(pattern, str) or len(pattern) > _PATTERN_LENGTH:
            raise IntegrityError(f"pack.exclude is not a list of up to {_PATTERNS} patterns")
        if pattern.replace("**", "*").count("*") > _WILDCARDS:
            raise IntegrityError(f"pack.exclude: {pattern!r:.200} has more than {_WILDCARDS} wildcards")
    return PackRules(bytecode=pack["bytecode"], level=pack["level"], exclude=tuple(patterns))


def environment_files(base: Contribution | None, *, compiler: bool | None) -> Iterator[Contribution]:
    """Yield the possible contents of the file with the variables that an environment sets.

    *compiler*: whether it has to name the compiler of its *base*; None: unknown without the recipe, both are valid.
    """
    if compiler is not True:
        yield contribution_of("envbuilder", [environment_entry({})])
    if base is not None and compiler is not False:
        with suppress(AssembleError):  # a base without one
            yield contribution_of("envbuilder", [environment_entry(find_compiler(base.files))])


def manifest_differences(
    manifest: Manifest,
    lock: Lock | None,
    contents: Contents,
    elf: Mapping[str, ElfFacts],
    excluded: Iterable[Excluded] | None,
) -> list[str]:
    """List the fields in which *manifest* differs from the one that a build of *lock* writes for these *contents*.

    *elf* are the facts of its ELF files; *excluded* are the excluded files, None if unknown. Without a *lock* its
    fields are not compared. Nor are versions of tools, which are the builder's.
    """
    members = {path: member for path, member in contents.members.items() if path != MANIFEST_PATH}
    true = replace(
        manifest,
        python=manifest.interpreter.version,
        glibc=highest(one.glibc for one in elf.values() if one.glibc),
        glibcxx=highest(one.glibcxx for one in elf.values() if one.glibcxx),
        pack={**manifest.pack, "uncompressed": contents.compression == "none"},
        tools={name: manifest.tools.get(name, "missing") for name in tools(lock or lock_of(manifest))},
        unpacked_size=sum(member.size for member in members.values()),
        files=tuple(_file(members[path]) for path in sorted(members, key=os.fsencode)),
        format=FORMAT,
    )
    if excluded is not None:
        true = replace(true, excluded=sum_excluded(excluded))
    if lock is not None:
        true = replace(true, **_said_by(lock, manifest))
    return [one.name for one in fields(Manifest) if getattr(manifest, one.name) != getattr(true, one.name)]


def _said_by(lock: Lock, manifest: Manifest) -> dict[str, Any]:
    """Return the fields that *lock* determines; its digests only if it was not rewritten since."""
    same = lock_digest(lock) == manifest.lock_digest
    conda, used = lock.conda, replace(manifest.interpreter, locked_digest=lock.interpreter.digest)
    if (
        used.digest == lock.interpreter.digest
    ):  # its origin depends on the builder: the same files exist in many places
        used = replace(used, version=lock.interpreter.version)
    elif conda is not None:
        used = replace(used, digest=lock.interpreter.digest)
    return {
        "recipe": lock.recipe,
        "recipe_digest": lock.recipe_digest if same else manifest.recipe_digest,
        "release": lock.release,
        "torch": lock.torch,
        "cuda": lock.cuda,
        "demands": lock.demands,
        "interpreter": used,
        "packages": tuple(ManifestPackage(**asdict(one)) for one in lock.artifacts),
        "conda": tuple(ManifestCondaPackage(**asdict(one)) for one in conda.packages) if conda else (),
        "provides": dict(conda.provides) if conda else {},
    }


def _file(member: Member) -> ManifestFile:
    return ManifestFile(
        path=member.path,
        mode=member.mode & 0o7777,
        size=member.size,
        sha256=member.sha256,
        link=member.link,
    )
