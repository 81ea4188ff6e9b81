"""``envbuilder push`` and ``pull``: between this machine and a remote store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from envbuilder.archive.manifest import manifest_beside
from envbuilder.archive.names import manifest_inside, open_archive
from envbuilder.assemble.packing import pack_rules
from envbuilder.assemble.pipeline import assembled
from envbuilder.base.choose import open_base
from envbuilder.building.build import build, open_assembler
from envbuilder.building.record import BuildReport, build_key, key_of, record_of, record_of_archive
from envbuilder.errors import IntegrityError, StoreError
from envbuilder.fetch.beside import with_files_beside
from envbuilder.lockfile.check import check_lock
from envbuilder.lockfile.model import Lock
from envbuilder.recipe.model import Recipe
from envbuilder.store.segments import upload_segment
from envbuilder.store.session import Session
from envbuilder.transfer.archives import Transfer, TransferStats, download_archive, upload_archive
from envbuilder.transfer.expected import wanted_of
from envbuilder.transfer.lookup import locate
from envbuilder.transfer.records import read_record, upload_packages, upload_record


def push_archive(archive: Path, session: Session, *, reports: Sequence[Path] = ()) -> Transfer:
    """Upload an archive, its manifest, the provenances beside it, reports of it, and the record of its build.

    By that record :func:`pull_build` finds it.

    Raises:
        RecipeError: no remote store is configured, or no key to sign with.
        DeployError: it is no archive, or has no manifest beside it.
        IntegrityError: it is not what its name says, its manifest is not the one in it, or a report is of another one.
        StoreError: the remote store cannot be written.
    """
    stats, store, remote = TransferStats(sent=[]), session.store, session.remote_store()
    remote.trust.signer()
    read = open_archive(archive)
    manifest, sha256 = read.manifest, read.sha256
    beside = manifest_beside(archive)
    if not beside.is_file():
        raise StoreError(
            f"{archive} has no manifest beside it", hint="`envbuilder build` wrote one: copy it too"
        )
    # What is signed is that this archive has this manifest, and anybody can lay one beside it.
    if manifest_inside(archive, plain=read.plain) != beside.read_bytes():
        raise IntegrityError(
            f"{beside} is not the manifest in {archive}",
            hint="copy both from where they were built, or build the archive again",
        )
    upload_archive(archive, sha256, store, remote, stats, reports=reports)
    record = record_of_archive(archive, sha256, manifest)
    stats.count("record of the build", upload_record(key_of(manifest), record, store, remote))
    return stats.result(archive, sha256, archive.stat().st_size, remote)


def push_build(
    recipe: Recipe,
    lock: Lock,
    report: BuildReport,
    session: Session,
    *,
    interpreter_change: bool = False,
    reports: Sequence[Path] = (),
) -> Transfer:
    """Upload what a build needs and what it made: artifacts, segments, archive, manifest.

    Raises:
        RecipeError: no remote store is configured.
        StoreError: the remote store cannot be written.
        FetchError, IntegrityError, AssembleError: see :func:`envbuilder.building.build.build`.
    """
    stats, store, remote = TransferStats(sent=[]), session.store, session.remote_store()
    remote.trust.signer()  # before hours of uploading what is named by its hash
    rules = pack_rules(recipe)
    names = {artifact.sha256: artifact.filename for artifact in lock.artifacts}
    session.reporter.step(f"Pushing {recipe.name} to {remote.url}")
    with (
        open_base(recipe, lock, session, change=interpreter_change) as base,
        open_assembler(base, rules, session) as assembler,
    ):
        for segment, artifact in assembled(lock, assembler, session):
            if segment.artifact is not None and artifact is not None:
                uploaded = remote.put("artifacts", segment.artifact, artifact)
                stats.count(f"artifact {names[segment.artifact]}", uploaded)
            stats.count(
                f"segment {segment.label}", upload_segment(segment.key, segment.folder, store, remote)
            )
        key = build_key(recipe, lock, base.interpreter)
    for name, uploaded in upload_packages(recipe, lock, session).items():
        stats.count(f"artifact {name}", uploaded)
    upload_archive(report.archive, report.sha256, store, remote, stats, reports=reports)
    stats.count("record of the build", upload_record(key, record_of(report), store, remote))
    return stats.result(report.archive, report.sha256, report.size, remote)


def push_recipe(
    recipe: Recipe,
    session: Session,
    *,
    output: Path,
    interpreter_change: bool = False,
    reports: Sequence[Path] = (),
) -> Transfer:
    """Build the archive of *recipe*'s lock in the folder *output*, and upload it and all that it is made of.

    Raises:
        RecipeError: no remote store is configured.
        StaleLockError: the lock is not the recipe's.
        StoreError, FetchError, IntegrityError, AssembleError: see :func:`push_build`.
    """
    session = with_files_beside(recipe, session)
    session.remote_store().trust.signer()  # before a build that takes minutes
    lock = check_lock(recipe)
    report = build(recipe, lock, session, output=output, interpreter_change=interpreter_change)
    return push_build(recipe, lock, report, session, interpreter_change=interpreter_change, reports=reports)


def pull_build(recipe: Recipe, lock: Lock, session: Session, output: Path) -> Transfer:
    """Bring the archive of a recipe's lock, built with the locked interpreter, into the folder *output*.

    Raises:
        RecipeError: no remote store is configured, or no key is trusted.
        StoreError: it was not pushed, or the store does not respond.
        UntrustedError: it has no trusted signature.
        IntegrityError: the store holds something else under its name: of another recipe, lock or release.
    """
    remote = session.remote_store()
    record = read_record(build_key(recipe, lock, lock.interpreter), remote)
    if record is None:
        raise StoreError(
            f"{remote.url} holds no archive of {recipe.name} as it is locked",
            hint=f"`envbuilder push {recipe.name}` pushes one; `envbuilder build` takes the parts that are there",
        )
    wanted = replace(wanted_of(recipe, lock), interpreter=lock.interpreter.digest)
    return download_archive(remote, record.sha256, output, wanted=wanted, reporter=session.reporter)


def pull_archive(name: str, session: Session, output: Path) -> Transfer:
    """Download the archive *name* into the folder *output*: see :func:`envbuilder.transfer.lookup.locate`.

    Raises:
        RecipeError: no remote store is configured, or no key is trusted.
        StoreError: there is none, or the store does not answer.
        UntrustedError: it has no trusted signature.
        IntegrityError: the store holds something else under its name, or an archive of another recipe.
    """
    remote = session.remote_store()
    sha256, wanted = locate(name, remote, session.store)
    return download_archive(remote, sha256, output, wanted=wanted, reporter=session.reporter)
