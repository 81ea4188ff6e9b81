"""Read a job, do it, and write the answer."""

from __future__ import annotations

import contextlib
import functools
import json
import locale
import os
import sys
import threading
import traceback
from typing import Any

FOLDER = os.path.dirname(os.path.abspath(__file__))


def main(job_path: str, *pipe: str) -> None:
    """Do the job in *job_path*; write the result to its ``answer`` path.

    Its ``task`` is to import ``packages``, to ``probe``, ``describe`` or compile (``package``, ``caches``) a model,
    to let it complete its configuration (``complete``), or to ``serve`` it to the parent process through a *pipe*.
    It names the ``version`` of the ``model`` directory, the ``file`` of it that Triton imports, and the
    configuration (``config``).
    """
    with open(job_path, encoding="utf-8") as file:
        job = json.load(file)
    found: dict[str, Any] = {"conditions": conditions()} if job["task"] == "probe" else {}
    strip_library_path(sys.prefix)
    # As in a stub: no arguments, and no main file that a process started by multiprocessing would run again.
    sys.argv = [""]
    sys.modules["__main__"].__dict__.pop("__file__", None)
    if job["task"] == "packages":
        from .packages import Importer  # and nothing else: its children must start like a stub

        found = Importer(job).run()
    elif job["task"] == "serve":
        from .neighbours import serve

        return serve(job, *map(int, pipe))
    else:
        use_model(job, found)
    write(job, found)
    if job.get("own"):
        leave()


def leave() -> None:
    """End this process even if a user's model has left threads running: a server ends its stub, too."""
    if any(not one.daemon and one is not threading.main_thread() for one in threading.enumerate()):
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):  # even if the model replaced it
                stream.flush()
        os._exit(0)


def write(job: dict[str, Any], found: dict[str, Any]) -> None:
    """Write the result atomically."""
    draft = job["answer"] + ".draft"
    with open(draft, "w", encoding="utf-8") as file:
        json.dump(found, file)
    os.replace(draft, job["answer"])


def use_model(job: dict[str, Any], found: dict[str, Any]) -> None:
    """Do the task of *job* with a model; the result goes to *found*."""
    from .compile import Job
    from .host import Host, lacking_in, words
    from .probe import Probe

    host = Host(job)
    if job["task"] == "probe" and job.get("own"):  # its code may end this process
        text = "its process exited, or exceeded the time limit, while the model was loaded or called"
        write(job, {**found, "failed": {"stage": "ended", "text": text}})
    try:
        if job["task"] == "probe":
            probe = Probe(host, found, outside=FOLDER, keep=functools.partial(write, job, found))
            probe.run()
            probe.finish()
        elif job["task"] == "complete":
            completed = host.complete_config()
            found.update({} if completed is None else {"config": completed})
        else:
            found.update(Job(host).run())
    except Exception as error:
        traceback.print_exc()
        text = words(error)
        failed = {
            "stage": "probe",
            "text": text,
            "lacking": lacking_in(text),
            "trace": traceback.format_exc(),
        }
        found.setdefault("failed", failed)


def conditions() -> dict[str, Any]:
    """Describe how this process was started."""
    return {
        "python": ".".join(map(str, sys.version_info[:3])),
        "prefix": sys.prefix,
        "isolated": sys.flags.isolated,
        "utf8_mode": sys.flags.utf8_mode,
        "locale": locale.setlocale(locale.LC_CTYPE),
        "variables": sorted(os.environ),
    }


def strip_library_path(prefix: str) -> None:
    """Remove the first ``ENV/lib`` from LD_LIBRARY_PATH, as the stub does once it runs."""
    library = os.path.join(prefix, "lib")
    parts = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    if library in parts:
        parts.remove(library)
    os.environ["LD_LIBRARY_PATH"] = ":".join(parts)
