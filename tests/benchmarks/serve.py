"""Serving, side by side in one real server: ``python -m tests.benchmarks.serve [--baseline FILE] [--json]``.

Ours; the runtime in ``--baseline FILE`` (for instance ``src/model.py`` of Triton's PyTorch backend); and the ceiling,
a model that computes nothing. Measured by NVIDIA's ``perf_analyzer`` over gRPC, which the wheels of tritonclient up to
2.44 hold; the libraries that it needs (libb64, libcudart) are those in the server's wheel. Environment, server and
perf_analyzer come from the store, or are built and fetched into it.

The server, the client and the model share this machine's CPUs with whatever else runs on it, and its speed drifts. So
all runtimes are loaded at once, in one server, and are asked in turn, in many short windows (ABC, BCA, CAB, …). What
counts is the ratio of two windows of one round; told are its median over the rounds and the middle half of it. The CPU
time of a request, of server, stub and client, says where the time goes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from envbuilder import api
from envbuilder.config.settings import Settings, load_settings
from envbuilder.deployment.runtime_files import runtime_files
from envbuilder.errors import EnvbuilderError
from envbuilder.fetch.artifacts import fetch
from envbuilder.lockfile.model import Artifact
from envbuilder.recipe.load import load_recipe
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from envbuilder.verification.server.tritonserver import RunningServer, StartOptions, TritonServer, find_server
from tests.benchmarks.serve_models import DEFAULT, MODELS, SAMPLES, Sample

ROOT = Path(__file__).resolve().parents[2]
CLIENT_WHEEL = Artifact(
    name="tritonclient",
    version="2.44.0",
    filename="tritonclient-2.44.0-py3-none-manylinux1_x86_64.whl",
    sha256="ed8a64ecbb7594ea196dfdc9678d6356b24fdf484995f53400004a195ef33749",
    size=12538838,
)
BASELINE = "baseline"
PLACES = ("server", "stub", "client")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--baseline", type=Path, metavar="FILE", help="another runtime to compare with")
    parser.add_argument("--json", action="store_true", help="print JSON only")
    parser.add_argument(
        "--models", default=",".join(DEFAULT), help=f"of {', '.join(SAMPLES)}; default: %(default)s"
    )
    parser.add_argument("--concurrency", default="1,8,32", help="default: 1,8,32")
    parser.add_argument(
        "--rounds", type=int, default=12, help="windows of each runtime at each concurrency; default: 12"
    )
    parser.add_argument("--seconds", type=float, default=1.0, help="of a window; default: 1")
    parser.add_argument(
        "--environment", type=Path, metavar="DIR", help="an extracted environment; default: builds cpu"
    )
    parser.add_argument("--precompile", action="store_true", help="serve ours from an AOTInductor package")
    parser.add_argument("--threads", help="NUM_THREADS for every runtime; default: what each chooses")
    options = parser.parse_args()
    try:
        results = run(options)
    except EnvbuilderError as error:
        sys.exit(f"error: {error}")
    print(json.dumps(results, indent=1) if options.json else report(results))


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure every model that was asked for."""
    settings, store = load_settings(ROOT), Store.open()
    server = find_server(None, Session(settings=settings, store=store))
    results: dict[str, Any] = {
        "cpus": len(os.sched_getaffinity(0)),
        "server": server.describe(),
        "models": {},
    }
    with tempfile.TemporaryDirectory(prefix="envbuilder-serve-") as scratch:
        folder = Path(scratch)
        environment = (options.environment or build_environment(folder / "environment", store)).resolve()
        analyzer = Analyzer(folder / "analyzer", server, settings, store)
        for name in options.models.split(","):
            say(f"{name}: starting the server")
            with serving(SAMPLES[name], server, environment, folder / name, options) as running:
                results["models"][name] = measure(SAMPLES[name], running, analyzer, options)
    return results


def say(text: str) -> None:
    """Tell progress."""
    print(text, file=sys.stderr, flush=True)


def build_environment(folder: Path, store: Store) -> Path:
    """Build the recipe ``cpu`` and extract it."""
    say("building the recipe cpu")
    recipe = load_recipe(ROOT / "recipes" / "cpu.yaml")
    folder.mkdir()
    built = api.build(
        recipe, output=folder / "envs", interpreter_change=True, session=Session.open(store=store)
    )
    subprocess.run(["tar", "-xzf", built.archive, "-C", folder], check=True)
    return folder


