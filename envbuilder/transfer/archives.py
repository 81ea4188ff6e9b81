"""Archives in a store elsewhere: each with manifest, reports, provenance, and the record of the build that made it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from envbuilder.archive.manifest import Manifest, manifest_beside, parse_manifest
from envbuilder.building.record import BuildRecord, parse_record
from envbuilder.config.channels import channels_of
from envbuilder.errors import EnvbuilderError, IntegrityError, StoreError, VerifyError
from envbuilder.fetch.download import fetch_packages
from envbuilder.lockfile.model import Lock
from envbuilder.progress import SILENT, Reporter
from envbuilder.provenance.envelope import another_beside, provenances_beside, subjects
from envbuilder.recipe.model import Recipe
from envbuilder.recipe.schema import NAME_PATTERN
from envbuilder.store.local import Store
from envbuilder.store.remote import Kind, RemoteStore, seal
from envbuilder.store.session import Session
from envbuilder.util.files import file_sha256, write_whole
from envbuilder.util.tempdirs import locked_folder


@dataclass(frozen=True, kw_only=True, slots=True)
class Transfer:
    """What was pushed or pulled."""

    archive: Path
    store: str
    """The address of the store."""
    sha256: str
    size: int
    sent: tuple[str, ...] = ()
    """What was uploaded, or brought here: ``artifact NAME``, ``segment NAME``, ``archive``, …"""
    there: int = 0
    """How many objects were there already."""
    reports: tuple[Path, ...] = ()
    """Reports that came along."""
    provenances: tuple[Path, ...] = ()
    """Provenances that came along."""


@dataclass(kw_only=True, slots=True)
class Tally:
    """What one push has done so far."""

    sent: list[str]
    there: int = 0

    def count(self, what: str, uploaded: bool) -> None:
        """Note one object."""
        if uploaded:
            self.sent.append(what)
        else:
            self.there += 1


def send_archive(
    archive: Path,
    sha256: str,
    store: Store,
    remote: RemoteStore,
    tally: Tally,
    *,
    reports: Sequence[Path] = (),
) -> None:
    """Upload an archive, its manifest, the provenances beside it, and reports of it.

    Raises:
        StoreError: the store does not answer, or refuses.
        IntegrityError: a report or a provenance is of another archive, or what was uploaded is not what is there.
    """
    stated = [(path, _provenance_text(path, sha256)) for path in provenances_beside(archive)]
    texts = [(report, _report_text(report, sha256)) for report in reports]
    tally.count("archive", remote.put("archives", sha256, archive))
    manifest = manifest_beside(archive).read_bytes()
    tally.count("manifest", send_sealed("manifests", sha256, manifest, store, remote))
    for report, text in texts:
        tally.count(f"report {report.name}", send_report(text, sha256, store, remote))
    for path, text in stated:
        name = f"{sha256}/{hashlib.sha256(text).hexdigest()}"
        tally.count(f"provenance {path.name}", send_sealed("provenances", name, text, store, remote))


def send_report(text: bytes, sha256: str, store: Store, remote: RemoteStore) -> bool:
    """Upload a report of the archive *sha256*; return whether it was not there."""
    return send_sealed("reports", f"{sha256}/{hashlib.sha256(text).hexdigest()}", text, store, remote)


def report_beside(archive: Path, text: bytes) -> Path:
    """Return where a report with this text lies beside its archive: ``NAME-DIGEST.report-….json``."""
    return archive.with_name(
        f"{manifest_beside(archive).stem}.report-{hashlib.sha256(text).hexdigest()[:12]}.json"
    )


def _report_text(report: Path, sha256: str) -> bytes:
    try:
        text = report.read_bytes()
        named = json.loads(text)["sha256"]
    except OSError as error:
        raise StoreError(f"the report {report} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(
            f"{report} is no report", hint="`envbuilder verify ARCHIVE --report FILE` writes one"
        ) from error
    if named != sha256:
        raise IntegrityError(f"{report} is of the archive {str(named)[:12]}, not of {sha256[:12]}")
    return text


def _provenance_text(path: Path, sha256: str) -> bytes:
    try:
        text = path.read_bytes()
        of = subjects(text)
    except OSError as error:
        raise StoreError(f"the provenance {path} cannot be read: {error.strerror}") from error
    except VerifyError as error:
        raise IntegrityError(f"{path}: {error.message}", hint="`envbuilder attest` writes one") from error
    if sha256 not in of:
        named = ", ".join(sorted(one[:12] for one in of)) or "nothing"
        raise IntegrityError(
            f"{path} is of the archive {named}, not of {sha256[:12]}",
            hint="`envbuilder attest` writes its own",
        )
    return text


def send_sealed(kind: Kind, name: str, body: bytes, store: Store, remote: RemoteStore) -> bool:
    """Upload a small object that is not named by its bytes; return whether it was not there."""
    with store.scratch("send") as scratch:
        draft = scratch / "object"
        draft.write_bytes(seal(kind, name, body) + body)
        return remote.put(kind, name, draft)


def find_archive(remote: RemoteStore, digest: str) -> str:
    """Return the sha256 of the archive whose sha256 begins with *digest*.

    Raises:
        StoreError: there is none, or more than one, or the store does not answer.
    """
    found = remote.names("archives", digest)
    if len(found) != 1:
        what = f"{len(found)} archives" if found else "no archive"
        raise StoreError(
            f"{remote.url} holds {what} whose sha256 begins with {digest}",
            hint="`envbuilder push ARCHIVE` brings one there" if not found else "give more of it",
        )
    return found[0]


def bring_archive(remote: RemoteStore, sha256: str, output: Path, *, reporter: Reporter = SILENT) -> Transfer:
    """Bring an archive, its manifest, reports and provenances into the folder *output*; what is there is left.

    Raises:
        StoreError: it is not there, or does not come whole; *output* is as it was.
        IntegrityError: the store holds something else under its name.
    """
    text = remote.read_sealed("manifests", sha256)
    if text is None:
        raise StoreError(f"{remote.url} holds no archive {sha256[:12]} with a manifest", hint="push it again")
    manifest = parse_manifest(text, where=remote.place("manifests", sha256))
    if not re.fullmatch(NAME_PATTERN, manifest.recipe):  # it becomes a file's name here
        raise IntegrityError(f"{remote.place('manifests', sha256)}: {manifest.recipe!r} is no recipe's name")
    archive = output / archive_name(manifest, sha256)
    tally = Tally(sent=[])
    try:
        output.mkdir(parents=True, exist_ok=True)
        if archive.is_file() and file_sha256(archive) == sha256:
            tally.there += 1
        else:
            _download(remote, sha256, archive, text, reporter)
            tally.sent.append("archive")
        if not (manifest_beside(archive).is_file() and manifest_beside(archive).read_bytes() == text):
            write_whole(manifest_beside(archive), text)
        reports = _bring(remote, "reports", sha256, lambda text: report_beside(archive, text))
        provenances = _bring(remote, "provenances", sha256, lambda text: another_beside(archive, text))
        size = archive.stat().st_size
    except OSError as error:
        raise StoreError(f"{archive} cannot be written: {error.strerror or error}") from error
    return Transfer(
        archive=archive,
        store=remote.url,
        sha256=sha256,
        size=size,
        sent=tuple(tally.sent),
        there=tally.there,
        reports=reports,
        provenances=provenances,
    )


def archive_name(manifest: Manifest, sha256: str) -> str:
    """Return what the archive with this manifest and sha256 is called."""
    return f"{manifest.recipe}-{sha256[:12]}{'.tar' if manifest.pack.get('uncompressed') else '.tar.gz'}"


def _download(remote: RemoteStore, sha256: str, archive: Path, manifest: bytes, reporter: Reporter) -> None:
    digest = hashlib.sha256()
    with locked_folder(archive.parent, f".{archive.name}") as folder:
        draft = folder / "archive"
        with draft.open("xb") as file, reporter.task(f"Fetching {archive.name}", None) as task:
            for chunk in remote.read("archives", sha256):
                file.write(chunk)
                digest.update(chunk)
                task.advance(len(chunk))
        if digest.hexdigest() != sha256:
            raise IntegrityError(
                f"{remote.place('archives', sha256)} has sha256 {digest.hexdigest()}, {draft.stat().st_size} bytes",
                hint="remove it there, and push again",
            )
        write_whole(manifest_beside(archive), manifest)  # first: an archive never stands without it
        draft.replace(archive)


def _bring(remote: RemoteStore, kind: Kind, sha256: str, place: Callable[[bytes], Path]) -> tuple[Path, ...]:
    """Write what the store has of *kind* about an archive; *place* says where each goes."""
    found = []
    for name in remote.names(kind, f"{sha256}/"):
        text = remote.read_sealed(kind, f"{sha256}/{name}")
        if text is not None:
            path = place(text)
            write_whole(path, text)
            found.append(path)
    return tuple(found)


def send_record(key: str, record: BuildRecord, store: Store, remote: RemoteStore) -> bool:
    """Say in the store elsewhere what the build *key* made; return whether it was not said yet."""
    return send_sealed("builds", key, record.text(), store, remote)


def send_packages(recipe: Recipe, lock: Lock, session: Session) -> dict[str, bool]:
    """Upload the conda packages of *lock*, if it has any; return of each file whether it was not there.

    Raises:
        RecipeError: no remote store is named.
        FetchError, IntegrityError: one cannot be had.
        StoreError: the store elsewhere cannot be written.
    """
    if lock.conda is None:
        return {}
    channels = channels_of(recipe)
    remote = session.remote_store()
    paths = fetch_packages(lock.conda.packages, channels, session)
    return {one.filename: remote.put("artifacts", one.sha256, path) for one, path in paths.items()}


def find_record(key: str, remote: RemoteStore, reporter: Reporter) -> BuildRecord | None:
    """Return what the build *key* made, if the store elsewhere knows it."""
    try:
        text = remote.read_sealed("builds", key)
    except EnvbuilderError as error:
        reporter.note(error.message)
        return None
    return None if text is None else parse_record(text)
