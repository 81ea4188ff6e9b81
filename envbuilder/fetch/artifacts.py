"""Fetch the artifacts of a lock: from the store, or by download into it.

The HTTP client takes a fifth of a second to import, so it is imported only if something must be downloaded.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from envbuilder.config.channels import Channel
from envbuilder.errors import FetchError, IntegrityError
from envbuilder.lockfile.model import Artifact, CondaPackage
from envbuilder.store.session import Session
from envbuilder.util.files import file_sha256
from envbuilder.util.tempdirs import DRAFT, draft_folder, output_folder, remove_stale
from envbuilder.util.text import counted


def fetch(
    artifacts: Iterable[Artifact],
    cuda: str,
    session: Session,
    *,
    channels: Sequence[Channel] = (),
) -> Iterator[tuple[Artifact, Path]]:
    """Fetch *artifacts* into the store; yield each with its path as it arrives, local ones first.

    *cuda* is the lock's CUDA variant, which determines the index of the torch family. Conda packages are searched
    in *channels*.

    Raises:
        FetchError: one cannot be downloaded or written; the message says what each source answered.
        IntegrityError: sources have a file of that name, but none with the locked sha256.
    """
    missing = []
    wanted = {artifact.sha256: artifact for artifact in artifacts}
    total = sum(artifact.size for artifact in wanted.values())
    with session.reporter.task(f"Fetching {counted(len(wanted), 'artifact')}", total) as task:
        for artifact in wanted.values():
            path = session.store.find_artifact(artifact.sha256, artifact.size)
            if path is None:
                missing.append(artifact)
                continue
            task.advance(artifact.size, from_store=True)
            yield artifact, path
        if missing:
            from envbuilder.fetch.download import download

            yield from download(missing, cuda, channels, session, task)


def fetch_packages(
    packages: Iterable[CondaPackage],
    channels: Sequence[Channel],
    session: Session,
) -> dict[CondaPackage, Path]:
    """Fetch conda packages into the store; return their paths.

    Raises:
        FetchError, IntegrityError: as :func:`fetch`.
    """
    wanted = list(packages)
    fetched = fetch(wanted, "", session, channels=channels)
    paths = {artifact.sha256: path for artifact, path in fetched}
    return {package: paths[package.sha256] for package in wanted}


def fetch_into_wheelhouse(
    artifacts: Iterable[Artifact],
    cuda: str,
    session: Session,
    folder: Path,
    *,
    channels: Sequence[Channel] = (),
) -> list[Path]:
    """Fill the wheelhouse *folder* with *artifacts*, by their file names; return the files, sorted.

    Raises:
        FetchError: one cannot be downloaded or written.
        IntegrityError: no source has the locked bytes.
    """
    files = []
    remove_stale(folder, DRAFT)
    for artifact, source in fetch(artifacts, cuda, session, channels=channels):
        target = folder / artifact.filename
        files.append(target)
        if not (target.is_file() and file_sha256(target) == artifact.sha256):
            _copy_checked(artifact, source, target)
    return sorted(files)


def _copy_checked(artifact: Artifact, source: Path, target: Path) -> None:
    try:
        with output_folder(target.parent), draft_folder(target.parent, "wheel") as scratch:
            draft = scratch / "wheel"
            shutil.copyfile(source, draft)
            found = file_sha256(draft)
            if found == artifact.sha256:
                draft.replace(target)
                return
    except OSError as error:
        raise FetchError(f"{target} cannot be written: {error.strerror or error}") from error
    raise IntegrityError(
        f"{artifact.filename} in the store has sha256 {found}, the lock says {artifact.sha256}",
        hint=f"remove {source}, and run the command again",
    )
