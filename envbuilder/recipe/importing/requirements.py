"""The lines of a ``pip:`` section, which are those of a requirements file: requirements and pip's options."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit
from urllib.request import url2pathname

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from envbuilder.recipe.importing.remark import Remark, Said
from envbuilder.util.files import read_text
from envbuilder.util.urls import public

_PLACES: Final = (
    "-i",
    "--index-url",
    "--extra-index-url",
    "-f",
    "--find-links",
    "--no-index",
    "--trusted-host",
)
_EDITABLE: Final = ("-e", "--editable")
_FILES: Final = ("-r", "--requirement")
_WHY: Final = {
    **dict.fromkeys(_PLACES, "places are no part of a recipe: envbuilder.toml, or pip's own configuration"),
    **dict.fromkeys(("-c", "--constraint"), "constraints are pip's own configuration (PIP_CONSTRAINT)"),
    "--pre": "name the version that you want: NAME==1.0rc1",
}
_NO_WHEEL: Final = "only wheels can be pinned by hash: build one of it, and name that"
_PYTORCH: Final = re.compile(r"https?://download\.pytorch\.org/whl/(?:\w+/)?(cpu|cu\d{3})/?")


@dataclass(kw_only=True, slots=True)
class PipLines:
    """What came of them."""

    requirements: list[tuple[Said, Requirement]] = field(default_factory=list)
    """A local wheel's reference is its absolute path."""
    remarks: list[Remark] = field(default_factory=list)
    variant: str | None = None
    """``cu126``, where PyTorch's index of that variant is named."""


def read_pip_lines(lines: Iterable[Said], folder: Path) -> PipLines:
    """Read *lines*; files that they name are looked for in *folder*."""
    found = PipLines()
    for line in lines:
        _read(line, folder, found, ())
    return found


def _read(line: Said, folder: Path, found: PipLines, inside: tuple[Path, ...]) -> None:
    text = re.sub(r"(^|\s)#.*$", "", line.text).strip()
    if not text:
        return
    if text.startswith("-"):
        found_option = re.match(r"(--[\w-]+|-\w?)[\s=]*(.*)", text)
        assert found_option is not None
        _option(line, found_option[1], found_option[2], folder, found, inside)
        return
    bare = re.split(r"\s--?[a-z]", text)[0].strip()
    if bare != text:
        found.remarks.append(line.carried("without its options: a lock names every wheel by its hash anyway"))
    requirement = _requirement(bare, folder)
    if isinstance(requirement, str):
        found.remarks.append(line.left_out(requirement))
    else:
        found.requirements.append((line, requirement))


def _option(
    line: Said, option: str, value: str, folder: Path, found: PipLines, inside: tuple[Path, ...]
) -> None:
    variant = _PYTORCH.fullmatch(value)
    if option in _PLACES and variant is not None:
        found.variant = variant[1]
    elif option in _FILES:
        _requirements_file(line, folder / value, found, inside)
    elif option in _EDITABLE and re.match(r"git\+", value):
        requirement = _requirement(value, folder)
        if isinstance(requirement, str):
            found.remarks.append(line.left_out(requirement))
        else:
            found.remarks.append(line.carried("as a wheel that is built of it, not editable"))
            found.requirements.append((line, requirement))
    elif option in _EDITABLE:
        found.remarks.append(
            line.left_out("a folder has no hash: build a wheel of it, and name that (./dist/x.whl)")
        )
    else:
        found.remarks.append(line.left_out(_WHY.get(option, "an option of pip, which installs nothing here")))


def _requirements_file(line: Said, path: Path, found: PipLines, inside: tuple[Path, ...]) -> None:
    real = path.resolve()
    if real in inside:
        found.remarks.append(line.left_out("that file names itself"))
        return
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is no UTF-8 text"
        found.remarks.append(line.left_out(f"cannot be read: {reason}"))
        return
    number, joined = 0, ""
    for here, one in enumerate(text.splitlines(), start=1):
        number = number if joined else here
        joined += one.removesuffix("\\")
        if not one.endswith("\\"):
            _read(Said(text=joined.strip(), place=f"{path}:{number}"), path.parent, found, (*inside, real))
            joined = ""


def _requirement(text: str, folder: Path) -> Requirement | str:
    """Return the requirement that *text* is, or why it is none that a recipe can have."""
    scheme = re.match(r"([a-z]+)(\+[a-z]+)?://", text)
    if scheme is not None:
        return _reference(text, scheme[1], folder)
    if text.endswith(".whl") and "@" not in text:
        return _local_wheel(text, folder)
    if re.match(r"[./~]", text):
        return _NO_WHEEL
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        return f"is no requirement (PEP 508): {str(error).splitlines()[0]}"
    if requirement.url is None or requirement.url.startswith("git+"):
        return requirement
    if requirement.url.startswith("file:"):
        return _local_wheel(requirement.url, folder)
    return requirement if urlsplit(requirement.url).path.endswith(".whl") else _NO_WHEEL


def _reference(text: str, scheme: str, folder: Path) -> Requirement | str:
    """Return what an address without a name in front is."""
    if scheme == "git":
        address, _, fragment = text.partition("#")
        name = parse_qs(fragment).get("egg", [""])[0]
        return _named(name, address) if name else f"its name is not said: NAME @ {public(address)}"
    if scheme in ("hg", "svn", "bzr"):
        return "references are git+https: and git+ssh:"
    if scheme == "file":
        return _local_wheel(text, folder)
    project = _project(urlsplit(text).path)
    return _named(project, text) if project is not None else _NO_WHEEL


def _named(name: str, address: str) -> Requirement | str:
    try:
        return Requirement(f"{name} @ {address}")
    except InvalidRequirement as error:
        return f"is no requirement (PEP 508): {str(error).splitlines()[0]}"


def _project(path: str) -> str | None:
    """Return the project that the wheel at *path* is of; None: it is no wheel."""
    try:
        return parse_wheel_filename(Path(unquote(path)).name)[0]
    except InvalidWheelFilename:
        return None


def _local_wheel(text: str, folder: Path) -> Requirement | str:
    path = folder / (url2pathname(urlsplit(text).path) if text.startswith("file:") else text)
    name = _project(path.name)
    if name is None:
        return _NO_WHEEL
    return _named(name, path.absolute().as_uri()) if path.is_file() else f"there is no file {path}"
