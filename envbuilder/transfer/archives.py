"""Archives in a remote store: each with its manifest, reports and provenances.

An archive is named by its sha256; the signed manifest of that name says what it is and how large.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from envbuilder.archive.manifest import Manifest, manifest_beside, parse_manifest
from envbuilder.building.record import archive_name
from envbuilder.errors import IntegrityError, StoreError, VerifyError
from envbuilder.progress import SILENT, Reporter
from envbuilder.provenance.envelope import another_beside, provenances_beside, subjects
from envbuilder.store.local import Store
from envbuilder.store.remote import RemoteStore
from envbuilder.store.signed import UntrustedError
from envbuilder.transfer.expected import ANYTHING, Wanted
from envbuilder.util.documents import DOCUMENT, LISTING, DocumentError, parse_json
from envbuilder.util.files import atomic_write, file_sha256, has_bytes, read_regular
from envbuilder.util.interruption import shielded
from envbuilder.util.tempdirs import draft_folder, output_folder
from envbuilder.util.text import human

MANIFEST_BYTES: Final = LISTING.size
_About = Literal["reports", "provenances"]
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_CANDIDATES: Final = 100
"""Objects of one listing that are looked at: anybody who can write there can add more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Transfer:
    """What was pushed or pulled."""

    archive: Path
    store: str
    """The address of the store."""
    sha256: str
    size: int
    sent: tuple[str, ...] = ()
    """What was uploaded, or downloaded: ``artifact NAME``, ``segment NAME``, ``archive``, …"""
    there: int = 0
    """How many objects were there already."""
    reports: tuple[Path, ...] = ()
    """Reports that came along."""
    provenances: tuple[Path, ...] = ()
    """Provenances that came along."""
    image: str | None = None
    """The image in a registry, by its digest: ``oci://HOST/REPOSITORY:TAG@sha256:…``."""
    moved: int | None = None
    """Bytes of layers that were sent or fetched, where it is an image."""


@dataclass(kw_only=True, slots=True)
class TransferStats:
    """The objects that a transfer has moved so far."""

    sent: list[str]
    there: int = 0

    def count(self, what: str, uploaded: bool) -> None:
        """Count one object."""
        if uploaded:
            self.sent.append(what)
        else:
            self.there += 1

    def result(self, archive: Path, sha256: str, size: int, remote: RemoteStore) -> Transfer:
        """Return the transfer of an archive of *size* bytes."""
        return Transfer(
            archive=archive,
            store=remote.url,
            sha256=sha256,
            size=size,
            sent=tuple(self.sent),
            there=self.there,
        )


def upload_archive(
    archive: Path,
    sha256: str,
    store: Store,
    remote: RemoteStore,
    stats: TransferStats,
    *,
    reports: Sequence[Path] = (),
) -> None:
    """Upload an archive, its manifest, the provenances beside it, and reports of it.

    Raises:
        StoreError: the store does not answer, or refuses.
        IntegrityError: a report or a provenance is of another archive, or what was uploaded is not what is there.
        RecipeError: there is no key to sign with.
    """
    remote.trust.signer()
    stated = [(path, provenance_text(path, sha256)) for path in provenances_beside(archive)]
    texts = [(report, report_text(report, sha256)) for report in reports]
    manifest = _read(manifest_beside(archive), MANIFEST_BYTES, "manifest")
    stats.count("archive", remote.put("archives", sha256, archive))
    with store.scratch("send") as scratch:
        size = archive.stat().st_size
        uploaded = remote.put_signed("manifests", sha256, manifest, scratch, archive_size=size)
        stats.count("manifest", uploaded)
        for report, text in texts:
            stats.count(f"report {report.name}", _upload_about("reports", text, sha256, scratch, remote))
        for path, text in stated:
            uploaded = _upload_about("provenances", text, sha256, scratch, remote)
            stats.count(f"provenance {path.name}", uploaded)


