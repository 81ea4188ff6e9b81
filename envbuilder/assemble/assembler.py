"""Build segments, or reuse them from the store."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from envbuilder.archive.entry import Entry
from envbuilder.archive.exclude import PackRules
from envbuilder.archive.kept import Kept, find_kept, module_of
from envbuilder.archive.segment import DamagedSegmentError, Excluded, FileFacts, Segment, keep, load_segment
from envbuilder.archive.zipdir import ZipDirectory
from envbuilder.assemble.bytecode import BytecodeCompiler, bytecode_path
from envbuilder.assemble.origin_proof import record_segment
from envbuilder.assemble.wheel import wheel_files
from envbuilder.assemble.writer import SegmentWriter
from envbuilder.base.provider import Provider
from envbuilder.errors import AssembleError
from envbuilder.lockfile.model import Artifact
from envbuilder.progress import SILENT, Reporter, Task
from envbuilder.store.damage import DamagedArtifactError
from envbuilder.store.local import Store
from envbuilder.store.proofs import Proofs
from envbuilder.store.segments import download_segment, share_segment
from envbuilder.util.documents import LISTING, DocumentError, parse_json

BASE_LABEL = "base"
LARGE: Final = 32 * 2**20
"""Bytes of a wheel from which its progress is shown by itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """What a wheel contributes."""

    paths: frozenset[str]
    """Its files without bytecode and generated files."""
    kept: Kept
    left_out: frozenset[str]
    """Modules that default rules exclude."""


