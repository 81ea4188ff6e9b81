"""The check ``manifest.origin``: every member is accounted for, and nothing that should be there is missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from envbuilder.archive.manifest import MANIFEST_PATH, Manifest
from envbuilder.assemble.packing import pack_options, tools
from envbuilder.errors import AssembleError, IntegrityError
from envbuilder.lockfile.model import Lock, LockedInterpreter
from envbuilder.util.text import counted
from envbuilder.verification.live.launch import Sandbox
from envbuilder.verification.origin.artifacts import lock_of
from envbuilder.verification.origin.bytecode import compile_again
from envbuilder.verification.origin.claims import claimed_by
from envbuilder.verification.origin.compare import OWN, Comparison, compare, compare_bytecode
from envbuilder.verification.origin.expected import Contribution, Packing, wheel_contribution
from envbuilder.verification.origin.locked import Locked, Surroundings, account, base_label, minor_of
from envbuilder.verification.origin.memory import Memory
from envbuilder.verification.origin.own import environment_files, manifest_differences, packing_of
from envbuilder.verification.report import Check, check, failed, passed, some
from envbuilder.verification.static.extracted import Archive

ID: Final = "manifest.origin"
_FIX: Final = "get the archive from a source you trust, or build it again with `envbuilder build`"
_BRING: Final = "fetch the artifacts with `envbuilder lock --fetch`, and verify there with --lock"


def check_origin(archive: Archive, lock: Lock | None, sandbox: Sandbox, around: Surroundings) -> Check:
    """Prove the origin of every member of *archive*, extracted in *place*.

    Without a *lock* the artifacts in its manifest are used.
    """
    manifest = archive.manifest
    if manifest is None:
        return check(ID, "omitted", "the archive has no manifest to compare with")
    try:
        packing = packing_of(manifest)
    except IntegrityError as error:
        return failed(ID, f"{MANIFEST_PATH}: {error.message}", _FIX)
    if around.recipe is not None and manifest.pack != pack_options(around.recipe):
        return failed(ID, f"{MANIFEST_PATH}: it was not packed as {around.recipe.path} says", _FIX)
    return _Inquiry(archive, manifest, lock, packing, sandbox, around).conclude()


class _Inquiry:
    """The state of the check."""

    def __init__(
        self,
        archive: Archive,
        manifest: Manifest,
        lock: Lock | None,
        packing: Packing,
        sandbox: Sandbox,
        around: Surroundings,
    ) -> None:
        self._archive = archive
        self._manifest = manifest
        self._given = lock
        self._lock, self._substituted = _with_interpreter(lock or lock_of(manifest), manifest)
        self._packing = packing
        self._place = sandbox
        self._memory = Memory(
            store=around.store, tools=repr(sorted(tools(self._lock).items())), believe=around.believe
        )
        self._recipe = around.recipe
        self._locked = account(self._lock, packing, around, self._memory)

    def conclude(self) -> Check:
        """Return the check."""
        locked = self._locked
        if locked.base is None and not locked.wheels:
            return check(ID, "omitted", f"not known: {self._unknown_artifacts()}", _BRING)
        found = self._compared(locked)
        if found.changed_of:
            found = self._compared(self._exact(found.changed_of))
        not_compiled = None
        if found.bytecode and found.wrong:
            not_compiled = "the bytecode was not compiled again, because other files are wrong"
        elif self._packing.rules.bytecode or found.bytecode:
            not_compiled = self._compile(found)
        wrong = [*found.wrong, *self._wrong_manifest()]
        if self._substituted and locked.base is None:
            wrong.append(f"built with {self._substituted}, which is not on this machine")
        if wrong:
            return failed(ID, "; ".join([*wrong, *filter(None, [not_compiled])]), _FIX)
        return self._without_failure(found, not_compiled)

    def _without_failure(self, found: Comparison, not_compiled: str | None) -> Check:
        known = self._summary(found)
        doubts = []
        if self._locked.unknown:
            doubts.append(
                f"the origin of {counted(len(found.unknown), 'file')} is not known: {self._unknown_artifacts()}"
            )
        if not_compiled is not None:
            doubts.append(
                f"the origin of {counted(len(found.bytecode), 'bytecode file')} is not known: {not_compiled}"
            )
        if doubts:
            return check(ID, "warning", f"{'; '.join(doubts)}; {known}", _BRING)
        if self._substituted:
            fix = "build it with the locked one, or lock again with this one"
            return check(ID, "warning", f"{known}; built with {self._substituted}", fix)
        return passed(ID, known)

    # -- steps -------------------------------------------------------------------------------------

    def _compared(self, locked: Locked) -> Comparison:
        wheels = [locked.wheels[one.sha256] for one in self._lock.artifacts if one.sha256 in locked.wheels]
        base = [locked.base] if locked.base is not None else []
        claimed: Callable[[str], bool] = claimed_by(
            locked.unknown, self._archive.contents, self._archive.environment
        )
        doubtful = base_label(self._lock) if any(one.project is None for one in locked.unknown) else None
        return compare(
            self._archive.contents,
            [*base, *wheels, locked.own],
            self._environment_files,
            claimed,
            doubtful,
        )

    @property
    def _environment_files(self) -> list[Contribution]:
        compiler = None if self._recipe is None else self._recipe.compiler == "bundled"
        if self._locked.base is None and compiler is not False:
            return []  # only its base shows whether it has a compiler
        return list(environment_files(self._locked.base, compiler=compiler))

    def _exact(self, labels: set[str]) -> Locked:
        """Hash all files of the wheels *labels*: a RECORD may be wrong, and a build uses the bytes."""
        wheels = dict(self._locked.wheels)
        for artifact in self._lock.artifacts:
            path = self._locked.paths.get(artifact.sha256)
            if path is not None and artifact.filename in labels:
                wheels[artifact.sha256] = wheel_contribution(
                    artifact, path, minor=minor_of(self._lock), packing=self._packing, exact=True
                )
        return replace(self._locked, wheels=wheels)

    def _compile(self, found: Comparison) -> str | None:
        """Compile every source again and compare; return why that is not possible, if so."""
        contents, minor = self._archive.contents, minor_of(self._lock)
        proven = self._locked.base is not None
        if not self._packing.rules.bytecode:
            compare_bytecode(found, {}, contents)
            return None
        if not proven and not self._place.isolated:
            return "its Python is not known, and no sandbox is available to run it in"
        try:
            compiled = compile_again(
                self._archive.environment,
                Path(self._place.seen(self._archive.environment / f"bin/python{minor}")),
                contents.members,
                minor=minor,
                enter=self._place.inside,
                memory=self._memory if proven else None,
            )
        except AssembleError as error:
            return error.message
        compare_bytecode(found, compiled, contents)
        return None

    def _wrong_manifest(self) -> list[str]:
        data = (self._archive.environment / MANIFEST_PATH).read_bytes()
        locked = self._locked
        excluded = None if locked.unknown else list(locked.excluded)
        differ = manifest_differences(
            self._manifest, self._given, self._archive.contents, self._archive.linking.files, excluded
        )
        if self._recipe is not None and self._manifest.system_libraries != self._recipe.system_libraries:
            differ.append("system_libraries")
        if differ:
            return [f"{MANIFEST_PATH} differs from what a build writes: {', '.join(differ)}"]
        if self._manifest.text().encode("utf-8", "surrogateescape") != data:
            return [f"{MANIFEST_PATH} differs from what a build writes"]
        return []

    # -- words -------------------------------------------------------------------------------------

    def _unknown_artifacts(self) -> str:
        return some([f"{one.label} ({one.why})" for one in self._locked.unknown], 4)

    def _summary(self, found: Comparison) -> str:
        count = found.accounted
        wheels = sum(count[one.label] for one in self._locked.wheels.values())
        base = self._locked.base
        parts = [
            f"{wheels} from {counted(len(self._locked.wheels), 'wheel')}",
            *([f"{count[base.label]} from {base.label}"] if base is not None else []),
            f"{count['compiled again']} compiled again",
            f"{count[OWN] + 1} from envbuilder",  # its manifest, too
        ]
        return f"{counted(count.total() + 1, 'file')}: {', '.join(parts)}"


def _with_interpreter(lock: Lock, manifest: Manifest) -> tuple[Lock, str]:
    """Return *lock* with the interpreter that the archive was built with, and its description if it differs."""
    used = manifest.interpreter
    if lock.conda is not None or used.digest == lock.interpreter.digest:
        return lock, ""
    other = LockedInterpreter(version=used.version, origin=used.origin, digest=used.digest)
    changed = replace(lock, interpreter=other)
    return changed, f"{base_label(changed)} in place of the locked {base_label(lock)}"
