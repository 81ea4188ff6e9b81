"""A lock: ``pylock.<recipe>.toml`` (PEP 751), with ``[tool.envbuilder]``.

Locks are untrusted: every value is checked, and errors name it by its dotted path.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.pylock import Pylock, PylockUnsupportedVersionError, PylockValidationError

from envbuilder.errors import IntegrityError, StaleLockError
from envbuilder.lockfile.fields import lock_of
from envbuilder.lockfile.model import WHEELHOUSE, CondaPackage, Lock
from envbuilder.util.documents import DOCUMENT, DocumentError, Record, parse_toml
from envbuilder.util.files import atomic_write, read_regular

if TYPE_CHECKING:
    from envbuilder.recipe.model import Recipe

FORMAT = 2
"""The format of ``[tool.envbuilder]``: 1 without conda packages, 2 with them."""


def lock_path(recipe: Recipe) -> Path:
    """Return the path of the lock of *recipe*, which is beside it."""
    return recipe.path.parent / f"pylock.{recipe.name}.toml"


# -- writing ---------------------------------------------------------------------------------------


def lock_text(lock: Lock) -> str:
    """Return *lock* as text, equal for equal locks."""
    document = _document(lock)
    tool = document["tool"]["envbuilder"]
    lines = [
        f"# The lock of recipe {lock.recipe}. Written by `envbuilder lock`; an edit by hand is found and refused.",
        *(f"{key} = {_toml(document[key])}" for key in _HEAD),
    ]
    for package in document["packages"]:
        (wheel,) = package["wheels"]
        lines += [
            "",
            "[[packages]]",
            f"name = {_toml(package['name'])}",
            f"version = {_toml(package['version'])}",
        ]
        lines += ["wheels = [", f"    {_toml(wheel)},", "]"]
    conda = tool.pop("conda", None)
    lines += ["", "[tool.envbuilder]", *(f"{key} = {_toml(value)}" for key, value in tool.items())]
    if conda is not None:
        lines += ["", "[tool.envbuilder.conda]", f"provides = {_toml(conda['provides'])}", "packages = ["]
        lines += [*(f"    {_toml(package)}," for package in conda["packages"]), "]"]
    return "\n".join(lines) + "\n"


def write_lock(lock: Lock, path: Path) -> None:
    """Write *lock* to the file *path* atomically.

    Raises:
        OSError: the folder cannot be written.
    """
    atomic_write(path, lock_text(lock).encode())


_HEAD = ("lock-version", "environments", "requires-python", "created-by")


def _document(lock: Lock) -> dict[str, Any]:
    """Return *lock* as a TOML document, with a digest of the rest."""
    tool: dict[str, Any] = {
        "format": 1 if lock.conda is None else FORMAT,
        "recipe": lock.recipe,
        "recipe-digest": lock.recipe_digest,
        "release": lock.release,
        "python": lock.python,
        "torch": lock.torch,
        "cuda": lock.cuda,
        "demands": list(lock.demands),
        "interpreter": dataclasses.asdict(lock.interpreter),
        "tools": dict(lock.tools),
    }
    if lock.built:
        tool["built"] = dict(lock.built)
    if lock.conda is not None:
        packages = [_conda_row(package) for package in lock.conda.packages]
        tool["conda"] = {"provides": dict(lock.conda.provides), "packages": packages}
    document: dict[str, Any] = {
        "lock-version": "1.0",
        "environments": [
            "sys_platform == 'linux' and platform_machine == 'x86_64'"
            f" and implementation_name == 'cpython' and python_version == '{lock.python}'"
        ],
        "requires-python": f"=={lock.python}.*",
        "created-by": "envbuilder",
        "packages": [
            {
                "name": artifact.name,
                "version": artifact.version,
                "wheels": [
                    {
                        "name": artifact.filename,
                        "path": f"{WHEELHOUSE}/{artifact.filename}",
                        "size": artifact.size,
                        "hashes": {"sha256": artifact.sha256},
                    }
                ],
            }
            for artifact in lock.artifacts
        ],
        "tool": {"envbuilder": tool},
    }
    tool["digest"] = _digest(document)
    return document


def _conda_row(package: CondaPackage) -> dict[str, Any]:
    keys = ("name", "version", "build", "channel", "subdir")
    return {
        **{key: getattr(package, key) for key in keys},
        "file-name": package.filename,
        "size": package.size,
        "sha256": package.sha256,
    }


def _digest(document: Mapping[str, Any]) -> str:
    """Return the sha256 of a document without the digest in it."""
    tool = {key: value for key, value in document["tool"]["envbuilder"].items() if key != "digest"}
    content = {**document, "tool": {**document["tool"], "envbuilder": tool}}
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def _toml(value: Any) -> str:
    if isinstance(value, str):
        # A TOML basic string is a JSON string, except DEL, which TOML requires to be escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        return f"[{', '.join(_toml(item) for item in value)}]"
    items = (f"{_key(key)} = {_toml(item)}" for key, item in value.items())
    return f"{{ {', '.join(items)} }}" if value else "{}"


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _toml(key)


# -- reading ---------------------------------------------------------------------------------------


def read_lock(path: Path) -> Lock:
    """Read the lock in the file *path*.

    Raises:
        StaleLockError: the file does not exist.
        NewerLockError: a newer version of this tool wrote it.
        IntegrityError: it is not a lock, was edited, or is truncated.
    """
    try:
        data = read_regular(path, most=DOCUMENT.size + 1)
    except FileNotFoundError:
        name = path.name.removeprefix("pylock.").removesuffix(".toml")
        raise StaleLockError(
            f"recipe {name} is not locked: there is no {path}", hint=f"envbuilder lock {name}"
        ) from None
    except OSError as error:
        raise IntegrityError(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        return parse_lock(data)
    except LockFormatError as error:
        where = f": {error.context}" if error.context else ""
        kind = NewerLockError if error.newer else IntegrityError
        raise kind(f"{path}{where}: {error.message}", hint=error.hint) from error


class NewerLockError(IntegrityError):
    """A lock was written by a newer version of this tool."""


class LockFormatError(Exception):
    """A document is not a lock: ``context`` is the dotted path of the invalid value."""

    newer = False

    def __init__(self, message: str, *, context: str = "", hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.context = context
        self.hint = hint or "locks are written by `envbuilder lock` only: write it again, or restore it"


class NewerFormatError(LockFormatError):
    """A document is a lock of a newer version of this tool."""

    newer = True


def parse_lock(data: bytes) -> Lock:
    """Parse the bytes of a lock file.

    Raises:
        LockFormatError: they are not a lock of this version of the tool.
    """
    try:
        return _read(parse_toml(data, where="lock"))
    except DocumentError as error:
        raise LockFormatError(error.reason, context=error.path) from error


def _read(root: Record) -> Lock:
    document = root.value
    tools = document.get("tool")
    if not isinstance(tools, dict) or not isinstance(tools.get("envbuilder"), dict):
        raise LockFormatError("is no lock of envbuilder, or was cut off: it has no [tool.envbuilder]")
    tool = root.record("tool").record("envbuilder")
    _check_format(root, tool)
    try:
        Pylock.from_dict(document)
    except (PylockValidationError, PylockUnsupportedVersionError) as error:
        raise LockFormatError(
            getattr(error, "message", str(error)), context=getattr(error, "context", None) or ""
        ) from error
    lock = lock_of(root, tool)
    if document != _document(lock):  # includes the digest, and no key is missing or unknown
        raise LockFormatError(
            "was changed after it was written",
            hint="run `envbuilder lock` again; make changes in the recipe",
        )
    return lock


def _check_format(document: Record, tool: Record) -> None:
    """Distinguish a lock of a newer tool from a broken one, before anything else is checked."""
    number, version = tool.integer("format"), document.free_text("lock-version")
    hint = "update envbuilder, or remove the lock and write it again with this one"
    if number > FORMAT:
        raise NewerFormatError(
            f"written by a newer envbuilder: the format is {number}, and this one reads up to {FORMAT}",
            context="tool.envbuilder.format",
            hint=hint,
        )
    if version != "1.0":
        raise NewerFormatError(
            f"is {version!r}, and this envbuilder reads '1.0'", context="lock-version", hint=hint
        )
