"""What several test files share: one store, one real archive, one real server, made once for all workers."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
from filelock import FileLock

from envbuilder import api
from envbuilder.base.interpreter import Interpreter, describe, find_interpreter
from envbuilder.building.build import build
from envbuilder.config.settings import Settings, load_settings
from envbuilder.lockfile.model import Lock, LockedInterpreter
from envbuilder.lockfile.pylock import read_lock
from envbuilder.recipe.load import load_recipe
from envbuilder.recipe.model import PackOptions, Recipe
from envbuilder.store.local import CACHE_VARIABLE, Store
from envbuilder.store.remote import RemoteStore
from envbuilder.store.session import Session
from envbuilder.util.spread import spread_folders
from envbuilder.verification.server.tritonserver import TritonServer, find_server
from tests.helpers.channels import make_channel
from tests.helpers.conda_parts import greeting_cut, interpreter_cuts
from tests.helpers.conda_project import Project, make_project
from tests.helpers.s3 import make_bucket, s3_server, use_server
from tests.helpers.small import Small, make_small
from tests.helpers.trust import Team
from tests.helpers.wheels import small_lock, small_recipe

# A shell that starts this in the background lets it ignore SIGINT, and nohup lets it ignore SIGHUP; so would every
# program that a test signals.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
# Where nobody looks on, the same examples each time: new ones are for those who can follow them up.
hypothesis.settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    hypothesis.settings.load_profile("ci")

# What is compiled here asks g++ no more than the runtime does.
os.environ.setdefault("TORCHINDUCTOR_VEC_ISA_OK", "1")
# A store of an earlier run to begin with: a copy saves a minute of fetching and building in each run of one file.
SEED_VARIABLE = "ENVBUILDER_TEST_STORE"
REPOSITORY = Path(__file__).resolve().parent.parent
_NUMBERS = itertools.count()


def pytest_configure(config: pytest.Config) -> None:
    """Spread what servers extract into /tmp over the disk while the tests run; see :mod:`envbuilder.util.spread`."""
    if shutil.which("chattr") is None or hasattr(config, "workerinput"):
        return

    def change(flag: str) -> None:
        subprocess.run(["chattr", flag, "/tmp"], capture_output=True, check=False)

    flags = subprocess.run(["lsattr", "-d", "/tmp"], capture_output=True, text=True, check=False).stdout
    if "T" not in flags.partition(" ")[0]:
        change("+T")
        config.add_cleanup(lambda: change("-T"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long: at the end of a run no worker waits for the last one.

    Lines are not counted while a slow test uses a real server: most of it runs in other processes, where nothing is
    counted, and counting makes what runs here take a third longer.
    """
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
    for item in items:
        if item.get_closest_marker("slow") and item.get_closest_marker("server"):
            item.add_marker("no_cover")


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder that all workers of this run share."""
    base = tmp_path_factory.getbasetemp()
    spread_folders(base)
    folder = (base if worker_id == "master" else base.parent) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def once(shared: Path) -> Callable[[str, Callable[[Path], None]], Path]:
    """Make a folder of a name once for all workers, whole or not at all."""

    def make(name: str, fill: Callable[[Path], None]) -> Path:
        place = shared / name
        with FileLock(shared / f"{name}.lock"):
            if not place.exists():
                draft = shared / f"{name}.draft-{os.getpid()}"
                draft.mkdir()
                fill(draft)
                draft.rename(place)
        return place

    return make


@pytest.fixture(scope="session", autouse=True)
def _own_cache(shared: Path) -> Iterator[None]:
    """No test reads or writes the user's own store."""
    before = os.environ.get(CACHE_VARIABLE)
    seed = os.environ.get(SEED_VARIABLE)
    with FileLock(shared / "seed.lock"):
        if seed and not (shared / "store").exists():
            shutil.copytree(seed, shared / "store", symlinks=True)
    os.environ[CACHE_VARIABLE] = str(shared / "store")
    yield
    if before is None:
        del os.environ[CACHE_VARIABLE]
    else:
        os.environ[CACHE_VARIABLE] = before


@pytest.fixture(scope="session")
def store(_own_cache: None) -> Store:
    """The store of this run."""
    return Store.open()


@pytest.fixture(scope="session")
def settings() -> Settings:
    """The sources of this machine."""
    return load_settings(REPOSITORY)


@pytest.fixture(scope="session")
def python311() -> Interpreter:
    """A CPython 3.11 of this machine."""
    return find_interpreter("3.11")


