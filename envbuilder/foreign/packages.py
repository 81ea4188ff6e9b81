"""The packages of an environment, from the records of conda and pip in it."""

from __future__ import annotations

import csv
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.parser import BytesHeaderParser
from typing import Final

from packaging.utils import canonicalize_name

from envbuilder.archive import manifest_grammar as grammar
from envbuilder.archive.manifest import ManifestCondaPackage, ManifestPackage
from envbuilder.recipe.channels import PLATFORMS, channel_name
from envbuilder.util.documents import LISTING, DocumentError, Record, parse_json

SITE: Final = r"lib/python3\.\d+/site-packages"
METADATA: Final = re.compile(
    rf"(?P<site>{SITE})/(?P<folder>[^/~][^/]*\.(?:dist-info/METADATA|egg-info/PKG-INFO|egg-info))"
)
"""Metadata of packages: PEP 376's, setuptools', and distutils' single file. With a ``~`` it is what pip removed."""
NUMPY: Final = re.compile(rf"{SITE}/numpy/_?version\.py")
_VERSION: Final = re.compile(rb"""^\s*"?(?:version|__version__)"?\s*[=:]\s*["'](\d[^"']*)""", re.MULTILINE)
_FOLDER: Final = re.compile(r"[^-]+-(?P<version>[^-]+)(?:-py[\d.]+)?\.(?:dist|egg)-info")
CONDA_META: Final = re.compile(r"conda-meta/(?P<stem>[^/]+)\.json")
_HEADERS: Final = 2**20
"""Limit for the fields of a METADATA file, in bytes: the largest known have some 100 kB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CondaRecord:
    """A package that conda installed."""

    package: ManifestCondaPackage
    """Its sha256 is empty if conda did not record it."""
    channel: str
    """As recorded: a name or an address, perhaps with credentials."""
    files: frozenset[str]
    depends: tuple[str, ...] = ()
    """Names of the packages that it depends on."""
    requested: tuple[str, ...] = ()
    """The match specs that the user requested."""
    hashes: Mapping[str, str] = field(default_factory=dict)
    """sha256 of the package's files into which no prefix was written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PipPackage:
    """A Python package that is not from a conda package."""

    package: ManifestPackage
    """The file name is derived; sha256 and size are unknown without the wheel."""
    metadata: str
    """The path of its metadata."""
    files: frozenset[str]
    hashes: Mapping[str, str] = field(default_factory=dict)
    """sha256 of its files in RECORD, in base64."""
    url: str | None = None
    """Where it came from, if not from an index (PEP 610)."""
    editable: bool = False
    requested: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Packages:
    """The installed packages of an environment."""

    conda: tuple[CondaRecord, ...]
    pip: tuple[PipPackage, ...]
    provides: Mapping[str, str]
    """Name and version of each Python project from conda packages, and of NumPy without metadata."""
    unread: tuple[str, ...] = ()
    """Records that cannot be understood, and why: neither a server nor Python reads them."""

    @property
    def versions(self) -> dict[str, str]:
        """Version of each Python project, by normalized name."""
        own: dict[str, str] = {canonicalize_name(one.package.name): one.package.version for one in self.pip}
        return {**self.provides, **own}


def find_packages(texts: Mapping[str, bytes]) -> Packages:
    """Return the packages described by *texts*, an environment's metadata files by path.

    What cannot be understood is told, and taken for no package.
    """
    conda: list[CondaRecord] = []
    pip: list[PipPackage] = []
    provides: dict[str, str] = {}
    unread: list[str] = []
    for path in sorted(texts):
        match = CONDA_META.fullmatch(path)
        if match is not None:
            try:
                conda.append(_conda(parse_json(texts[path], where=path, cap=LISTING), match["stem"]))
            except DocumentError as error:
                unread.append(error.message)
    of_conda = frozenset[str]().union(*(one.files for one in conda))
    for path in sorted(texts):
        match = METADATA.fullmatch(path)
        if match is None:
            continue
        try:
            about = named(texts[path], path)
        except DocumentError as error:
            unread.append(error.message)
            continue
        if about is None:
            continue
        name, version = about
        if path in of_conda:
            provides[canonicalize_name(name)] = version
        else:
            pip.append(_pip(name, version, path, match["site"], texts))
    if "numpy" not in {*provides, *(canonicalize_name(one.package.name) for one in pip)}:
        provides |= _bare_numpy(texts)
    return Packages(conda=tuple(conda), pip=tuple(pip), provides=provides, unread=tuple(unread))


def _bare_numpy(texts: Mapping[str, bytes]) -> dict[str, str]:
    """Return NumPy's version from its own code, where its metadata was removed to save space."""
    for path in sorted(texts):
        found = _VERSION.search(texts[path]) if NUMPY.fullmatch(path) else None
        if found is not None:
            return {"numpy": found[1].decode(errors="replace")}
    return {}


