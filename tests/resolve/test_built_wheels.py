from __future__ import annotations

import hashlib
import os
import subprocess
import zipfile
from pathlib import Path

import pytest
from packaging.pylock import PackageArchive

from envbuilder.errors import IntegrityError, ResolveError, StaleLockError
from envbuilder.lockfile.check import check_lock
from envbuilder.lockfile.model import Artifact, Lock
from envbuilder.lockfile.pylock import lock_path, write_lock
from envbuilder.lockfile.upgrade import Upgrade
from envbuilder.progress import SILENT
from envbuilder.resolve.built_wheels import Builder, hold_reference, place_in_wheelhouse, reference_key
from envbuilder.resolve.target import Target
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from envbuilder.util.source_tree import source_files, tree_digest
from envbuilder.util.tempdirs import DRAFT, temporary_name
from tests.helpers.indexes import (
    INTERPRETER,
    Server,
    Sources,
    lock,
    make_sdist,
    source_tree,
    versions,
    write_recipe,
)

ALLOWED = "build-from-source: [bare, safetensors]"


def artifact(locked: Lock, name: str) -> Artifact:
    return next(one for one in locked.artifacts if one.name == name)


def git(*args: str, folder: Path) -> str:
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        **{
            f"GIT_{who}_{what}": "x@example.org"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        },
    }
    done = subprocess.run(["git", *args], cwd=folder, env=env, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(folder: Path, version: str) -> str:
    """Commit a project of *version* into the repository *folder*, and return the commit."""
    folder.mkdir(exist_ok=True)
    if not (folder / ".git").exists():
        git("init", "--quiet", "--initial-branch", "main", folder=folder)
    for path, text in source_tree("mine-only", version).items():
        (folder / path).write_text(text)
    git("add", "--all", folder=folder)
    git("commit", "--quiet", "--message", version, folder=folder)
    return git("rev-parse", "HEAD", folder=folder)


# -- sdists ----------------------------------------------------------------------------------------


def test_source_is_not_built_unless_the_recipe_allows_it(
    tmp_path: Path, sources: Sources, store: Store
) -> None:
    sources.publish_sdist("pypi", "bare", "1.0")
    with pytest.raises(ResolveError) as caught:
        lock(write_recipe(tmp_path, "bare", more="build-from-source: [other]"), sources.settings(), store)
    assert caught.value.message.splitlines()[0] == "recipe mine: no wheel fits of bare, only its source:"
    assert caught.value.hint == "`build-from-source: [bare]` builds it once, when the recipe is locked"


def test_what_has_no_wheel_is_built_once(tmp_path: Path, sources: Sources, store: Store) -> None:
    sdist = sources.publish_sdist("pypi", "bare", "1.0")
    sources.publish("pypi", "needs-bare", "1.0", requires=["bare"])
    recipe, settings = write_recipe(tmp_path, "needs-bare", more=ALLOWED), sources.settings()
    locked = lock(recipe, settings, store)
    bare = artifact(locked, "bare")
    assert bare.filename == "bare-1.0-py3-none-any.whl"
    assert locked.built == (("bare", f"sdist:{hashlib.sha256(sdist.read_bytes()).hexdigest()}"),)
    path = store.find_artifact(bare.sha256, bare.size)
    assert path is not None
    with zipfile.ZipFile(path) as wheel:
        assert "bare.py" in wheel.namelist()

    used = path.stat().st_ino
    again = lock(recipe, settings, store, previous=locked)
    assert again == locked
    assert store.artifact_path(bare.sha256).stat().st_ino == used, "it was built a second time"


def test_only_what_has_no_wheel_is_built(tmp_path: Path, sources: Sources, store: Store) -> None:
    """A newer version of something else, of which there is source alone, does not count."""
    sources.publish_sdist("pypi", "bare", "1.0")
    sources.publish_sdist("pypi", "safetensors", "9.0", broken=True)
    locked = lock(write_recipe(tmp_path, "bare", "safetensors", more=ALLOWED), sources.settings(), store)
    assert versions(locked)["safetensors"] == "0.8.0"
    assert [name for name, _ in locked.built] == ["bare"]


def test_source_that_cannot_be_built(tmp_path: Path, sources: Sources, store: Store) -> None:
    sources.publish_sdist("pypi", "bare", "1.0", broken=True)
    with pytest.raises(ResolveError) as caught:
        lock(write_recipe(tmp_path, "bare", more=ALLOWED), sources.settings(), store)
    assert caught.value.message.startswith("bare 1.0 has no wheel, and building one failed:\n")
    assert "no compiler for this" in caught.value.message
    assert caught.value.hint == "build the wheel on another machine and put it into a wheelhouse"
    assert str(store.root) not in caught.value.message


def test_source_that_is_not_what_the_index_says(tmp_path: Path, sources: Sources, store: Store) -> None:
    sdist = sources.publish_sdist("pypi", "bare", "1.0")
    sdist.write_bytes(make_sdist("bare", "1.0") + b" ")
    with pytest.raises(IntegrityError) as caught:
        lock(write_recipe(tmp_path, "bare", more=ALLOWED), sources.settings(), store)
    assert caught.value.message.startswith("a file is not what its index says:\n")
    assert hashlib.sha256(sdist.read_bytes()).hexdigest() in caught.value.message
    assert caught.value.exit_code == 5


# -- git -------------------------------------------------------------------------------------------


def test_a_git_reference_is_held_at_its_commit_until_an_upgrade(
    tmp_path: Path, sources: Sources, store: Store
) -> None:
    repository = tmp_path / "repository"
    first = commit(repository, "1.0")
    url = f"git+{repository.as_uri()}@main"
    recipe, settings = write_recipe(tmp_path, f"mine-only @ {url}"), sources.settings()
    locked = lock(recipe, settings, store)
    assert locked.built == (("mine-only", f"git:{first}:{reference_key(url)}"),)
    assert artifact(locked, "mine-only").filename == "mine_only-1.0-py3-none-any.whl"

    second = commit(repository, "2.0")
    assert lock(recipe, settings, store, previous=locked) == locked
    upgraded = lock(recipe, settings, store, previous=locked, upgrade=Upgrade(packages=("mine_only",)))
    assert upgraded.built == (("mine-only", f"git:{second}:{reference_key(url)}"),)
    assert versions(upgraded)["mine-only"] == "2.0"

    other = write_recipe(tmp_path, f"mine-only @ git+{repository.as_uri()}@{second}")
    assert versions(lock(other, settings, store, previous=locked))["mine-only"] == "2.0"


def test_a_reference_is_held_where_its_commit_belongs() -> None:
    def held(url: str) -> str:
        previous = Lock(
            recipe="x", recipe_digest="", release="", python="", torch="", cuda="", demands=(), artifacts=(),
            interpreter=INTERPRETER, tools=(), built=(("x", f"git:abc:{reference_key(url)}"),),
        )  # fmt: skip
        assert hold_reference("x", url + "-other", previous) == url + "-other"
        assert hold_reference("y", url, previous) == url
        return hold_reference("x", url, previous)

    assert held("git+https://example.org/x") == "git+https://example.org/x@abc"
    assert held("git+https://example.org/x.git@main") == "git+https://example.org/x.git@abc"
    assert (
        held("git+ssh://git@example.org/x@v1#subdirectory=y")
        == "git+ssh://git@example.org/x@abc#subdirectory=y"
    )


def test_a_git_reference_that_is_not_there(tmp_path: Path, sources: Sources, store: Store) -> None:
    commit(tmp_path / "repository", "1.0")
    url = (tmp_path / "repository").as_uri()
    with pytest.raises(ResolveError) as caught:
        lock(write_recipe(tmp_path, f"mine-only @ git+{url}@nope"), sources.settings(), store)
    assert caught.value.message.startswith("a git reference cannot be fetched:\n")
    assert "couldn't find remote ref refs/tags/nope" in caught.value.message


def test_credentials_are_not_shown(tmp_path: Path, sources: Sources, store: Store) -> None:
    recipe = write_recipe(tmp_path, "mine-only @ git+http://user:secret@127.0.0.1:9/x")
    with pytest.raises(ResolveError) as caught:
        lock(recipe, sources.settings(), store)
    assert "http://127.0.0.1:9/x" in caught.value.message
    assert "secret" not in caught.value.message


# -- wheels by their place -------------------------------------------------------------------------


def test_a_local_wheel_is_pinned_by_its_hash(tmp_path: Path, sources: Sources, store: Store) -> None:
    wheel = Path(sources.house("mine", "my-ops", "1.0", tag="py3-none-any")) / "my_ops-1.0-py3-none-any.whl"
    locked = lock(write_recipe(tmp_path, str(wheel)), sources.settings(), store)
    found = artifact(locked, "my-ops")
    assert (found.sha256, found.size) == (
        hashlib.sha256(wheel.read_bytes()).hexdigest(),
        wheel.stat().st_size,
    )
    assert store.artifact_path(found.sha256).read_bytes() == wheel.read_bytes()
    assert locked.built == ()


def test_a_local_wheel_for_another_python(tmp_path: Path, sources: Sources, store: Store) -> None:
    house = sources.house("mine", "my-ops", "1.0", tag="cp310-cp310-linux_x86_64")
    recipe = write_recipe(tmp_path, f"{house}/my_ops-1.0-cp310-cp310-linux_x86_64.whl")
    with pytest.raises(ResolveError) as caught:
        lock(recipe, sources.settings(), store)
    assert caught.value.message == (
        "recipe mine: no set of packages satisfies it:\n"
        "  Because only my-ops==1.0 is available and my-ops==1.0 has no wheels with a matching Python version tag "
        "(e.g., `cp311`), we can conclude that all versions of my-ops cannot be used.\n"
        "  And because the recipe depends on my-ops, we can conclude that your requirements are unsatisfiable."
    )


def test_a_wheel_by_its_url(tmp_path: Path, served: tuple[Sources, Server], store: Store) -> None:
    sources, server = served
    wheel = Path(sources.house("mine", "my-ops", "1.0", tag="py3-none-any")) / "my_ops-1.0-py3-none-any.whl"
    recipe = write_recipe(tmp_path, f"my-ops @ {server.base}/mine/my_ops-1.0-py3-none-any.whl")
    found = artifact(lock(recipe, sources.settings(), store), "my-ops")
    assert found.sha256 == hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert store.artifact_path(found.sha256).read_bytes() == wheel.read_bytes()


def test_a_wheel_by_a_url_that_quotes_its_name(
    tmp_path: Path, served: tuple[Sources, Server], store: Store
) -> None:
    sources, server = served
    sources.house("mine", "my-ops", "1.0+ours", tag="py3-none-any")
    url = f"{server.base}/mine/my_ops-1.0%2Bours-py3-none-any.whl"
    found = artifact(lock(write_recipe(tmp_path, f"my-ops @ {url}"), sources.settings(), store), "my-ops")
    assert (found.filename, found.version) == ("my_ops-1.0+ours-py3-none-any.whl", "1.0+ours")


@pytest.mark.parametrize("scheme", ["file", "http"])
def test_a_wheel_that_changed_since_the_solver_read_it(
    tmp_path: Path, served: tuple[Sources, Server], store: Store, scheme: str
) -> None:
    sources, server = served
    name = "my_ops-1.0-py3-none-any.whl"
    wheel = Path(sources.house("mine", "my-ops", "1.0", tag="py3-none-any")) / name
    builder = Builder(
        session=Session(settings=sources.settings(), store=store, reporter=SILENT),
        indexes=(),
        target=Target(python="3.11.7", glibc="2.34"),
        interpreter=INTERPRETER,
        references={},
        previous=None,
    )
    url = wheel.as_uri() if scheme == "file" else f"{server.base}/mine/{name}"
    with pytest.raises(IntegrityError) as caught:
        builder.take(PackageArchive(url=url, hashes={"sha256": "ab" * 32}))
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert caught.value.message == f"{name}: sha256 {found}, but the index says {'ab' * 32}"
    assert caught.value.exit_code == 5
    assert list((store.root / "artifacts").glob("*/*")) == []
    assert list((store.root / "tmp").iterdir()) == []


# -- the wheelhouse beside a lock ------------------------------------------------------------------


def test_a_file_that_is_there_but_wrong_is_replaced(tmp_path: Path, store: Store) -> None:
    data = b"a wheel"
    one = Artifact(
        name="x",
        version="1",
        filename="x-1-py3-none-any.whl",
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
    )
    with store.artifact_writer(one.sha256, one.size) as writer:
        writer.write(data)
    folder = tmp_path / "wheelhouse"
    folder.mkdir()
    (folder / one.filename).write_bytes(b"half a wh")
    (folder / temporary_name(DRAFT + "built")).mkdir()  # a killed one's
    place_in_wheelhouse([one], store, folder)
    assert (folder / one.filename).read_bytes() == data
    assert [entry.name for entry in folder.iterdir()] == [one.filename]


# -- folders ---------------------------------------------------------------------------------------


def test_a_local_project_is_built_and_built_again_when_it_changes(
    tmp_path: Path, sources: Sources, store: Store
) -> None:
    folder = tmp_path / "mine-only"
    for path, text in source_tree("mine-only", "1.0").items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    before = sorted(source_files(folder))
    recipe = write_recipe(tmp_path, "mine-only @ ./mine-only")
    locked = lock(recipe, sources.settings(), store)
    assert artifact(locked, "mine-only").version == "1.0"
    assert locked.built == (("mine-only", f"folder:{tree_digest(folder)}"),)
    assert sorted(source_files(folder)) == before, "nothing was written into it"
    write_lock(locked, lock_path(recipe))
    assert check_lock(recipe) == locked

    (folder / "__pycache__").mkdir(exist_ok=True)
    (folder / "__pycache__" / "left.pyc").write_bytes(b"by a test run")
    assert check_lock(recipe) == locked
    (folder / "more.py").write_text("")
    with pytest.raises(StaleLockError, match="mine-only changed since it was locked"):
        check_lock(recipe)
    assert lock(recipe, sources.settings(), store, previous=locked).built != locked.built
