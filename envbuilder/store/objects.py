"""Remote objects through fsspec: the only module that uses its file systems.

Each fsspec implementation raises its own exceptions; here they become a :class:`StoreError` with the store and its
response. Credentials, endpoints and regions are configured for each library; they do not pass through here.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from envbuilder.config.settings import Settings
from envbuilder.errors import RecipeError, StoreError
from envbuilder.registry.reference import is_reference, parse_reference
from envbuilder.util.extras import installing
from envbuilder.util.files import open_regular
from envbuilder.util.tempdirs import DRAFT, draft_folder, output_folder, remove_stale

CHUNK: Final = 16 * 2**20
"""Bytes requested at a time."""
CONNECT_SECONDS: Final = 10.0
TRIES: Final = 3
_EXTRAS: Final = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "az": "az", "abfs": "az", "abfss": "az"}
_T = TypeVar("_T")


class Unreachable(StoreError):
    """The store is unreachable; retrying is useless."""


class RemoteObjects:
    """A folder of objects at a URL that fsspec supports. Thread-safe."""

    def __init__(self, url: str, *, timeout: float = 60.0, settings: Settings | None = None) -> None:
        """Open the folder at *url* without contacting it. *settings* configure access to registries.

        Raises:
            RecipeError: fsspec does not support this kind of URL, or the library for it is not installed.
        """
        self.url = url.rstrip("/")
        self._down: Unreachable | None = None
        self._fs, root = _file_system(url, timeout, settings)
        self._root = root.rstrip("/")
        self._local = Path(self._root) if "file" in _protocols(self._fs) else None
        if self._local is not None:
            remove_stale(self._local, DRAFT)

    def __repr__(self) -> str:
        return f"RemoteObjects({self.url!r})"

    def place(self, path: str) -> str:
        """Return an object's name for messages."""
        return f"{self.url}/{path}"

    # -- reading -----------------------------------------------------------------------------------

    def size(self, path: str) -> int | None:
        """Return the size of the object *path* in bytes, or None if it does not exist.

        Raises:
            StoreError: the store does not answer or denies access.
        """
        found = self._ask(path, lambda: self._fs.info(self._at(path)))
        return None if found is None or found["type"] != "file" else int(found["size"])

    def version(self, path: str) -> str | None:
        """Return a version tag that changes when the object *path* is rewritten, or None if it does not exist."""
        return self._ask(path, lambda: str(self._fs.ukey(self._at(path))))

    def read(self, path: str, size: int | None = None) -> Iterator[bytes]:
        """Yield the content of the object *path*, at most *size* bytes if given.

        Raises:
            StoreError: it does not exist or is truncated, or the store does not answer.
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
        """Return at most *most* bytes from the beginning of an object, or None if it does not exist."""
        return self._ask(path, lambda: self._part(path, 0, most))

    def _part(self, path: str, start: int, end: int) -> bytes:
        if self._local is None:
            return bytes(self._fs.cat_file(self._at(path), start=start, end=end))
        with open_regular(self._local / path) as file:  # fsspec would block on a FIFO
            file.seek(start)
            return file.read(end - start)

    def names(self, folder: str) -> list[str]:
        """List the objects (not the folders) in *folder*, sorted; empty if it does not exist."""
        found = self._ask(folder, lambda: self._fs.ls(self._at(folder), detail=True)) or []
        own = self._at(folder).rstrip("/")
        return sorted(
            one["name"].rstrip("/").rpartition("/")[2]
            for one in found
            if one["type"] == "file" and one["name"].rstrip("/") != own  # the marker of an empty folder
        )

    def folders(self) -> list[str] | None:
        """List the folders of objects; None if there is nothing at this URL.

        Raises:
            StoreError: the store does not answer or denies access.
        """
        found = self._ask("", lambda: self._fs.ls(self._root, detail=True))
        if found is None:
            return None
        return sorted(
            one["name"].rstrip("/").rpartition("/")[2] for one in found if one["type"] == "directory"
        )

    def walk(self, folder: str) -> dict[str, int]:
        """Return the size in bytes of each object below *folder*, by its path in it."""
        found = self._ask(folder, lambda: self._fs.find(self._at(folder), detail=True)) or {}
        own = self._at(folder).strip("/") + "/"
        return {
            name.strip("/").removeprefix(own): int(one["size"])
            for name, one in found.items()
            if one["type"] == "file" and not name.endswith("/")
        }

    # -- writing -----------------------------------------------------------------------------------

    def create(self, path: str, source: Path) -> bool:
        """Upload the file *source* as *path* if that does not exist; return whether it was created.

        The upload is atomic, and of two concurrent ones only one succeeds. (Stores without conditional writes, for
        example sftp, cannot guarantee that.)

        Raises:
            StoreError: it cannot be written.
        """
        if self._local is not None:
            return self._link(path, source, replace=False)
        try:
            self._fs.put_file(str(source), self._at(path), mode="create")
        except Exception as error:  # each library has its own exceptions
            # Each library has its own error for a lost race; the existence of the object shows it, too.
            if isinstance(error, FileExistsError) or self.size(path) is not None:
                return False
            raise self._said(error, path) from error
        return True

    def replace(self, path: str, source: Path) -> None:
        """Upload the file *source* as *path*, replacing any existing object.

        Raises:
            StoreError: it cannot be written.
        """
        if self._local is not None:
            self._link(path, source, replace=True)
            return
        try:
            self._fs.put_file(str(source), self._at(path))
        except Exception as error:  # each library has its own exceptions
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
        """Write to disk like :meth:`create`: a draft that is renamed when complete."""
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
        """Return a response, or None if the object does not exist."""
        if self._down is not None:
            raise self._down
        try:
            return question()
        except FileNotFoundError:
            return None
        except Exception as error:  # each library has its own exceptions
            raise self._said(error, path) from error

    def _said(self, error: Exception, path: str) -> StoreError:
        if isinstance(error, StoreError):
            return error
        said = str(error)
        if isinstance(error, OSError) and error.filename and isinstance(error.strerror, str):
            said = error.strerror  # without the path, which is in the message already
        text = next(iter(str(said).strip().splitlines()), "") or type(error).__name__
        name = type(error).__name__
        if isinstance(error, PermissionError) or "Credential" in name:
            return StoreError(
                f"{self.place(path)}: access denied by the store: {text}",
                hint="credentials are configured for the library of that kind of store; see its documentation",
            )
        if isinstance(error, (TimeoutError, ConnectionError)) or _NO_ANSWER.search(f"{name}: {text}"):
            self._down = Unreachable(f"the store {self.url} does not answer: {text}")
            return self._down
        return StoreError(f"{self.place(path)}: {text}")


_NO_ANSWER: Final = re.compile(
    r"EndpointConnection|ConnectTimeout|ReadTimeout|ClientConnector|FSTimeout|Connect timeout"
)


def _file_system(url: str, timeout: float, settings: Settings | None) -> tuple[Any, str]:
    if is_reference(url):
        from envbuilder.registry.filesystem import RegistryFileSystem

        return RegistryFileSystem(parse_reference(url), settings or Settings(timeout=timeout)), ""
    from fsspec.core import url_to_fs  # takes a tenth of a second, only needed with a remote store

    scheme = urlsplit(url).scheme
    extra = _EXTRAS.get(scheme)
    options: dict[str, Any] = {"use_listings_cache": False}  # others write to it, too
    if extra == "s3":
        options["config_kwargs"] = {
            "connect_timeout": min(timeout, CONNECT_SECONDS),
            "read_timeout": timeout,
            "retries": {"max_attempts": 1},  # s3fs retries by itself
        }
    try:
        system, root = url_to_fs(url, **options)
    except (ImportError, ValueError) as error:
        hint = installing(extra) if extra else None
        raise RecipeError(f"the store {url} cannot be used: {error}", hint=hint) from error
    if extra == "s3":
        system.retries = TRIES
    return system, root


def _protocols(system: Any) -> tuple[str, ...]:
    return (system.protocol,) if isinstance(system.protocol, str) else tuple(system.protocol)