class Assembler:
    """Builds the segments of one build. Thread-safe: several segments may be in progress at a time."""

    def __init__(
        self,
        *,
        base: Provider,
        rules: PackRules,
        store: Store,
        executor: Executor,
        compiler: BytecodeCompiler,
        reporter: Reporter = SILENT,
    ) -> None:
        self._base = base
        self._rules = rules
        self._store = store
        self._executor = executor
        self._compiler = compiler
        self._reporter = reporter
        self._python = f"cpython-{base.version}"
        self._lock = threading.Lock()
        self.made = 0
        """Number of segments that were built instead of reused."""

    # -- wheels ------------------------------------------------------------------------------------

    def list_wheel(self, artifact: Artifact, path: Path, wanted: Mapping[str, str] | None = None) -> Listing:
        """Return what a wheel contributes; *wanted* maps names that other artifacts import to one importer each."""
        key = self._key("listing", artifact.filename, artifact.sha256, *_marks(wanted))
        known = self._store.find("listings", key)
        if known is not None:
            # Damaged, or just evicted: list it again.
            with contextlib.suppress(DocumentError, ValueError, OSError, KeyError, TypeError, AttributeError):
                return _listing(parse_json(known.read_bytes(), where=str(known), cap=LISTING).value)
        with self._open(artifact, path) as file:
            wheel = ZipDirectory(file, artifact.filename)
            files = wheel_files(wheel, artifact.filename, minor=self._base.minor, rules=self._rules)
            left_out = {entry.path: entry for entry in files.left_out if self._rules.yields(entry.path)}
            kept = find_kept(
                {entry.path: functools.partial(_content, entry, wheel) for entry in files.entries},
                {entry.path: functools.partial(_content, entry, wheel) for entry in left_out.values()},
                rules=self._rules,
                minor=self._base.minor,
                python=self._base.executable,
                wanted=wanted,
            )
        listing = Listing(
            paths=frozenset({*(entry.path for entry in files.entries), *kept.paths}),
            kept=kept,
            left_out=frozenset(path for path in left_out if module_of(path, self._base.minor) is not None),
        )
        text = json.dumps(
            {
                "paths": sorted(listing.paths),
                "kept": dict(sorted(kept.paths.items())),
                "wants": dict(sorted(kept.wants.items())),
                "stdlib": dict(sorted(kept.stdlib.items())),
                "left_out": sorted(listing.left_out),
            }
        )
        self._store.write_entry("listings", key, text.encode())
        return listing

    def wheel_key(
        self, artifact: Artifact, omit: Collection[str] = (), wanted: Mapping[str, str] | None = None
    ) -> str:
        """Return the key of a wheel's segment. The files kept for its own modules are a function of its bytes."""
        return self._key(artifact.filename, artifact.sha256, *sorted(omit), *_marks(wanted))

    def wheel(
        self,
        artifact: Artifact,
        path: Path,
        omit: Collection[str] = (),
        wanted: Mapping[str, str] | None = None,
    ) -> Segment:
        """Return the segment of a wheel without the files *omit*, which another wheel contributes already.

        Excluded modules that its own modules, or those in *wanted*, import are kept.

        Raises:
            DamagedArtifactError: the wheel is damaged, or changes while it is read.
        """
        key = self.wheel_key(artifact, omit, wanted)
        found = self._find(key, artifact.filename)
        if found is not None:
            return found
        kept = self.list_wheel(artifact, path, wanted).kept
        with self._open(artifact, path) as file, self._store.scratch("segment") as scratch:
            folder = scratch / "segment"
            folder.mkdir()  # with the umask's permissions, unlike the temporary folder
            wheel = ZipDirectory(file, artifact.filename)
            files = wheel_files(
                wheel, artifact.filename, minor=self._base.minor, rules=self._rules, keep=kept.paths
            )
            entries = [entry for entry in files.entries if entry.path not in omit]
            omitted = [_facts_of(entry, wheel) for entry in files.entries if entry.path in omit]
            with (
                self._task(artifact) as task,
                closing(
                    SegmentWriter(
                        folder,
                        level=self._rules.level,
                        executor=self._executor,
                        wheel=wheel,
                        progress=task.advance,
                    )
                ) as writer,
            ):
                # RECORD lists all installed files, whichever wheel contributes them.
                writer.write(
                    [*entries, *self.bytecode(entries, wheel)],
                    last=lambda facts: files.record([*facts, *omitted]),
                )
                segment = writer.finish(
                    key=key,
                    label=artifact.filename,
                    artifact=artifact.sha256,
                    omitted=omitted,
                    excluded=files.excluded,
                    kept=kept.paths,
                )
            return self._keep(segment)

    # -- the base and the environment's own --------------------------------------------------------

    def base(self, wanted: Mapping[str, str] | None = None) -> tuple[Segment, Segment]:
        """Return the segments of the base and of conda-pack's activation scripts.

        *wanted* are names of modules that packages import, each with one importer.
        """
        digest = self._base.key
        base_key = self._key(BASE_LABEL, digest, *_marks(wanted))
        activation_key = self._key("activation", digest)
        base, activation = self._find(base_key, BASE_LABEL), self._find(activation_key, "activation")
        if base is not None and activation is not None:
            return base, activation
        with self._store.scratch("base") as scratch:
            prefix = scratch / "prefix"
            prefix.mkdir()
            laid_out = self._base.lay_out(prefix, self._rules, wanted)
            bytecode = self.bytecode(laid_out.entries, None)
            made = self._write(
                scratch / "base-segment",
                [*laid_out.entries, *bytecode],
                key=base_key,
                label=BASE_LABEL,
                excluded=laid_out.excluded,
                kept=laid_out.kept,
            )
            own = self._write(
                scratch / "activation-segment", laid_out.activation, key=activation_key, label="activation"
            )
            return self._keep(made), self._keep(own)

    def environment_segment(self, entries: Sequence[Entry], folder: Path) -> Segment:
        """Return a segment of *entries* in *folder* that is not stored, as the manifest always differs."""
        segment = self._write(folder, entries, key="", label="environment")
        segment.save()
        return segment

    # -- parts -------------------------------------------------------------------------------------

    def _task(self, artifact: Artifact) -> AbstractContextManager[Task]:
        """Show the progress of a large wheel: it takes seconds, and the archive shows nothing until then."""
        reporter = self._reporter if artifact.size >= LARGE else SILENT
        return reporter.task(f"Assembling {artifact.filename}", artifact.size)

    @contextlib.contextmanager
    def _open(self, artifact: Artifact, path: Path) -> Iterator[BinaryIO]:
        """Open an artifact; check its sha256 first, and again after a read error."""
        if not self._store.trust_artifact(artifact.sha256):
            raise DamagedArtifactError(artifact)
        try:
            with path.open("rb") as file:
                yield file
        except (AssembleError, FileNotFoundError) as error:
            if self._store.check_artifact(artifact.sha256):
                raise
            raise DamagedArtifactError(artifact) from error

    def _key(self, *parts: str) -> str:
        text = "\0".join((*parts, self._python, self._rules.key()))
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()

    def _find(self, key: str, label: str) -> Segment | None:
        folder = self._store.find("segments", key) or download_segment(key, self._store, self._reporter)
        if folder is None:
            return None
        try:
            return self._share(load_segment(folder, key))
        except DamagedSegmentError as error:
            self._reporter.note(f"the segment of {label} in the store was damaged ({error}); rebuilding it")
            self._store.remove("segments", key)
            return None

    def bytecode(self, entries: Sequence[Entry], wheel: ZipDirectory | None) -> list[Entry]:
        """Compile the sources among *entries*, those of *wheel* or of the base."""
        if not self._rules.bytecode:
            return []
        library = f"lib/python{self._base.minor}/"
        sources = [e for e in entries if e.path.endswith(".py") and e.path.startswith(library) and not e.link]
        made = self._executor.map(
            lambda entry: self._compiler.compile(entry.path, _content(entry, wheel)), sources
        )
        return [
            Entry(bytecode_path(source.path, self._base.minor), data=data)
            for source, data in zip(sources, made, strict=True)
            if data is not None
        ]

    def _write(
        self,
        folder: Path,
        entries: Sequence[Entry],
        *,
        key: str,
        label: str,
        excluded: Sequence[Excluded] = (),
        kept: Mapping[str, str] | None = None,
    ) -> Segment:
        folder.mkdir()
        writer = SegmentWriter(folder, level=self._rules.level, executor=self._executor)
        with closing(writer):
            writer.write(entries)
            return writer.finish(key=key, label=label, artifact=None, excluded=excluded, kept=kept)

    def _keep(self, segment: Segment) -> Segment:
        with self._lock:
            self.made += 1
        kept = keep(segment, self._store)
        record_segment(Proofs(store=self._store), kept)
        return self._share(kept)

    def _share(self, segment: Segment) -> Segment:
        """Upload a segment for other machines."""
        if self._store.sharing and self._store.remote is not None:
            share_segment(segment.key, segment.folder, self._store, self._store.remote)
        return segment


def _marks(wanted: Mapping[str, str] | None) -> list[str]:
    """Return the contribution of *wanted* to a key."""
    return [f"+{name} {importer}" for name, importer in sorted((wanted or {}).items())]


def _listing(data: Mapping[str, Any]) -> Listing:
    return Listing(
        paths=frozenset(data["paths"]),
        kept=Kept(paths=data["kept"], wants=data["wants"], stdlib=data["stdlib"]),
        left_out=frozenset(data["left_out"]),
    )


def _content(entry: Entry, wheel: ZipDirectory | None) -> bytes:
    if entry.member is not None:
        assert wheel is not None
        return wheel.read(entry.member)
    return entry.source.read_bytes() if entry.source is not None else entry.data or b""


def _facts_of(entry: Entry, wheel: ZipDirectory) -> FileFacts:
    digest, size = hashlib.sha256(), 0
    for chunk in (entry.data or b"",) if entry.member is None else wheel.chunks(entry.member):
        digest.update(chunk)
        size += len(chunk)
    return FileFacts(entry.path, entry.mode, size, digest.hexdigest())
