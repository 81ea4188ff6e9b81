"""The components of an archive: interpreter, conda packages, wheels, and components embedded in packages."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote

from packaging.metadata import RawMetadata, parse_email
from packaging.utils import canonicalize_name

from envbuilder.archive.manifest import MANIFEST_PATH, Manifest, ManifestFile, ManifestPackage, parse_manifest
from envbuilder.base.interpreter import recall_origins
from envbuilder.base.library_origins import LibraryOrigin
from envbuilder.errors import IntegrityError
from envbuilder.foreign.measured import measure_all
from envbuilder.foreign.packages import named
from envbuilder.foreign.survey import is_foreign, survey
from envbuilder.inventory.debian_copyright import licence_in, purl_of
from envbuilder.inventory.embedded import Embedded, read_sboms
from envbuilder.inventory.libraries import Library, find_libraries
from envbuilder.inventory.license import Licence, licence_of, licence_of_text
from envbuilder.inventory.needs import Distribution, Needs
from envbuilder.inventory.read import Texts, describes, read_texts
from envbuilder.progress import SILENT, Reporter
from envbuilder.store.local import Store
from envbuilder.util.documents import LISTING, DocumentError, Record, parse_json
from envbuilder.util.printable import is_plain, shown
from envbuilder.util.text import human

Kind = Literal["interpreter", "conda", "wheel", "bundled", "embedded", "library"]

_DIST_INFO: Final = re.compile(
    r"(?P<folder>lib/python3\.\d+/site-packages/(?:.*/)?[^/]+\.(?:dist-info(?=/METADATA)|egg-info))"
    r"(?:/METADATA|/PKG-INFO)?"
)
_CONDA_META: Final = re.compile(r"conda-meta/[^/]+\.json")
_METADATA: Final = 2**20
"""Limit for the fields of a METADATA file, in bytes: the largest known have some 100 kB, with a licence text."""
_NAME: Final = 200
"""Longest name or version of a package, in characters."""
_CONDA_FILE: Final = (".conda", ".tar.bz2")


@dataclass(frozen=True, kw_only=True, slots=True)
class Component:
    """A published component of an archive."""

    kind: Kind
    """``bundled``: a Python package inside another one. ``embedded``: a component in a package's own SBOM.
    ``library``: a shared library of another project in a package or the interpreter."""
    name: str
    version: str
    """Empty if unknown."""
    purl: str
    """Package URL: its name for other tools."""
    licence: Licence
    filename: str | None = None
    """The file name of its artifact."""
    sha256: str | None = None
    """sha256 of that artifact; of an interpreter, the digest of its files."""
    size: int | None = None
    """Size of that artifact in bytes."""
    project: str | None = None
    """Normalized name of the Python project, if it is one."""
    summary: str = ""
    place: str | None = None
    """The path in the archive of an embedded component, or of the SBOM that names it."""
    inside: str | None = None
    """The name of the package that contains an embedded component or library."""
    needs: tuple[str, ...] = ()
    """purls of the components that it depends on."""
    requires: tuple[str, ...] = ()
    """``Requires-Dist`` of a Python package, as written."""
    depends: tuple[str, ...] = ()
    """``depends`` of a conda package, as written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Inventory:
    """The inventory of an archive."""

    archive: str
    """Its file name."""
    sha256: str
    size: int
    """Bytes."""
    manifest: Manifest
    components: tuple[Component, ...]
    """The interpreter, conda packages, wheels, bundled packages, then other embedded components, each sorted by
    name."""
    unread: tuple[str, ...] = ()
    """SBOMs in unsupported formats, whose components are missing here."""


def take_inventory(archive: Path, *, reporter: Reporter = SILENT) -> Inventory:
    """Take the inventory of *archive*, whichever tool made it, or of a folder.

    Raises:
        IntegrityError: it cannot be read to its end, is not an environment, or a package in it has no legible METADATA.
    """
    texts = read_texts(archive, reporter=reporter)
    if MANIFEST_PATH not in texts.files:
        found = survey(archive, reporter=reporter)
        if is_foreign(found.members):
            measured = measure_all(found, where=str(archive))
            told = {path: text for path, text in found.texts.items() if describes(path)}
            files = {path: text for path, text in told.items() if not _is_nameless(path, text)}
            return inventory_of(Texts(sha256=found.sha256, size=found.size, files=files), archive, measured)
    return inventory_of(texts, archive)


