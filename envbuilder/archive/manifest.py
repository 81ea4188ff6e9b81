"""The manifest: the content of an archive, stored inside and next to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

from envbuilder.archive import manifest_grammar as grammar
from envbuilder.catalog.triton import PYTRITON, find_release
from envbuilder.errors import IntegrityError, RecipeError
from envbuilder.util.documents import LISTING, Record, parse_json
from envbuilder.util.files import read_regular
from envbuilder.util.printable import shown

MANIFEST_PATH: Final = "share/envbuilder/manifest.json"
"""Its path in an environment."""
ENVIRONMENT_PATH: Final = "share/envbuilder/environment.json"
"""The file in an environment with the variables that an activation would set."""
FORMAT: Final = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifestPackage:
    """One package of an environment."""

    name: str
    version: str
    filename: str
    sha256: str
    """sha256 of its wheel."""
    size: int
    """Size of its wheel in bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifestCondaPackage(ManifestPackage):
    """One conda package of a base; hash and size are the package's."""

    build: str
    channel: str
    subdir: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifestFile:
    """One file of an environment."""

    path: str
    mode: int
    size: int
    """Bytes."""
    sha256: str
    """sha256 of the content, or of a link's target."""
    link: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifestExclusion:
    """The files that one pattern of ``pack: {exclude: …}`` excluded."""

    pattern: str
    files: int
    size: int
    """Bytes, unpacked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifestKept:
    """A file that matches an exclusion rule but was kept because a module imports it."""

    path: str
    imported_by: str
    """The module's dotted name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifestInterpreter:
    """The interpreter of an environment."""

    version: str
    origin: str
    digest: str
    locked_digest: str
    """The locked interpreter's digest; differs from *digest* only with ``--interpreter-change``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """The content of an archive."""

    recipe: str
    recipe_digest: str
    lock_digest: str
    """sha256 of the lock file."""
    release: str
    python: str
    torch: str
    cuda: str
    interpreter: ManifestInterpreter
    demands: tuple[str, ...]
    packages: tuple[ManifestPackage, ...]
    glibc: str | None
    """Highest version that an ELF file in it asks."""
    glibcxx: str | None
    """Highest version that an ELF file in it asks."""
    pack: Mapping[str, Any]
    """The packing options."""
    tools: Mapping[str, str]
    """Names and versions of the tools that determine the bytes."""
    unpacked_size: int
    """Bytes of the files, the manifest not counted."""
    files: tuple[ManifestFile, ...] = field(repr=False)
    """Sorted by path; the manifest itself is not among them."""
    excluded: tuple[ManifestExclusion, ...] = ()
    """Largest first."""
    kept: tuple[ManifestKept, ...] = ()
    """Sorted by path."""
    system_libraries: tuple[str, ...] = ()
    """Additional sonames in the server's image, from the recipe."""
    conda: tuple[ManifestCondaPackage, ...] = ()
    """The base's conda packages in installation order; empty for a relocated CPython."""
    provides: Mapping[str, str] = field(default_factory=dict)
    """Name and version of each Python project that conda packages contain."""
    format: int = FORMAT

    @property
    def all_packages(self) -> tuple[ManifestPackage, ...]:
        """Conda packages, then wheels."""
        return (*self.conda, *self.packages)

    def text(self) -> str:
        """Return the JSON, one line for each file."""
        head = asdict(replace(self, files=()))
        del head["files"]
        if not self.conda:
            del head["conda"], head["provides"]
        for name in ("kept", "system_libraries"):
            if not head[name]:
                del head[name]
        lines = json.dumps(head, indent=1, sort_keys=True).removesuffix("\n}")
        return f'{lines},\n "files": [\n{_file_lines(self.files)}\n ]\n}}\n'


def _file_lines(files: Iterable[ManifestFile]) -> str:
    encode = json.JSONEncoder().encode  # for strings: encoding whole rows takes five times as long
    rows = []
    for file in files:
        link = "" if file.link is None else f'"link": {encode(file.link)}, '
        rows.append(
            f'  {{{link}"mode": {file.mode}, "path": {encode(file.path)}, '
            f'"sha256": "{file.sha256}", "size": {file.size}}}'
        )
    return ",\n".join(rows)


_FIELDS: Final = tuple(one.name for one in fields(Manifest))


