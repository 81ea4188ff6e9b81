"""Prepare the stub's process before torch is imported, which reads much of this only then."""

from __future__ import annotations

import json
import locale
import os
import pwd
import sys
import tempfile


def prepare_process(instances: int) -> None:
    """Set up this process as an activated shell would; call it before torch is imported."""
    _make_locale_utf8()
    prefix = sys.prefix
    # Children (the compiler, compile workers) must not load the environment's libstdc++ in place of their own.
    path = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    kept = [part for part in path if part and os.path.normpath(part) != os.path.join(prefix, "lib")]
    os.environ.pop("LD_LIBRARY_PATH", None)
    if kept:
        os.environ["LD_LIBRARY_PATH"] = os.pathsep.join(kept)
    _restore_variables(prefix)
    _make_caches_writable()
    # A server loads no model from the network: what Hugging Face's libraries would fetch must be in the version
    # folder.
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # compile workers are forked
    # Server, clients and other stubs share the CPUs: a spinning thread takes time from the one it waits for.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Compile workers run sys.executable: none if it cannot be started, or they would only wait.
    workers = min(32, cpu_count() // instances) if os.access(sys.executable or "", os.X_OK) else 1
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", str(max(1, workers)))
    # torch asks the processor which vector instructions it has, then compiles and loads a program to learn whether g++
    # knows them: two thirds of the first compilation. A g++ that torch's headers compile with (9 and later) does.
    os.environ.setdefault("TORCHINDUCTOR_VEC_ISA_OK", "1")


def _make_locale_utf8() -> None:
    """Make ``open()`` decode UTF-8: the stub's interpreter is isolated, its locale ``C`` whatever LC_ALL says."""
    for name in ("C.UTF-8", "C.utf8", "en_US.UTF-8"):
        try:
            locale.setlocale(locale.LC_CTYPE, name)
            return
        except locale.Error:
            continue


def _restore_variables(prefix: str) -> None:
    """Set what the environment's activation would have set: servers from 25.08 on never run it."""
    record = os.path.join(prefix, "share", "envbuilder", "environment.json")
    if not os.path.exists(record):
        return
    with open(record, encoding="utf-8") as file:
        variables = json.load(file)["variables"]
    for name, value in variables.items():
        os.environ.setdefault(name, value.replace("{prefix}", prefix))


def _make_caches_writable() -> None:
    """Set a user name if the uid has none, and a cache folder if the usual one is not writable."""
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        os.environ.setdefault("USER", "uid{}".format(os.getuid()))  # noqa: UP032 - getpass.getuser asks it
    user = os.environ.get("USER", str(os.getuid()))
    fallback = os.path.join(tempfile.gettempdir(), f"torchinductor_{user}")
    if not _is_writable(
        os.environ.get("HF_HOME", os.path.join(os.path.expanduser("~"), ".cache", "huggingface"))
    ):
        os.environ["HF_HOME"] = os.path.join(fallback, "huggingface")
    for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        usual = os.environ.get(name)
        if usual is None and name == "TRITON_CACHE_DIR":
            usual = os.path.join(os.path.expanduser("~"), ".triton")
        if usual is not None and not _is_writable(usual):
            os.environ[name] = os.path.join(fallback, name.lower())


def _is_writable(folder: str) -> bool:
    """Return whether *folder* can be written or created."""
    while not os.path.exists(folder) and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
    return os.access(folder, os.W_OK | os.X_OK)


def cpu_count() -> int:
    """Return how many CPUs this process may use, by its affinity and the quota of its control group."""
    count = len(os.sched_getaffinity(0))
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            quota, period = file.read().split()
    except (OSError, ValueError):
        return count
    return count if quota == "max" else max(1, min(count, int(quota) // int(period)))