def inventory_of(texts: Texts, archive: Path, manifest: Manifest | None = None) -> Inventory:
    """Return the inventory from the *texts* of *archive*; *manifest* is a measured one if the archive has none.

    Raises:
        IntegrityError: as :func:`take_inventory`.
    """
    manifest = manifest or manifest_of(texts, archive)
    try:
        embedded, unread = read_sboms(texts.files)
        components = tuple(_components(texts.files, manifest, embedded))
    except DocumentError as error:
        raise IntegrityError(f"{archive}: its packages cannot be read: {error}") from error
    return Inventory(
        archive=archive.name,
        sha256=texts.sha256,
        size=texts.size,
        manifest=manifest,
        components=components,
        unread=unread,
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


def _components(
    files: Mapping[str, bytes], manifest: Manifest, embedded: Sequence[Embedded]
) -> Iterator[Component]:
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
    # Not from an artifact of the manifest: one of several in a conda package, or added by another tool.
    extra = [one for name, one in installed.items() if name not in of_projects]
    for distribution in sorted(
        [*extra, *(one for one in distributions if one.is_bundled)], key=lambda one: (one.project, one.folder)
    ):
        yield _bundled(distribution)
    conda = any(map(_is_conda, packages))
    owners = {one.folder: one.project for one in distributions}
    yield from _inside(embedded, owners)
    named = {(owners.get(one.folder), one.name) for one in embedded}
    by_path = {file.path: file for file in manifest.files}
    origins = {} if conda else recall_origins(manifest.interpreter.digest, Store.open())
    # A conda base has its libraries from conda packages, which are components themselves.
    for library in find_libraries(
        (file.path for file in manifest.files if file.link is None), base=not conda
    ):
        if (library.inside, library.name) not in named:
            origin = origins.get(posixpath.basename(library.path)) if library.inside == "cpython" else None
            yield _library(library, by_path, origin, manifest.interpreter.origin)


def _inside(embedded: Iterable[Embedded], owners: Mapping[str, str]) -> Iterator[Component]:
    for one in embedded:
        owner = owners.get(one.folder, one.folder)
        if one.purl.startswith(f"pkg:pypi/{owner}@"):
            continue  # the package itself
        yield Component(
            kind="embedded",
            name=one.name,
            version=one.version,
            purl=one.purl,
            licence=licence_of_text(one.licence, {}),
            sha256=one.sha256,
            project=canonicalize_name(one.name) if one.purl.startswith("pkg:pypi/") else None,
            summary=one.summary,
            place=one.place,
            inside=owner,
        )


def _library(
    library: Library, files: Mapping[str, ManifestFile], origin: LibraryOrigin | None, interpreter: str
) -> Component:
    version, licence = library.version, library.licence
    purl = f"pkg:generic/{quote(library.name, safe='')}"
    purl += f"@{quote(version, safe='')}" if version else ""
    if origin is not None:
        version, purl = origin.version, purl_of(origin)
        licence = licence_in(origin.copyright, origin.package, licence)
    elif library.inside == "cpython" and licence.source == "nothing":
        licence = replace(licence, declared=f"unknown, from the interpreter ({interpreter})")
    return Component(
        kind="library",
        name=library.name,
        version=version,
        purl=purl,
        licence=licence,
        sha256=files[library.path].sha256,
        size=files[library.path].size,
        place=library.path,
        inside=library.inside,
    )


def _project_of(
    package: ManifestPackage, installed: Mapping[str, Distribution], files: Mapping[str, bytes]
) -> str | None:
    """Return the Python project of *package*: a conda package may have another name, or be none."""
    record = _conda_record(package, files)
    if record is not None and "files" in record:
        paths = set(record.file_paths("files"))
        inside = [name for name, one in installed.items() if not paths.isdisjoint(_described_by(one))]
        return inside[0] if len(inside) == 1 else None
    name = canonicalize_name(package.name)
    return name if record is None or name in installed else None


def _described_by(distribution: Distribution) -> tuple[str, ...]:
    folder = distribution.folder
    return f"{folder}/METADATA", f"{folder}/PKG-INFO", folder


def _conda_needs(package: ManifestPackage, purls: Mapping[str, str], files: Mapping[str, bytes]) -> set[str]:
    names = {spec.partition(" ")[0] for spec in _depends(_conda_record(package, files))}
    return {purls[name] for name in names if name in purls}


def _depends(record: Record | None) -> tuple[str, ...]:
    return record.texts("depends") if record is not None and "depends" in record else ()


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


def _is_nameless(path: str, content: bytes) -> bool:
    """Return whether *path* is metadata that names no package: pip passes over it, too."""
    try:
        return _DIST_INFO.fullmatch(path) is not None and named(content, path) is None
    except DocumentError:
        return False


def _metadata(content: bytes, path: str) -> RawMetadata:
    """Return the fields of a METADATA file, without the description that follows them: an email of any depth."""
    fields = content.replace(b"\r\n", b"\n").partition(b"\n\n")[0]
    if len(fields) > _METADATA:
        raise DocumentError(path, "", f"its fields take more than {human(_METADATA)}")
    metadata, _ = parse_email(fields)
    if metadata.get("name") and not metadata.get("version") and (about := named(content, path)) is not None:
        metadata["version"] = about[1]  # of the folder's name
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
    return Component(
        kind="interpreter",
        name="cpython",
        version=version,
        purl=f"pkg:generic/cpython@{quote(version)}",
        licence=licence_of_text("", texts),
        sha256=manifest.interpreter.digest or None,
        summary=f"CPython ({manifest.interpreter.origin})",
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
        filename=package.filename if package.sha256 else None,
        sha256=package.sha256 or None,
        size=package.size if package.sha256 else None,
        project=distribution.project if distribution is not None else None,
        summary=distribution.metadata.get("summary", "") if distribution else "",
        needs=tuple(sorted(needs)),
        requires=tuple(distribution.metadata.get("requires_dist", ())) if distribution else (),
        depends=_depends(conda),
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
    """Return the record of a conda package in ``conda-meta``."""
    if not _is_conda(package):
        return None
    path = f"conda-meta/{_conda_stem(package)}.json"
    return parse_json(files.get(path, b"{}"), where=path, cap=LISTING)


def _conda_stem(package: ManifestPackage) -> str:
    return package.filename.removesuffix(".conda").removesuffix(".tar.bz2")


def _purl(package: ManifestPackage, files: Mapping[str, bytes]) -> str:
    record = _conda_record(package, files)
    if record is None:
        filename = package.filename if package.sha256 else None  # of a missing wheel: a guess
        return _pypi(canonicalize_name(package.name), package.version, filename)
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
