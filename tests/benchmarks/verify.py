"""How long ``verify --server`` takes, phase by phase: ``python -m tests.benchmarks.verify [--against DIR] [--json]``.

The sample model, the recipe ``cpu``, a real server. An archive is built once; then each round verifies it twice, for
the first time after its build and for the second time. With ``--against DIR``, another checkout with a ``.venv`` of
its own is measured in the same run, in turn with this one (AB, BA, …): the speed of a machine drifts, and what counts
is the ratio within a round. Told are medians over the rounds, and for each phase when it began and how long it took:
phases that overlap add up to more than the whole. Progress goes to standard error.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("first", "second")
PHASES = ("import", "read and extract", "files", "origin", "deploy", "probe", "packages", "server", "stop")
GOALS = {"first": 0.5, "second": 0.25}

# Runs in the checkout that is measured, an older one too: it times functions by their names, where they are there.
TIMED = """
import functools, importlib, json, sys, threading, time
began = time.monotonic()
spans, lock = [], threading.Lock()

def note(phase, start):
    with lock:
        spans.append([phase, start - began, time.monotonic() - start])

def timed(phase, owner, name):
    work = getattr(owner, name, None)
    if work is None:
        return
    @functools.wraps(work)
    def run(*args, **options):
        start = time.monotonic()
        try:
            return work(*args, **options)
        finally:
            note(phase, start)
    setattr(owner, name, run)

def module(name):
    try:
        return importlib.import_module("envbuilder.verification." + name)
    except ImportError:
        return None

from pathlib import Path
from envbuilder.store.session import Session
from envbuilder.verification.options import complete_request
from envbuilder.verification.server.servers import ServerChoice
from envbuilder.verification.verify import VerifyRequest, verify

for phase, place, names in (
    ("read and extract", "run", ["open_archive"]),
    ("files", "run", ["check_archive", "check_structure", "check_release"]),
    ("files", "static.archive", ["_check_traces", "_check_build_paths"]),
    ("origin", "run", ["check_origin"]),
    ("deploy", "run", ["prepare"]),
    ("deploy", "live.stage", ["prepare"]),
    ("probe", "run", ["run_probe"]),
    ("probe", "live.stage", ["run_probe"]),
    ("packages", "live.probe_packages", ["import_packages"]),
):
    for name in names:
        if module(place) is not None:
            timed(phase, module(place), name)
stage = module("live.model_deployment")
if stage is not None:
    timed("deploy", stage.ModelDeployment, "deploy")
process = module("server.process").ServerProcess
timed("server", process, "wait")
timed("stop", process, "_stop")
note("import", began)
session = Session.open().at(Path.cwd(), remote=False)
archive = Path(sys.argv[1])
request = VerifyRequest(server=ServerChoice(ask=True))
request, session = complete_request(request, archive, session, lock=None, root=Path.cwd())
report = verify(archive, session, request)
print(json.dumps({
    "seconds": time.monotonic() - began,
    "spans": spans,
    "checks": [[check.id, check.release, check.status] for check in report.checks],
}))
"""


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--against", type=Path, metavar="DIR", help="another checkout, with its own .venv")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument("--json", action="store_true", help="print JSON only")
    parser.add_argument(
        "--store", type=Path, metavar="DIR", help="a store with the artifacts and the server, to begin with"
    )
    options = parser.parse_args()
    results = measure(options)
    print(json.dumps(results, indent=1) if options.json else table(results))


def say(text: str) -> None:
    """Tell progress."""
    print(text, file=sys.stderr, flush=True)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure every round of every checkout."""
    checkouts = {"this": ROOT, **({"against": options.against.resolve()} if options.against else {})}
    runs: dict[str, dict[str, list[dict[str, Any]]]] = {
        name: {kind: [] for kind in KINDS} for name in checkouts
    }
    with tempfile.TemporaryDirectory(prefix="envbuilder-verify-", dir=options.store) as scratch:
        built = {name: prepare(name, path, Path(scratch), options.store) for name, path in checkouts.items()}
        for number in range(options.rounds):
            order = list(checkouts) if number % 2 == 0 else list(checkouts)[::-1]
            for name in order:
                fresh = Path(scratch) / f"{name}-round"
                # As it is after a build: what was proven by verifying is not there.
                shutil.copytree(built[name], fresh, symlinks=True, copy_function=os.link)
                for kind in KINDS:
                    one = verify(checkouts[name], fresh)
                    runs[name][kind].append(one)
                    say(f"round {number + 1}, {name}, {kind}: {one['seconds']:.1f} s, CPU {one['cpu']:.1f} s")
                shutil.rmtree(fresh)
    return {"cpus": len(os.sched_getaffinity(0)), "rounds": options.rounds, **summary(runs)}


def python(checkout: Path) -> str:
    """Return the Python of *checkout*."""
    own = checkout / ".venv" / "bin" / "python"
    return str(own if own.exists() else sys.executable)


def environment(store: Path) -> dict[str, str]:
    """Return the variables of a run with *store*."""
    return {**os.environ, "ENVBUILDER_CACHE": str(store)}