def upload_report(text: bytes, sha256: str, store: Store, remote: RemoteStore) -> bool:
    """Upload a report of the archive *sha256*; return whether it was not there."""
    with store.scratch("send") as scratch:
        return _upload_about("reports", text, sha256, scratch, remote)


def _upload_about(kind: _About, text: bytes, sha256: str, scratch: Path, remote: RemoteStore) -> bool:
    name = f"{sha256}/{hashlib.sha256(text).hexdigest()}"
    return remote.put_signed(kind, name, text, scratch)


def report_beside(archive: Path, text: bytes) -> Path:
    """Return the path of a report with this text next to its archive: ``NAME-DIGEST.report-….json``."""
    return archive.with_name(
        f"{manifest_beside(archive).stem}.report-{hashlib.sha256(text).hexdigest()[:12]}.json"
    )


def report_text(report: Path, sha256: str) -> bytes:
    """Return the text of a report, which must be of the archive *sha256*.

    Raises:
        IntegrityError: it is invalid, or of another archive.
        StoreError: it cannot be read.
    """
    text = _read(report, DOCUMENT.size, "report")
    try:
        named = parse_json(text, where=str(report)).digest("sha256")
    except DocumentError as error:
        raise IntegrityError(
            f"{report} is not a report: {error.reason}",
            hint="`envbuilder verify ARCHIVE --report FILE` writes one",
        ) from error
    if named != sha256:
        raise IntegrityError(f"{report} is of the archive {named[:12]}, not of {sha256[:12]}")
    return text


def provenance_text(path: Path, sha256: str) -> bytes:
    """Return the text of a provenance, which must be of the archive *sha256*.

    Raises:
        IntegrityError: it is invalid, or of another archive.
        StoreError: it cannot be read.
    """
    text = _read(path, DOCUMENT.size, "provenance")
    try:
        of = subjects(text)
    except VerifyError as error:
        raise IntegrityError(f"{path}: {error.message}", hint="`envbuilder attest` writes one") from error
    if sha256 not in of:
        named = ", ".join(sorted(one[:12] for one in of)) or "nothing"
        raise IntegrityError(
            f"{path} is of the archive {named}, not of {sha256[:12]}",
            hint="`envbuilder attest` writes its own",
        )
    return text


def _read(path: Path, most: int, what: str) -> bytes:
    try:
        text = read_regular(path, most=most + 1)
    except OSError as error:
        raise StoreError(f"the {what} {path} cannot be read: {error.strerror}") from error
    if len(text) > most:
        raise StoreError(f"the {what} {path} is larger than {human(most)}")
    return text


def find_archive(remote: RemoteStore, digest: str) -> str:
    """Return the sha256 of the archive whose sha256 begins with *digest*, and whose manifest a trusted key signed.

    Raises:
        StoreError: there is none, or more than one, or the store does not answer.
        UntrustedError: its manifest has no trusted signature.
    """
    if len(digest) == 64:
        return digest
    found = [name for name in remote.names("manifests", digest) if _SHA256.fullmatch(name)]
    if len(found) > 1:  # anybody can write there something that begins like another
        found = [name for name in found[:_CANDIDATES] if remote.is_signed("manifests", name)] or found[:1]
    if len(found) != 1:
        what = f"{len(found)} archives" if found else "no archive"
        raise StoreError(
            f"{remote.url} holds {what} whose sha256 begins with {digest}",
            hint="`envbuilder push ARCHIVE` pushes one" if not found else "give more of it",
        )
    return found[0]


