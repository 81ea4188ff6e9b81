"""Replace a folder atomically: a polling server sees the old one or the new one, never a mix.

A new folder is assembled beside the folder that will hold it, outside of what a server takes for models, and then
*exchanged* with the old one in one system call (``renameat2``, Linux).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import filecmp
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from envbuilder.archive.extract import extract
from envbuilder.deployment.locking import set_aside, staging
from envbuilder.errors import DeployError, IntegrityError, VerifyError
from envbuilder.progress import Reporter
from envbuilder.util.files import file_sha256, has_bytes
from envbuilder.util.interruption import shielded

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_CHUNK = 2**30
_FICLONE = 0x40049409
"""The request to share a file's blocks (Linux, btrfs, XFS and others)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Copy:
    """A file with the content, mode and time of another."""

    path: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """A file with these bytes."""

    data: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """A symbolic link."""

    target: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """An archive's content, named by the archive's digest: equal names mean equal content."""

    archive: Path
    sha256: str
    """The digest of the archive as it was read, which is checked as it is written."""
    unpacked: bool
    """Whether it is unpacked into a folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Keep:
    """What the folder has under this name already."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tree:
    """A folder with the files of another, shared with it where the file system can."""

    path: Path


Entry = Copy | Text | Link | Environment | Keep | Tree
"""The source of one path of a new folder."""


def is_in_place(target: Path, plan: Mapping[str, Entry]) -> bool:
    """Whether the folder *target* has exactly the content of *plan*, apart from Python's bytecode."""
    if not target.is_dir() or target.is_symlink():
        return False
    present = {path for path in paths(target, plan) if "__pycache__" not in path.split("/")}
    return present == set(plan) and all(_is_entry(target / path, entry) for path, entry in plan.items())


def replace_folder(target: Path, plan: Mapping[str, Entry], reporter: Reporter) -> None:
    """Replace *target* atomically by a folder with exactly the content of *plan*.

    The caller holds :func:`locked` on the folder that holds *target*. What *target* has already is linked, not
    copied: an archive keeps its time, by which a running server sees that it is the same.

    Raises:
        DeployError: it cannot be written. *target* is as it was.
    """
    with drafted(target, plan, reporter) as swap:
        swap()


@contextlib.contextmanager
def drafted(target: Path, plan: Mapping[str, Entry], reporter: Reporter) -> Iterator[Callable[[], None]]:
    """Assemble the folder that replaces *target*; the yielded function puts it in place.

    Raises:
        DeployError: it cannot be written. *target* is as it was.
    """
    with staging(target.parent, reporter) as place:
        draft = place / target.name
        try:
            _fill(draft, plan, old=target if target.is_dir() else None)
            yield lambda: exchange(draft, target)
        except OSError as error:
            raise DeployError(f"{target} cannot be written: {error.strerror}: {error.filename}") from error


def put(
    target: Path,
    entry: Environment | Text,
    reporter: Reporter,
    *,
    beside: Mapping[str, Text] = MappingProxyType({}),
) -> bool:
    """Create *target* from *entry*, and the files *beside* it from theirs, atomically, unless they exist.

    The caller holds :func:`locked` on the folder that holds *target*. A killed run may leave only the files
    *beside*, but never only *target*.

    Returns: whether *target* is new.

    Raises:
        DeployError: it cannot be written.
        IntegrityError: the archive is another one by now.
    """
    wanted = {target.with_name(name): text for name, text in beside.items()} | {target: entry}
    missing = [path for path, one in wanted.items() if not _is_entry(path, one)]
    if not missing:
        return False
    with staging(target.parent, reporter) as place:
        try:
            for path in missing:
                write_entry(place / path.name, wanted[path])
            with shielded():
                for path in missing:
                    exchange(place / path.name, path)
        except OSError as error:
            raise DeployError(f"{target} cannot be written: {error.strerror}: {error.filename}") from error
    return target in missing


def remove(path: Path, reporter: Reporter, *, beside: Sequence[str] = ()) -> None:
    """Remove a file or a folder, and what is *beside* it, atomically: a killed run never leaves half an environment.

    The caller holds :func:`locked` on the folder that holds it.

    Raises:
        DeployError: it cannot be removed.
    """
    with staging(path.parent, reporter) as place:
        try:
            with shielded():
                for name in (path.name, *beside):
                    path.with_name(name).rename(place / name)
        except OSError as error:
            raise DeployError(f"{path} cannot be removed: {error.strerror}") from error


def _fill(draft: Path, plan: Mapping[str, Entry], *, old: Path | None) -> None:
    draft.mkdir()
    for path, entry in plan.items():
        place = draft / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if old is not None and _is_entry(old / path, entry):
            _link(old / path, place)
        else:
            write_entry(place, entry)


def _is_entry(path: Path, entry: Entry) -> bool:
    """Whether *path* is what *entry* says."""
    match entry:
        case Keep():
            return True
        case Link(target=target):
            return path.is_symlink() and os.readlink(path) == target
        case Environment(unpacked=True) | Tree():
            return path.is_dir() and not path.is_symlink()
        case Environment(archive=archive):
            return _is_file(path) and path.stat().st_size == archive.stat().st_size
        case Text(data=data):
            return _is_file(path) and has_bytes(path, data)
        case Copy(path=source):
            # Same size and time, or same bytes; a different mode counts as a change.
            return (
                _is_file(path)
                and path.stat().st_mode == source.stat().st_mode
                and filecmp.cmp(source, path, shallow=True)
            )


