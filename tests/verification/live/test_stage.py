"""Models deployed with an archive, and the environment run with them, launched as each release launches it."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envbuilder.catalog.triton import find_release
from envbuilder.config.settings import Settings
from envbuilder.progress import SILENT
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from envbuilder.verification.live.launch import Sandbox
from envbuilder.verification.live.model_deployment import ModelChoice
from envbuilder.verification.live.run_probe import Probed
from envbuilder.verification.live.stage import LiveStage
from envbuilder.verification.report import Check
from envbuilder.verification.static import loader
from envbuilder.verification.static.extracted import Archive, open_archive
from tests.helpers.environments import SITE, Tree, environment, manifest, pack
from tests.helpers.notes import Notes
from tests.helpers.own_models import FLOATS, HEAD, ONE, write
from tests.helpers.packages import distribution, opened
from tests.helpers.probes import served

GL = "libGL.so.1: cannot open shared object file: No such file or directory"
DOUBLE = (
    HEAD
    + ONE
    + """
    def answer(self, request):
        x = pb_utils.get_input_tensor_by_name(request, "X").as_numpy()
        return pb_utils.InferenceResponse([pb_utils.Tensor("Y", x * 2)])
"""
)


def with_numpy(folder: Path) -> Tree:
    """A file that lets the environment import NumPy, and nothing else of the tests' own."""
    site = Path(np.__file__).parents[1]
    (folder / "numpy-only").mkdir()
    for path in (*site.glob("numpy"), *site.glob("numpy.libs")):
        (folder / "numpy-only" / path.name).symlink_to(path)
    return {f"{SITE}/here.pth": os.fsencode(f"{folder}/numpy-only\n")}


def stage_of(
    folder: Path, archive: Archive, sandbox: Sandbox, model: Path | None, releases: Sequence[str] = ("24.10",)
) -> LiveStage:
    assert archive.manifest is not None
    (folder / "scratch").mkdir()
    return LiveStage(
        extracted=archive,
        sandbox=sandbox,
        manifest=archive.manifest,
        releases=[find_release(name) for name in releases],
        choice=ModelChoice(model=model),
        compile={},
        session=Session(settings=Settings(), store=Store.open(folder / "store"), reporter=Notes()),
        scratch=folder / "scratch",
    )


def stage(folder: Path, model: Path | None, tree: Tree | None = None, **options: Any) -> LiveStage:
    """Return the stage of an environment that runs, with *tree* in it."""
    archive, sandbox = opened({**with_numpy(folder), **(tree or {})}, folder)
    return stage_of(folder, archive, sandbox, model, **options)


def stage_of_nothing_that_runs(folder: Path, model: Path) -> LiveStage:
    """Return the stage of an archive under a name of its own, whose Python exits with 3."""
    tree = environment()
    path = pack(tree, folder, listed=tree).rename(folder / "own.tar.gz")
    sandbox = Sandbox.make(folder / "root", isolate=False)
    return stage_of(folder, open_archive(path, sandbox.environment, lambda _: [], SILENT), sandbox, model)


def by_id(checks: Sequence[Check]) -> dict[str, list[Check]]:
    return {id: [one for one in checks if one.id == id] for id in dict.fromkeys(one.id for one in checks)}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write(tmp_path / "models", "double", DOUBLE, FLOATS)


# -- deployed --------------------------------------------------------------------------------------


def test_a_model_is_deployed_with_the_archive(tmp_path: Path, model: Path) -> None:
    live, found = stage(tmp_path, model), []  # type: ignore[var-annotated]  # of checks
    live.deploy(found)
    assert [(one.id, one.status) for one in found] == [("model.deployed", "passed")]
    assert [one.name for one in live.models] == ["double"]
    assert not live.many
    assert live.models[0].questions.cases


def test_what_cannot_be_deployed_is_not_run(tmp_path: Path) -> None:
    live = stage(tmp_path, tmp_path / "nowhere")
    found: list[Check] = []
    live.deploy(found)
    assert [(one.id, one.status) for one in found] == [("model.deployed", "failed")]
    assert live.models == []


def test_an_archive_that_was_exchanged_is_not_run(tmp_path: Path, model: Path) -> None:
    live = stage_of_nothing_that_runs(tmp_path, model)
    tree = environment() | {"lib/more": b""}
    (tmp_path / "other").mkdir()
    shutil.copyfile(pack(tree, tmp_path / "other", listed=tree), live.extracted.path)
    found: list[Check] = []
    live.deploy(found)
    (last,) = [one for one in found if one.status == "failed"]
    assert (last.id, last.found) == (
        "archive.unchanged",
        f"{live.extracted.path.name} was replaced by another archive during verification",
    )
    assert live.models == []


