"""Images of a fleet over one torch, through a real registry on loopback: ``python -m tests.benchmarks.images``.

Every recipe is ``cpu`` and one small wheel of its own; all are built, and each archive is removed once it was pushed.
Ratios are what counts, each of one run. Needs docker-registry, the artifacts of ``cpu`` (fetched into the store where
they are not there) and some 2 GB of disk; with ``--starts`` a tritonserver, root, umoci and erofs-utils, too.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from envbuilder import api
from envbuilder.archive.plan import BASE, OWN, find_plan
from envbuilder.base.interpreter import describe, find_interpreter
from envbuilder.building.build import build
from envbuilder.cli.tables import show_table
from envbuilder.config.settings import load_settings
from envbuilder.images.write import write_image
from envbuilder.lockfile.check import check_lock
from envbuilder.lockfile.model import Lock
from envbuilder.recipe.load import find_recipe
from envbuilder.recipe.model import Recipe
from envbuilder.registry.reference import Reference, parse_reference
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from envbuilder.transfer.images import pull_image, push_image
from envbuilder.util.files import file_sha256
from envbuilder.util.resources import sample_model
from tests.helpers.images import mounted, umoci
from tests.helpers.registries import docker_registry
from tests.helpers.wheels import write_wheel

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 5
CUDA_ENVIRONMENTS = 200


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the result."""

    what: str
    value: float
    goal: str = ""
    kind: str = "measured"


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipes", type=int, default=60, help="how many in the registry; default: 60")
    parser.add_argument("--starts", action="store_true", help="start a server from a mounted image, too")
    parser.add_argument("--json", action="store_true", help="print JSON only")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="images-") as folder:
        rows = _run(Path(folder), max(options.recipes, 3), starts=options.starts)
    if options.json:
        print(json.dumps({"cores": os.cpu_count(), "rows": [asdict(row) for row in rows]}, indent=1))
    else:
        lines = [(row.what, f"{row.value:,.4g}", row.goal, row.kind) for row in rows]
        show_table(["", "", "goal", ""], lines)


def _run(folder: Path, recipes: int, *, starts: bool) -> list[Row]:
    recipe = find_recipe("cpu", ROOT)
    locked = check_lock(recipe)
    lock = dataclasses.replace(locked, interpreter=describe(find_interpreter(locked.python)))
    settings = load_settings(ROOT / "recipes", find_links=(str(folder / "own"),))
    session = Session(settings=settings, store=Store.open())
    first = _build(folder, recipe, lock, 0, session, "N = 0\n")
    rows = _image_against_copy(first, folder, session)
    if starts:
        rows.append(_starts(first, folder, session))
    with docker_registry(folder / "registry") as host:
        sent, sizes = [], []
        for number in range(recipes):
            archive = (
                first if not number else _build(folder, recipe, lock, number, session, f"N = {number}\n")
            )
            sent.append(_push(archive, folder, _reference(host, number, "v1"), session))
            sizes.append(archive.stat().st_size)
            if number:
                archive.unlink()
        registry = _bytes_in(folder / "registry" / "data")
        # A machine that has the first environment pulls it with another bytes of its small wheel.
        machine = Session(settings=settings, store=Store.open(folder / "machine"))
        pull_image(_reference(host, 0, "v1"), folder / "pulled", machine)
        patched = _build(folder, recipe, lock, 0, session, "N = 'patched'\n")
        _push(patched, folder, _reference(host, 0, "v2"), session)
        pulled = pull_image(_reference(host, 0, "v2"), folder / "pulled", machine)
        assert pulled.sha256 == file_sha256(pulled.archive) == file_sha256(patched)
    rows += [
        Row(what="second environment pushed / first", value=sent[1] / sent[0], goal="≤ 0.02"),
        Row(
            what="small wheel patched: pulled / image", value=(pulled.moved or 0) / pulled.size, goal="≤ 0.02"
        ),
        Row(
            what=f"{recipes} recipes: bytes on the registry's disk / sum of archives",
            value=registry / sum(sizes),
            goal="≤ 0.1",
        ),
    ]
    return [*rows, *_calculated(first, lock, session, statistics.median(sent[1:]))]


def _reference(host: str, number: int, tag: str) -> Reference:
    return parse_reference(f"oci://{host}/envs/cpu{number}:{tag}")


