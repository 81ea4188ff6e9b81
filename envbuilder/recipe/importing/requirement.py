"""Parse one requirement in pip's syntax: a name, an address, a wheel, or a folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit
from urllib.request import url2pathname

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from envbuilder.recipe.importing.wanted import parse
from envbuilder.util.paths import expand_user
from envbuilder.util.project_name import project_name
from envbuilder.util.urls import public

_NO_WHEEL: Final = "an archive of sources at an address cannot be pinned: build a wheel of it and name that"


def read_requirement(text: str, folder: Path) -> Requirement | str:
    """Parse *text* as a requirement, or return why a recipe cannot have it; paths are relative to *folder*."""
    scheme = re.match(r"([a-z]+)(\+[a-z]+)?://", text)
    if scheme is not None:
        try:
            return _reference(text, scheme[1], folder)
        except ValueError as error:
            return f"not an address: {error}"
    if text.endswith(".whl") and "@" not in text:
        return _local_wheel(text, folder)
    if re.match(r"[./~]", text):
        return _local_folder(text, folder)
    requirement = parse(text)
    if isinstance(requirement, str) or requirement.url is None or requirement.url.startswith("git+"):
        return requirement
    if requirement.url.startswith("file:") or "://" not in requirement.url:
        path = folder / url2pathname(urlsplit(requirement.url).path)
        local = _local_wheel(str(path), folder) if path.suffix == ".whl" else _local_folder(str(path), folder)
        if not isinstance(local, str):
            local.extras, local.marker = requirement.extras, requirement.marker
        return local
    return requirement if urlsplit(requirement.url).path.endswith(".whl") else _NO_WHEEL


def _reference(text: str, scheme: str, folder: Path) -> Requirement | str:
    """Return the requirement of an address without a name."""
    if scheme == "git":
        address, _, fragment = text.partition("#")
        parts = parse_qs(fragment)
        name = parts.get("egg", [""])[0]
        kept = "".join(f"#subdirectory={one}" for one in parts.get("subdirectory", []))
        return (
            parse(f"{name} @ {address}{kept}") if name else f"its name is missing: NAME @ {public(address)}"
        )
    if scheme in ("hg", "svn", "bzr"):
        return "expected a git reference (git+https: or git+ssh:)"
    if scheme == "file":
        path = url2pathname(urlsplit(text).path)
        return _local_wheel(path, folder) if path.endswith(".whl") else _local_folder(path, folder)
    project = _project(urlsplit(text).path)
    return parse(f"{project} @ {text}") if project is not None else _NO_WHEEL


def git_reference(address: str, at: str = "", folder: str = "") -> str:
    """Return a git repository as a requirement; *at* is a revision, *folder* the project's folder in it."""
    address = address.removeprefix("git+")
    short = re.fullmatch(r"([\w.-]+@[\w.-]+):(?!//)(.+)", address)  # git's own syntax: git@host:folder
    if short is not None:
        address = f"ssh://{short[1]}/{short[2]}"
    return f"git+{address}" + (f"@{at}" if at else "") + (f"#subdirectory={folder}" if folder else "")


def narrowed(requirement: Requirement, marker: str) -> Requirement:
    """Return *requirement* with *marker* added; an empty one changes nothing."""
    found = Requirement(str(requirement))
    if marker:
        own = f"({found.marker}) and " if found.marker is not None else ""
        found.marker = Marker(f"{own}({marker})")
    return found


def _project(path: str) -> str | None:
    """Return the project of the wheel at *path*; None: it is not a wheel."""
    try:
        return parse_wheel_filename(Path(unquote(path)).name)[0]
    except InvalidWheelFilename:
        return None


def _local_wheel(text: str, folder: Path) -> Requirement | str:
    path = folder / expand_user(text)
    name = _project(path.name)
    if name is None:
        return "not the name of a wheel"
    return parse(f"{name} @ {path.absolute().as_uri()}") if path.is_file() else f"there is no file {path}"


def _local_folder(text: str, folder: Path) -> Requirement | str:
    bare, extras = re.fullmatch(r"(.*?)(\[[\w\s,.-]*\])?", text).groups()  # type: ignore[union-attr]  # matches any text
    path = (folder / expand_user(bare)).absolute()
    if not path.is_dir():
        return f"there is no folder {path}" if not path.exists() else _NO_WHEEL
    name = project_name(path)
    if name is None:
        return f"{path} does not name its project (project.name in pyproject.toml)"
    return parse(f"{name}{extras or ''} @ {path.as_uri()}")
