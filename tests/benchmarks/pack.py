"""Packing, side by side with conda-pack on the same files, in one run: ``python -m tests.benchmarks.pack``.

Needs ``bsdtar`` (Debian: libarchive-tools), the artifacts of the recipes (fetched into the store where they are not
there), and disk: about 25 GB for the recipe ``cuda``. Each figure is of a process of its own. The store knows the
machine's interpreter, as after any build; cold is with no segment and no listing in it. Ratios are what counts:
conda-pack's seconds divided by ours (``copy_ratio``, ``size_ratio``, ``extract_ratio`` and ``build_ratio``: ours
divided by the other's).
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from uv import find_uv_bin

from envbuilder.base.interpreter import find_interpreter
from envbuilder.building.build import build
from envbuilder.cli.tables import show_table
from envbuilder.config.settings import Settings, load_settings
from envbuilder.fetch.artifacts import fetch
from envbuilder.lockfile.check import check_lock
from envbuilder.lockfile.pylock import lock_path
from envbuilder.recipe.load import find_recipe
from envbuilder.recipe.model import PackOptions, Recipe
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from envbuilder.util.malloc import keep_freed_memory
from envbuilder.util.text import human

ROOT = Path(__file__).resolve().parents[2]
SAME_FILES = PackOptions(bytecode=False, exclude=())
"""What conda-pack packs of an installed prefix."""
DEFAULTS = PackOptions()


def main() -> None:
    """Run the benchmark for the recipes named, or one measured process of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipes", nargs="*", default=["cpu", "cuda"], help="default: cpu cuda")
    parser.add_argument("--json", action="store_true", help="print JSON only")
    parser.add_argument("--rounds", type=int, default=1, help="measure each this often, take the median")
    parser.add_argument(
        "--from-index", action="store_true", help="also build from an empty store, against uv"
    )
    parser.add_argument(
        "--levels", action="store_true", help="only compare pack: {level: …} and uncompressed"
    )
    parser.add_argument(
        "--folder", type=Path, default=None, help="where to work; default: a temporary folder"
    )
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(_measured(options.measure)))
        return
    results = {}
    for name in options.recipes:
        with tempfile.TemporaryDirectory(prefix="pack-", dir=options.folder) as folder:
            bench = Bench(find_recipe(name, ROOT), Path(folder), options.rounds)
            results[name] = bench.levels() if options.levels else bench.run(options.from_index)
    if options.json:
        print(json.dumps(results, indent=1))
        return
    columns = list(dict.fromkeys(key for result in results.values() for key in result))
    rows = [[key, *(_cell(key, result.get(key)) for result in results.values())] for key in columns]
    show_table(["", *results], rows)


def _cell(key: str, value: float | None) -> str:
    if value is None:
        return ""
    return human(value) if key.endswith("_bytes") else f"{value:.2f}"


