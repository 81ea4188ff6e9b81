"""How long ``verify --server`` takes, phase by phase: ``python -m tests.benchmarks.verify [--against DIR] [--json]``.

The sample model, the recipe ``cpu``, a real server. An archive is built once; then each round verifies it twice, for
the first time after its build and for the second time. With ``--against DIR``, another checkout is measured in the
same run, in turn with this one (AB, BA, …): the speed of a machine drifts, and what counts is the ratio within a
round. It may be of any age; without a ``.venv`` of its own it runs in this Python. Told are medians over the rounds,
and for each phase when it began and how long it took: phases that overlap add up to more than the whole. Progress
goes to standard error.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
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

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("first", "second")
PHASES = (
    *("import", "recall", "read and extract", "files", "origin", "deploy", "probe", "packages"),
    *("server", "ask", "stop"),
)
GOALS = {"first": 0.5, "second": 0.25}
FETCHED = ("artifacts", "tools")
"""Folders of a store with what was downloaded."""
PR_SET_CHILD_SUBREAPER = 36
"""``prctl(2)``: orphans below this process become its children."""
VERIFICATION_FAILED = 7
"""An exit code."""

# Functions by the module that calls them: those of checkouts of any age, as far as they are there.
TIMED = {
    "envbuilder.verification.proven": [("recall", "Asked.of"), ("recall", "Asked.recall")],
    "envbuilder.verification.run": [
        ("read and extract", "open_archive"),
        ("files", "check_structure"),
        ("origin", "check_origin"),
    ],
    "envbuilder.verification.static.archive": [("files", "_check_build_paths")],
    "envbuilder.verification.live.model_deployment": [("deploy", "ModelDeployment.deploy")],
    "envbuilder.verification.live.stage": [("probe", "run_probe")],
    "envbuilder.verification.live.probe_packages": [("packages", "import_packages")],
    "envbuilder.verification.server.process": [
        ("server", "ServerProcess.wait"),
        ("stop", "ServerProcess.stop"),
    ],
    "envbuilder.verification.server.ask": [("ask", "ServerChecks._model")],
    "envbuilder.verify": [
        ("read and extract", "open_archive"),
        ("files", "check_archive"),
        ("files", "check_release"),
        ("deploy", "prepare"),
        ("probe", "run_probe"),
    ],
    "envbuilder.verify.process": [("server", "Session.wait"), ("stop", "Session._stop")],
    "envbuilder.verify.serving": [("ask", "Interview._ask")],
}

# Runs the command line of the checkout that is measured, and times functions once their module is imported.
PROGRAM = """
import atexit, functools, importlib, importlib.abc, importlib.util, json, sys, threading, time
began = time.monotonic()
spans_file, timed, entry, *arguments = sys.argv[1:]
timed, spans, lock = json.loads(timed), [], threading.Lock()

def wrap(phase, work):
    @functools.wraps(work)
    def run(*args, **options):
        start = time.monotonic()
        try:
            return work(*args, **options)
        finally:
            with lock:
                spans.append([phase, start - began, time.monotonic() - start])
    return run

def patch(module):
    for phase, path in timed[module.__name__]:
        owner, *names = [module, *path.split(".")]
        for name in names[:-1]:
            owner = getattr(owner, name, None)
        work = vars(owner).get(names[-1]) if owner is not None else None
        if isinstance(work, classmethod):
            setattr(owner, names[-1], classmethod(wrap(phase, work.__func__)))
        elif work is not None:
            setattr(owner, names[-1], wrap(phase, work))

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name not in timed:
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        if spec is not None:
            load = spec.loader.exec_module
            spec.loader.exec_module = lambda module: (load(module), patch(module))
        return spec

@atexit.register
def keep():
    with open(spans_file, "w") as file:
        json.dump(spans, file)

