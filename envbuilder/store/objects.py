"""Objects elsewhere, through fsspec: the one place that knows its file systems.

What a library of fsspec's raises is its own; here it becomes a :class:`StoreError` that says which store, and what it
answered. Credentials, endpoints and regions are each library's own business: none passes through here.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from envbuilder.errors import RecipeError, StoreError
from envbuilder.util.files import open_regular
from envbuilder.util.tempdirs import DRAFT, draft_folder, output_folder, sweep

CHUNK: Final = 16 * 2**20
"""Bytes asked for at a time."""
CONNECT_SECONDS: Final = 10.0
TRIES: Final = 3
_EXTRAS: Final = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "az": "az", "abfs": "az", "abfss": "az"}
_T = TypeVar("_T")


class Unreachable(StoreError):
    """Nothing answers at all: asking again is of no use."""


class Elsewhere:
    """A folder of objects at an address that fsspec knows. Thread-safe."""

    def __init__(self, url: str, *, timeout: float = 60.0) -> None:
        """Open the folder at *url*; nothing is asked yet.

        Raises:
            RecipeError: fsspec knows no such kind of address, or the library for it is not installed.
        """
        self.url = url.rstrip("/")
        self._down: Unreachable | None = None
        self._fs, root = _file_system(url, timeout)
        self._root = root.rstrip("/")
        self._local = Path(self._root) if "file" in _protocols(self._fs) else None
        if self._local is not None:
            sweep(self._local, DRAFT)

    def __repr__(self) -> str:
        return f"Elsewhere({self.url!r})"

    def place(self, path: str) -> str:
        """Name an object to a person."""
        return f"{self.url}/{path}"

    # -- reading -----------------------------------------------------------------------------------

    def size(self, path: str) -> int | None:
        """Return the bytes of the object *path*, or None: it is not there.

        Raises:
            StoreError: the store does not answer, or refuses.
        """
        found = self._ask(path, lambda: self._fs.info(self._at(path)))
        return None if found is None or found["type"] != "file" else int(found["size"])

    def version(self, path: str) -> str | None:
        """Return what is another one once the object *path* is written again, or None: it is not there."""
        return self._ask(path, lambda: str(self._fs.ukey(self._at(path))))

    def read(self, path: str, size: int | None = None) -> Iterator[bytes]:
        """Yield the bytes of the object *path*; of one that should have *size* bytes, not more than these.

        Raises:
            StoreError: it is not there, or breaks off, or the store does not answer.
        """
        if size is None:
            size = self.size(path)
        if size is None:
            raise StoreError(f"{self.place(path)} is not there")
        for start in range(0, size, CHUNK):
            end = min(start + CHUNK, size)
            data = self._ask(path, functools.partial(self._part, path, start, end))
            got = len(data) if data is not None else 0
            if data is None and start == 0:
                raise StoreError(f"{self.place(path)} is not there")
            if data is None or got != end - start:
                raise StoreError(f"{self.place(path)}: broke off after {start + got} of {size} bytes")
            yield data

    def read_small(self, path: str, most: int) -> bytes | None:
        """Return at most *most* bytes from the beginning of an object, or None: it is not there."""
        return self._ask(path, lambda: self._part(path, 0, most))

    def _part(self, path: str, start: int, end: int) -> bytes:
        if self._local is None:
            return bytes(self._fs.cat_file(self._at(path), start=start, end=end))
        with open_regular(self._local / path) as file:  # fsspec would wait for who writes a FIFO
            file.seek(start)
            return file.read(end - start)

    def names(self, folder: str) -> list[str]:
        """List the objects (not the folders) in *folder*, sorted; one that is not there holds none."""
        found = self._ask(folder, lambda: self._fs.ls(self._at(folder), detail=True)) or []
        own = self._at(folder).rstrip("/")
        return sorted(
            one["name"].rstrip("/").rpartition("/")[2]
            for one in found
            if one["type"] == "file" and one["name"].rstrip("/") != own  # a marker of an empty folder
        )

    def folders(self) -> list[str] | None:
        """List the folders of objects; None: there is nothing at this address.

        Raises:
            StoreError: the store does not answer, or refuses.
        """
        found = self._ask("", lambda: self._fs.ls(self._root, detail=True))
        if found is None:
            return None
        return sorted(
            one["name"].rstrip("/").rpartition("/")[2] for one in found if one["type"] == "directory"
        )

    def walk(self, folder: str) -> dict[str, int]:
        """Return the bytes of each object below *folder*, by its path in it."""
        found = self._ask(folder, lambda: self._fs.find(self._at(folder), detail=True)) or {}
        own = self._at(folder).strip("/") + "/"
        return {
            name.strip("/").removeprefix(own): int(one["size"])
            for name, one in found.items()
            if one["type"] == "file" and not name.endswith("/")
        }

    # -- writing -----------------------------------------------------------------------------------

    def create(self, path: str, source: Path) -> bool:
        """Upload the file *source* as *path*, if there is no such object; return whether it was not there.

        The object is there at once or not at all, and of two who create it at the same time, one does. (Of stores that
        know no conditional writes, sftp for instance, nobody can ask that.)

        Raises:
            StoreError: it cannot be written.
        """
        if self._local is not None:
            return self._link(path, source, replace=False)
        try:
            self._fs.put_file(str(source), self._at(path), mode="create")
        except Exception as error:  # each library has exceptions of its own
            # It says only in its own words that somebody was faster: whether the object is there says it in ours.
            if isinstance(error, FileExistsError) or self.size(path) is not None:
                return False
            raise self._said(error, path) from error
        return True

    def replace(self, path: str, source: Path) -> None:
        """Upload the file *source* as *path*, whatever is there.

        Raises:
            StoreError: it cannot be written.
        """
        if self._local is not None:
            self._link(path, source, replace=True)
            return
        try:
            self._fs.put_file(str(source), self._at(path))
        except Exception as error:  # each library has exceptions of its own
            raise self._said(error, path) from error

    def remove(self, path: str) -> None:
        """Remove an object.

        Raises:
            StoreError: it cannot be removed.
        """
        self._ask(path, lambda: self._fs.rm_file(self._at(path)))

    # -- parts -------------------------------------------------------------------------------------

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}"

    def _link(self, path: str, source: Path, *, replace: bool) -> bool:
        """Write as :meth:`create` does, on a disk: a draft that gets its name when it is whole."""
        assert self._local is not None
        target = self._local / path
        try:
            with output_folder(target.parent), draft_folder(self._local, "object") as folder:
                draft = folder / "object"
                self._fs.put_file(str(source), str(draft))
                if replace:
                    draft.replace(target)
                    return True
                try:
                    os.link(draft, target)
                except FileExistsError:
                    return False
                return True
        except OSError as error:
            raise self._said(error, path) from error

    def _ask(self, path: str, question: Callable[[], _T]) -> _T | None:
        """Return an answer; None: there is no such object."""
        if self._down is not None:
            raise self._down
        try:
            return question()
        except FileNotFoundError:
            return None
        except Exception as error:  # each library has exceptions of its own
            raise self._said(error, path) from error

    def _said(self, error: Exception, path: str) -> StoreError:
        said = str(error)
        if isinstance(error, OSError) and error.filename and isinstance(error.strerror, str):
            said = error.strerror  # the path is told already
        text = next(iter(str(said).strip().splitlines()), "") or type(error).__name__
        name = type(error).__name__
        if isinstance(error, PermissionError) or "Credential" in name:
            return StoreError(
                f"{self.place(path)}: the store refuses: {text}",
                hint="credentials are those of the library of that kind of store: see its documentation",
            )
        if isinstance(error, (TimeoutError, ConnectionError)) or _NO_ANSWER.search(f"{name}: {text}"):
            self._down = Unreachable(f"the store {self.url} does not answer: {text}")
            return self._down
        return StoreError(f"{self.place(path)}: {text}")


_NO_ANSWER: Final = re.compile(
    r"EndpointConnection|ConnectTimeout|ReadTimeout|ClientConnector|FSTimeout|Connect timeout"
)


def _file_system(url: str, timeout: float) -> tuple[Any, str]:
    from fsspec.core import url_to_fs  # a tenth of a second that only who has a store waits

    scheme = urlsplit(url).scheme
    extra = _EXTRAS.get(scheme)
    options: dict[str, Any] = {"use_listings_cache": False}  # others write there, too
    if extra == "s3":
        options["config_kwargs"] = {
            "connect_timeout": min(timeout, CONNECT_SECONDS),
            "read_timeout": timeout,
            "retries": {"max_attempts": 1},  # s3fs tries again by itself
        }
    try:
        system, root = url_to_fs(url, **options)
    except (ImportError, ValueError) as error:
        hint = f"pip install 'envbuilder[{extra}]'" if extra else None
        raise RecipeError(f"the store {url} cannot be used: {error}", hint=hint) from error
    if extra == "s3":
        system.retries = TRIES
    return system, root


def _protocols(system: Any) -> tuple[str, ...]:
    return (system.protocol,) if isinstance(system.protocol, str) else tuple(system.protocol)
