"""Artifacts that no index has: wheels built from source, and wheels that the recipe names by path or URL.

They are kept in the store and in the wheelhouse beside the lock, where another machine can have them from.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

import httpx2
from packaging.pylock import Package, PackageArchive, PackageDirectory, PackageSdist, PackageVcs
from packaging.utils import parse_wheel_filename
from uv import find_uv_bin

from envbuilder.base.interpreter import find_interpreter
from envbuilder.errors import IntegrityError, ResolveError
from envbuilder.fetch.http import open_client
from envbuilder.lockfile.model import Artifact, Lock, LockedInterpreter
from envbuilder.resolve.solver import EPOCH, Index, solver_environment, write_configuration
from envbuilder.resolve.target import Target
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from envbuilder.util.files import file_sha256
from envbuilder.util.process import CommandError, run
from envbuilder.util.source_tree import copy_sources, tree_digest
from envbuilder.util.tempdirs import draft_folder, output_folder
from envbuilder.util.urls import redacted


@dataclass(frozen=True, kw_only=True, slots=True)
class Builder:
    """Builds wheels, and adds them to the store."""

    session: Session
    indexes: tuple[Index, ...]
    """Where what a build needs comes from."""
    target: Target
    interpreter: LockedInterpreter
    references: Mapping[str, str]
    """Git references of the recipe, by project."""
    previous: Lock | None

    def python(self) -> Path:
        """Return the release's Python, which builds.

        Raises:
            AssembleError: this machine has none of that minor version, and none can be installed.
        """
        return find_interpreter(
            self.target.minor, locked=self.interpreter, reporter=self.session.reporter
        ).executable

    def build(self, package: Package) -> tuple[Artifact, str]:
        """Build the wheel of *package*, or take the one that the previous lock was made with.

        Returns: the wheel and what it was made of, as :attr:`envbuilder.lockfile.model.Lock.built` says it.

        Raises:
            ResolveError: the source cannot be downloaded or built.
        """
        source = package.vcs or package.sdist or package.directory
        assert source is not None
        if isinstance(source, PackageDirectory):
            origin = f"folder:{tree_digest(Path(source.path))}"
        elif isinstance(source, PackageVcs):
            origin = f"git:{source.commit_id}:{reference_key(self.references[package.name])}"
        else:
            origin = f"sdist:{source.hashes['sha256']}"
        known = self._known(package.name, origin)
        if known is not None:
            return known, origin
        self.session.reporter.step(f"Building a wheel of {package.name} {package.version or ''}".rstrip())
        with self.session.store.scratch("build") as folder:
            if isinstance(source, PackageDirectory):
                tree = folder / "source"
                copy_sources(Path(source.path), tree)  # a build writes beside what it builds
            elif isinstance(source, PackageVcs):
                tree = self._check_out(source, folder)
            else:
                tree = self._download(source, folder)
            return self._keep(self._wheel(tree, package, folder)), origin

    def take(self, archive: PackageArchive) -> Artifact:
        """Bring a wheel that the recipe names by its place, a path or a URL, into the store.

        Raises:
            ResolveError: it cannot be downloaded.
        """
        with self.session.store.scratch("take") as folder:
            return self._keep(self._download(archive, folder))

    def _known(self, name: str, origin: str) -> Artifact | None:
        if self.previous is None or dict(self.previous.built).get(name) != origin:
            return None
        artifact = next(one for one in self.previous.artifacts if one.name == name)
        at_hand = self.session.store.find_artifact(artifact.sha256, artifact.size) is not None
        return artifact if at_hand and self.target.fits(artifact.filename) else None

    def _download(self, source: PackageSdist | PackageArchive, folder: Path) -> Path:
        """Copy the file *source* into *folder*, its hash checked."""
        place = source.url or source.path or ""
        parts = urlsplit(place)
        target = folder / unquote(parts.path.rsplit("/", 1)[-1])
        try:
            if parts.scheme in ("", "file"):
                shutil.copyfile(url2pathname(parts.path), target)
            else:
                with open_client(self.session.settings) as client, client.stream("GET", place) as answer:
                    answer.raise_for_status()
                    with target.open("wb") as file:
                        for chunk in answer.iter_bytes():
                            file.write(chunk)
        except (OSError, httpx2.HTTPError) as error:
            raise ResolveError(f"{redacted(place) if parts.scheme else place}: {error}") from error
        found = file_sha256(target)
        if found != source.hashes.get("sha256", found):
            raise IntegrityError(
                f"{target.name}: sha256 {found}, but the index says {source.hashes['sha256']}"
            )
        return target

    def _check_out(self, source: PackageVcs, folder: Path) -> Path:
        """Check *source* out into *folder*, and return the folder to build."""
        if source.type != "git":
            raise ResolveError(f"references by {source.type} cannot be built, only git")
        tree = folder / "source"
        url = source.url or source.path or ""
        commands = [
            ["git", "clone", "--quiet", "--no-checkout", "--", url, str(tree)],
            ["git", "-C", str(tree), "checkout", "--quiet", source.commit_id],
            ["git", "-C", str(tree), "submodule", "--quiet", "update", "--init", "--recursive"],
        ]
        env = {**self._environment(), "GIT_TERMINAL_PROMPT": "0"}
        for command in commands:
            try:
                run(command, env=env, timeout=1800)
            except CommandError as error:
                raise ResolveError(f"{redacted(url)}: {error.output.strip()}") from error
        return tree / (source.subdirectory or "")

    def _wheel(self, source: Path, package: Package, folder: Path) -> Path:
        """Build *source*, an sdist or a folder, with the release's Python."""
        configuration = write_configuration(self.indexes, folder)
        out = folder / "wheel"
        command = [
            find_uv_bin(),
            "build",
            "--wheel",
            "--config-file",
            str(configuration),
            "--python",
            str(self.python()),
        ]
        command += ["--no-python-downloads", "--no-create-gitignore", "--out-dir", str(out), str(source)]
        try:
            run(command, env={**self._environment(), "SOURCE_DATE_EPOCH": EPOCH}, cwd=folder, timeout=3600)
        except CommandError as error:
            lines = error.output.replace(f"{folder}/", "").strip().splitlines()[-20:]
            said = "\n".join(f"  {line}" for line in lines)
            raise ResolveError(
                f"{package.name} {package.version or ''} has no wheel, and building one failed:\n{said}",
                hint="build the wheel on another machine and put it into a wheelhouse",
            ) from error
        return next(out.glob("*.whl"))

    def _environment(self) -> Mapping[str, str]:
        return solver_environment(self.session)

    def _keep(self, wheel: Path) -> Artifact:
        name, version, _, _ = parse_wheel_filename(wheel.name)
        artifact = Artifact(
            name=name,
            version=str(version),
            filename=wheel.name,
            sha256=file_sha256(wheel),
            size=wheel.stat().st_size,
        )
        with (
            self.session.store.artifact_writer(artifact.sha256, artifact.size) as writer,
            wheel.open("rb") as file,
        ):
            while chunk := file.read(2**20):
                writer.write(chunk)
        return artifact


