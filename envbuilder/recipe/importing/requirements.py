"""The lines of a requirements file, which those of a conda file's ``pip:`` section are, too."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit
from urllib.request import url2pathname

from packaging.requirements import Requirement
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from envbuilder.errors import RecipeError
from envbuilder.recipe.importing.remark import Said
from envbuilder.recipe.importing.wanted import Imported, Wanted, parse
from envbuilder.util.files import read_text as read_whole_text
from envbuilder.util.paths import expand_user
from envbuilder.util.project_name import project_name
from envbuilder.util.urls import public

LARGEST: Final = 4 * 2**20
"""Bytes of a file that is imported; a lock with the hashes of every file has some hundred KiB."""
ELSEWHERE: Final = "set package sources in envbuilder.toml, not in a recipe"
_DEEPEST: Final = 16
"""Requirements files that include one another."""
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
_CONSTRAINTS: Final = ("-c", "--constraint")
_SETTING: Final = {
    "-i": 'index-url = "…"',
    "--index-url": 'index-url = "…"',
    "--extra-index-url": 'extra-index-urls = ["…"]',
    "-f": 'find-links = ["…"]',
    "--find-links": 'find-links = ["…"]',
    "--no-index": "no-index = true",
    "--trusted-host": 'trusted-hosts = ["…"]',
}
_NO_WHEEL: Final = "an archive of sources at an address cannot be pinned: build a wheel of it and name that"
_PYTORCH: Final = re.compile(
    r"https?://download\.pytorch\.org/whl/(?:[\w.]+/)*(cpu|cu\d{3})/?(?:torch_stable\.html)?"
)


def is_requirements(text: str) -> bool:
    """Say whether *text* reads as a requirements file: every line is a requirement, an option, or a comment."""
    lines = [bare for line in _joined(text) if (bare := _bare(line))]
    return bool(lines) and all(
        line.startswith(("-", ".", "/", "~"))
        or re.match(r"[a-z]+(\+[a-z]+)?://", line)
        or not isinstance(parse(_without_options(line)), str)
        or line.endswith(".whl")
        for line in lines
    )


def read_requirements(path: Path) -> Imported:
    """Read the requirements file *path*, with the files that it includes.

    Raises:
        RecipeError: it cannot be read.
    """
    found = Wanted()
    lines = read_lines(path)
    reader = _Reader(found=found, inside=(path.resolve(),))
    for line in lines:
        reader.read(line, path.parent)
    name = path.parent.resolve().name if path.stem == "requirements" else path.stem
    return Imported(path=path, kind="a requirements file", name=name, wanted=found)


def read_pip_lines(lines: Iterable[Said], folder: Path) -> Wanted:
    """Read *lines*; files that they name are looked for in *folder*."""
    found = Wanted()
    reader = _Reader(found=found, inside=())
    for line in lines:
        reader.read(line, folder)
    return found


def read_lines(path: Path) -> list[Said]:
    """Return the lines of a requirements file, continued ones joined, each with its number.

    Raises:
        RecipeError: it cannot be read.
    """
    text = read_text(path)
    return [
        Said(text=line.strip(), place=f"{path}:{number}") for number, line in _numbered(text) if line.strip()
    ]


def read_text(path: Path) -> str:
    """Return the text of a file that is imported.

    Raises:
        RecipeError: it cannot be read, is too large, or is not UTF-8.
    """
    try:
        return read_whole_text(path, most=LARGEST).removeprefix("\ufeff")
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path} is not UTF-8 text") from error
    except ValueError as error:  # a NUL byte in the name
        raise RecipeError(f"{path} cannot be read: {error}") from error


def variant_of(url: str) -> str | None:
    """Return the variant (``cu126``) whose index on PyTorch's host *url* is; None: it is none."""
    match = _PYTORCH.fullmatch(url.strip())
    return None if match is None else match[1]