def test_without_torch_a_model_that_needs_none_is_taken(tmp_path: Path) -> None:
    live = stage(tmp_path, None)
    live.manifest = dataclasses.replace(manifest(environment()), torch="")
    found: list[Check] = []
    live.deploy(found)
    assert [one.name for one in live.models] == ["plain"]
    assert live.models[0].own


# -- run -------------------------------------------------------------------------------------------


def test_the_environment_answers_for_the_model(tmp_path: Path, model: Path) -> None:
    """Under two releases that launch alike it runs once."""
    live = stage(tmp_path, model, releases=("24.10", "pytriton-0.7.0"))
    found: list[Check] = []
    live.deploy(found)
    live.probe(found)
    checks = by_id(found)
    assert [one.status for one in checks["probe.model"]] == ["passed", "passed"]
    assert checks["probe.answers"][0].found.endswith("a custom TritonPythonModel has no eager form")
    assert [one.release for one in checks["contract.launch"]] == ["24.10", "pytriton-0.7.0"]
    assert list(live.probes) == [("double", "sourced", live.releases[0].lacks)]
    assert live.environment["numpy"] == np.__version__
    answers = live.answers_of(live.models[0])
    assert answers is not None
    assert answers["cases"][0] == "1"
    assert set(live.met) == set(live.releases)
    steps = live.session.reporter.steps  # type: ignore[attr-defined]  # notes
    assert sum(step.startswith("Running double") for step in steps) == 1


def test_a_model_that_keeps_its_client_waiting(tmp_path: Path, model: Path) -> None:
    """A model does not, that another one beside it does."""
    silent = DOUBLE.replace('return pb_utils.InferenceResponse([pb_utils.Tensor("Y", x * 2)])', "return None")
    assert silent != DOUBLE
    write(tmp_path / "models", "silent", silent, FLOATS)
    live = stage(tmp_path, None)
    live.choice = ModelChoice(repository=tmp_path / "models")
    found: list[Check] = []
    live.deploy(found)
    live.probe(found)
    assert [(one.name, live.is_silent(one)) for one in live.models] == [("double", False), ("silent", True)]
    (text,) = [one.found for one in found if one.id == "probe.model" and one.status != "passed"]
    assert "returned no response to a request" in text


def test_an_environment_that_does_not_run(tmp_path: Path, model: Path) -> None:
    """Nothing answers, and its packages are not imported."""
    live = stage_of_nothing_that_runs(tmp_path, model)
    found: list[Check] = []
    live.deploy(found)
    assert not live.probe(found)
    failed = [one for one in found if one.status == "failed"]
    assert [one.id for one in failed] == ["contract.launch"]
    assert "it exited with 3" in failed[0].found
    assert "probe.packages" not in by_id(found)
    assert live.environment == {}
    assert live.answers_of(live.models[0]) is None


def test_a_model_that_only_a_server_can_run(tmp_path: Path, model: Path) -> None:
    live = stage(tmp_path, model)
    live.deploy([])
    live.models = [dataclasses.replace(one, apart="runs in another environment") for one in live.models]
    found: list[Check] = []
    assert live.probe(found)
    assert [(one.id, one.status, one.found) for one in found] == [
        ("probe.model", "omitted", "double: it runs in another environment; only a server can test it")
    ]
    assert live.probes == {}


def test_a_package_that_is_not_imported_fails_no_model(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "host_libraries", lambda: frozenset())
    live = stage(tmp_path, model, tree=distribution("bad", {"bad.py": f"raise ImportError({GL!r})"}))
    found: list[Check] = []
    live.deploy(found)
    live.probe(found)
    checks = by_id(found)
    assert [one.status for one in checks["probe.model"]] == ["passed"]
    assert [one.status for one in checks["probe.packages"]] == ["failed"]
    assert live.met == {live.releases[0]: [("bad", "libGL.so.1")]}


def test_only_what_the_model_meets_decides_whether_all_was_well(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The probe is known, and its packages are really imported: one that fails is its own check."""
    monkeypatch.setattr(loader, "host_libraries", lambda: frozenset())
    live = stage(tmp_path, model, tree=distribution("bad", {"bad.py": f"raise ImportError({GL!r})"}))
    live.deploy([])
    answer = served(own=True, compiled=False)
    key = ("double", live.releases[0].launch, live.releases[0].lacks)
    live.probes[key] = Probed(launch="sourced", answer=answer, ended="", seconds=1.0)
    found: list[Check] = []
    assert live.probe(found)
    assert [one.id for one in found if one.status == "failed"] == ["probe.packages"]
    broken = {**answer, "modules": ["yaml (/usr/lib/python3/yaml.py)"]}
    live.probes[key] = Probed(launch="sourced", answer=broken, ended="", seconds=1.0)
    assert not live.probe([])