def parse_manifest(text: str | bytes, *, where: str) -> Manifest:
    """Parse a manifest's JSON; *where* names it in errors.

    Everything is validated here, once for all readers: names, versions, digests, sizes, and that paths stay inside.

    Raises:
        IntegrityError: it is invalid, or of a newer format; the message names the field.
    """
    found = parse_json(text, where=where, cap=LISTING)
    if found.integer("format", 1) > FORMAT:
        raise IntegrityError(
            f"{where}: manifest format {found.integer('format')}, this envbuilder reads up to {FORMAT}",
            hint="install a newer envbuilder",
        )
    found.only(*_FIELDS)
    files = tuple(_file(one) for one in found.records("files"))
    _check_unique(found, files)
    if found.value.get("provides") and not found.value.get("conda"):
        found.fail("provides", "is only said of conda packages, but there are none")
    return Manifest(
        recipe=found.text("recipe", grammar.RECIPE),
        recipe_digest=found.digest("recipe_digest"),
        lock_digest=found.digest("lock_digest"),
        release=_release(found),
        python=found.text("python", grammar.PYTHON),
        torch=found.text("torch", grammar.VERSION),
        cuda=found.text("cuda", grammar.CUDA),
        interpreter=_interpreter(found.record("interpreter")),
        demands=found.texts("demands"),
        packages=tuple(_package(one) for one in found.records("packages")),
        glibc=found.text("glibc", grammar.LIBRARY) if "glibc" in found else None,
        glibcxx=found.text("glibcxx", grammar.LIBRARY) if "glibcxx" in found else None,
        pack=_pack(found.record("pack")),
        tools=found.text_map("tools", keys=grammar.TOOL),
        unpacked_size=found.integer("unpacked_size", most=grammar.LARGEST),
        files=files,
        excluded=tuple(_exclusion(one) for one in found.records("excluded")) if "excluded" in found else (),
        kept=tuple(_kept(one) for one in found.records("kept")) if "kept" in found else (),
        system_libraries=found.texts("system_libraries", grammar.SONAME)
        if "system_libraries" in found
        else (),
        conda=tuple(_conda_package(one) for one in found.records("conda")) if "conda" in found else (),
        provides=found.text_map("provides", keys=grammar.PROJECT) if "provides" in found else {},
        format=FORMAT,
    )


def _release(found: Record) -> str:
    release = found.text("release", longest=100)
    try:
        return find_release(release).name
    except RecipeError:
        found.expected("release", f"a Triton release: YY.MM, or {PYTRITON}")


def _interpreter(found: Record) -> ManifestInterpreter:
    found.only("version", "origin", "digest", "locked_digest")
    return ManifestInterpreter(
        version=found.text("version", grammar.PYTHON),
        origin=found.text("origin", longest=300),
        digest=found.digest("digest"),
        locked_digest=found.digest("locked_digest"),
    )


def _package(found: Record) -> ManifestPackage:
    found.only("name", "version", "filename", "sha256", "size")
    return ManifestPackage(
        name=found.text("name", grammar.PROJECT, longest=200),
        version=found.text("version", grammar.VERSION, longest=200),
        filename=found.text("filename", grammar.FILE, longest=255),
        sha256=found.digest("sha256"),
        size=found.integer("size", most=grammar.LARGEST),
    )


def _conda_package(found: Record) -> ManifestCondaPackage:
    found.only("name", "version", "filename", "sha256", "size", "build", "channel", "subdir")
    return ManifestCondaPackage(
        name=found.text("name", grammar.CONDA_NAME, longest=200),
        version=found.text("version", grammar.CONDA_VERSION, longest=200),
        filename=found.text("filename", grammar.FILE, longest=255),
        sha256=found.digest("sha256"),
        size=found.integer("size", most=grammar.LARGEST),
        build=found.text("build", grammar.CONDA_BUILD, longest=200),
        channel=found.text("channel", longest=300),
        subdir=found.choice("subdir", "linux-64", "noarch"),
    )


def _pack(found: Record) -> Mapping[str, Any]:
    found.only("bytecode", "level", "uncompressed", "exclude")
    readers: dict[str, Callable[[str], object]] = {
        "bytecode": found.boolean,
        "level": lambda key: found.integer(key, most=9),
        "uncompressed": found.boolean,
        "exclude": lambda key: list(found.texts(key)),
    }
    return {key: read(key) for key, read in readers.items() if key in found.value}


def _exclusion(found: Record) -> ManifestExclusion:
    found.only("pattern", "files", "size")
    return ManifestExclusion(
        pattern=found.text("pattern"),
        files=found.integer("files"),
        size=found.integer("size", most=grammar.LARGEST),
    )


def _kept(found: Record) -> ManifestKept:
    found.only("path", "imported_by")
    return ManifestKept(path=found.file_path("path"), imported_by=found.text("imported_by", grammar.MODULE))


def _file(found: Record) -> ManifestFile:
    found.only("path", "mode", "size", "sha256", "link")
    path = found.file_path("path")
    if grammar.CONTROL.search(path):
        found.expected("path", "a path without control characters")
    return ManifestFile(
        path=path,
        mode=found.integer("mode", most=0o7777),
        size=found.integer("size", most=grammar.LARGEST),
        sha256=found.digest("sha256"),
        link=_link(found) if "link" in found else None,
    )


def _link(found: Record) -> str:
    # It is compared and shown, never followed: links are resolved on the extracted files.
    link = found.free_text("link", longest=4096)
    if not link or grammar.CONTROL.search(link):
        found.expected("link", "the target of a link, without control characters")
    return link


def _check_unique(found: Record, files: Sequence[ManifestFile]) -> None:
    if len({file.path for file in files}) != len(files):
        seen: set[str] = set()
        for number, file in enumerate(files):
            if file.path in seen:
                found.fail(f"files[{number}].path", f"is listed twice: {shown(file.path)}")
            seen.add(file.path)


def manifest_beside(archive: Path) -> Path:
    """Return the path of the manifest of *archive*: ``NAME-DIGEST.json``."""
    name = archive.name.removesuffix(".gz").removesuffix(".tar")
    return archive.with_name(f"{name}.json")


def read_manifest(path: Path) -> Manifest:
    """Read a manifest file.

    Raises:
        IntegrityError: it is missing or invalid.
    """
    try:
        text = read_regular(path, most=LISTING.size + 1)
    except OSError as error:
        raise IntegrityError(f"the manifest {path} cannot be read: {error.strerror}") from error
    return parse_manifest(text, where=str(path))
