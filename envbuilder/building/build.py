"""``envbuilder build``: from a lock to an archive."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from envbuilder.archive.exclude import PackRules
from envbuilder.archive.manifest import (
    Manifest,
    manifest_beside,
    read_manifest,
)
from envbuilder.archive.plan import Plan, about, keep_plan, plan_of
from envbuilder.archive.segment import Segment
from envbuilder.archive.write import DamagedPieceError, write_archive
from envbuilder.assemble.assembler import Assembler
from envbuilder.assemble.bytecode import BytecodeCompiler
from envbuilder.assemble.cross_imports import Wanted, WantedError
from envbuilder.assemble.environment_file import environment_entry
from envbuilder.assemble.origin_proof import prove_origin
from envbuilder.assemble.packing import pack_rules
from envbuilder.assemble.pipeline import Pipeline, open_pipeline
from envbuilder.assemble.shared_paths import TwoOwnersError
from envbuilder.base.choose import find_compiler, open_base
from envbuilder.base.conda import CondaBase
from envbuilder.base.provider import Provider
from envbuilder.building.manifest import make_manifest, manifest_entry
from envbuilder.building.record import BuildReport, build_key, parse_record, record_of
from envbuilder.errors import AssembleError, EnvbuilderError, IntegrityError
from envbuilder.lockfile.model import Lock
from envbuilder.progress import Reporter
from envbuilder.recipe.location import where
from envbuilder.recipe.model import Recipe
from envbuilder.store.damage import DamagedArtifactError
from envbuilder.store.local import Store
from envbuilder.store.proofs import Proofs
from envbuilder.store.session import Session
from envbuilder.util.files import file_sha256, free_bytes
from envbuilder.util.interruption import shielded
from envbuilder.util.tempdirs import draft_folder, output_folder
from envbuilder.util.text import counted

_TRIES: Final = 4
"""Attempts: a damaged store entry is removed and rebuilt, and several may be damaged. One more may be needed if an
artifact that was just fetched imports what was excluded from another."""


def build(
    recipe: Recipe,
    lock: Lock,
    session: Session,
    *,
    output: Path,
    interpreter_change: bool = False,
    threads: int | None = None,
    prune: bool = True,
) -> BuildReport:
    """Build the archive of *lock* in the folder *output*, packed as *recipe* says.

    An existing archive with its digest is left untouched. With *prune* the store is reduced to its limit.

    Raises:
        FetchError: an artifact cannot be downloaded.
        IntegrityError: an artifact, or this machine's interpreter, is not the locked one.
        AssembleError: the artifacts cannot be assembled into an environment.
    """
    rules = pack_rules(recipe)
    store, reporter = session.store, session.reporter
    wanted = Wanted()
    for attempt in range(_TRIES):
        try:
            with (
                open_base(recipe, lock, session, change=interpreter_change) as base,
                open_assembler(base, rules, session, threads) as assembler,
            ):
                key = build_key(recipe, lock, base.interpreter)
                there = _already_there(key, recipe, output, store)
                if there is not None:
                    return there
                report = _build(recipe, lock, base, assembler, output, session, wanted)
        except WantedError as more:
            wanted = more.wanted  # an artifact that was just fetched imports what was excluded from another
        except (DamagedPieceError, DamagedArtifactError) as damaged:
            label = _discard(damaged, store, reporter)
            if attempt == _TRIES - 1:
                raise IntegrityError(
                    f"{label}: its content in the store changed while it was being read",
                    hint=f"check the disk under {store.root}",
                ) from damaged
        except OSError as error:
            if not isinstance(error, FileNotFoundError) or attempt == _TRIES - 1:
                raise _failure(error, recipe, output, store) from error
            reporter.note(f"{error.filename} was removed, perhaps by another process; starting again")
        else:
            _remember(key, report, store, prune=prune)
            return report
    raise AssertionError("unreachable")


@contextmanager
def open_assembler(
    base: Provider, rules: PackRules, session: Session, threads: int | None = None
) -> Iterator[Assembler]:
    """Yield an assembler with *threads* threads (default: one per CPU, at most 8)."""
    threads = threads or min(os.cpu_count() or 1, 8)
    with (
        ThreadPoolExecutor(threads) as executor,
        BytecodeCompiler(base.executable, threads) as compiler,
    ):
        yield Assembler(
            base=base,
            rules=rules,
            store=session.store,
            executor=executor,
            compiler=compiler,
            reporter=session.reporter,
        )


# -- the stages ------------------------------------------------------------------------------------


def _build(
    recipe: Recipe,
    lock: Lock,
    base: Provider,
    assembler: Assembler,
    output: Path,
    session: Session,
    wanted: Wanted,
) -> BuildReport:
    packages = counted(len(lock.artifacts), "wheel")
    if lock.conda is not None:
        packages = f"{counted(len(lock.conda.packages), 'conda package')} and {packages}"
    session.reporter.step(f"Fetching, assembling and packing {packages}")
    suffix = ".tar" if recipe.pack.uncompressed else ".tar.gz"
    with (
        _draft(output, recipe.name) as draft,
        session.store.scratch("own") as scratch,
        open_pipeline(lock, assembler, session, wanted) as pipeline,
    ):
        contents = _Contents(recipe, lock, base, assembler, pipeline, scratch)
        written = write_archive(
            contents.segments(),
            draft,
            artifacts=pipeline.artifact,
            level=recipe.pack.level,
            uncompressed=recipe.pack.uncompressed,
            expected=sum(artifact.size for artifact in lock.all_artifacts),
            reporter=session.reporter,
        )
        archive = output / f"{recipe.name}-{written.sha256[:12]}{suffix}"
        # The manifest first, so that no archive is ever without one. An existing archive is left untouched: a server
        # extracts it again when its modification time changes.
        beside = draft.with_name("manifest")
        beside.write_bytes(contents.text.encode("utf-8", "surrogateescape"))
        there = archive.exists() and file_sha256(archive) == written.sha256
        with shielded():
            beside.replace(manifest_beside(archive))
            if not there:
                draft.replace(archive)
        if not recipe.pack.uncompressed:
            with contextlib.suppress(OSError):  # only speeds up writing an image
                parts = plan_of(contents.packed)
                plan = Plan(archive=written.sha256, about=about(contents.manifest), parts=parts)
                keep_plan(session.store, plan)
    prove_origin(
        Proofs(store=session.store), written.sha256, contents.manifest, contents.packed, recipe, lock
    )
    return BuildReport(
        archive=archive,
        manifest=contents.manifest,
        sha256=written.sha256,
        size=written.size,
        already_there=False,
        segments_made=assembler.made,
        segments_total=len(lock.artifacts) + 2,  # the environment's own two are always rebuilt
    )


class _Contents:
    """Yields the segments of an archive in order, then knows its manifest."""

    manifest: Manifest
    text: str

    def __init__(
        self,
        recipe: Recipe,
        lock: Lock,
        base: Provider,
        assembler: Assembler,
        pipeline: Pipeline,
        scratch: Path,
    ) -> None:
        self._recipe = recipe
        self._lock = lock
        self._base = base
        self._assembler = assembler
        self._pipeline = pipeline
        self._scratch = scratch
        self.packed: list[Segment] = []
        """All segments, complete after the last was yielded."""

    def segments(self) -> Iterator[Segment]:
        """Yield the base, the wheels, the activation scripts, and the environment's own files."""
        listed: list[Segment] = []
        with explain_clobbering(self._recipe, self._base):
            for segment in self._pipeline.segments():
                listed.append(segment)
                yield segment
        compiler = find_compiler(listed[0].files) if self._recipe.compiler == "bundled" else {}
        own = self._assembler.environment_segment(
            [environment_entry(compiler)], self._scratch / "environment"
        )
        listed.append(own)
        yield own
        self.manifest = make_manifest(self._recipe, self._lock, self._base, listed)
        self.text = self.manifest.text()
        manifest = self._assembler.environment_segment(
            [manifest_entry(self.text)], self._scratch / "manifest"
        )
        yield manifest
        self.packed = [*listed, manifest]


