from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from envbuilder import api
from envbuilder.base.interpreter import Interpreter, describe
from envbuilder.building.record import BuildReport
from envbuilder.errors import IntegrityError, RecipeError, StaleLockError
from envbuilder.lockfile.pylock import write_lock
from envbuilder.recipe.load import load_recipe
from envbuilder.store.local import CACHE_VARIABLE, Store
from envbuilder.store.session import Session
from envbuilder.verification.verify import VerifyRequest
from tests.deployment.conftest import CONFIG, MODEL, write_archive
from tests.helpers.notes import Notes
from tests.helpers.small import little
from tests.helpers.wheels import small_lock, write_wheel

RECIPE = 'triton: pytriton-0.7.0\npython: "3.11"\ntorch: "2.13.0"\ncuda: cpu\n'


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "store"))


def write_recipe(folder: Path, name: str, more: str = "") -> Path:
    path = folder / "recipes" / f"{name}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(RECIPE + more)
    return path


@pytest.fixture
def locked(tmp_path: Path, python311: Interpreter) -> Path:
    """A recipe with its lock, and the wheelhouse beside it."""
    exclude = "".join(f'    - "{pattern}"\n' for pattern in little(python311).exclude or ())
    path = write_recipe(tmp_path, "small", f"pack:\n  exclude:\n{exclude}")
    wheel = write_wheel(tmp_path / "recipes" / "wheelhouse", "alpha")
    locked = small_lock(load_recipe(path), [wheel], describe(python311))
    write_lock(locked, tmp_path / "recipes" / "pylock.small.toml")
    return path


def test_none_named_means_all_recipes_by_name(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        write_recipe(tmp_path, name)
    assert [recipe.name for recipe in api.load_recipes([])] == ["a", "b", "c"]
    assert [recipe.name for recipe in api.load_recipes(["c", "recipes/a.yaml"])] == ["c", "a"]
    assert [recipe.name for recipe in api.load_recipes([], tmp_path)] == ["a", "b", "c"]


def test_a_folder_without_recipes_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as raised:
        api.load_recipes([])
    assert str(raised.value) == (
        f"no recipes in {tmp_path}/recipes\n  hint: `envbuilder init NAME` writes one to start from"
    )


def test_init_writes_where_it_is_told(tmp_path: Path) -> None:
    assert api.init("a", root=tmp_path / "root") == tmp_path / "root" / "recipes" / "a.yaml"
    assert api.init("sub/b.yml") == Path("sub/b.yml")
    assert load_recipe(Path("sub/b.yml")).name == "b"


def test_init_overwrites_nothing(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, "a", "# mine\n")
    with pytest.raises(RecipeError, match="is there already"):
        api.init("a")
    assert path.read_text() == RECIPE + "# mine\n"


def test_init_says_where_it_cannot_write(tmp_path: Path) -> None:
    Path("recipes").write_text("a file")
    with pytest.raises(RecipeError) as raised:
        api.init("a")
    assert raised.value.message == f"{tmp_path}/recipes/a.yaml cannot be written: File exists"


def test_init_takes_back_what_makes_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no Triton release"):
        api.init("a", triton="22.01")
    assert list(Path("recipes").glob("*")) == []


def test_lock_check_reads_and_writes_nothing_else(locked: Path) -> None:
    before = sorted(path for path in locked.parent.rglob("*"))
    result = api.lock(load_recipe(locked), check=True)
    assert (result.changed, result.path, result.demands) == (
        False,
        locked.parent / "pylock.small.toml",
        ("numpy<2",),
    )
    assert sorted(path for path in locked.parent.rglob("*")) == before


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
    assert "Building again from nothing, to compare" in notes.steps
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
    assert raised.value.message == (f"{archive}: sha256 {'1' * 64}, built again from nothing {'2' * 64}")
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


def test_size_and_its_picture(locked: Path) -> None:
    archive = api.build(load_recipe(locked)).archive
    sizes = api.size(archive)
    assert sizes.packed == archive.stat().st_size
    api.plot_sizes(sizes, Path("a.svg"))
    assert Path("a.svg").read_text().startswith("<svg ")


def test_deploy_gives_the_deployment(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "envs")
    model = tmp_path / "tiny"
    (model / "1").mkdir(parents=True)
    (model / "1" / "model.py").write_text(MODEL)
    (model / "config.pbtxt").write_text(CONFIG)
    made = api.deploy(archive, model, tmp_path / "repository")
    assert (made.model, made.folder) == ("tiny", tmp_path / "repository" / "tiny")


def test_doctor_needs_no_recipes() -> None:
    diagnosis = api.doctor()
    assert [title for title, _, _ in diagnosis.tables()][:2] == ["Interpreters", "Machine"]
    assert diagnosis.recipes == ()


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
    path = write_recipe(
        tmp_path, "mine", "verify: {model: ../model, compile: {dynamic: false}, server: false}\n"
    )
    digest = "0" * 64 if changed else load_recipe(path).digest()
    archive = write_archive(tmp_path / "envs", recipe="mine", recipe_digest=digest)
    notes = Notes()
    api.verify(archive, session=Session.open(reporter=notes))
    if changed:
        assert (asked[0].model, asked[0].compile, asked[0].server) == (None, {}, None)
        assert notes.notes == [
            f"{path} changed since {archive.name} was built of it: its verify: is not used"
        ]
    else:
        assert (asked[0].model, asked[0].compile, asked[0].server) == (
            tmp_path / "model",
            {"dynamic": False},
            False,
        )
        api.verify(archive, model=tmp_path / "other", server=True)
        assert (asked[-1].model, asked[-1].compile, asked[-1].server) == (tmp_path / "other", {}, True)