class Bench:
    """One recipe's figures, made in *folder*."""

    def __init__(self, recipe: Recipe, folder: Path, rounds: int) -> None:
        self.recipe = recipe
        self.lock = check_lock(recipe)
        self.folder = folder
        self.rounds = rounds
        self.settings = load_settings(recipe.path.parent)
        self.store = self._store_of_artifacts(folder / "store")

    def run(self, from_index: bool) -> dict[str, float]:
        """Return the figures by name."""
        cold = self._times("ours", lambda: self._forget("segments"), pack="same")
        warm = self._times("ours", self._forget_builds, pack="same")
        changed = self._times("ours", self._change_one, pack="same")
        prefix = self.folder / "prefix"
        prefix.mkdir()
        archive = next((self.folder / "out").glob("*.tar.gz"))
        subprocess.run(["bsdtar", "-xf", archive, "-C", prefix], check=True)
        theirs = self.folder / "theirs.tar.gz"
        one = self._median("conda-pack", str(prefix), str(theirs), "1")
        two = self._median("conda-pack", str(prefix), str(theirs), "2")
        copy = self._median("copy", str(archive), str(self.folder / "copy"))
        figures = {
            "cold_ratio": one["seconds"] / cold["seconds"],
            "cold_j2_ratio": two["seconds"] / cold["seconds"],
            "warm_ratio": one["seconds"] / warm["seconds"],
            "changed_ratio": one["seconds"] / changed["seconds"],
            "copy_ratio": warm["seconds"] / copy["seconds"],
            "size_ratio": archive.stat().st_size / theirs.stat().st_size,
            "peak_mb": max(cold["peak_mb"], warm["peak_mb"]),
            "extract_ratio": self._extraction(archive) / self._extraction(theirs),
            "cold_seconds": cold["seconds"],
            "warm_seconds": warm["seconds"],
            "changed_seconds": changed["seconds"],
            "conda_pack_seconds": one["seconds"],
            "conda_pack_j2_seconds": two["seconds"],
            "copy_seconds": copy["seconds"],
            "archive_bytes": archive.stat().st_size,
            "conda_pack_bytes": theirs.stat().st_size,
        }
        figures |= self._default_sizes(prefix, theirs)
        if from_index:
            figures |= self._from_index()
        return figures

    def levels(self) -> dict[str, float]:
        """Return size, packing time (segments made anew, bytecode aside) and extraction time by option."""
        figures: dict[str, float] = {}
        for option in ("0", "1", "4", "6", "9", "uncompressed"):
            made = self._times("ours", lambda: self._forget("segments"), pack=option)
            archive = next((self.folder / "out").glob("*.tar*"))
            figures[f"{option}: archive_bytes"] = archive.stat().st_size
            figures[f"{option}: pack seconds"] = made["seconds"]
            figures[f"{option}: extract seconds"] = self._extraction(archive)
        return figures

    # -- measured processes ------------------------------------------------------------------------

    def _times(self, what: str, before: Callable[[], None], pack: str) -> dict[str, float]:
        rounds = []
        for _ in range(self.rounds):
            before()
            shutil.rmtree(self.folder / "out", ignore_errors=True)
            rounds.append(
                _measure(what, str(self.recipe.path), str(self.store.root), str(self.folder / "out"), pack)
            )
        return _median(rounds)

    def _median(self, what: str, *args: str) -> dict[str, float]:
        return _median([_measure(what, *args) for _ in range(self.rounds)])

    def _extraction(self, archive: Path) -> float:
        """Return the processor seconds of bsdtar: the disk is noisy."""
        seconds = []
        for _ in range(max(self.rounds, 3)):
            with _fresh(self.folder / "extracted") as place:
                before = resource.getrusage(resource.RUSAGE_CHILDREN)
                subprocess.run(["bsdtar", "-xf", archive, "-C", place], check=True)
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
            seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        return min(seconds)

    def _default_sizes(self, prefix: Path, theirs: Path) -> dict[str, float]:
        """Compare what a user gets: our defaults against conda-pack of everything, bytecode in both."""
        shutil.rmtree(self.folder / "out", ignore_errors=True)
        _measure("ours", str(self.recipe.path), str(self.store.root), str(self.folder / "out"), "default")
        ours = next((self.folder / "out").glob("*.tar.gz")).stat().st_size
        library = f"lib/python{self.lock.python}"
        subprocess.run(
            [prefix / "bin/python3", "-m", "compileall", "-qq", "-j", "2", prefix / library],
            check=False,  # some of a library's tests are no valid Python
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        theirs.unlink()
        _measure("conda-pack", str(prefix), str(theirs), "2")
        return {"size_default_ratio": ours / theirs.stat().st_size, "default_bytes": ours}

    def _from_index(self) -> dict[str, float]:
        """Compare a build from nothing with ``uv pip install`` of the same lock from nothing."""
        shutil.rmtree(self.folder / "out", ignore_errors=True)
        with _fresh(self.folder / "empty-store") as empty:
            args = (str(self.recipe.path), str(empty), str(self.folder / "out"), "default")
            ours = _measure("ours", *args, "from-index")  # no option: argparse would take it for its own
        copy = self.folder / lock_path(self.recipe).name
        uv = _measure("uv", str(self.recipe.path), str(copy), str(self.folder / "installed"))
        return {
            "build_ratio": ours["seconds"] / uv["seconds"],
            "build_seconds": ours["seconds"],
            "uv_seconds": uv["seconds"],
        }

    # -- states of the store -----------------------------------------------------------------------

    def _store_of_artifacts(self, root: Path) -> Store:
        store = Store(root=root, limit=None)
        shared = Store.open()
        for artifact, path in fetch(
            self.lock.artifacts, self.lock.cuda, Session(settings=self.settings, store=shared)
        ):
            place = store.entry_path("artifacts", artifact.sha256)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)
        find_interpreter(self.lock.python, locked=self.lock.interpreter, store=store)
        return store

    def _forget(self, *kinds: str) -> None:
        for kind in (*kinds, "builds", "listings"):
            shutil.rmtree(self.store.root / kind, ignore_errors=True)

    def _forget_builds(self) -> None:
        shutil.rmtree(self.store.root / "builds", ignore_errors=True)

    def _change_one(self) -> None:
        """Leave the store as it is when one small package of the lock was replaced."""
        smallest = min(self.lock.artifacts, key=lambda artifact: artifact.size)
        self._forget_builds()
        for entry in self.store.entries():
            if entry.kind == "segments" and f'"{smallest.filename}"' in _facts(entry.paths[0]):
                shutil.rmtree(entry.paths[0])