def prepare(name: str, checkout: Path, scratch: Path, seed: Path | None) -> Path:
    """Build the archive of ``cpu`` with a store of its own, and bring the server into that; return the folder."""
    say(f"{name}: building cpu")
    folder = scratch / name
    store = folder / "store"
    store.mkdir(parents=True)
    for kind in ("artifacts", "tools") if seed is not None else ():
        if seed is not None and (seed / kind).is_dir():
            shutil.copytree(seed / kind, store / kind, symlinks=True, copy_function=os.link)
    command = [python(checkout), "-m", "envbuilder", "build", "cpu", "--interpreter-change", "--quiet"]
    call([*command, "--output", str(folder / "envs")], checkout, store)
    fetch = (
        "from envbuilder.store.session import Session; from pathlib import Path; "
        "from envbuilder.verification.server.tritonserver import find_server; "
        "find_server(None, Session.open().at(Path.cwd()))"
    )
    call([python(checkout), "-c", fetch], checkout, store)
    return folder


def call(command: list[str], checkout: Path, store: Path) -> str:
    """Run *command* in *checkout*; what it says on standard output is returned."""
    done = subprocess.run(
        command, cwd=checkout, env=environment(store), stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"error: {' '.join(command[:5])} exited with {done.returncode}:\n{done.stdout}")
    return done.stdout


def verify(checkout: Path, folder: Path) -> dict[str, Any]:
    """Verify the archive in *folder*, and return what it took."""
    (archive,) = (folder / "envs").glob("*.tar.gz")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    out = call([python(checkout), "-c", TIMED, str(archive)], checkout, folder / "store")
    seconds = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    said: dict[str, Any] = json.loads(out.splitlines()[-1])
    wrong = [check for check in said["checks"] if check[2] != "passed"]
    if wrong:
        say(f"not passed: {wrong}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    phases: dict[str, dict[str, float]] = {}
    for phase, start, took in said["spans"]:
        one = phases.setdefault(phase, {"at": start, "seconds": 0.0})
        one["at"], one["seconds"] = min(one["at"], start), one["seconds"] + took
    return {"seconds": seconds, "cpu": cpu, "phases": phases, "checks": said["checks"]}


def summary(runs: dict[str, dict[str, list[dict[str, Any]]]]) -> dict[str, Any]:
    """Return medians, and the ratios of each round."""
    found: dict[str, Any] = {"checkouts": {}, "ratios": {}}
    for name, kinds in runs.items():
        found["checkouts"][name] = {kind: medians(rounds) for kind, rounds in kinds.items()}
    for kind in KINDS if "against" in runs else ():
        for figure in ("seconds", "cpu"):
            pairs = zip(runs["this"][kind], runs["against"][kind], strict=True)
            ratios = sorted(mine[figure] / other[figure] for mine, other in pairs)
            key = kind if figure == "seconds" else f"{kind}, CPU"
            found["ratios"][key] = {
                "median": statistics.median(ratios),
                "low": ratios[0],
                "high": ratios[-1],
                "goal": GOALS[kind],
            }
    return found


def medians(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the medians of what *rounds* took, and the checks, which are the same each time."""
    phases = {phase: [one["phases"][phase] for one in rounds if phase in one["phases"]] for phase in PHASES}
    return {
        "seconds": statistics.median(one["seconds"] for one in rounds),
        "cpu": statistics.median(one["cpu"] for one in rounds),
        "phases": {
            phase: {key: statistics.median(one[key] for one in ones) for key in ("at", "seconds")}
            for phase, ones in phases.items()
            if ones
        },
        "checks": rounds[0]["checks"],
    }


def table(results: dict[str, Any]) -> str:
    """Return the results as a table."""
    checkouts = results["checkouts"]
    lines = [
        f"{results['cpus']} CPUs, medians of {results['rounds']} rounds; seconds, and when a phase began"
    ]
    for kind in KINDS:
        lines += ["", f"{kind} verification" + "".join(f"{name:>20}" for name in checkouts)]
        for phase in PHASES:
            cells = [checkout[kind]["phases"].get(phase) for checkout in checkouts.values()]
            if any(cells):
                texts = [f"{one['seconds']:.1f} (at {one['at']:.1f})" if one else "-" for one in cells]
                lines.append(f"  {phase:20}" + "".join(f"{text:>20}" for text in texts))
        for figure in ("seconds", "cpu"):
            label = "all" if figure == "seconds" else "CPU"
            texts = [f"{checkout[kind][figure]:.1f}" for checkout in checkouts.values()]
            lines.append(f"  {label:20}" + "".join(f"{text:>20}" for text in texts))
        checks = {len(checkout[kind]["checks"]) for checkout in checkouts.values()}
        lines.append(f"  checks: {', '.join(map(str, sorted(checks)))}")
    for kind, ratio in results["ratios"].items():
        goal = "" if kind.endswith("CPU") else f"; at most {ratio['goal']} wanted"
        lines.append(
            f"{kind}: {ratio['median']:.2f} of the other's ({ratio['low']:.2f} to {ratio['high']:.2f}){goal}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