# -- before and after ------------------------------------------------------------------------------


def _already_there(key: str, recipe: Recipe, output: Path, store: Store) -> BuildReport | None:
    record = store.find("builds", key)
    if record is None:
        return None
    try:
        known = parse_record(record.read_bytes(), where=str(record))
        archive = output / known.archive
        if archive.stat().st_size != known.size or file_sha256(archive) != known.sha256:
            return None
        if file_sha256(manifest_beside(archive)) != known.manifest:
            return None
        return BuildReport(
            archive=archive,
            manifest=read_manifest(manifest_beside(archive)),
            sha256=known.sha256,
            size=known.size,
            already_there=True,
            segments_made=0,
            segments_total=known.segments,
        )
    except (OSError, EnvbuilderError):
        return None  # not usable: build


def _remember(key: str, report: BuildReport, store: Store, *, prune: bool) -> None:
    with contextlib.suppress(OSError):  # the archive is there; only the next build would be faster
        store.write_entry("builds", key, record_of(report).text())
        if prune:
            store.prune()


def _discard(damaged: DamagedPieceError | DamagedArtifactError, store: Store, reporter: Reporter) -> str:
    """Remove a damaged entry, so that it is fetched or built again; return its name."""
    if isinstance(damaged, DamagedArtifactError):
        reporter.note(f"{damaged.artifact.filename} in the store was damaged; fetching it again")
        return damaged.artifact.filename
    label = damaged.segment.label
    if damaged.artifact is not None and not store.check_artifact(damaged.artifact):
        reporter.note(f"{label} in the store was damaged; fetching it again")
    else:
        reporter.note(f"the segment of {label} in the store was damaged; rebuilding it")
        store.remove("segments", damaged.segment.key)
    return label


