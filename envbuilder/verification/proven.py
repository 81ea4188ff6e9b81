"""Reuse the results of an earlier verification of the same bytes, with the same request, on the same machine."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Final

from envbuilder.archive.manifest import manifest_beside
from envbuilder.assemble.origin_proof import find_origin
from envbuilder.errors import VerifyError
from envbuilder.lockfile.digest import lock_digest
from envbuilder.store.proofs import Proof, Proofs
from envbuilder.util.files import file_sha256, open_regular
from envbuilder.verification.live.machine import machine_digest
from envbuilder.verification.live.model_deployment import ModelChoice
from envbuilder.verification.report import Check, passed
from envbuilder.verification.request import VerifyRequest
from envbuilder.verification.server.servers import Identified, Server
from envbuilder.verification.server.stage import ServerStage

_ELSEWHERE: Final = frozenset({"cache", "trusted", "lock", "recipe", "server", "model", "choice"})
"""Fields of the request that have a separate part of the key, or affect no recorded check."""
_SURE: Final = frozenset({"contract.isolation", "probe.outside", "probe.recompiles", "probe.recompiles-gpu"})
"""Checks with deterministic warnings."""


class UnkeyedError(Exception):
    """The request has no unambiguous key."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A request as the key under which its checks are recorded."""

    proofs: Proofs
    archive: Path
    request: VerifyRequest
    key: str
    """The key of the whole request and the machine."""

    @classmethod
    def of(cls, proofs: Proofs, archive: Path, request: VerifyRequest, *, isolated: bool) -> Asked | None:
        """Return the key of *request* for *archive*; None if it has none."""
        try:
            asked = {
                field.name: _canonical(getattr(request, field.name))
                for field in fields(request)
                if field.name not in _ELSEWHERE
            }
            asked["models"] = _models(request.models)
        except (UnkeyedError, OSError, VerifyError):
            return None
        text = json.dumps([asked, isolated, machine_digest()], sort_keys=True)
        key = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        return cls(proofs=proofs, archive=archive, request=request, key=key)

    # -- files -------------------------------------------------------------------------------------

    def measured(self) -> str | None:
        """Return the sha256 of the archive if there are records for its size; otherwise it need not be read."""
        with suppress(OSError), open_regular(self.archive) as file:
            if self.proofs.find("seen", self.key, str(os.fstat(file.fileno()).st_size)) is not None:
                digest = hashlib.sha256()
                while chunk := file.read(2**20):
                    digest.update(chunk)
                return digest.hexdigest()
        return None

    def find_files(self, sha256: str) -> Proof | None:
        """Return the static checks, and the report's other facts about the archive."""
        parts = self._files(sha256)
        return None if parts is None else self.proofs.find(*parts)

    def record_files(self, sha256: str, checks: Iterable[Check], about: Mapping[str, Any]) -> None:
        """Record the static checks, if none failed, and the report's other facts about the archive."""
        parts, checks = self._files(sha256), list(checks)
        if parts is not None and not any(check.status == "failed" for check in checks):
            self.proofs.record({"checks": _rows(checks), "about": dict(about)}, *parts)
            self.proofs.record(None, "seen", self.key, str(about["size"]))

    def _files(self, sha256: str) -> tuple[str, ...] | None:
        """Return the key; None if a check depends on files next to the archive, or on the date."""
        request, options = self.request, self.request.options
        if request.trusted is not None or (options and (options.sbom or options.licences or options.audit)):
            return None
        beside = manifest_beside(self.archive)
        try:
            manifest = file_sha256(beside) if beside.is_file() else str(beside.exists())
        except OSError:
            return None
        lock = "" if request.lock is None else lock_digest(request.lock)
        return ("files", sha256, self.key, self.archive.name, manifest, lock, str(self.proofs.store.root))

    # -- what ran ----------------------------------------------------------------------------------

    def find_run(self, sha256: str, server: Server | None) -> Proof | None:
        """Return the checks of probe and packages, and those of a *server* if one was used."""
        parts = self._run(sha256, server)
        return None if parts is None else self.proofs.find(*parts)

    def record_run(
        self,
        sha256: str,
        server: Server | None,
        checks: Mapping[str, list[Check]],
        about: Mapping[str, Any],
    ) -> None:
        """Record the checks of the probe and the server, if each one passed or has a deterministic warning."""
        parts = self._run(sha256, server)
        sure = all(
            check.status == "passed" or (check.status == "warning" and check.id in _SURE)
            for found in checks.values()
            for check in found
        )
        if parts is not None and sure:
            rows = {name: _rows(found) for name, found in checks.items()}
            self.proofs.record({**rows, "about": dict(about)}, *parts)

    def _run(self, sha256: str, server: Server | None) -> tuple[str, ...] | None:
        if server is None:
            return ("run", sha256, self.key, "")
        if isinstance(server, Identified):  # otherwise a later server cannot be compared with it
            with suppress(OSError):
                return ("run", sha256, self.key, server.identity())
        return None

    # -- all of it ---------------------------------------------------------------------------------

    def recall(self, serving: ServerStage | None) -> Recalled | None:
        """Return all results, if all of them are recorded; *serving* is the server to use."""
        sha256 = self.measured()
        files = None if sha256 is None else self.find_files(sha256)
        if sha256 is None or files is None:
            return None
        request = self.request
        origin = find_origin(self.proofs, sha256, lock=request.lock, recipe=request.recipe)
        server = None if serving is None else serving.at_hand(files.value["about"]["python"])
        ran = None if server is None and request.server.required else self.find_run(sha256, server)
        if origin is None or ran is None:
            return None
        return Recalled(sha256=sha256, files=files, origin=origin, ran=ran, served=server is not None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Recalled:
    """All recorded results for the archive with a *sha256*."""

    sha256: str
    files: Proof
    origin: Proof
    ran: Proof
    served: bool
    """Whether a server was used."""

    @property
    def about(self) -> dict[str, Any]:
        """Other facts of the report."""
        return {**self.files.value["about"], **self.ran.value["about"]}


def origin_of(proof: Proof) -> Check:
    """Return the check of origin that *proof* records."""
    return replace(passed("manifest.origin", str(proof.value)), proven=proof.at)


def checks_of(proof: Proof, name: str) -> list[Check]:
    """Return the checks of *proof* under *name*."""
    return [replace(Check(**row), proven=proof.at) for row in proof.value[name]]


def _rows(checks: Iterable[Check]) -> list[dict[str, Any]]:
    return [asdict(replace(check, proven=None)) for check in checks]


def _models(choice: ModelChoice) -> Any:
    """Return the models, their requests, and the digests of all their files.

    Raises:
        UnkeyedError: models of a repository may have environments anywhere.
        VerifyError: there is no such model.
    """
    if choice.repository is not None:
        raise UnkeyedError("repository")
    wanted = choice.wanted()
    names = [path.name for path in (*wanted.models, *wanted.others)]
    return [_canonical(replace(choice, model=None)), names, *map(_content, (*wanted.models, *wanted.others))]


def _canonical(value: object) -> Any:
    """Return *value* in JSON form, files and folders as digests of their content.

    Raises:
        UnkeyedError: its type has no unambiguous form.
        OSError: a file cannot be read.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Path):
        return {"path": _content(value)}
    if isinstance(value, Mapping):
        return {"mapping": sorted([str(name), _canonical(one)] for name, one in value.items())}
    if isinstance(value, (tuple, list)):
        return [_canonical(one) for one in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _canonical(getattr(value, field.name)) for field in fields(value)}
    raise UnkeyedError(type(value).__name__)


def _content(path: Path, above: frozenset[str] = frozenset()) -> str:
    """Return a sha256 of a file, or of all files of a folder, including targets of links.

    *above* are the folders through which it was reached: a link back to one of them would be endless.
    """
    if path.is_file():
        return file_sha256(path)
    real = os.path.realpath(path)
    if real in above:
        raise UnkeyedError(str(path))
    digest = hashlib.sha256()
    found = sorted(path.rglob("*"))
    if not path.is_dir():
        raise UnkeyedError(str(path))
    for one in found:
        kind = file_sha256(one) if one.is_file() else "folder" if one.is_dir() else "nothing"
        if one.is_symlink() and one.is_dir():
            kind = _content(Path(os.path.realpath(one)), above | {real})
        name = str(one.relative_to(path)).encode("utf-8", "surrogateescape")
        digest.update(b"%d:" % len(name) + name + f" {kind} {one.lstat().st_mode & 0o7777:o}\n".encode())
    return digest.hexdigest()