def reference_key(url: str) -> str:
    """Return what stands in a lock for the reference *url*, so that the lock need not name a host."""
    return hashlib.sha256(url.encode()).hexdigest()[:16]


def hold_reference(name: str, url: str, previous: Lock | None) -> str:
    """Return *url* at the commit that *previous* was made with, if it was made of this very reference."""
    kind, _, rest = dict(previous.built if previous else ()).get(name, "").partition(":")
    commit, _, key = rest.partition(":")
    if kind != "git" or key != reference_key(url):
        return url
    address, _, fragment = url.partition("#")
    folder, slash, last = address.rpartition("/")
    held = f"{folder}{slash}{last.split('@')[0]}@{commit}"
    return f"{held}#{fragment}" if fragment else held


def place_in_wheelhouse(artifacts: list[Artifact], store: Store, folder: Path) -> None:
    """Copy *artifacts* from the store into the wheelhouse *folder*, each whole or not at all."""
    with output_folder(folder):
        for artifact in artifacts:
            target = folder / artifact.filename
            if target.exists() and file_sha256(target) == artifact.sha256:
                continue
            with draft_folder(folder, "wheel") as scratch:
                draft = scratch / "wheel"
                shutil.copyfile(store.artifact_path(artifact.sha256), draft)
                draft.replace(target)
