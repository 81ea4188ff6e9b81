"""Restore the archive of an image, byte for byte, from its layers; local ones are not read from the image."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from envbuilder.archive.manifest import Manifest, manifest_beside, parse_manifest
from envbuilder.archive.names import manifest_inside
from envbuilder.errors import IntegrityError, StoreError
from envbuilder.images.layout import Blobs
from envbuilder.images.local import chunks_of_layer, find_archive, note_layer
from envbuilder.images.read import Image, Run, runs_of
from envbuilder.progress import Task
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from envbuilder.util.files import atomic_write, file_sha256, free_bytes, open_regular
from envbuilder.util.interruption import shielded
from envbuilder.util.tempdirs import draft_folder, output_folder
from envbuilder.util.text import human

_AT_A_TIME: Final = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Restored:
    """A restored archive."""

    archive: Path
    manifest: Manifest
    sha256: str
    size: int
    fetched: int
    """How many bytes of layers were read from the image."""
    here: int
    """How many bytes of layers were found in other archives in the folder, or not needed."""


def restore_archive(
    blobs: Blobs,
    image: Image,
    output: Path,
    session: Session,
    *,
    elsewhere: str = "--output names another folder",
) -> Restored:
    """Write the archive of *image* into the folder *output*, with its manifest beside it.

    *elsewhere* is the hint if *output* cannot be written.

    Raises:
        IntegrityError: the image contains no environment, or its layers do not give that archive.
        StoreError: a layer cannot be downloaded, or the disk is full; *output* is unchanged.
    """
    sha256, runs = image.archive, runs_of(image)
    sizes = {run.number: run.size for one in runs for run in one}
    size = sum(sizes.values()) + len(image.tail)
    there = find_archive(output, sha256)
    if there is not None and file_sha256(there) == sha256:
        text = manifest_beside(there).read_bytes() if manifest_beside(there).is_file() else _inside(there)
        return _done(there, sha256, text, 0, size)
    try:
        with output_folder(output), draft_folder(output, sha256[:12]) as folder:
            draft = folder / "archive"
            free = free_bytes(folder)
            if size > free:
                raise StoreError(
                    f"no space left in {output}: {human(size)} are needed, {human(free)} are free",
                    hint=elsewhere,
                )
            fetched = _write(blobs, image, draft, session, output, reuse=True)
            if file_sha256(draft) != sha256:
                # An archive in this folder may be damaged: the parts taken from it are fetched instead.
                fetched = _write(blobs, image, draft, session, output, reuse=False)
                if file_sha256(draft) != sha256:
                    raise IntegrityError(
                        f"{blobs.place}: the layers of {image.descriptor.digest[:19]} do not make the archive "
                        f"{sha256[:12]} that it names",
                        hint="it is not as `envbuilder image` wrote it: write it again, and push that",
                    )
            text = _inside(draft)
            manifest = parse_manifest(text, where=f"{blobs.place}: manifest")
            suffix = ".tar" if manifest.pack.get("uncompressed") else ".tar.gz"
            archive = output / f"{manifest.recipe}-{sha256[:12]}{suffix}"
            with shielded():
                atomic_write(manifest_beside(archive), text)  # first: no archive exists without it
                draft.replace(archive)
    except OSError as error:
        raise StoreError(
            f"the archive cannot be written to {output}: {error.strerror or error}",
            hint=elsewhere,
        ) from error
    _remember(session.store, sha256, image, runs)
    return _done(archive, sha256, text, fetched, size - fetched)


def _done(archive: Path, sha256: str, text: bytes, fetched: int, here: int) -> Restored:
    return Restored(
        archive=archive,
        manifest=parse_manifest(text, where=str(manifest_beside(archive))),
        sha256=sha256,
        size=archive.stat().st_size,
        fetched=fetched,
        here=max(here, 0),
    )


def _inside(archive: Path) -> bytes:
    with open_regular(archive) as file:
        plain = file.read(2) != b"\x1f\x8b"
    text = manifest_inside(archive, plain=plain)
    if text is None:
        raise IntegrityError(
            "the image contains no environment: the archive in it has no manifest",
            hint="`envbuilder image` writes images of environments",
        )
    return text


def _write(blobs: Blobs, image: Image, draft: Path, session: Session, output: Path, *, reuse: bool) -> int:
    """Write the archive to *draft*; return how many bytes of layers were read."""
    runs = runs_of(image)
    starts: dict[int, int] = {}
    position = 0
    for run in sorted((run for one in runs for run in one), key=lambda run: run.number):
        starts[run.number], position = position, position + run.size
    fetched = 0
    with draft.open("wb") as file, session.reporter.task("Fetching layers", position) as task:
        file.truncate(position)
        os.pwrite(file.fileno(), image.tail, position)

        def one(number: int) -> int:
            layer, own = image.manifest.layers[number], runs[number]
            if reuse and _from_here((session.store, output), layer.sha256, own, starts, file.fileno(), task):
                return 0
            offset = 0
            for chunk in blobs.read(layer):
                _place(file.fileno(), chunk, offset, own, starts)
                offset += len(chunk)
                task.advance(len(chunk))
            return layer.size

        order = sorted(range(len(runs)), key=lambda n: -image.manifest.layers[n].size)
        with ThreadPoolExecutor(_AT_A_TIME) as pool:
            futures = [pool.submit(one, number) for number in order]
            try:
                fetched = sum(future.result() for future in futures)
            except BaseException:
                for future in futures:
                    future.cancel()
                raise
    return fetched


def _place(descriptor: int, chunk: bytes, offset: int, runs: Sequence[Run], starts: dict[int, int]) -> None:
    """Write the ranges of *chunk*, at *offset* of its layer, that belong to the archive."""
    for run in runs:
        begin, end = max(run.offset, offset), min(run.offset + run.size, offset + len(chunk))
        if begin < end:
            data = chunk[begin - offset : end - offset]
            os.pwrite(descriptor, data, starts[run.number] + begin - run.offset)


def _from_here(
    here: tuple[Store, Path],
    layer: str,
    runs: Sequence[Run],
    starts: dict[int, int],
    descriptor: int,
    task: Task,
) -> bool:
    """Copy a layer's ranges from an archive *here* (store, folder); return whether there is one.

    The sha256 of the restored archive verifies them.
    """
    try:
        for number, done, chunk in chunks_of_layer(*here, layer, [run.size for run in runs]):
            os.pwrite(descriptor, chunk, starts[runs[number].number] + done)
            task.advance(len(chunk), from_store=True)
    except LookupError:
        return False
    return True


def _remember(store: Store, archive: str, image: Image, runs: Sequence[Sequence[Run]]) -> None:
    """Record the ranges of each layer in an archive on this machine."""
    sizes = {run.number: run.size for one in runs for run in one}
    starts, position = {}, 0
    for number in sorted(sizes):
        starts[number], position = position, position + sizes[number]
    for layer, own in zip(image.manifest.layers, runs, strict=True):
        note_layer(store, layer.sha256, archive, [(starts[run.number], run.size) for run in own])
