"""What compiled code was made for: the key in it, and whether it is of use here."""

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
"""What follows the path of a package where there cannot be one; the file says why."""

CPU_FLAGS = re.compile(
    r"(abm|adx|aes|amx|avx|bmi|f16c|fma|gfni|movbe|pclmul|pni|popcnt|sha|sse|ssse|vaes|vpclmul)"
)
"""What a compiler that is told ``-march=native`` may make use of, as /proc/cpuinfo names it."""


def compiled_file(folder: str, device: torch.device, extension: str = "pt2") -> str:
    """Return where the model in *folder*, compiled ahead of time for a *device*, is looked for.

    ``pt2``: a package of AOTInductor; ``zip``: the caches of Inductor, for a model that cannot be exported.
    """
    return os.path.join(folder, f"compiled.{device.type}.{extension}")


def fitting_key(folder: str, files: Files, config: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Return what compiled code has to be made for to be of use here, each part under its name."""
    own = Parameters(config)
    described = [config.get("max_batch_size", 0), read_fields(config, "input"), read_fields(config, "output")]
    described += [own.model_class, own.model_function, own.model_kwargs, own.dtype]
    if "#" in (own.model_weights or ""):  # which state_dict of a file, the digest of the file does not tell
        described.append(own.model_weights)
    # Who compiles ahead of time loads the model with `disable`; who serves it so uses no compiled code.
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
    """Return what tells this environment from others, wherever it lies; nothing where it has no manifest."""
    manifest = os.path.join(sys.prefix, "share", "envbuilder", "manifest.json")
    return digest_files([manifest]) if os.path.exists(manifest) else ""


def device_capability(device: torch.device) -> dict[str, Any]:
    """Say for what code may be compiled that runs on *device*."""
    if device.type == "cuda":
        return {"architecture": "sm_{}{}".format(*torch.cuda.get_device_capability(device)), "flags": []}
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        line = next((line for line in file if re.match(r"(flags|Features)\b", line)), "")
    architecture = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    flags = sorted({flag for flag in line.partition(":")[2].split() if CPU_FLAGS.match(flag)})
    return {"architecture": architecture, "flags": flags}


def model_files(folder: str, files: Files) -> list[str]:
    """List what a model may be made from, but for its weights: the files in its folder, and modules above it.

    The runtime is no part of the model: the same model is served by one of its folder, or by one of a backend's.
    """
    above = os.path.dirname(folder)
    found = [entry.path for entry in os.scandir(above) if entry.name.endswith(".py") and entry.is_file()]
    for root, folders, names in os.walk(folder):
        skipped = ("__pycache__", "_torch_runtime") if root == folder else ("__pycache__",)
        folders[:] = [name for name in folders if name not in skipped]
        found += [os.path.join(root, name) for name in names if not name.startswith("compiled.")]
    found = [path for path in found if os.path.isfile(path)]  # no links to nothing, and no pipes
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
    """Return where the package with this *key* is kept, among Inductor's caches, once a model was compiled to it."""
    folder = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    folder = folder or os.path.join(tempfile.gettempdir(), f"torchinductor_{getpass.getuser()}")
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return os.path.join(folder, "packages", f"{digest[:32]}.pt2")


def is_trusted(path: str) -> bool:
    """Say whether there is a file at *path* that this user made, or root: of nobody else code is taken."""
    return os.path.exists(path) and os.stat(path).st_uid in (0, os.getuid())


def key_difference(key: dict[str, Any], fitting: dict[str, Any]) -> str | None:
    """Say in which part the *key* of compiled code differs from the *fitting* one; None: in none."""
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
        ModelError: the file is not whole.
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
    """Put the *key* into the package at *path*, and the package in its place at once."""
    draft = path + ".draft"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(draft, "w") as new:
        for member in old.infolist():
            if not member.filename.endswith("/" + KEY_FILE):
                new.writestr(member, old.read(member))
        root = old.namelist()[0].split("/")[0]
        new.writestr(f"{root}/extra/{KEY_FILE}", json.dumps(key, sort_keys=True))
    os.replace(draft, path)
