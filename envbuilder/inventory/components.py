"""The components of an archive: interpreter, conda packages, wheels, and what packages bring along inside them."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote

from packaging.metadata import RawMetadata, parse_email
from packaging.utils import canonicalize_name

from envbuilder.archive.manifest import MANIFEST_PATH, Manifest, ManifestFile, ManifestPackage, parse_manifest
from envbuilder.errors import IntegrityError
from envbuilder.inventory.license import Licence, licence_of, licence_of_text
from envbuilder.inventory.needs import Distribution, Needs
from envbuilder.inventory.read import Texts, read_texts
from envbuilder.progress import SILENT, Reporter
from envbuilder.util.documents import LISTING, DocumentError, Record, parse_json
from envbuilder.util.printable import is_plain, shown
from envbuilder.util.text import human

Kind = Literal["interpreter", "conda", "wheel", "bundled"]

_DIST_INFO: Final = re.compile(
    r"(?P<folder>lib/python3\.\d+/site-packages/(?:.*/)?[^/]+\.dist-info)/METADATA"
)
_CONDA_META: Final = re.compile(r"conda-meta/[^/]+\.json")
_METADATA: Final = 2**20
"""Bytes of the fields of a METADATA file: the largest known are some 100 kB, a licence's text in one of them."""
_NAME: Final = 200
"""Characters of a package's name or version."""
_CONDA_FILE: Final = (".conda", ".tar.bz2")
_LIBRARY: Final = re.compile(r"lib/lib(?!python)[^/]+\.so(?:\.[0-9.]+)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Component:
    """One part of an archive that somebody publishes."""

    kind: Kind
    """``bundled``: a Python package that lies inside another one."""
    name: str
    version: str
    purl: str
    """Package URL: the one name of it that other tools know."""
    licence: Licence
    filename: str | None = None
    """Of the artifact it came from."""
    sha256: str | None = None
    """Of that artifact; of an interpreter the digest over its files."""
    size: int | None = None
    """Bytes of that artifact."""
    project: str | None = None
    """Normalized name of the Python project, where it is one."""
    summary: str = ""
    place: str | None = None
    """Where in the archive a bundled one lies."""
    needs: tuple[str, ...] = ()
    """purls of the components that it depends on."""
    libraries: tuple[ManifestFile, ...] = ()
    """Shared libraries of the build machine that an interpreter came with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Inventory:
    """What is inside an archive."""

    archive: str
    """Its file name."""
    sha256: str
    size: int
    """Bytes."""
    manifest: Manifest
    components: tuple[Component, ...]
    """The interpreter, then conda packages, wheels and bundled packages, each by name."""


def take_inventory(archive: Path, *, reporter: Reporter = SILENT) -> Inventory:
    """Read what is inside *archive*.

    Raises:
        IntegrityError: it cannot be read to its end, has no manifest, or a package in it has no legible METADATA.
    """
    return inventory_of(read_texts(archive, reporter=reporter), archive)


def inventory_of(texts: Texts, archive: Path) -> Inventory:
    """Return the inventory that the *texts* of *archive* give.

    Raises:
        IntegrityError: as :func:`take_inventory`.
    """
    manifest = manifest_of(texts, archive)
    try:
        components = tuple(_components(texts.files, manifest))
    except DocumentError as error:
        raise IntegrityError(f"{archive}: its packages cannot be read: {error}") from error
    return Inventory(
        archive=archive.name,
        sha256=texts.sha256,
        size=texts.size,
        manifest=manifest,
        components=components,
    )


def manifest_of(texts: Texts, archive: Path) -> Manifest:
    """Return the manifest inside *archive*.

    Raises:
        IntegrityError: there is none, or it cannot be read.
    """
    if MANIFEST_PATH not in texts.files:
        raise IntegrityError(
            f"{archive}: the archive has no {MANIFEST_PATH}", hint="build it with `envbuilder build`"
        )
    return parse_manifest(texts.files[MANIFEST_PATH], where=f"{archive}: {MANIFEST_PATH}")


def _components(files: Mapping[str, bytes], manifest: Manifest) -> Iterator[Component]:
    distributions = list(_distributions(files))
    installed = {one.project: one for one in distributions if not one.is_bundled}
    packages = manifest.all_packages
    projects = {package.filename: _project_of(package, installed, files) for package in packages}
    purls = {package.filename: _purl(package, files) for package in packages}
    of_projects = {project: purls[name] for name, project in projects.items() if project is not None}
    of_conda = {package.name: purls[package.filename] for package in packages if _is_conda(package)}
    needs = Needs(installed, of_projects, manifest.python)
    yield _interpreter(files, manifest)
    for package in sorted(packages, key=lambda one: (not _is_conda(one), canonicalize_name(one.name))):
        project = projects[package.filename]
        needed = _conda_needs(package, of_conda, files) | (needs.of(project) if project else set())
        yield _package(package, purls[package.filename], installed.get(project or ""), needed, files)
    # What no artifact of the manifest brought: one of several in a conda package, or put in by somebody else.
    extra = [one for name, one in installed.items() if name not in of_projects]
    for distribution in sorted(
        [*extra, *(one for one in distributions if one.is_bundled)], key=lambda one: (one.project, one.folder)
    ):
        yield _bundled(distribution)


def _project_of(
    package: ManifestPackage, installed: Mapping[str, Distribution], files: Mapping[str, bytes]
) -> str | None:
    """Return the Python project that *package* is: a conda package may be one of another name, or none."""
    record = _conda_record(package, files)
    if record is not None and "files" in record:
        paths = set(record.file_paths("files"))
        inside = [name for name, one in installed.items() if f"{one.folder}/METADATA" in paths]
        return inside[0] if len(inside) == 1 else None
    name = canonicalize_name(package.name)
    return name if record is None or name in installed else None


def _conda_needs(package: ManifestPackage, purls: Mapping[str, str], files: Mapping[str, bytes]) -> set[str]:
    record = _conda_record(package, files)
    specs = record.texts("depends") if record is not None and "depends" in record else ()
    names = {spec.partition(" ")[0] for spec in specs}
    return {purls[name] for name in names if name in purls}


def _distributions(files: Mapping[str, bytes]) -> Iterator[Distribution]:
    for path, content in files.items():
        match = _DIST_INFO.fullmatch(path)
        if match is not None:
            metadata = _metadata(content, path)
            folder = match["folder"]
            texts = {
                one: text.decode("utf-8", "replace")
                for one, text in files.items()
                if one.startswith(f"{folder}/") and one != path
            }
            yield Distribution(folder, metadata, texts)


def _metadata(content: bytes, path: str) -> RawMetadata:
    """Return the fields of a METADATA file, without the description that follows them: an email of any depth."""
    fields = content.replace(b"\r\n", b"\n").partition(b"\n\n")[0]
    if len(fields) > _METADATA:
        raise DocumentError(path, "", f"its fields take more than {human(_METADATA)}")
    metadata, _ = parse_email(fields)
    for key, field in (("name", metadata.get("name", "")), ("version", metadata.get("version", ""))):
        if not field or len(field) > _NAME or not is_plain(field):
            raise DocumentError(path, key, f"expected a line of text, found {shown(field)}")
    return metadata


def _interpreter(files: Mapping[str, bytes], manifest: Manifest) -> Component:
    version = manifest.interpreter.version
    texts = {
        path: files[path].decode("utf-8", "replace")
        for path in files
        if path.endswith("/LICENSE.txt") and path.count("/") == 2
    }
    libraries = [file for file in manifest.files if file.link is None and _LIBRARY.fullmatch(file.path)]
    return Component(
        kind="interpreter",
        name="cpython",
        version=version,
        purl=f"pkg:generic/cpython@{quote(version)}",
        licence=licence_of_text("", texts),
        sha256=manifest.interpreter.digest,
        summary=f"CPython ({manifest.interpreter.origin})",
        # A conda base has its libraries from conda packages, which are components themselves.
        libraries=() if any(map(_is_conda, manifest.all_packages)) else tuple(libraries),
    )


def _package(
    package: ManifestPackage,
    purl: str,
    distribution: Distribution | None,
    needs: set[str],
    files: Mapping[str, bytes],
) -> Component:
    conda = _conda_record(package, files)
    if conda is not None and "license" in conda:
        licence = licence_of_text(conda.free_text("license"), distribution.texts if distribution else {})
    elif distribution is not None:
        licence = licence_of(distribution.metadata, distribution.texts)
    else:
        licence = licence_of_text("", {})
    return Component(
        kind="conda" if _is_conda(package) else "wheel",
        name=package.name,
        version=package.version,
        purl=purl,
        licence=licence,
        filename=package.filename,
        sha256=package.sha256,
        size=package.size,
        project=distribution.project if distribution is not None else None,
        summary=distribution.metadata.get("summary", "") if distribution else "",
        needs=tuple(sorted(needs)),
    )


def _bundled(distribution: Distribution) -> Component:
    metadata = distribution.metadata
    return Component(
        kind="bundled",
        name=distribution.project,
        version=metadata["version"],
        purl=_pypi(distribution.project, metadata["version"]),
        licence=licence_of(metadata, distribution.texts),
        project=distribution.project,
        summary=metadata.get("summary", ""),
        place=posixpath.dirname(distribution.folder),
    )


def _is_conda(package: ManifestPackage) -> bool:
    return package.filename.endswith(_CONDA_FILE)


def _conda_record(package: ManifestPackage, files: Mapping[str, bytes]) -> Record | None:
    """Return what ``conda-meta`` says of a conda package."""
    if not _is_conda(package):
        return None
    path = f"conda-meta/{_conda_stem(package)}.json"
    return parse_json(files.get(path, b"{}"), where=path, cap=LISTING)


def _conda_stem(package: ManifestPackage) -> str:
    return package.filename.removesuffix(".conda").removesuffix(".tar.bz2")


def _purl(package: ManifestPackage, files: Mapping[str, bytes]) -> str:
    record = _conda_record(package, files)
    if record is None:
        return _pypi(canonicalize_name(package.name), package.version, package.filename)
    said = {key: record.text(key) if key in record else "" for key in ("build", "channel", "subdir")}
    parts = {
        "build": said["build"] or _conda_stem(package).rpartition("-")[2],
        # The name of the channel, never its address.
        "channel": said["channel"].rstrip("/").removesuffix(f"/{said['subdir']}").rpartition("/")[2],
        "subdir": said["subdir"],
        "type": "conda" if package.filename.endswith(".conda") else "tar.bz2",
    }
    query = "&".join(f"{key}={quote(value, safe='')}" for key, value in parts.items() if value)
    return f"pkg:conda/{quote(package.name)}@{quote(package.version, safe='')}?{query}"


def _pypi(name: str, version: str, filename: str | None = None) -> str:
    which = "" if filename is None else f"?file_name={quote(filename, safe='')}"
    return f"pkg:pypi/{name}@{quote(version, safe='')}{which}"