def _conda(found: Record, stem: str) -> CondaRecord:
    subdir = found.choice("subdir", *PLATFORMS) if "subdir" in found else PLATFORMS[0]
    url = found.text("url") if "url" in found else ""
    channel = found.text("channel") if "channel" in found else url.rpartition("/")[0]
    channel = channel.rstrip("/").removesuffix(f"/{subdir}")
    said = found.text("fn") if "fn" in found else ""
    # Its record is named like its file; `fn` of some solvers has no suffix.
    suffix = ".conda" if said.endswith(".conda") or url.endswith(".conda") else ".tar.bz2"
    paths = found.record("paths_data").records("paths") if "paths_data" in found else []
    package = ManifestCondaPackage(
        name=found.text("name", grammar.CONDA_NAME, longest=200),
        version=found.text("version", grammar.CONDA_VERSION, longest=200),
        filename=f"{stem}{suffix}",
        sha256=found.digest("sha256") if "sha256" in found else "",
        size=found.integer("size", most=grammar.LARGEST) if "size" in found else 0,
        build=found.text("build", grammar.CONDA_BUILD, longest=200)
        if "build" in found
        else stem.rpartition("-")[2],
        channel=channel_name(channel) or "unknown",
        subdir=subdir,
    )
    return CondaRecord(
        package=package,
        channel=channel,
        files=frozenset(found.file_paths("files")) if "files" in found else frozenset(),
        depends=tuple(spec.split(" ")[0] for spec in found.texts("depends")) if "depends" in found else (),
        requested=_requested(found),
        hashes={
            one.file_path("_path"): one.digest("sha256")
            for one in paths
            if "sha256" in one and "prefix_placeholder" not in one and "sha256_in_prefix" not in one
        },
    )


def _requested(found: Record) -> tuple[str, ...]:
    if "requested_specs" in found:
        return found.texts("requested_specs")
    spec = found.free_text("requested_spec") if "requested_spec" in found else ""
    return (spec,) if spec and spec != "None" else ()


def named(content: bytes, path: str) -> tuple[str, str] | None:
    """Return name and version in the fields of a METADATA file at *path*, whatever of it is a description.

    None: it names no package; pip passes over it, too. Without a version, that of the folder's name counts.
    """
    fields = content.replace(b"\r\n", b"\n").partition(b"\n\n")[0][:_HEADERS]
    message = BytesHeaderParser().parsebytes(fields)
    if message["Name"] is None:
        return None
    folder = _FOLDER.fullmatch(path.removesuffix("/METADATA").removesuffix("/PKG-INFO").rpartition("/")[2])
    version = message["Version"] or (folder["version"] if folder is not None else "")
    record = Record({"name": str(message["Name"]), "version": str(version)}, path)
    return record.text("name", grammar.PROJECT, longest=200), record.text("version", longest=200)


def _pip(name: str, version: str, path: str, site: str, texts: Mapping[str, bytes]) -> PipPackage:
    folder = posixpath.dirname(path)
    inside = {} if folder == site else {one: texts.get(f"{folder}/{one}") for one in _BESIDE}
    files, hashes = _recorded(inside.get("RECORD") or inside.get("installed-files.txt"), site, folder)
    url, editable = _origin(inside.get("direct_url.json"))
    egg_link = f"{site}/{name}.egg-link"
    package = ManifestPackage(
        name=name,
        version=version,
        filename=_wheel_name(name, version, inside.get("WHEEL")),
        sha256="",
        size=0,
    )
    return PipPackage(
        package=package,
        metadata=path,
        files=files | {path},
        hashes=hashes,
        url=url,
        editable=editable or egg_link in texts,
        requested=inside.get("REQUESTED") is not None,
    )


_BESIDE: Final = ("RECORD", "installed-files.txt", "WHEEL", "direct_url.json", "REQUESTED")


def _wheel_name(name: str, version: str, wheel: bytes | None) -> str:
    tags = re.findall(r"^Tag: *(\S+)$", (wheel or b"").decode(errors="replace"), re.MULTILINE)
    parts = [tag.split("-") for tag in tags if re.fullmatch(r"[\w.]+-[\w.]+-[\w.]+", tag)]
    joined = (
        "-".join(".".join(dict.fromkeys(part[n] for part in parts)) for n in range(3))
        if parts
        else "py3-none-any"
    )
    return f"{canonicalize_name(name).replace('-', '_')}-{version}-{joined}.whl"


def _recorded(record: bytes | None, site: str, folder: str) -> tuple[frozenset[str], dict[str, str]]:
    files, hashes = set(), {}
    rows = csv.reader((record or b"").decode(errors="replace").splitlines())
    try:
        for row in rows:
            if not row or not row[0] or row[0].startswith("/"):
                continue
            base = site if len(row) > 1 else folder  # paths in installed-files.txt are relative to it
            path = posixpath.normpath(posixpath.join(base, row[0]))
            files.add(path)
            if len(row) > 1 and row[1].startswith("sha256="):
                hashes[path] = row[1].removeprefix("sha256=")
    except csv.Error:  # the rest of a broken RECORD is ignored
        pass
    return frozenset(files), hashes


def _origin(data: bytes | None) -> tuple[str | None, bool]:
    """Return the origin of a package from PEP 610, and whether it is an editable folder."""
    if data is None:
        return None, False
    try:
        found = parse_json(data, where="direct_url.json")
        url = found.text("url")
        editable = "dir_info" in found and found.record("dir_info").value.get("editable") is True
        if "vcs_info" in found:
            vcs = found.record("vcs_info")
            url = f"{vcs.text('vcs')}+{url}@{vcs.text('commit_id')}"
        if "subdirectory" in found:
            url += f"#subdirectory={found.text('subdirectory')}"
    except DocumentError:
        return None, False
    return url, editable


def editable_paths(texts: Mapping[str, bytes]) -> Iterator[tuple[str, str]]:
    """Yield each ``.pth`` or ``.egg-link`` with an absolute folder that it puts on ``sys.path``."""
    for path, content in sorted(texts.items()):
        if path.endswith((".pth", ".egg-link")):
            for line in content.decode(errors="replace").splitlines():
                text = line.strip()
                if "://" not in text and text.removeprefix("file:").startswith("/"):
                    yield path, text