sys.meta_path.insert(0, Finder())
sys.argv = ["envbuilder", *arguments]
module, _, name = entry.partition(":")
getattr(importlib.import_module(module), name)()
"""


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--against", type=Path, metavar="DIR", help="another checkout")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument("--json", action="store_true", help="print JSON only")
    parser.add_argument(
        "--store", type=Path, metavar="DIR", help="a store with the artifacts and the server, to begin with"
    )
    options = parser.parse_args()
    # Else the CPU time of a stub whose server was killed, and which nobody waited for, is not counted.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
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
                link_tree(built[name], fresh)  # as it is after a build, without what verifications proved
                for kind in KINDS:
                    one = verify(checkouts[name], fresh)
                    runs[name][kind].append(one)
                    say(f"round {number + 1}, {name}, {kind}: {one['seconds']:.1f} s, CPU {one['cpu']:.1f} s")
                shutil.rmtree(fresh)
    return {"cpus": len(os.sched_getaffinity(0)), "rounds": options.rounds, **summary(runs)}


def prepare(name: str, checkout: Path, scratch: Path, seed: Path | None) -> Path:
    """Build the archive of ``cpu`` with a store of its own, and bring the server into that; return the folder."""
    say(f"{name}: building cpu")
    folder = scratch / name
    store = folder / "store"
    store.mkdir(parents=True)
    for kind in FETCHED if seed is not None else ():
        if seed is not None and (seed / kind).is_dir():
            link_tree(seed / kind, store / kind)
    run(checkout, store, "build", "cpu", "--interpreter-change", "--quiet", "--output", str(folder / "envs"))
    say(f"{name}: verifying once, for the server and for the caches of the system")
    fresh = scratch / f"{name}-fetched"
    link_tree(folder, fresh)
    verify(checkout, fresh)
    for kind in FETCHED:
        shutil.rmtree(store / kind, ignore_errors=True)
        link_tree(fresh / "store" / kind, store / kind)
    shutil.rmtree(fresh)
    return folder


def link_tree(source: Path, target: Path) -> None:
    """Copy a folder whose files are never changed."""
    shutil.copytree(source, target, symlinks=True, copy_function=os.link)


def run(checkout: Path, store: Path, *arguments: str) -> tuple[str, list[tuple[str, float, float]]]:
    """Run a command of *checkout* with *store*; return its output, and when phases began and how long they took."""
    own = checkout / ".venv" / "bin" / "python"
    project = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    env = {**os.environ, "ENVBUILDER_CACHE": str(store)}
    if not own.exists():
        env["PYTHONPATH"] = str(checkout)
    spans = store / "spans.json"
    command = [str(own if own.exists() else sys.executable), "-c", PROGRAM, str(spans), json.dumps(TIMED)]
    done = subprocess.run(
        [*command, project["scripts"]["envbuilder"], *arguments],
        cwd=checkout,
        env=env,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode not in (0, VERIFICATION_FAILED):
        sys.exit(f"error: {' '.join(arguments)} exited with {done.returncode}:\n{done.stdout}")
    return done.stdout, json.loads(spans.read_text(encoding="utf-8"))


def verify(checkout: Path, folder: Path) -> dict[str, Any]:
    """Verify the archive in *folder*, and return what it took."""
    (archive,) = (folder / "envs").glob("*.tar.gz")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    out, spans = run(checkout, folder / "store", "verify", str(archive), "--server", "--json")
    seconds = time.monotonic() - began
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    checks = [[check["id"], check["release"], check["status"]] for check in json.loads(out)["checks"]]
    wrong = [check for check in checks if check[2] != "passed"]
    if wrong:
        say(f"not passed: {wrong}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    first = min(start for _, start, _ in spans)
    phases: dict[str, dict[str, float]] = {"import": {"at": 0.0, "seconds": first}}
    for phase, start, took in spans:
        one = phases.setdefault(phase, {"at": start, "seconds": 0.0})
        one["at"], one["seconds"] = min(one["at"], start), one["seconds"] + took
    return {"seconds": seconds, "cpu": cpu, "phases": phases, "checks": checks}


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