@pytest.fixture(scope="session")
def cpu_archive(once: Callable[[str, Callable[[Path], None]], Path], store: Store) -> Path:
    """The archive of the recipe ``cpu``, really built, with whatever CPython 3.11 this machine has."""

    def fill(folder: Path) -> None:
        recipe = load_recipe(REPOSITORY / "recipes" / "cpu.yaml")
        api.build(recipe, output=folder, interpreter_change=True, session=Session.open(store=store))

    (archive,) = once("envs", fill).glob("cpu-*.tar.gz")
    return archive


@pytest.fixture(scope="session")
def cpu_environment(once: Callable[[str, Callable[[Path], None]], Path], cpu_archive: Path) -> Path:
    """The same, extracted. Not to be written to."""

    def fill(folder: Path) -> None:
        subprocess.run(["tar", "-xzf", cpu_archive, "-C", folder], check=True)

    return once("cpu-environment", fill)


def numpy_lock(folder: Path, interpreter: LockedInterpreter) -> tuple[Recipe, Lock]:
    """A recipe in *folder*, and its lock of the NumPy that the recipe ``cpu`` is locked to."""
    lock = read_lock(REPOSITORY / "recipes" / "pylock.cpu.toml")
    recipe = small_recipe(folder, "numpy", PackOptions(level=1))
    return recipe, small_lock(recipe, [one for one in lock.artifacts if one.name == "numpy"], interpreter)


@pytest.fixture(scope="session")
def numpy_archive(
    once: Callable[[str, Callable[[Path], None]], Path],
    settings: Settings,
    store: Store,
    python311: Interpreter,
) -> Path:
    """A whole Python with NumPy, really built: for what is about servers and trees and not about torch."""

    def fill(folder: Path) -> None:
        recipe, lock = numpy_lock(folder, describe(python311))
        build(recipe, lock, Session(settings=settings, store=store), output=folder / "envs")

    (archive,) = once("numpy", fill).glob("envs/numpy-*.tar.gz")
    return archive


@pytest.fixture(scope="session")
def built_small(tmp_path_factory: pytest.TempPathFactory, python311: Interpreter) -> Small:
    """A small environment, built in the store beside it. Not to be written to: :func:`copy_small` copies it."""
    small = make_small(tmp_path_factory.mktemp("small"), python311)
    small.build()
    return small


@pytest.fixture(scope="session")
def conda_channel(once: Callable[[str, Callable[[Path], None]], Path], python311: Interpreter) -> Path:
    """A channel with this machine's CPython 3.11 cut into packages. Not to be written to."""

    def fill(folder: Path) -> None:
        cuts = [*interpreter_cuts(python311, folder / "files"), greeting_cut()]
        make_channel(folder / "channel", cuts)
        shutil.rmtree(folder / "files")

    return once("conda", fill) / "channel"


@pytest.fixture
def conda_project(tmp_path: Path, conda_channel: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A recipe of conda packages, and a channel of its own beside the shared one. Reads no conda configuration."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in [*os.environ]:
        if name.startswith(("CONDA", "XDG_CONFIG")):
            monkeypatch.delenv(name)
    return make_project(tmp_path, conda_channel)


@pytest.fixture(scope="session")
def server(settings: Settings, store: Store, shared: Path) -> TritonServer:
    """A real tritonserver: one on PATH, or the one in the wheel, fetched into the store of this run."""
    with FileLock(shared / "server.lock"):
        return find_server(None, Session(settings=settings, store=store))


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an S3 server."""
    with s3_server(tmp_path_factory.mktemp("s3")) as endpoint:
        yield endpoint


@pytest.fixture
def bucket(s3: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty bucket on that server, as a URL; the server is this process's S3."""
    name = f"bucket-{next(_NUMBERS)}"
    make_bucket(s3, name)
    use_server(s3, monkeypatch)
    return f"s3://{name}"


@pytest.fixture(params=["file", "s3", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty store, of each kind."""
    if request.param == "s3":
        bucket: str = request.getfixturevalue("bucket")
        return f"{bucket}/store"
    if request.param == "memory":
        return f"memory://store-{next(_NUMBERS)}"
    return f"file://{tmp_path}/else where"


@pytest.fixture
def team(tmp_path: Path) -> Team:
    """Somebody with a key to sign what goes to a remote store."""
    return Team(tmp_path / "team")


@pytest.fixture
def remote(url: str, team: Team) -> RemoteStore:
    """An empty remote store, of each kind, as the team sees it."""
    return team.writes(url)


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Return a function that mounts a small file system of its own."""
    mounted: list[Path] = []

    def mount(name: str, options: str) -> Path:
        place = tmp_path / name
        place.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=True)
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", "--lazy", place], check=True)