class Analyzer:
    """NVIDIA's perf_analyzer."""

    def __init__(self, folder: Path, server: TritonServer, settings: Settings, store: Store) -> None:
        folder.mkdir()
        ((_, wheel),) = fetch([CLIENT_WHEEL], "pypi", Session(settings=settings, store=store))
        with zipfile.ZipFile(wheel) as archive:
            member = next(name for name in archive.namelist() if name.endswith("/bin/perf_analyzer"))
            self._binary = Path(archive.extract(member, folder))
        self._binary.chmod(0o755)
        for library, pattern in (
            ("libb64.so.0d", "libb64-*.so.0d"),
            ("libcudart.so.12", "libcudart-*.so.12*"),
        ):
            for place in server.libraries:
                for file in place.glob(pattern):
                    (folder / library).symlink_to(file)
        self._env = {"PATH": "/usr/bin:/bin", "LD_LIBRARY_PATH": str(folder)}

    def measure(
        self, running: RunningServer, model: str, concurrency: int, seconds: float, shape: str | None
    ) -> dict[str, float]:
        """Ask *model* for one row at a time, and return the figures of that run."""
        command = [str(self._binary), "-m", model, "-u", running.grpc, "-i", "grpc", "--input-data", "zero"]
        command += [
            "--concurrency-range",
            str(concurrency),
            "--measurement-interval",
            str(int(seconds * 1000)),
        ]
        command += ["-r", "1", "-s", "999", "-v", *(["--shape", shape] if shape else [])]
        before = counters(running, model)
        done = subprocess.run(command, env=self._env, capture_output=True, text=True, check=False)
        after = counters(running, model)
        found = re.findall(r"throughput: ([\d.]+) infer/sec", done.stdout, re.IGNORECASE)
        if not found:
            sys.exit(f"error: perf_analyzer measured nothing for {model}:\n{done.stdout}{done.stderr}")
        spent = {key: late - before[key] for key, late in after.items()}
        each = {f"{place}_us": spent[place] / spent["requests"] * 1e6 for place in PLACES}
        return {"throughput": float(found[-1]), "batch": spent["requests"] / spent["calls"], **each}


def counters(running: RunningServer, model: str) -> dict[str, float]:
    """Return the requests and calls that *model* has had, and the CPU seconds of server, its stub and clients."""
    with contextlib.closing(tritonclient.grpc.InferenceServerClient(running.grpc)) as client:
        (stats,) = client.get_inference_statistics(model).model_stats
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = {"server": 0.0, "stub": 0.0, "client": spent.ru_utime + spent.ru_stime}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
            seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            if int(entry.name) == running.pid:
                cpu["server"] += seconds
            elif f"\0{model}_0_".encode() in (entry / "cmdline").read_bytes():
                cpu["stub"] += seconds if int(fields[2]) == running.pid else 0.0
    return {"requests": float(stats.inference_count), "calls": float(stats.execution_count), **cpu}


@contextlib.contextmanager
def serving(
    sample: Sample, server: TritonServer, environment: Path, folder: Path, options: argparse.Namespace
) -> Iterator[RunningServer]:
    """Serve *sample* by each runtime, in one server."""
    repository, backends = folder / "repository", folder / "backends"
    for runtime in runtimes(options):
        version = repository / runtime / "1"
        version.mkdir(parents=True)
        (repository / runtime / "config.pbtxt").write_text(
            configuration(sample, runtime, environment, options)
        )
        (version / "model.py").write_text(sample.source())
    for path, file in runtime_files("torch_runtime.py").items():
        (repository / "ours" / "1" / path).parent.mkdir(exist_ok=True)
        shutil.copy(file, repository / "ours" / "1" / path)
    if options.precompile:
        for one in api.compile_model(repository / "ours"):
            say(f"{sample.name}: {one.line()}")
    shutil.copy(Path(__file__).with_name("nothing.py"), repository / "ceiling" / "1" / "torch_runtime.py")
    if options.baseline:
        # As a Python-based backend, where nothing of it but the locale has to be changed: with the stub's own one,
        # torch 2.13 cannot import Inductor.
        place = backends / BASELINE
        place.mkdir(parents=True)
        locale = 'import locale; locale.setlocale(locale.LC_CTYPE, "C.UTF-8")\n'
        head, future, body = options.baseline.read_text().rpartition("from __future__ import annotations\n")
        (place / "model.py").write_text(head + future + locale + body)
    with server.start(
        repository,
        python="3.11",
        log=folder / "server.log",
        options=StartOptions(
            backends=backends if options.baseline else None,
            env={"TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor")},
        ),
    ) as running:
        yield running


def runtimes(options: argparse.Namespace) -> list[str]:
    """Return what is compared."""
    return ["ours", *([BASELINE] if options.baseline else []), "ceiling"]


def configuration(sample: Sample, runtime: str, environment: Path, options: argparse.Namespace) -> str:
    """Return the sample's config.pbtxt with the first input and output, for *runtime*."""
    text = (MODELS / sample.folder / "config.pbtxt").read_text()
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    del config.input[1:], config.output[1:]
    if not sample.integers:
        config.input[0].dims[:] = sample.shape
    config.parameters.clear()
    config.parameters["EXECUTION_ENV_PATH"].string_value = str(environment)
    if options.threads:
        config.parameters["NUM_THREADS"].string_value = options.threads
    if runtime == "ours":
        config.parameters["MODEL_CLASS"].string_value = sample.serve
    if runtime == BASELINE:
        config.backend, config.runtime = BASELINE, "model.py"
        config.ClearField("default_model_filename")
    return text_format.MessageToString(config)