def _build(folder: Path, recipe: Recipe, lock: Lock, number: int, session: Session, text: str) -> Path:
    wheel = write_wheel(folder / "own", f"own{number}", files={f"own{number}.py": text.encode()})
    artifacts = tuple(sorted((*lock.artifacts, wheel), key=lambda artifact: artifact.name))
    return build(
        dataclasses.replace(recipe, name=f"cpu{number}"),
        dataclasses.replace(lock, recipe=f"cpu{number}", artifacts=artifacts),
        session,
        output=folder / "envs",
        interpreter_change=True,
    ).archive


def _push(archive: Path, folder: Path, reference: Reference, session: Session) -> int:
    """Push an archive's image, without an SBOM; return the bytes sent. All are in one layout, which has most layers."""
    name = f"{reference.repository}-{reference.tag}".replace("/", "-")
    write_image([archive], folder / "layout", session, name=name)
    return push_image(folder / "layout", reference, session, name=name).moved or 0


# -- an image against a copy -----------------------------------------------------------------------


def _image_against_copy(archive: Path, folder: Path, session: Session) -> list[Row]:
    """Time an image of which everything is known, and a copy of the archive, in turns; neither is synced to disk."""
    write_image([archive], folder / "warm", session)
    shutil.rmtree(folder / "warm")
    program, place = [sys.executable, "-m", "envbuilder", "image"], folder / "made"
    acts: dict[str, Callable[[], object]] = {
        "copy": lambda: shutil.copy(archive, place),
        "image": lambda: write_image([archive], place, session),
        "cp": lambda: subprocess.run(["cp", archive, place], check=True),
        "command": lambda: subprocess.run(
            [*program, "-q", archive, "-o", place], check=True, cwd=ROOT, stdout=subprocess.DEVNULL
        ),
        "start": lambda: subprocess.run(
            [*program, "--help"], check=True, cwd=ROOT, stdout=subprocess.DEVNULL
        ),
    }
    seconds: dict[str, list[float]] = {name: [] for name in acts}
    for _ in range(ROUNDS):
        for name, act in acts.items():
            os.sync()
            began = time.perf_counter()
            act()
            seconds[name].append(time.perf_counter() - began)
            if place.is_dir():
                shutil.rmtree(place)
            place.unlink(missing_ok=True)
    best = {name: min(found) for name, found in seconds.items()}
    return [
        Row(
            what="image after build, nothing to hash / copy", value=best["image"] / best["copy"], goal="≤ 1.5"
        ),
        Row(what="the same as commands: envbuilder image / cp", value=best["command"] / best["cp"]),
        Row(what="start of the program alone (--help) / cp", value=best["start"] / best["cp"]),
        Row(what="seconds: cp", value=best["cp"]),
    ]


# -- a server from a mount -------------------------------------------------------------------------


def _starts(archive: Path, folder: Path, session: Session) -> Row:
    write_image([archive], folder / "served.oci", session)
    umoci(folder / "served.oci", "cpu0", folder / "bundle")
    with mounted(folder / "bundle" / "rootfs", folder) as place:
        shutil.rmtree(folder / "bundle")
        found = api.bench_start(
            archive, [sample_model()], uncompiled=False, rounds=1, mounted_at=place, session=session
        )
    (model,) = found.models
    assert model.mounted_ratio is not None
    for line in found.lines():
        print(line, file=sys.stderr)
    return Row(what="baseline's start / start from the mount", value=model.mounted_ratio, goal="≥ 8")


# -- what follows ----------------------------------------------------------------------------------


def _calculated(archive: Path, lock: Lock, session: Session, own: float) -> list[Row]:
    """Calculate a fleet with CUDA: wheels as its lock says, packed as those measured; what each has of its own, too."""
    plan = find_plan(session.store, file_sha256(archive))
    assert plan is not None
    wheels = sum(part.size for part in plan.parts if part.label not in (BASE, OWN))
    packed = wheels / sum(artifact.size or 0 for artifact in lock.artifacts)
    cuda = sum(artifact.size or 0 for artifact in check_lock(find_recipe("cuda", ROOT)).artifacts)
    one = sum(part.size for part in plan.parts if part.label in (BASE, OWN)) + cuda * packed
    fleet = one + (CUDA_ENVIRONMENTS - 1) * own
    name = f"{CUDA_ENVIRONMENTS} environments with CUDA, GB"
    return [
        Row(what=f"{name}: in the registry, and packed on a node", value=fleet / 1e9, kind="calculated"),
        Row(what=f"{name}: as archives", value=CUDA_ENVIRONMENTS * one / 1e9, kind="calculated"),
        Row(what=f"{name}: one of them", value=one / 1e9, kind="calculated"),
    ]


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
