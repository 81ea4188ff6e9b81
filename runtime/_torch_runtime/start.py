"""Report a start to the server's log and metrics: environment, model, and how long it took."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from .package_key import environment_digest, model_files

if TYPE_CHECKING:
    from .engine import Engine

EXTRACTED = "python_env_"
"""The name of the folder into which Triton extracts an environment."""
LONGEST_EXTRACTION = 3600.0
"""Longest extraction, in seconds: a longer interval has another cause."""
_SAMPLE = 2**20
"""How many bytes at both ends of a weight file a model's digest covers: reading all of them takes too long."""
_SHOWN = 12
_FILES = ' "files": '
"""The beginning of the line that starts a manifest's list of files."""


def identity(engine: Engine) -> dict[str, str]:
    """Return the identity of environment and model: digests and names, empty if unknown."""
    manifest = _manifest()
    return {
        "environment": environment_digest(),
        "recipe": str(manifest.get("recipe", "")),
        "lock": str(manifest.get("lock_digest", "")),
        "model_digest": model_digest(engine),
        "served": engine.served,
    }


def _manifest() -> dict[str, Any]:
    """Return the environment's manifest without its list of files, which is long and comes last; empty if none."""
    path = os.path.join(sys.prefix, "share", "envbuilder", "manifest.json")
    try:
        with open(path, encoding="utf-8") as file:
            head = "".join(itertools.takewhile(lambda line: not line.startswith(_FILES), file))
        found, _ = json.JSONDecoder().raw_decode(head.rstrip().rstrip(",") + "}")
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def model_digest(engine: Engine) -> str:
    """Return the sha256 of a model's files: of weights, name, size and both ends; of the others, all."""
    model, digest = engine.model, hashlib.sha256()
    others = [(path, False) for path in model_files(model.folder, model.files)]
    for path, sampled in sorted([*others, *((path, True) for path in model.files.weights)]):
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            digest.update(
                f"{os.path.relpath(path, model.folder)} {size}\n".encode("utf-8", "surrogateescape")
            )
            if sampled and size > 2 * _SAMPLE:
                digest.update(file.read(_SAMPLE))
                file.seek(size - _SAMPLE)
            for chunk in iter(lambda: file.read(_SAMPLE), b""):
                digest.update(chunk)
    return digest.hexdigest()


def before_import(begun: float) -> dict[str, float]:
    """Return the seconds of the phases before *begun* (``time.monotonic()``), as far as they are known.

    ``extraction``: from the first file of an environment that Triton extracted to the start of the process;
    ``process``: from there to the model.
    """
    try:
        with open("/proc/self/stat", encoding="ascii", errors="replace") as file:
            ticks = int(file.read().rpartition(")")[2].split()[19])
        since_boot = time.clock_gettime(time.CLOCK_BOOTTIME)
        age = since_boot - ticks / os.sysconf("SC_CLK_TCK")
        found = {"process": max(0.0, age - (time.monotonic() - begun))}
        first = os.lstat(os.path.join(sys.prefix, "bin", "python")).st_ctime
    except (OSError, ValueError, IndexError):
        return {}
    extraction = time.time() - age - first
    if EXTRACTED in sys.prefix and 0 <= extraction < LONGEST_EXTRACTION:
        found = {"extraction": extraction, **found}
    return found


def tell_ready(engine: Engine, times: list[float]) -> None:
    """Report in one line, and in the metrics, that a model is ready; *times*: begin, import, load and end."""
    begun, imported, loaded, warmed = times
    compiled = min(engine.compile_seconds, warmed - loaded)
    phases = {
        **before_import(begun),
        "import": imported - begun,
        "load": loaded - imported,
        "compile": compiled,
        "warm": warmed - loaded - compiled,
    }
    known = identity(engine)
    engine.metrics.started(known, phases)
    parts = [
        f"ready in {warmed - begun:.2f} s: {imported - begun:.2f} s importing torch, "
        f"{loaded - imported:.2f} s loading, {warmed - loaded:.2f} s compiling and warming "
        f"({compiled:.2f} s of them compiling)"
    ]
    if "process" in phases:
        extraction = f"{phases['extraction']:.2f} s of extraction, " if "extraction" in phases else ""
        parts.append(f"before it {extraction}{phases['process']:.2f} s of the process")
    parts.append(f"served by {known['served']}")
    parts.append(f"model {known['model_digest'][:_SHOWN]}")
    if known["environment"]:
        which = f"recipe {known['recipe']}, lock {known['lock'][:_SHOWN]}"
        parts.append(f"environment {known['environment'][:_SHOWN]} ({which})")
    engine.model.log.info("; ".join(parts))
