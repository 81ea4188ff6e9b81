from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from envbuilder import api
from envbuilder.building.record import BuildReport
from envbuilder.errors import IntegrityError, StaleLockError
from envbuilder.recipe.load import load_recipe
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from envbuilder.verification.live.model_deployment import ModelChoice
from envbuilder.verification.server.servers import ServerChoice
from envbuilder.verification.verify import VerifyRequest
from tests.api.conftest import write_recipe
from tests.deployment.conftest import write_archive
from tests.helpers.notes import Notes


def test_a_build_wants_a_current_lock(locked: Path) -> None:
    locked.write_text(locked.read_text() + "dependencies: [six]\n")
    with pytest.raises(StaleLockError, match=r"small\.yaml changed since it was locked"):
        api.build(load_recipe(locked))
    assert not Path("envs").exists()


def test_a_build_takes_the_wheelhouse_beside_the_lock(locked: Path) -> None:
    report = api.build(load_recipe(locked), output=Path("out"))
    assert report.archive.parent == Path("out")
    assert [package.name for package in report.manifest.packages] == ["alpha"]


def test_build_check_takes_wheels_from_the_store_and_segments_from_nowhere(
    locked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import envbuilder.building.build as module

    built: list[BuildReport] = []
    original = module.build

    def build(*args: object, **options: object) -> BuildReport:
        built.append(original(*args, **options))  # type: ignore[arg-type]  # passed on
        return built[-1]

    monkeypatch.setattr(module, "build", build)
    store, notes = Store.open(), Notes()
    report = api.build(load_recipe(locked), check=True, session=Session.open(store=store, reporter=notes))

    first, again = built
    assert report is first
    assert again.sha256 == first.sha256
    assert again.segments_made == again.segments_total == first.segments_total
    assert again.archive.parent.parent.parent == store.root / "tmp"
    assert "Rebuilding from scratch to compare" in notes.steps
    assert list((store.root / "tmp").iterdir()) == []


def test_build_check_finds_other_bytes(locked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import envbuilder.building.build as module

    original = module.build
    digests = iter(["1" * 64, "2" * 64])

    def build(*args: object, **options: object) -> BuildReport:
        return dataclasses.replace(original(*args, **options), sha256=next(digests))  # type: ignore[arg-type]  # passed on

    monkeypatch.setattr(module, "build", build)
    with pytest.raises(IntegrityError) as raised:
        api.build(load_recipe(locked), check=True)
    (archive,) = Path("envs").glob("*.tar.gz")
    assert raised.value.message == (f"{archive}: sha256 {'1' * 64}, rebuilt from scratch {'2' * 64}")
    assert list(Path("store/tmp").iterdir()) == []


def test_a_damaged_wheel_in_the_store_is_not_checked_against(locked: Path) -> None:
    store = Store.open()
    report = api.build(load_recipe(locked), session=Session.open(store=store))
    sha256 = report.manifest.packages[0].sha256
    path = store.artifact_path(sha256)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    again = api.build(
        load_recipe(locked), check=True, output=Path("other"), session=Session.open(store=store)
    )
    assert again.sha256 == report.sha256


@pytest.mark.parametrize("changed", [False, True])
def test_a_verification_takes_what_is_not_said_from_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: bool
) -> None:
    asked: list[VerifyRequest] = []
    monkeypatch.setattr(
        "envbuilder.verification.verify.verify", lambda archive, session, request: asked.append(request)
    )
    (tmp_path / "recipes").mkdir()
    (tmp_path / "model").mkdir()
    said = "model: ../model, compile: {dynamic: false}, server: false, inputs: ../x.npz, rtol: 0.5"
    path = write_recipe(tmp_path, "mine", f"verify: {{{said}}}\n")
    digest = "0" * 64 if changed else load_recipe(path).digest()
    archive = write_archive(tmp_path / "envs", recipe="mine", recipe_digest=digest)
    notes = Notes()
    api.verify(archive, session=Session.open(reporter=notes))
    if changed:
        assert (asked[0].model, asked[0].compile, asked[0].server.ask) == (None, {}, None)
        assert notes.notes == [
            f"{path} changed since {archive.name} was built of it: its verify: is not used"
        ]
    else:
        assert (asked[0].model, asked[0].compile, asked[0].server.ask) == (
            tmp_path / "model",
            {"dynamic": False},
            False,
        )
        own = asked[0].models
        assert (own.model, own.inputs, own.tolerance) == (
            tmp_path / "model",
            tmp_path / "x.npz",
            {"rtol": 0.5},
        )
        api.verify(archive, model=ModelChoice(inputs=tmp_path / "z.npz"))
        assert (asked[-1].models.model, asked[-1].models.inputs) == (tmp_path / "model", tmp_path / "z.npz")
        api.verify(archive, model=ModelChoice(repository=tmp_path))
        assert (asked[-1].models, asked[-1].compile) == (ModelChoice(repository=tmp_path), {})
        api.verify(archive, model=tmp_path / "other", server=True)
        assert asked[-1].models == ModelChoice(model=tmp_path / "other")
        assert (asked[-1].model, asked[-1].compile, asked[-1].server.ask) == (tmp_path / "other", {}, True)
        api.verify(archive, server=tmp_path / "tritonserver")
        assert asked[-1].server == ServerChoice(ask=True, program=tmp_path / "tritonserver")
        api.verify(archive, server=ServerChoice(kind="acme"))
        assert asked[-1].server == ServerChoice(ask=False, kind="acme")
