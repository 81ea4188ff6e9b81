"""Names of archives in a remote store: file names, the beginning of a sha256, aliases."""

from __future__ import annotations

from pathlib import Path

from envbuilder.archive.names import ARCHIVE
from envbuilder.building.record import DIGEST
from envbuilder.errors import RecipeError, StoreError
from envbuilder.store.local import Store
from envbuilder.store.remote import RemoteStore
from envbuilder.transfer.aliases import NAME, read_alias
from envbuilder.transfer.archives import find_archive
from envbuilder.transfer.expected import ANYTHING, Wanted


def locate(name: str, remote: RemoteStore, store: Store | None = None) -> tuple[str, Wanted]:
    """Return the sha256 of the archive that *name* stands for, and what that must be to have this name.

    Raises:
        RecipeError: it is no name of an archive.
        StoreError: there is none.
        IntegrityError: see :func:`envbuilder.transfer.aliases.read_alias`.
    """
    alias = NAME.fullmatch(name)
    if alias is not None:
        pointed = read_alias(name, remote, store).sha256
        if pointed is None:
            raise StoreError(
                f"{remote.url} has no alias {name}", hint=f"envbuilder alias {name} ARCHIVE sets it"
            )
        return pointed, Wanted(recipe=alias["recipe"])
    if DIGEST.fullmatch(name):
        return find_archive(remote, name), ANYTHING
    found = ARCHIVE.fullmatch(Path(name).name)
    if found is None:
        raise RecipeError(
            f"{name!r} is not an archive",
            hint="name an archive by its file name, by 12 or more digits of its sha256, or by an alias",
        )
    return find_archive(remote, found["digest"]), Wanted(recipe=found["stem"])


def names_an_archive(name: str) -> bool:
    """Whether *name* is an alias, an archive's file name, or (the beginning of) a sha256: no recipe."""
    return any(pattern.fullmatch(name) for pattern in (NAME, DIGEST)) or _is_file_name(name)


def find_local(name: str, folder: Path) -> Path | None:
    """Return the archive on this machine that *name* stands for: a path, or one in *folder* by its name or its digest.

    None: *name* is a recipe's. A file name of which there is no file is returned as it is.
    """
    path = Path(name)
    if name.endswith(_SUFFIXES) or _is_file_name(name):
        candidates = [one for base in (path, folder / path.name) for one in (base, *_suffixed(base))]
        return next((one for one in candidates if one.is_file()), path)
    if DIGEST.fullmatch(name):
        found = [one for suffix in _SUFFIXES for one in folder.glob(f"*-{name[:12]}{suffix}")]
        return found[0] if len(found) == 1 else None
    return None


_SUFFIXES = (".tar.gz", ".tar")


def _suffixed(path: Path) -> list[Path]:
    return [path.with_name(f"{path.name}{suffix}") for suffix in _SUFFIXES]


def _is_file_name(name: str) -> bool:
    return ARCHIVE.fullmatch(Path(name).name) is not None
