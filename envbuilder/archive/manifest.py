"""The manifest: what an archive holds, inside it and beside it."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from envbuilder.errors import IntegrityError

MANIFEST_PATH: Final = "share/envbuilder/manifest.json"
"""Where it lies in an environment."""
ENVIRONMENT_PATH: Final = "share/envbuilder/environment.json"
"""Where an environment says which variables an activation would have set."""
FORMAT: Final = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifestPackage:
    """One package of an environment."""

    name: str
    version: str
    filename: str
    sha256: str
    """Of its wheel."""
    size: int
    """Bytes of its wheel."""


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
    """Of the content; of a link, of its target."""
    link: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifestExclusion:
    """What one pattern of ``pack: {exclude: …}`` left out of an environment."""

    pattern: str
    files: int
    size: int
    """Bytes, unpacked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifestInterpreter:
    """The interpreter of an environment."""

    version: str
    origin: str
    digest: str
    locked_digest: str
    """Another one than *digest* where ``--interpreter-change`` allowed it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What an archive holds."""

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
    """The options of packing."""
    tools: Mapping[str, str]
    """Name and version of what decided the bytes."""
    unpacked_size: int
    """Bytes of the files, the manifest not counted."""
    files: tuple[ManifestFile, ...] = field(repr=False)
    """Sorted by path; the manifest itself is not among them."""
    excluded: tuple[ManifestExclusion, ...] = ()
    """Largest first."""
    conda: tuple[ManifestCondaPackage, ...] = ()
    """The base's packages, in an order that installs; none where it is a relocated CPython."""
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
        lines = json.dumps(head, indent=1, sort_keys=True).removesuffix("\n}")
        return f'{lines},\n "files": [\n{_file_lines(self.files)}\n ]\n}}\n'


def _file_lines(files: Iterable[ManifestFile]) -> str:
    encode = json.JSONEncoder().encode  # of strings: an encoder of whole rows takes five times as long
    rows = []
    for file in files:
        link = "" if file.link is None else f'"link": {encode(file.link)}, '
        rows.append(
            f'  {{{link}"mode": {file.mode}, "path": {encode(file.path)}, '
            f'"sha256": "{file.sha256}", "size": {file.size}}}'
        )
    return ",\n".join(rows)


def parse_manifest(text: str | bytes, *, where: str) -> Manifest:
    """Read a manifest's JSON; *where* names it in errors.

    Raises:
        IntegrityError: it is none, or of a newer format.
    """
    try:
        data = json.loads(text)
        if data["format"] > FORMAT:
            raise IntegrityError(
                f"{where}: manifest format {data['format']}, this envbuilder reads up to {FORMAT}",
                hint="install a newer envbuilder",
            )
        return _typed(
            Manifest,
            {
                **data,
                "interpreter": _typed(ManifestInterpreter, data["interpreter"]),
                "demands": tuple(data["demands"]),
                "packages": tuple(_typed(ManifestPackage, package) for package in data["packages"]),
                "files": tuple(_typed(ManifestFile, file) for file in data["files"]),
                "conda": tuple(_typed(ManifestCondaPackage, one) for one in data.get("conda", ())),
                "provides": {name: str(version) for name, version in data.get("provides", {}).items()},
                "excluded": tuple(_typed(ManifestExclusion, one) for one in data.get("excluded", ())),
            },
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise IntegrityError(f"{where} is no manifest: {type(error).__name__}: {error}") from error


_T = TypeVar("_T")
_PLAIN: Final[Mapping[str, tuple[type, ...]]] = {
    "str": (str,),
    "int": (int,),
    "str | None": (str, type(None)),
}


@functools.cache
def _plain_fields(kind: Any) -> Mapping[str, tuple[type, ...]]:
    return {one.name: _PLAIN[str(one.type)] for one in fields(kind) if str(one.type) in _PLAIN}


def _typed(kind: type[_T], values: Mapping[str, Any]) -> _T:
    """Return the record of *values*; a TypeError says which is none of its kind."""
    for name, types in _plain_fields(kind).items():  # type: ignore[arg-type]  # a class is hashable
        if name in values and not isinstance(values[name], types):
            raise TypeError(f"{name} is {values[name]!r}")
    return kind(**values)


def manifest_beside(archive: Path) -> Path:
    """Return where the manifest of *archive* lies: ``NAME-DIGEST.json``."""
    name = archive.name.removesuffix(".gz").removesuffix(".tar")
    return archive.with_name(f"{name}.json")


def read_manifest(path: Path) -> Manifest:
    """Read a manifest file.

    Raises:
        IntegrityError: it is none, or not there.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise IntegrityError(f"the manifest {path} cannot be read: {error.strerror}") from error
    return parse_manifest(text, where=str(path))


def manifest_schema() -> dict[str, Any]:
    """Return the JSON schema of a manifest."""
    text, number = {"type": "string"}, {"type": "integer", "minimum": 0}
    digest = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
    maybe = {"type": ["string", "null"]}

    def record(required: Mapping[str, Any], optional: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": {**required, **(optional or {})},
            "required": sorted(required),
            "additionalProperties": False,
        }

    package = record({"name": text, "version": text, "filename": text, "sha256": digest, "size": number})
    conda = record({**package["properties"], **dict.fromkeys(("build", "channel", "subdir"), text)})
    file = record({"path": text, "mode": number, "size": number, "sha256": digest}, {"link": text})
    exclusion = record({"pattern": text, "files": number, "size": number})
    interpreter = record({"version": text, "origin": text, "digest": digest, "locked_digest": digest})
    schema = record(
        {
            "format": {"const": FORMAT},
            **dict.fromkeys(("recipe", "release", "python", "torch", "cuda"), text),
            **dict.fromkeys(("recipe_digest", "lock_digest"), digest),
            "interpreter": interpreter,
            "demands": {"type": "array", "items": text},
            "packages": {"type": "array", "items": package},
            "glibc": maybe,
            "glibcxx": maybe,
            "pack": {"type": "object"},
            "excluded": {"type": "array", "items": exclusion},
            "tools": {"type": "object", "additionalProperties": text},
            "unpacked_size": number,
            "files": {"type": "array", "items": file},
        },
        {
            "conda": {"type": "array", "items": conda},
            "provides": {"type": "object", "additionalProperties": text},
        },
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "envbuilder manifest",
        **schema,
    }
