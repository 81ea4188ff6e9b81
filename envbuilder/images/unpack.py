"""Build an image's tree as a runtime does: unpack each layer separately, then lay it over those below.

As in overlay file systems, folders are merged, anything else replaces the entry at its path, and whiteouts
(``.wh.NAME``, ``.wh..wh..opq``) hide what is below (OCI image specification, *Image Layer Filesystem Changeset*).
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from zlib_ng import zlib_ng

from envbuilder.archive.extract import Contents, extract
from envbuilder.archive.manifest import MANIFEST_PATH, Manifest, parse_manifest
from envbuilder.archive.stream import most_unpacked
from envbuilder.errors import IntegrityError, VerifyError
from envbuilder.images.estargz import TOC
from envbuilder.images.layout import Blobs
from envbuilder.images.read import Image
from envbuilder.progress import SILENT, Reporter
from envbuilder.util.documents import LISTING
from envbuilder.util.files import file_sha256, open_regular, read_regular
from envbuilder.util.printable import printable_line
from envbuilder.util.watchdog import remove

_WHITEOUT: Final = ".wh."
_OPAQUE: Final = ".wh..wh..opq"
_CHUNK: Final = 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class Unpacked:
    """An image's tree."""

    tree: Path
    """The folder of the image's root."""
    problems: tuple[str, ...]
    """What an environment must not have: entries that were not unpacked, whiteouts, paths in two layers."""
    layers: int


def unpack(blobs: Blobs, image: Image, folder: Path, *, reporter: Reporter = SILENT) -> Unpacked:
    """Unpack *image* into ``tree`` in *folder*, which is created.

    Raises:
        IntegrityError: a layer does not match its digest or the configuration, or is not a tar.
        StoreError: a layer cannot be downloaded.
        VerifyError: the disk is full.
    """
    tree = folder / "tree"
    tree.mkdir(parents=True)
    problems: list[str] = []
    seen: dict[str, int] = {}
    for number, (layer, diff_id) in enumerate(zip(image.manifest.layers, image.diff_ids, strict=True)):
        blob, place = folder / f"layer-{number}", folder / f"unpacked-{number}"
        name = f"layer {number + 1} ({layer.digest[:19]})"
        try:
            with blob.open("xb") as file:
                for chunk in blobs.read(layer):
                    file.write(chunk)
        except OSError as error:
            raise VerifyError(
                f"{name} cannot be unpacked: {error.strerror}", hint="free some disk"
            ) from error
        found = _diff_id(blob, name)
        if found != diff_id:
            raise IntegrityError(
                f"{name} unpacks to a tar of sha256 {found[:12]}, the configuration says {diff_id[:12]}",
                hint="write the image again: its layers are in another order, or others",
            )
        contents = extract(blob, place, reporter=reporter)
        blob.unlink()
        if contents.damage is not None:
            raise IntegrityError(f"{name}: {contents.damage}", hint="write the image again")
        # A container runtime reads PAX records as UTF-8: it is only Triton's extraction that cannot.
        problems += [f"{name}: {text} ({kind})" for kind, text in contents.problems if kind != "charset"]
        try:
            problems += _lay_over(tree, place, contents, name, seen, number)
        except OSError as error:
            raise VerifyError(
                f"{name} cannot be laid over those below: {printable_line(str(error))[:200]}",
                hint="free some disk; if there is room, the image is damaged",
            ) from error
        remove(place)
    return Unpacked(tree=tree, problems=tuple(problems), layers=len(image.manifest.layers))


def _diff_id(blob: Path, name: str) -> str:
    """Return the sha256 of the tar in a layer."""
    digest = hashlib.sha256()
    with open_regular(blob) as file:
        head = file.read(2)
        file.seek(0)
        most = most_unpacked(os.fstat(file.fileno()).st_size, head == b"\x1f\x8b")
        size = 0
        try:
            for block in _inflated(file) if head == b"\x1f\x8b" else iter(lambda: file.read(_CHUNK), b""):
                digest.update(block)
                size += len(block)
                if size > most:
                    raise IntegrityError(f"{name} unpacks to more than any environment does")
        except zlib_ng.error as error:  # type: ignore[misc]  # its stub does not say it is an exception
            raise IntegrityError(f"{name}: its gzip stream is damaged: {error}") from error
    return digest.hexdigest()


