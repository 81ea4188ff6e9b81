"""Our archive against conda-pack's own archive of the same lock, installed by uv: file by file."""

from __future__ import annotations

import dataclasses
import fnmatch
import hashlib
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import conda_pack
import pytest
from uv import find_uv_bin

from envbuilder import api
from envbuilder.archive.exclude import PackRules
from envbuilder.base.interpreter import find_interpreter
from envbuilder.config.settings import Settings
from envbuilder.fetch.artifacts import fetch_into_wheelhouse
from envbuilder.lockfile.check import check_lock
from envbuilder.lockfile.model import WHEELHOUSE
from envbuilder.lockfile.pylock import lock_path, write_lock
from envbuilder.recipe.load import load_recipe
from envbuilder.recipe.model import PackOptions
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from envbuilder.util.process import run
from tests.conftest import REPOSITORY
from tests.helpers.prefix import lay_out_prefix

pytestmark = [pytest.mark.slow, pytest.mark.network]

ONLY_CONDA_PACK = {
    "bin/conda-unpack": "rewrites prefixes after extraction; Triton never runs it, and no prefix is left",
    "bin/conda_unpack_progress.py": "belongs to conda-unpack, and carries the clock",
    "*.dist-info/REQUESTED": "says what a person asked pip for: the recipe says it here",
    "*.dist-info/uv_cache.json": "names when uv's cache saw the wheel",
}
ONLY_OURS = {
    "share/envbuilder/manifest.json": "what the archive holds",
    "share/envbuilder/environment.json": "what an activation would set, for launches that run none",
}
OTHER_CONTENT = {
    "*.dist-info/INSTALLER": "names who wrote the files",
    "*.dist-info/RECORD": "the rows of the files above differ, and those of the scripts",
    "bin/*": "scripts of entry points: the shebang names the minor version, through env",
}
OTHER_MODE: dict[str, str] = {}  # none: who may execute what is the same


@pytest.fixture(scope="module")
def archives(
    tmp_path_factory: pytest.TempPathFactory, settings: Settings, store: Store
) -> Iterator[tuple[Path, Path]]:
    """Our archive and conda-pack's, of the lock of the recipe ``cpu`` but for torch: nothing excluded, no bytecode."""
    folder = tmp_path_factory.mktemp("reference")
    recipe = load_recipe(REPOSITORY / "recipes" / "cpu.yaml")
    lock = check_lock(recipe)
    # Torch is half a gigabyte of the same kinds of files.
    lock = dataclasses.replace(lock, artifacts=tuple(one for one in lock.artifacts if one.name != "torch"))
    plain = dataclasses.replace(recipe, pack=PackOptions(bytecode=False, exclude=(), level=1))
    copy = folder / lock_path(recipe).name
    # The recipe's digest counts packing: a lock for the plain one is the same lock with another digest.
    write_lock(dataclasses.replace(lock, recipe_digest=plain.digest()), copy)
    fetch_into_wheelhouse(
        lock.artifacts, lock.cuda, Session(settings=settings, store=store), folder / WHEELHOUSE
    )
    ours = api.build(
        dataclasses.replace(plain, path=folder / recipe.path.name),
        output=folder / "envs",
        interpreter_change=True,
        session=Session.open(store=store),
    )
    prefix = folder / "prefix"
    prefix.mkdir()
    lay_out_prefix(find_interpreter(lock.python, locked=lock.interpreter), prefix, PackRules(exclude=()))
    environment = {"PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1", "UV_CACHE_DIR": str(folder / "uv")}
    install = ["pip", "install", "--no-config", "--offline", "--preview-features", "pylock"]
    run([find_uv_bin(), *install, "--python", str(prefix / "bin/python3"), "-r", str(copy)], env=environment)
    theirs = folder / "conda-pack.tar.gz"
    conda_pack.pack(prefix=str(prefix), output=str(theirs), compress_level=1, verbose=False)
    shutil.rmtree(prefix)
    yield ours.archive, theirs
    shutil.rmtree(folder)


def test_every_difference_from_conda_pack_is_listed_with_its_reason(archives: tuple[Path, Path]) -> None:
    ours, theirs = (_contents(archive) for archive in archives)
    unused = {*ONLY_CONDA_PACK, *ONLY_OURS, *OTHER_CONTENT, *OTHER_MODE}
    unlisted = []
    for path in sorted(ours.keys() | theirs.keys()):
        if path not in ours:
            kind, known = "only conda-pack's", ONLY_CONDA_PACK
        elif path not in theirs:
            kind, known = "only ours", ONLY_OURS
        elif ours[path][1:] != theirs[path][1:]:
            kind, known = "other content", OTHER_CONTENT
        elif ours[path][0] != theirs[path][0]:
            kind, known = "other mode", OTHER_MODE
        else:
            continue
        pattern = next((pattern for pattern in known if fnmatch.fnmatch(path, pattern)), None)
        if pattern is None:
            unlisted.append(f"{path}: {kind}: {ours.get(path)} {theirs.get(path)}")
        unused.discard(pattern or "")
    assert unlisted == []
    assert unused == set(), "listed, and no longer a difference"


def test_scripts_of_entry_points_differ_in_their_first_line_only(archives: tuple[Path, Path]) -> None:
    with tarfile.open(archives[0]) as one, tarfile.open(archives[1]) as other:
        scripts = [one.extractfile("bin/isympy"), other.extractfile("bin/isympy")]
        texts = [script.read().decode().splitlines() for script in scripts if script is not None]
    assert texts[0][0] == "#!/usr/bin/env python3.11"
    assert [line for line in texts[0][1:] if line.startswith("from ")] == [
        line for line in texts[1][1:] if line.startswith("from ")
    ]


def _contents(archive: Path) -> dict[str, tuple[bool, str, str]]:
    """Path → executable, link, sha256 of each file and link."""
    found = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isdir():
                continue
            file = tar.extractfile(member) if member.isfile() else None
            digest = hashlib.sha256(file.read()).hexdigest() if file is not None else ""
            found[member.name] = (bool(member.mode & 0o100) and not member.issym(), member.linkname, digest)
    return found