@dataclass(kw_only=True, slots=True)
class _Reader:
    found: Wanted
    inside: tuple[Path, ...]
    """The files that are being read."""
    constrains: bool = False

    def read(self, line: Said, folder: Path) -> None:
        text = _bare(line.text)
        if not text:
            return
        if re.search(r"\$\{[A-Z0-9_]+\}", text):
            why = "it contains an environment variable: a recipe must mean the same on every machine"
            self.found.remarks.append(line.left_out(why))
        elif text.startswith("-"):
            match = re.match(r"(--[\w-]+|-\w?)[\s=]*(.*)", text)
            assert match is not None
            self._option(line, match[1], match[2].strip().strip("\"'"), folder)
        elif self.constrains:
            self.found.constrain(line, _without_options(text))
        else:
            self._requirement(line, text, folder)

    def _requirement(self, line: Said, text: str, folder: Path) -> None:
        bare = _without_options(text)
        requirement = read_requirement(bare, folder)
        if isinstance(requirement, str):
            self.found.remarks.append(line.left_out(requirement))
            return
        options = text[len(bare) :]
        for address in re.findall(r"--(?:extra-)?index-url[\s=]+(\S+)", options):
            if (variant := variant_of(address)) is not None:
                self.found.own_index[requirement.name.lower()] = variant
        if options.strip():
            self.found.remarks.append(line.changed(f"{bare}: {_said_of_options(options)}"))
        self.found.requirements.append((line, requirement))

    def _option(self, line: Said, option: str, value: str, folder: Path) -> None:
        found = self.found
        variant = variant_of(value)
        if option in _PLACES and variant is not None:
            found.indexes.append((line, variant))
        elif option in _PLACES:
            found.remarks.append(
                line.left_out(f"set package sources in envbuilder.toml, not in a recipe: {_SETTING[option]}")
            )
        elif option in (*_FILES, *_CONSTRAINTS):
            self._file(line, folder / value, constrains=option in _CONSTRAINTS)
        elif option in _EDITABLE:
            self._editable(line, value, folder)
        elif option == "--pre":
            found.prereleases = line
            found.remarks.append(line.changed("prereleases: true"))
        elif option == "--no-binary" and value not in (":all:", ":none:"):
            names = [name.strip() for name in value.split(",")]
            found.build += names
            found.remarks.append(line.changed(f"build-from-source: [{', '.join(names)}]"))
        elif option in ("--require-hashes", "--only-binary", "--prefer-binary"):
            found.remarks.append(line.changed("a lock pins every file by its hash, and takes wheels"))
        else:
            found.remarks.append(line.left_out("an option of pip that does not choose packages"))

    def _editable(self, line: Said, value: str, folder: Path) -> None:
        requirement = read_requirement(value, folder)
        if isinstance(requirement, str):
            self.found.remarks.append(line.left_out(requirement))
            return
        self.found.remarks.append(line.changed("built into a wheel when the recipe is locked, not editable"))
        self.found.requirements.append((line, requirement))

    def _file(self, line: Said, path: Path, *, constrains: bool) -> None:
        if re.match(r"[a-z]+://", path.name) or "://" in line.text:
            self.found.remarks.append(
                line.left_out("a file at an address may change: download it and name that")
            )
            return
        try:
            lines = read_lines(path)
        except RecipeError as error:
            self.found.remarks.append(line.left_out(error.message))
            return
        real = path.resolve()
        if real in self.inside or len(self.inside) > _DEEPEST:
            self.found.remarks.append(line.left_out("that file includes itself"))
            return
        inner = _Reader(
            found=self.found, inside=(*self.inside, real), constrains=constrains or self.constrains
        )
        for one in lines:
            inner.read(one, path.parent)
        self.found.remarks.append(line.changed("its lines are in the recipe"))


# -- one requirement -------------------------------------------------------------------------------


def read_requirement(text: str, folder: Path) -> Requirement | str:
    """Return the requirement that *text* is, or why it is none that a recipe can have; paths are from *folder*."""
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
    """Return what an address without a name in front is."""
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


def _project(path: str) -> str | None:
    """Return the project that the wheel at *path* is of; None: it is no wheel."""
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


# -- texts -----------------------------------------------------------------------------------------


def _numbered(text: str) -> list[tuple[int, str]]:
    """Return the lines, continued ones joined, each with the number of its first."""
    found: list[tuple[int, str]] = []
    joined, first = "", 0
    for number, line in enumerate(text.splitlines(), start=1):
        first = first or number
        if line.endswith("\\"):
            joined += line[:-1] + " "
            continue
        found.append((first, joined + line))
        joined, first = "", 0
    return [*found, (first, joined)] if joined else found


def _joined(text: str) -> list[str]:
    return [line for _, line in _numbered(text)]


def _bare(line: str) -> str:
    return re.sub(r"(^|\s)#.*$", "", line).strip()


def _without_options(text: str) -> str:
    return re.split(r"\s--?[a-z]", text)[0].strip()


def _said_of_options(options: str) -> str:
    if "--hash" in options and not re.search(r"--(?!hash)", options):
        return "its hashes are those of the lock"
    if "index-url" in options:
        return "pip ignores an index on the line of one requirement; what it names is taken for the recipe's"
    return "without its options, which a lock of wheels does not need"
