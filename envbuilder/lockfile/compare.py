"""What changed from one lock to another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from envbuilder.lockfile.model import Artifact, Lock, LockedInterpreter


def compare_locks(old: Lock, new: Lock) -> tuple[str, ...]:
    """Return lines that describe how *new* differs from *old*, ignoring the solvers' versions."""
    lines: list[str] = []
    lines += _compared(old.conda.packages if old.conda else (), new.conda.packages if new.conda else ())
    lines += _compared(old.artifacts, new.artifacts)
    if old.interpreter != new.interpreter:
        lines.append(f"python {_interpreter(old.interpreter)} -> {_interpreter(new.interpreter)}")
    for what in ("recipe_digest", "release", "python", "torch", "cuda", "demands"):
        if not lines and getattr(old, what) != getattr(new, what):
            lines.append(f"{what.replace('_', ' ')} changed")
    return tuple(lines)


def _compared(old: Sequence[Artifact], new: Sequence[Artifact]) -> Iterator[str]:
    before = {artifact.name: artifact for artifact in old}
    after = {artifact.name: artifact for artifact in new}
    for name in sorted(before.keys() | after.keys()):
        one, other = before.get(name), after.get(name)
        if one is None or other is None:
            kept = one or other
            assert kept is not None
            yield f"{name} {kept.version} {'new' if one is None else 'gone'}"
        elif one.version != other.version:
            yield f"{name} {one.version} -> {other.version}"
        elif one != other:
            yield f"{name} {one.version}: another file, {other.filename}"


def _interpreter(interpreter: LockedInterpreter) -> str:
    return f"{interpreter.version} ({interpreter.origin}, {interpreter.digest[:12]})"
