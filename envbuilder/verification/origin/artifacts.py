"""Find locked artifacts in the store or in wheelhouses, by sha256 and without network."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname

from envbuilder.archive.manifest import Manifest
from envbuilder.config.settings import Settings
from envbuilder.errors import FetchError, IntegrityError
from envbuilder.fetch.artifacts import fetch
from envbuilder.lockfile.model import Artifact, CondaPackage, Lock, LockedConda, LockedInterpreter
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from envbuilder.util.files import open_regular


def lock_of(manifest: Manifest) -> Lock:
    """Return the artifacts in *manifest* in the form of a lock."""
    interpreter = manifest.interpreter
    conda = None
    if manifest.conda:
        conda = LockedConda(
            packages=tuple(CondaPackage(**asdict(one)) for one in manifest.conda),
            provides=tuple(sorted(manifest.provides.items())),
        )
    return Lock(
        recipe=manifest.recipe,
        recipe_digest=manifest.recipe_digest,
        release=manifest.release,
        python=".".join(manifest.python.split(".")[:2]),
        torch=manifest.torch,
        cuda=manifest.cuda,
        demands=manifest.demands,
        artifacts=tuple(Artifact(**asdict(one)) for one in manifest.packages),
        interpreter=LockedInterpreter(
            version=interpreter.version, origin=interpreter.origin, digest=interpreter.digest
        ),
        tools=(),
        conda=conda,
    )


def local_folders(locations: Sequence[str]) -> list[Path]:
    """Return the folders of this machine among *locations*, which are paths and URLs."""
    folders = []
    for location in locations:
        parts = urlsplit(location)
        if parts.scheme in ("", "file"):
            folders.append(Path(url2pathname(parts.path)) if parts.scheme else Path(location))
    return [folder for folder in folders if folder.is_dir()]


def candidates(artifact: Artifact, store: Store, folders: Sequence[Path]) -> Iterator[Path]:
    """Yield files that may be *artifact*: in the store or its remote store, then by name in *folders*."""
    path = store.find_artifact(artifact.sha256, artifact.size)
    if path is not None:
        yield path
    elif store.remote is not None:
        session = Session(settings=Settings(no_index=True), store=store)
        with suppress(FetchError, IntegrityError):
            yield from (found for _, found in fetch([artifact], "", session))
    if "/" not in artifact.filename:
        # A file saved from PyTorch's index is often named as it is in the URL, with %2B for +.
        names = dict.fromkeys((artifact.filename, quote(artifact.filename)))
        yield from (folder / name for folder in folders for name in names if (folder / name).is_file())


@contextmanager
def open_locked(path: Path, artifact: Artifact) -> Iterator[BinaryIO]:
    """Open the file *path*, checked to be *artifact*: the bytes that are read are those that were hashed.

    Raises:
        IntegrityError: its sha256 differs.
        OSError: it cannot be read.
    """
    with open_regular(path) as file:
        digest = hashlib.sha256()
        while chunk := file.read(2**20):
            digest.update(chunk)
        if digest.hexdigest() != artifact.sha256:
            raise IntegrityError(f"{path} has sha256 {digest.hexdigest()[:12]}, not {artifact.sha256[:12]}")
        file.seek(0)
        yield file


def bring(artifact: Artifact, store: Store, folders: Sequence[Path]) -> Path | None:
    """Return the path of *artifact* in the store, copied from one of *folders* if necessary; or None.

    Raises:
        IntegrityError: a file of its name in a folder has another sha256.
        OSError: it cannot be read, or the store not be written.
    """
    if store.trust_artifact(artifact.sha256):
        return store.find_artifact(artifact.sha256)
    for path in candidates(artifact, store, folders):
        with open_locked(path, artifact) as file, store.artifact_writer(artifact.sha256) as writer:
            while chunk := file.read(2**20):
                writer.write(chunk)
        return store.find_artifact(artifact.sha256)
    return None