def has_same_bytes(path: Path, entry: Copy | Text) -> bool:
    """Whether the file *path* has the content of *entry*, whatever its mode."""
    if isinstance(entry, Text):
        return has_bytes(path, entry.data)
    return filecmp.cmp(entry.path, path, shallow=True)


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def write_entry(place: Path, entry: Entry) -> None:
    """Make *place*, where nothing is, what *entry* says.

    Raises:
        IntegrityError: the archive is another one by now.
        OSError: it cannot be written.
    """
    match entry:
        case Keep():
            raise FileNotFoundError(errno.ENOENT, "gone meanwhile", str(place))
        case Link(target=target):
            place.symlink_to(target)
        case Tree(path=source):
            link_tree(source, place)
        case Environment(archive=archive, sha256=sha256, unpacked=True):
            unpack(archive, place, sha256=sha256)
        case Environment(archive=archive, sha256=sha256):
            copy_file(archive, place)
            if file_sha256(place) != sha256:
                raise _exchanged(archive)
        case Text(data=data):
            place.write_bytes(data)
        case Copy(path=source):
            copy_file(source, place)
            shutil.copystat(source, place)


def _link(old: Path, place: Path) -> None:
    """Link *old*, a file, a link or a folder, as *place*."""
    if old.is_dir() and not old.is_symlink():
        shutil.copytree(old, place, symlinks=True, copy_function=link_file)
    else:
        link_file(str(old), str(place))


def link_tree(source: Path, target: Path) -> None:
    """Make the folder *target* with the files of *source*: by shared blocks, hard links or copies."""
    shutil.copytree(source, target, symlinks=True, copy_function=_share_file)


def _share_file(old: str, place: str) -> None:
    if not os.path.islink(old):
        with open(old, "rb") as reader, open(place, "wb") as writer:
            try:
                fcntl.ioctl(writer, _FICLONE, reader.fileno())
            except OSError:  # most file systems cannot share blocks
                os.unlink(place)
            else:
                shutil.copystat(old, place)
                return
    link_file(old, place)


def link_file(old: str, place: str) -> None:
    """Hard-link the file or link *old* as *place*; where that is impossible, copy it."""
    try:
        os.link(old, place, follow_symlinks=False)
    except OSError:  # a file system without hard links
        shutil.copy2(old, place, follow_symlinks=False)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file's bytes, or share its blocks where the file system can."""
    with source.open("rb") as reader, target.open("wb") as writer:
        try:
            while os.copy_file_range(reader.fileno(), writer.fileno(), _CHUNK):
                pass
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            shutil.copyfileobj(reader, writer, 2**20)


def unpack(archive: Path, folder: Path, *, sha256: str | None = None) -> None:
    """Extract *archive* into the new folder *folder*.

    Raises:
        DeployError: it cannot be written.
        IntegrityError: not every release extracts the archive, or it does not have that *sha256*.
    """
    folder.mkdir()
    try:
        contents = extract(archive, folder)
    except VerifyError as error:  # the disk is full
        raise DeployError(error.message) from error
    if sha256 is not None and contents.sha256 != sha256:
        raise _exchanged(archive)
    unsafe = [
        # A server cannot read those names in an archive; here they are read already.
        *(f"{kind}: {member}" for kind, member in contents.problems if kind != "charset"),
        *(f"outside: {link}" for link in contents.links_out),
    ]
    problem = contents.damage or next(iter(unsafe), None)
    if problem is not None:
        raise IntegrityError(
            f"{archive} cannot be extracted: {problem}", hint="see the details with `envbuilder verify`"
        )


def _exchanged(archive: Path) -> IntegrityError:
    return IntegrityError(
        f"{archive} changed during the deployment", hint="deploy again when no process writes to it"
    )


def exchange(draft: Path, target: Path) -> None:
    """Rename *draft* to *target*; what was there is at *draft* afterwards."""
    if not target.exists() and not target.is_symlink():
        draft.rename(target)
        return
    libc = ctypes.CDLL(None, use_errno=True)
    paths = (ctypes.c_char_p(os.fsencode(draft)), ctypes.c_char_p(os.fsencode(target)))
    if libc.renameat2(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], ctypes.c_uint(_RENAME_EXCHANGE)) == 0:
        return
    if ctypes.get_errno() not in (errno.ENOSYS, errno.EINVAL):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(target))
    # Some network file systems cannot exchange: for a moment there is no model, and never half of one.
    aside = set_aside(draft)
    with shielded():
        target.rename(aside)
        try:
            draft.rename(target)
        except OSError:
            aside.rename(target)
            raise


def paths(folder: Path, plan: Mapping[str, Entry]) -> Iterator[str]:
    """List the files and links of *folder*; a folder that is a single entry of the plan is listed as one."""
    for root, folders, files in os.walk(folder):
        relative = Path(root).relative_to(folder)
        for name in list(folders):
            path = (relative / name).as_posix()
            if path in plan or (Path(root) / name).is_symlink():
                folders.remove(name)
                yield path
        for name in files:
            yield (relative / name).as_posix()