def _facts(folder: Path) -> str:
    return (folder / "segment.json").read_text()


@contextlib.contextmanager
def _fresh(folder: Path) -> Iterator[Path]:
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _median(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}


def _measure(*args: str) -> dict[str, float]:
    os.sync()  # what the one before has still to write is not this one's time
    done = subprocess.run(
        [sys.executable, "-m", __spec__.name, "--measure", *args],
        check=True,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    result: dict[str, float] = json.loads(done.stdout)
    return result


# -- inside a measured process -----------------------------------------------------------------------


def _measured(args: list[str]) -> dict[str, Any]:
    what, *rest = args
    measured: dict[str, Callable[..., float]] = {
        "ours": _ours,
        "conda-pack": _conda_pack,
        "copy": _copy,
        "uv": _uv,
    }
    seconds = measured[what](*rest)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "peak_mb": peak}


def _ours(recipe_path: str, store: str, output: str, pack: str, source: str = "") -> float:
    recipe = find_recipe(recipe_path, ROOT)
    lock = check_lock(recipe)
    recipe = dataclasses.replace(recipe, pack=_options(pack))
    settings = load_settings(recipe.path.parent) if source else Settings(no_index=True)
    keep_freed_memory()
    begun = time.perf_counter()
    build(
        recipe,
        lock,
        Session(settings=settings, store=Store(root=Path(store), limit=None)),
        output=Path(output),
        interpreter_change=True,
    )
    return time.perf_counter() - begun


def _options(pack: str) -> PackOptions:
    if pack == "uncompressed":
        return PackOptions(bytecode=False, uncompressed=True)
    if pack.isdigit():
        return PackOptions(bytecode=False, level=int(pack))
    return SAME_FILES if pack == "same" else DEFAULTS


def _conda_pack(prefix: str, out: str, threads: str) -> float:
    import conda_pack

    begun = time.perf_counter()
    conda_pack.pack(prefix=prefix, output=out, n_threads=int(threads), force=True)
    return time.perf_counter() - begun


def _copy(source: str, target: str) -> float:
    begun = time.perf_counter()
    shutil.copyfile(source, target)
    digest = hashlib.sha256()
    with Path(source).open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    seconds = time.perf_counter() - begun
    Path(target).unlink()
    return seconds


def _uv(recipe_path: str, copy: str, target: str) -> float:
    """Install a lock by uv from the index: each package by version and hash, into an empty folder and cache."""
    recipe = find_recipe(recipe_path, ROOT)
    lock = check_lock(recipe)
    settings = load_settings(recipe.path.parent)
    interpreter = find_interpreter(lock.python, locked=lock.interpreter)
    lines = [f"{a.name}=={a.version} --hash=sha256:{a.sha256}" for a in lock.artifacts]
    requirements = Path(copy).with_suffix(".txt")
    requirements.write_text("\n".join(lines) + "\n")
    command = [find_uv_bin(), "pip", "install", "--no-config", "--no-deps", "--quiet"]
    command += ["--python", str(interpreter.executable), "--target", target, "-r", str(requirements)]
    command += ["--default-index", settings.index_url, "--link-mode", "copy"]
    for link in settings.find_links:
        command += ["--find-links", link]
    with tempfile.TemporaryDirectory(dir=Path(copy).parent) as cache:
        begun = time.perf_counter()
        subprocess.run(command, env={**os.environ, "UV_CACHE_DIR": cache}, check=True)
        seconds = time.perf_counter() - begun
    shutil.rmtree(target)
    return seconds


if __name__ == "__main__":
    main()
