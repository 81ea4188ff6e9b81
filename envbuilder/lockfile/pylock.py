"""A lock: ``pylock.<recipe>.toml`` (PEP 751), with ``[tool.envbuilder]``.

A lock is read as if anybody could have written it: every value is checked, and an error names it by its dotted path.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from packaging.pylock import Pylock, PylockUnsupportedVersionError, PylockValidationError
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from envbuilder.errors import IntegrityError, StaleLockError
from envbuilder.lockfile.model import WHEELHOUSE, Artifact, CondaPackage, Lock, LockedConda, LockedInterpreter
from envbuilder.recipe.channels import PLATFORMS

if TYPE_CHECKING:
    from envbuilder.recipe.model import Recipe

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FORMAT = 2
"""Of ``[tool.envbuilder]``: 1 without conda packages, 2 with them."""
_MAX_BYTES = 16 * 1024 * 1024
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CONDA_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+!-]*\.(conda|tar\.bz2)")
_T = TypeVar("_T")


def lock_path(recipe: Recipe) -> Path:
    """Return where the lock of *recipe* lies: beside it."""
    return recipe.path.parent / f"pylock.{recipe.name}.toml"


# -- writing ---------------------------------------------------------------------------------------


def lock_text(lock: Lock) -> str:
    """Return *lock* as the text of its file: the same for equal locks."""
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
    """Write *lock* to the file *path*, which changes at once or not at all.

    Raises:
        OSError: the folder cannot be written.
    """
    descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(lock_text(lock))
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(draft, 0o666 & ~umask)  # mkstemp's 0600 would keep a colleague from reading it
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise


_HEAD = ("lock-version", "environments", "requires-python", "created-by")


def _document(lock: Lock) -> dict[str, Any]:
    """Return *lock* as the document that its file holds, with the digest over all the rest."""
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
    """Return the sha256 over a document, the digest in it left out."""
    tool = {key: value for key, value in document["tool"]["envbuilder"].items() if key != "digest"}
    content = {**document, "tool": {**document["tool"], "envbuilder": tool}}
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def _toml(value: Any) -> str:
    if isinstance(value, str):
        # A TOML basic string is a JSON string, but for DEL, which TOML wants escaped.
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
        StaleLockError: there is no such file.
        NewerLockError: a newer version of this tool wrote it.
        IntegrityError: it is no lock, was edited, or is cut off.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
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
    """A document is no lock: ``context`` is the dotted path to what is wrong."""

    newer = False

    def __init__(self, message: str, *, context: str = "", hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.context = context
        self.hint = hint or "a lock is only ever written by `envbuilder lock`: write it again, or restore it"

    def within(self, key: str) -> LockFormatError:
        """Return the same error, seen from the value that holds *key*."""
        separator = "." if self.context and not self.context.startswith("[") else ""
        return type(self)(self.message, context=f"{key}{separator}{self.context}", hint=self.hint)


class NewerFormatError(LockFormatError):
    """A document is a lock of a newer version of this tool."""

    newer = True


def parse_lock(data: bytes) -> Lock:
    """Make a :class:`Lock` of the bytes of its file.

    Raises:
        LockFormatError: they are no lock that this version of the tool wrote.
    """
    if len(data) > _MAX_BYTES:
        raise LockFormatError(f"larger than {_MAX_BYTES // 2**20} MiB, which no lock is")
    try:
        document = tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise LockFormatError(f"is not UTF-8 text (byte {error.start})") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise LockFormatError(f"is no TOML, or was cut off: {error}") from error
    tools = document.get("tool")
    tool = tools.get("envbuilder") if isinstance(tools, dict) else None
    if not isinstance(tool, dict):
        raise LockFormatError("is no lock of envbuilder, or was cut off: it has no [tool.envbuilder]")
    _check_format(document, tool)
    try:
        Pylock.from_dict(document)
    except (PylockValidationError, PylockUnsupportedVersionError) as error:
        raise LockFormatError(
            getattr(error, "message", str(error)), context=getattr(error, "context", None) or ""
        ) from error
    artifacts = []
    for index, package in enumerate(document["packages"]):
        with _within(f"packages[{index}]"):
            artifacts.append(_artifact(package))
    with _within("tool.envbuilder"):
        lock = _lock(tool, tuple(artifacts))
    if document != _document(lock):  # the digest among the rest, and no key more or less
        raise LockFormatError(
            "was changed after it was written",
            hint="`envbuilder lock` writes it again; what should be different belongs into the recipe",
        )
    return lock


def _check_format(document: Mapping[str, Any], tool: Mapping[str, Any]) -> None:
    """Tell a lock of a newer tool from a broken one, before anything else is looked at."""
    with _within("tool.envbuilder"):
        number = _get(tool, "format", int)
    version = _get(document, "lock-version", str)
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


def _lock(tool: Mapping[str, Any], artifacts: tuple[Artifact, ...]) -> Lock:
    interpreter: dict[str, Any] = _get(tool, "interpreter", dict)
    tools: dict[str, Any] = _get(tool, "tools", dict)
    with _within("interpreter"):
        locked = LockedInterpreter(
            version=_get(interpreter, "version", str),
            origin=_get(interpreter, "origin", str),
            digest=_hash(interpreter, "digest"),
        )
    with _within("tools"):
        versions = tuple((name, _get(tools, name, str)) for name in tools)
    sources: dict[str, Any] = _get(tool, "built", dict) if "built" in tool else {}
    with _within("built"):
        built = tuple((name, _get(sources, name, str)) for name in sources)
    return Lock(
        recipe=_get(tool, "recipe", str),
        recipe_digest=_hash(tool, "recipe-digest"),
        release=_get(tool, "release", str),
        python=_get(tool, "python", str),
        torch=_get(tool, "torch", str),
        cuda=_get(tool, "cuda", str),
        demands=tuple(_texts(tool, "demands")),
        artifacts=artifacts,
        interpreter=locked,
        tools=versions,
        built=built,
        conda=_conda(_get(tool, "conda", dict)) if "conda" in tool else None,
    )


def _conda(table: Mapping[str, Any]) -> LockedConda:
    packages = []
    with _within("conda"):
        provides: dict[str, Any] = _get(table, "provides", dict)
        with _within("provides"):
            provided = tuple((name, _get(provides, name, str)) for name in provides)
        rows: list[Any] = _get(table, "packages", list)
        for index, row in enumerate(rows):
            with _within(f"packages[{index}]"):
                packages.append(_conda_package(row))
    return LockedConda(packages=tuple(packages), provides=provided)


def _conda_package(row: Any) -> CondaPackage:
    if not isinstance(row, dict):
        raise LockFormatError(f"is of type {type(row).__name__}, not dict")
    filename, size = _get(row, "file-name", str), _get(row, "size", int)
    if not _CONDA_FILE.fullmatch(filename):
        raise LockFormatError(f"{filename!r} is no name of a conda package", context="file-name")
    if size < 0:
        raise LockFormatError(f"{size} bytes", context="size")
    subdir = _get(row, "subdir", str)
    if subdir not in PLATFORMS:
        raise LockFormatError(f"{subdir!r} is none of {', '.join(PLATFORMS)}", context="subdir")
    return CondaPackage(
        name=_get(row, "name", str),
        version=_get(row, "version", str),
        build=_get(row, "build", str),
        channel=_get(row, "channel", str),
        subdir=subdir,
        filename=filename,
        sha256=_hash(row, "sha256"),
        size=size,
    )


def _artifact(package: Mapping[str, Any]) -> Artifact:
    wheels: list[Any] = _get(package, "wheels", list)
    if len(wheels) != 1:
        raise LockFormatError(f"{len(wheels)} wheels, not one", context="wheels")
    wheel = wheels[0]
    with _within("wheels[0]"):
        filename = _get(wheel, "name", str)
        size = _get(wheel, "size", int)
        with _within("hashes"):
            sha256 = _hash(_get(wheel, "hashes", dict), "sha256")
    if not _is_file_name(filename):
        raise LockFormatError(f"{filename!r} is no name of a wheel", context="wheels[0].name")
    if size < 0:
        raise LockFormatError(f"{size} bytes", context="wheels[0].size")
    return Artifact(
        name=_get(package, "name", str),
        version=_get(package, "version", str),
        filename=filename,
        sha256=sha256,
        size=size,
    )


def _is_file_name(filename: str) -> bool:
    """Say whether *filename* is that of a wheel, and leads to no other folder."""
    try:
        parse_wheel_filename(filename)
    except InvalidWheelFilename:
        return False
    return not re.search(r"[/\\\0]", filename)


@contextlib.contextmanager
def _within(key: str) -> Iterator[None]:
    """Put *key* in front of the path of every error in the block."""
    try:
        yield
    except LockFormatError as error:
        raise error.within(key) from error


def _get(table: Mapping[str, Any], key: str, kind: type[_T]) -> _T:
    value = table.get(key)
    if value is None:
        raise LockFormatError("is missing", context=key)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise LockFormatError(f"is of type {type(value).__name__}, not {kind.__name__}", context=key)
    return value


def _texts(table: Mapping[str, Any], key: str) -> list[str]:
    values: list[Any] = _get(table, key, list)
    for index, value in enumerate(values):
        if not isinstance(value, str):
            raise LockFormatError(f"is of type {type(value).__name__}, not str", context=f"{key}[{index}]")
    return values


def _hash(table: Mapping[str, Any], key: str) -> str:
    value = _get(table, key, str)
    if not _SHA256.fullmatch(value):
        raise LockFormatError(f"{value!r} is no sha256", context=key)
    return value
