"""The key of compiled code: what it was compiled for, and whether it fits this machine and model."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import platform
import re
import sys
import tempfile
import zipfile
import zlib
from typing import Any

import torch

from .errors import ModelError
from .fields import read_fields
from .parameters import Parameters
from .source import Files

KEY_FILE = "envbuilder.json"

REASON = ".why-not"
"""Suffix of the file that says why there is no package."""

CPU_FLAGS = re.compile(
    r"(abm|adx|aes|amx|avx|bmi|f16c|fma|gfni|movbe|pclmul|pni|popcnt|sha|sse|ssse|vaes|vpclmul)"
)
"""Instruction sets that ``-march=native`` may use, as named in /proc/cpuinfo."""


def compiled_file(folder: str, device: torch.device, extension: str = "pt2") -> str:
    """Return the path of code compiled ahead of time for the model in *folder* and a *device*.

    ``pt2``: a package of AOTInductor; ``zip``: the caches of Inductor, for a model that cannot be exported.
    """
    return os.path.join(folder, f"compiled.{device.type}.{extension}")


def fitting_key(folder: str, files: Files, config: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Return the key that compiled code must have to fit here, each part under its name."""
    own = Parameters(config)
    described = [config.get("max_batch_size", 0), read_fields(config, "input"), read_fields(config, "output")]
    described += [own.model_class, own.model_function, own.model_kwargs, own.dtype]
    if "#" in (
        own.model_weights or ""
    ):  # which state_dict of a file is used: the file's digest does not cover that
        described.append(own.model_weights)
    # Compiling ahead of time loads the model with `disable`; serving with it uses no compiled code.
    described.append({name: value for name, value in own.compile_options.items() if name != "disable"})
    return {
        "torch": torch.__version__,
        "CUDA": torch.version.cuda,
        "device": device_capability(device),
        "environment": environment_digest(),
        "model file": digest_files(model_files(folder, files)),
        "configuration": hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest(),
    }


def environment_digest() -> str:
    """Return a digest of this environment, independent of its path; empty if it has no manifest."""
    manifest = os.path.join(sys.prefix, "share", "envbuilder", "manifest.json")
    return digest_files([manifest]) if os.path.exists(manifest) else ""


def device_capability(device: torch.device) -> dict[str, Any]:
    """Return the capability of *device* for which code is compiled."""
    if device.type == "cuda":
        return {"architecture": "sm_{}{}".format(*torch.cuda.get_device_capability(device)), "flags": []}
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        line = next((line for line in file if re.match(r"(flags|Features)\b", line)), "")
    architecture = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    flags = sorted({flag for flag in line.partition(":")[2].split() if CPU_FLAGS.match(flag)})
    return {"architecture": architecture, "flags": flags}


def model_files(folder: str, files: Files) -> list[str]:
    """List the files that a model may depend on, except weights: those in its folder, and modules above it.

    The runtime is not part of the model: it may be in the model's folder or in a backend's.
    """
    above = os.path.dirname(folder)
    found = [entry.path for entry in os.scandir(above) if entry.name.endswith(".py") and entry.is_file()]
    for root, folders, names in os.walk(folder):
        skipped = ("__pycache__", "_torch_runtime") if root == folder else ("__pycache__",)
        folders[:] = [name for name in folders if name not in skipped]
        found += [os.path.join(root, name) for name in names if not name.startswith("compiled.")]
    found = [path for path in found if os.path.isfile(path)]  # neither dangling links nor pipes
    return sorted(p for p in found if p not in files.weights and not os.path.samefile(p, files.runtime))


def digest_files(paths: list[str]) -> str:
    """Return the sha256 of the names and contents of *paths*."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            digest.update(f"{os.path.basename(path)} {os.fstat(file.fileno()).st_size}\n".encode())
            for chunk in iter(lambda: file.read(2**20), b""):
                digest.update(chunk)
    return digest.hexdigest()


def kept_package(key: dict[str, Any]) -> str:
    """Return the path of the package with this *key* among Inductor's caches."""
    folder = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    folder = folder or os.path.join(tempfile.gettempdir(), f"torchinductor_{getpass.getuser()}")
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return os.path.join(folder, "packages", f"{digest[:32]}.pt2")


def is_trusted(path: str) -> bool:
    """Return whether *path* is a file of this user or root: code of other users is not loaded."""
    return os.path.exists(path) and os.stat(path).st_uid in (0, os.getuid())


def key_difference(key: dict[str, Any], fitting: dict[str, Any]) -> str | None:
    """Describe the part in which the *key* of compiled code differs from the *fitting* one.

    None if they are equal.
    """
    for part, here in fitting.items():
        made = key.get(part)
        if part == "device" and made:
            lacking = sorted(set(made["flags"]) - set(here["flags"]))
            if made["architecture"] != here["architecture"]:
                return f"it is for {made['architecture']}, this device is {here['architecture']}"
            if lacking:
                return f"it is for a processor with {', '.join(lacking)}, which this one lacks"
        elif made != here and part in ("torch", "CUDA"):
            return f"it is for {part} {made}, this is {part} {here}"
        elif made != here:
            return f"it was made with a different {part}"
    return None


def read_key(path: str) -> dict[str, Any]:
    """Return the key of the compiled code at *path*.

    Raises:
        ModelError: the file is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
            if damaged is not None:
                raise ModelError(f"it is damaged: {os.path.basename(damaged)} in it")
            name = next(name for name in archive.namelist() if name.split("/")[-1] == KEY_FILE)
            key: dict[str, Any] = json.loads(archive.read(name).decode("utf-8"))
            return key
    except StopIteration:
        raise ModelError(f"it has no key, a file {KEY_FILE} in it") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError) as error:
        raise ModelError(f"it is truncated or damaged: {error}") from error


def write_key(path: str, key: dict[str, Any]) -> None:
    """Write the *key* into the package at *path*, and move the package into place atomically."""
    draft = path + ".draft"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(draft, "w") as new:
        for member in old.infolist():
            if not member.filename.endswith("/" + KEY_FILE):
                new.writestr(member, old.read(member))
        root = old.namelist()[0].split("/")[0]
        new.writestr(f"{root}/extra/{KEY_FILE}", json.dumps(key, sort_keys=True))
    os.replace(draft, path)