def measure(
    sample: Sample, running: RunningServer, analyzer: Analyzer, options: argparse.Namespace
) -> dict[str, Any]:
    """Sweep over all batch sizes right after start, then measure throughput in alternating rounds."""
    compared = runtimes(options)
    result: dict[str, Any] = {"sweep": {}, "throughput": {}}
    for runtime in compared:
        result["sweep"][runtime] = sweep(sample, running, runtime)
    shape = f"ids:{sample.shape[0]}" if sample.integers else None
    asked = [int(number) for number in options.concurrency.split(",")]
    for runtime in compared:
        for concurrency in asked:
            warm_up(lambda: analyzer.measure(running, runtime, concurrency, 4, shape)["throughput"])  # noqa: B023
    for concurrency in asked:
        rounds: dict[str, list[dict[str, float]]] = {runtime: [] for runtime in compared}
        for number in range(options.rounds):
            first = number % len(compared)
            for runtime in [*compared[first:], *compared[:first]]:
                window = analyzer.measure(running, runtime, concurrency, options.seconds, shape)
                rounds[runtime].append(window)
            told = {runtime: round(windows[-1]["throughput"]) for runtime, windows in rounds.items()}
            say(f"{sample.name}, concurrency {concurrency}: {told}")
        result["throughput"][str(concurrency)] = summary(rounds)
    return result


def warm_up(measure: Callable[[], float]) -> None:
    """Measure until that is not faster any more: a runtime that compiles for each number of requests does so here."""
    best = measure()
    for _ in range(10):
        found = measure()
        if found < 1.05 * best:
            return
        best = found


def summary(rounds: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Return each runtime's medians over its *rounds*, and ours by the others' of the same round."""
    medians = {
        runtime: {key: statistics.median(window[key] for window in windows) for key in windows[0]}
        for runtime, windows in rounds.items()
    }
    ratios = {}
    for other, windows in rounds.items():
        pairs = [
            ours["throughput"] / window["throughput"]
            for ours, window in zip(rounds["ours"], windows, strict=True)
        ]
        low, median, high = statistics.quantiles(pairs, n=4) if len(pairs) > 1 else pairs * 3
        ratios[other] = {"median": median, "low": low, "high": high}
    del ratios["ours"]
    return {"medians": medians, "ours_by": ratios, "rounds": rounds}


def sweep(sample: Sample, running: RunningServer, runtime: str) -> dict[str, float]:
    """Ask every batch size once, from 1 on, and return milliseconds: median, slowest, and their ratio."""
    with contextlib.closing(tritonclient.grpc.InferenceServerClient(running.grpc)) as client:
        config = client.get_model_config(runtime).config
        (described,) = config.input  # what was asked here has connected the client, too
        kind = "INT64" if sample.integers else "FP32"
        seconds = []
        for size in range(1, config.max_batch_size + 1):
            data = np.zeros((size, *sample.shape), np.int64 if kind == "INT64" else np.float32)
            tensor = tritonclient.grpc.InferInput(described.name, data.shape, kind)
            tensor.set_data_from_numpy(data)
            began = time.monotonic()
            client.infer(runtime, [tensor])
            seconds.append(time.monotonic() - began)
    middle, slowest = statistics.median(seconds), max(seconds)
    return {"median_ms": middle * 1e3, "slowest_ms": slowest * 1e3, "slowest_by_median": slowest / middle}


def report(results: dict[str, Any]) -> str:
    """Return the results as a table."""
    lines = [f"{results['server']}, {results['cpus']} CPUs", ""]
    for name, result in results["models"].items():
        lines.append(f"{name}: all batch sizes right after start, ms")
        for runtime, figures in result["sweep"].items():
            lines.append(
                f"  {runtime:10} median {figures['median_ms']:8.2f}  slowest {figures['slowest_ms']:9.2f}"
                f"  ratio {figures['slowest_by_median']:7.1f}"
            )
        lines.append(f"{name}: requests in a second, rows a call, CPU microseconds a request")
        for concurrency, figures in result["throughput"].items():
            lines.append(f"  concurrency {concurrency}")
            for runtime, of in figures["medians"].items():
                cpu = ", ".join(f"{place} {of[f'{place}_us']:5.1f}" for place in PLACES)
                lines.append(f"    {runtime:10} {of['throughput']:8.0f}/s {of['batch']:5.1f} rows   {cpu} us")
            for other, ratio in figures["ours_by"].items():
                half = f"half of the rounds within {ratio['low']:.2f} and {ratio['high']:.2f}"
                lines.append(f"    ours by {other}: {ratio['median']:.2f}, {half}")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