def download_archive(
    remote: RemoteStore,
    sha256: str,
    output: Path,
    *,
    wanted: Wanted = ANYTHING,
    reporter: Reporter = SILENT,
) -> Transfer:
    """Bring an archive, its manifest, reports and provenances into the folder *output*; what is there is left.

    Raises:
        StoreError: it is not there, does not come whole, or there is no room for it; *output* is as it was.
        UntrustedError: its manifest has no trusted signature.
        IntegrityError: the store holds something else under its name, or it is not what is *wanted*.
    """
    manifest, text, size = read_remote_manifest(remote, sha256)
    wanted.check(manifest, remote.place("manifests", sha256))
    archive = output / archive_name(manifest, sha256)
    stats = TransferStats(sent=[])
    try:
        with output_folder(output):
            if archive.is_file() and file_sha256(archive) == sha256:
                stats.there += 1
            else:
                _download(remote, sha256, size, archive, text, reporter)
                stats.sent.append("archive")
            if not (manifest_beside(archive).is_file() and has_bytes(manifest_beside(archive), text)):
                atomic_write(manifest_beside(archive), text)
            reports = _download_attached(
                remote, "reports", sha256, lambda text: report_beside(archive, text), reporter
            )
            provenances = _download_attached(
                remote, "provenances", sha256, lambda text: another_beside(archive, text), reporter
            )
    except OSError as error:
        raise StoreError(f"{archive} cannot be written: {error.strerror or error}") from error
    done = stats.result(archive, sha256, size, remote)
    return replace(done, reports=reports, provenances=provenances)


def read_remote_manifest(remote: RemoteStore, sha256: str) -> tuple[Manifest, bytes, int]:
    """Return the manifest of the archive *sha256*, its text, and the size of the archive, as a trusted key signed them.

    Raises:
        StoreError: it is not there, or does not come whole.
        UntrustedError: it has no trusted signature.
        IntegrityError: the store holds something else under its name.
    """
    found = remote.find("manifests", sha256)
    if found is None or found.archive_size is None:
        raise StoreError(
            f"{remote.url} holds no archive {sha256[:12]} with a manifest",
            hint="`envbuilder push ARCHIVE` pushes both",
        )
    where = remote.place("manifests", sha256)
    text = remote.read_body(found, MANIFEST_BYTES)
    manifest = parse_manifest(text, where=where)
    return manifest, text, found.archive_size


def _download(
    remote: RemoteStore, sha256: str, size: int, archive: Path, manifest: bytes, reporter: Reporter
) -> None:
    digest = hashlib.sha256()
    with draft_folder(archive.parent, archive.name) as folder:
        free = shutil.disk_usage(folder).free
        if size > free:
            raise StoreError(
                f"no space left for {archive}: {human(size)} are needed, {human(free)} are free",
                hint="--output names another folder",
            )
        draft = folder / "archive"
        with draft.open("xb") as file, reporter.task(f"Fetching {archive.name}", size) as task:
            for chunk in remote.read("archives", sha256, size):
                file.write(chunk)
                digest.update(chunk)
                task.advance(len(chunk))
        if digest.hexdigest() != sha256:
            raise IntegrityError(
                f"{remote.place('archives', sha256)} has sha256 {digest.hexdigest()}, {draft.stat().st_size} bytes",
                hint="remove it from the store and push again",
            )
        with shielded():
            atomic_write(manifest_beside(archive), manifest)  # first: an archive never stands without it
            draft.replace(archive)


def _download_attached(
    remote: RemoteStore, kind: _About, sha256: str, place: Callable[[bytes], Path], reporter: Reporter
) -> tuple[Path, ...]:
    """Download the documents of *kind* about an archive; *place* returns the path of each.

    Documents without a trusted signature are skipped.
    """
    found = []
    names = [name for name in remote.names(kind, f"{sha256}/") if _SHA256.fullmatch(name)]
    if len(names) > _CANDIDATES:
        reporter.note(
            f"{remote.url} has {len(names)} {kind} of {sha256[:12]}: only {_CANDIDATES} are checked"
        )
    for name in names[:_CANDIDATES]:
        try:
            statement = remote.find(kind, f"{sha256}/{name}")
        except UntrustedError as error:
            reporter.note(f"{error.message}: left there")
            continue
        if statement is None:
            continue
        if statement.sha256 != name:
            raise IntegrityError(f"{remote.place(kind, f'{sha256}/{name}')} does not match its name")
        text = remote.read_body(statement, DOCUMENT.size)
        path = place(text)
        atomic_write(path, text)
        found.append(path)
    return tuple(found)