def _failure(error: OSError, recipe: Recipe, output: Path, store: Store) -> AssembleError:
    """Return the error for a failed system call, with its path."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = " and ".join(f"{free_bytes(place) >> 20} MiB in {place}" for place in (output, store.writable))
        return AssembleError(
            f"no space left to build {recipe.name}: {free} free",
            hint="`envbuilder store prune` or ENVBUILDER_CACHE for the store, --output for archives",
        )
    where = f": {error.filename}" if error.filename is not None else ""
    return AssembleError(f"{recipe.name} cannot be built: {error.strerror or error}{where}")


@contextmanager
def _draft(output: Path, name: str) -> Iterator[Path]:
    """Yield a temporary folder next to the future archive, removed on exit."""
    with ExitStack() as stack:
        try:
            stack.enter_context(output_folder(output))
        except OSError as error:
            raise AssembleError(f"the folder {output} cannot be created: {error.strerror}") from error
        try:
            folder = stack.enter_context(draft_folder(output, name))
        except OSError as error:
            raise AssembleError(f"the folder {output} cannot be written: {error.strerror}") from error
        yield folder / "archive"


@contextmanager
def explain_clobbering(recipe: Recipe, base: Provider) -> Iterator[None]:
    """Explain that a wheel would overwrite a file of a conda package, with the line of the recipe."""
    try:
        yield
    except TwoOwnersError as error:
        owner = base.owner(error.path) if isinstance(base, CondaBase) else None
        if owner is None:
            raise
        name = error.second.partition("-")[0].replace("_", "-").lower()
        raise AssembleError(
            f"{error.path} belongs to the conda package {owner.filename}, and {error.second} would overwrite it",
            hint=f"{where(recipe, 'dependencies', name)}: take {name} from the channel too (conda: [{name}]), or drop "
            f"it, or {owner.name} at {where(recipe, 'conda', owner.name)}",
        ) from error