def _inflated(file: object) -> Iterator[bytes]:
    member = zlib_ng.decompressobj(31)
    while data := file.read(_CHUNK):  # type: ignore[attr-defined]
        while data:
            yield member.decompress(data, _CHUNK)
            data = member.unconsumed_tail
            if member.eof:
                data = member.unused_data
                member = zlib_ng.decompressobj(31)


def _lay_over(
    tree: Path, place: Path, contents: Contents, name: str, seen: dict[str, int], number: int
) -> list[str]:
    """Move the layer unpacked in *place* over *tree*; return what an environment must not have."""
    problems = []
    for path in sorted(contents.members):
        if posixpath.basename(path).startswith(_WHITEOUT):
            problems.append(f"{name} {_hide(tree, path)}")
    for folder in sorted(contents.folders):
        target = tree / folder
        if target.is_symlink() or (target.exists() and not target.is_dir()):
            problems.append(f"{name} puts a folder in the place of a file below: {printable_line(folder)}")
            target.unlink()
        target.mkdir(exist_ok=True)
        target.chmod((place / folder).stat().st_mode & 0o777 | 0o700)
    for path in sorted(contents.members):
        if posixpath.basename(path).startswith(_WHITEOUT):
            continue
        if path in seen and path != TOC:
            problems.append(f"{name} replaces {printable_line(path)} of layer {seen[path] + 1}")
        seen[path] = number
        target = tree / path
        if target.is_dir() and not target.is_symlink():
            problems.append(f"{name} puts a file in the place of a folder below: {printable_line(path)}")
            _remove(target)
        (place / path).rename(target)
    return problems


def _hide(tree: Path, whiteout: str) -> str:
    """Remove the entry that a whiteout hides; return a problem, because environments have no whiteouts."""
    folder, base = posixpath.split(whiteout)
    hidden, hides = tree / folder, base.removeprefix(_WHITEOUT)
    if hides in ("", ".", ".."):  # the folder itself, or a parent
        return f"has a whiteout of no file, {printable_line(whiteout)}"
    if base == _OPAQUE:
        for inner in _inside(tree, hidden):
            _remove(inner)
    elif _is_real(tree, hidden):
        _remove(hidden / hides)
    return f"has a whiteout, {printable_line(whiteout)}: it hides files of layers below"


def _is_real(tree: Path, folder: Path) -> bool:
    """Whether *folder* is a folder below *tree*, not reached through a link."""
    return folder.is_dir() and folder.resolve() == tree.resolve() / folder.relative_to(tree)


def _inside(tree: Path, folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if _is_real(tree, folder) else []


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.is_symlink() or path.exists():
        path.unlink()


# -- the tree and its manifest ---------------------------------------------------------------------


def tree_manifest(tree: Path) -> Manifest:
    """Return the manifest in an environment's tree.

    Raises:
        IntegrityError: it is not an environment.
    """
    path = tree / MANIFEST_PATH
    try:
        return parse_manifest(read_regular(path, most=LISTING.size + 1), where=MANIFEST_PATH)
    except OSError as error:
        raise IntegrityError(
            f"the image is not an environment: {MANIFEST_PATH}: {error.strerror}",
            hint="`envbuilder image` writes images of environments",
        ) from error


def compare_tree(tree: Path, manifest: Manifest) -> list[str]:
    """Return the differences of *tree* from *manifest*: missing, changed and additional files."""
    listed = {file.path: file for file in manifest.files}
    found = set(_files(tree))
    wrong = [f"{path} is not in the manifest" for path in sorted(found - {*listed, MANIFEST_PATH, TOC})]
    for path, file in listed.items():
        place = tree / path
        if path not in found:
            wrong.append(f"{path} is missing")
        elif file.link is not None:
            if not place.is_symlink() or os.readlink(place) != file.link:
                wrong.append(f"{path} is not a link to {file.link}")
        elif place.is_symlink() or place.stat().st_size != file.size or file_sha256(place) != file.sha256:
            wrong.append(f"{path} has other bytes")
        elif place.stat().st_mode & 0o777 != file.mode & 0o777 | 0o400:
            wrong.append(f"{path} has mode {place.stat().st_mode & 0o777:o}, not {file.mode:o}")
    return wrong


def _files(tree: Path) -> Iterator[str]:
    for folder, folders, files in os.walk(tree):
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        for name in (*files, *links):
            yield (Path(folder) / name).relative_to(tree).as_posix()


def some_of(items: Sequence[str], count: int = 5) -> str:
    """Name the first few of *items*."""
    more = len(items) - count
    return "; ".join(printable_line(item) for item in items[:count]) + (
        f" and {more} more" if more > 0 else ""
    )
