"""From a channel to an archive: what recipes with ``provider: conda`` become."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from envbuilder.assemble.prefixes import NOWHERE, PREFIXES_PATH, read_prefixes
from envbuilder.build import BuildReport, build
from envbuilder.errors import AssembleError, ResolveError
from envbuilder.lock import LockResult, lock_recipe
from envbuilder.recipe import Recipe, load_recipe
from envbuilder.settings import Settings
from envbuilder.store import Store
from tests.channels import Cut, Link, index, write_package
from tests.conda_parts import fake_cut
from tests.notes import Notes
from tests.resolve.indexes import LINUX, Sources


@dataclass(frozen=True, kw_only=True)
class Project:
    """A recipe of conda packages, a channel of its own beside the shared one, and an index of tiny wheels."""

    folder: Path
    channel: Path
    sources: Sources
    store: Store
    notes: Notes

    @property
    def settings(self) -> Settings:
        """Nothing but the tiny index."""
        return self.sources.settings()

    def recipe(self, **keys: object) -> Recipe:
        """Write the recipe, with *keys* in place of its own."""
        own: dict[str, object] = {
            "triton": "pytriton-0.7.0",
            "python": "3.11",
            "torch": "2.7.1",
            "cuda": "cpu",
            "provider": "conda",
            "channels": [str(self.folder / "own"), str(self.channel)],
            "pack": {"level": 1},
        }
        path = self.folder / "mine.yaml"
        values = {**own, **{key.replace("_", "-"): value for key, value in keys.items()}}
        path.write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in values.items()))
        return load_recipe(path)

    def publish(self, *cuts: Cut) -> None:
        """Put packages into the recipe's own channel."""
        for cut in cuts:
            write_package(self.folder / "own", cut)
        index(self.folder / "own")

    def lock(self, recipe: Recipe, **options: Any) -> LockResult:
        """Lock."""
        return lock_recipe(recipe, settings=self.settings, store=self.store, reporter=self.notes, **options)

    def build(self, recipe: Recipe, output: str = "envs", store: Store | None = None) -> BuildReport:
        """Lock and build."""
        locked = self.lock(recipe).lock
        return build(
            recipe,
            locked,
            output=self.folder / output,
            settings=self.settings,
            store=store or self.store,
            reporter=self.notes,
        )


@pytest.fixture
def project(tmp_path: Path, conda_channel: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("CONDARC", raising=False)
    root = tmp_path / "indexes"
    root.mkdir()
    sources = Sources(root=root)
    sources.publish("pytorch/cpu", "torch", "2.7.1+cpu", requires=["numpy"], tag=LINUX)
    for version in ("1.26.4", "2.1.0"):
        sources.publish("pypi", "numpy", version)
    made = Project(
        folder=tmp_path,
        channel=conda_channel,
        sources=sources,
        store=Store.open(tmp_path / "store"),
        notes=Notes(),
    )
    made.publish()
    return made


def extract(archive: Path, folder: Path) -> Path:
    folder.mkdir()
    subprocess.run(["tar", "-xzf", archive, "-C", folder], check=True)
    return folder


# -- what is built ---------------------------------------------------------------------------------


def test_an_environment_of_conda_packages_and_wheels(project: Project) -> None:
    report = project.build(project.recipe(conda=["greeting"]))
    manifest = report.manifest
    assert [package.name for package in manifest.conda] == [
        "libgcc",
        "libstdcxx",
        "python-libs",
        "python",
        "greeting",
    ]
    assert manifest.provides == {"greeting": "1.0"}
    assert [package.name for package in manifest.packages] == ["numpy", "torch"]
    assert manifest.interpreter.origin.startswith("conda:python-3.11.")
    environment = extract(report.archive, project.folder / "env")
    clean = {"PATH": "/usr/bin:/bin"}
    script = f"source {environment}/bin/activate && greeting && where-python && echo $BASE_DATA"
    said = subprocess.run(
        ["bash", "-c", script], env=clean, capture_output=True, text=True, check=True
    ).stdout
    assert said.split() == ["hello", str(environment), f"{environment}/share/base"]
    program = (
        "import sys, sysconfig, ssl, sqlite3, greeting; print(sys.prefix, sysconfig.get_config_var('prefix'))"
    )
    said = subprocess.run(
        [environment / "bin/python3", "-I", "-c", program],
        env=clean,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert said.split() == [str(environment), str(environment)]
    assert (environment / "lib/python3.11/site-packages/__pycache__/greeting.cpython-311.pyc").is_file()


def test_prefixes_are_cured_harmless_or_reported(project: Project) -> None:
    report = project.build(project.recipe())
    environment = extract(report.archive, project.folder / "env")
    uses = {use.path: use for use in read_prefixes((environment / PREFIXES_PATH).read_bytes())}
    sysconfig = next(path for path in uses if "_sysconfigdata" in path)
    outcomes = {
        path: (use.kind, use.outcome) for path, use in uses.items() if not path.startswith("conda-meta/")
    }
    assert outcomes == {
        "bin/python3.11": ("binary", "cured"),
        "bin/where-python": ("text", "cured"),
        "etc/conda/activate.d/base.sh": ("text", "cured"),
        sysconfig: ("text", "cured"),
        "share/base/where.txt": ("text", "reported"),
    }
    assert [line for line in project.notes.notes if "prefix" in line] == [
        "share/base/where.txt names conda's prefix, and nothing makes that relative: "
        "names a folder that will not be there"
    ]
    named = {
        str(path.relative_to(environment))
        for path in environment.rglob("*")
        if path.is_file() and not path.is_symlink() and NOWHERE.encode() in path.read_bytes()
    }
    assert named - {PREFIXES_PATH} <= {path for path, use in uses.items() if use.outcome != "cured"}


def test_the_same_bytes_from_another_store_folder_and_channel(project: Project, tmp_path: Path) -> None:
    first = project.build(project.recipe(conda=["greeting"]))
    moved = tmp_path / "elsewhere" / "channel"
    shutil.copytree(project.channel, moved)
    other = dataclasses.replace(project, channel=moved, store=Store.open(tmp_path / "other"))
    again = other.build(other.recipe(conda=["greeting"]), output="others")
    assert again.sha256 == first.sha256
    assert again.segments_made == again.segments_total


def test_the_base_is_kept_by_its_packages(project: Project) -> None:
    recipe = project.recipe()
    project.build(recipe)
    shutil.rmtree(project.folder / "envs")
    report = project.build(project.recipe(dependencies=["numpy<1.27"]))
    assert report.segments_made == 0
    project.publish(fake_cut("extra"))
    report = project.build(project.recipe(conda=["extra"]))
    assert report.segments_made == 2


def test_members_never_pass_through_a_linked_folder(project: Project) -> None:
    project.publish(
        Cut(
            name="links",
            files={"root/usr/lib64/one": b"1", "root/usr/lib": Link("lib64"), "root/lib": Link("usr/lib")},
        ),
        Cut(name="through", depends=["links"], files={"root/usr/lib/two": b"2", "root/lib/three": b"3"}),
    )
    report = project.build(project.recipe(conda=["through"]))
    with tarfile.open(report.archive) as archive:
        found = {member.name: member.issym() for member in archive if member.name.startswith("root/")}
    assert found == {
        "root/lib": True,
        "root/usr/lib": True,
        "root/usr/lib64/one": False,
        "root/usr/lib64/two": False,
        "root/usr/lib64/three": False,
    }


# -- names that conda has --------------------------------------------------------------------------


def numpy_cut(version: str = "1.26.4") -> Cut:
    info = f"lib/python3.11/site-packages/numpy-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: numpy\nVersion: {version}\nRequires-Dist: nothing-like-it\n"
    return Cut(
        name="numpy",
        version=version,
        build="py311_0",
        depends=["python 3.11.*"],
        files={
            "lib/python3.11/site-packages/numpy.py": f"VERSION = {version!r}\n".encode(),
            f"{info}/METADATA": metadata.encode(),
        },
    )


def test_what_conda_has_is_no_wheel(project: Project) -> None:
    project.publish(numpy_cut(), numpy_cut("2.1.0"))
    report = project.build(project.recipe(conda=["numpy"], dependencies=["numpy"]))
    assert [package.name for package in report.manifest.packages] == ["torch"]
    assert report.manifest.provides == {"numpy": "1.26.4"}  # the release wants numpy<2


def test_torch_of_the_channel(project: Project) -> None:
    site = "lib/python3.11/site-packages"
    cuts = [
        Cut(
            name="pytorch",
            version=version,
            build=build,
            depends=["python 3.11.*"],
            files={
                f"{site}/torch-{version}.dist-info/METADATA": f"Name: torch\nVersion: {version}\n".encode()
            },
        )
        for version, build in (
            ("2.7.1", "cpu_generic_py311_0"),
            ("2.7.1", "cuda126_py311_0"),
            ("2.8.0", "cpu_generic_py311_0"),
        )
    ]
    project.publish(*cuts)
    recipe = project.recipe(conda=["pytorch"])
    lock = project.lock(recipe).lock
    assert lock.conda is not None
    (torch,) = (package for package in lock.conda.packages if package.name == "pytorch")
    assert (torch.version, torch.build, lock.torch) == ("2.7.1", "cpu_generic_py311_0", "2.7.1")
    assert [artifact.name for artifact in lock.artifacts] == ["numpy"]
    lock = project.lock(project.recipe(conda=["pytorch"], cuda="cu126")).lock
    assert lock.conda is not None
    assert [p.build for p in lock.conda.packages if p.name == "pytorch"] == ["cuda126_py311_0"]


def test_a_local_wheel_and_a_conda_package_of_one_name(project: Project) -> None:
    project.publish(numpy_cut())
    wheel = project.sources.publish("wheels", "numpy", "1.26.4")
    with pytest.raises(ResolveError) as caught:
        project.lock(project.recipe(conda=["numpy"], dependencies=["safe", f"numpy @ {wheel.as_uri()}"]))
    assert caught.value.message == (
        f"{project.folder / 'mine.yaml'}:9: {wheel.name} and the conda package of numpy 1.26.4 are both to be numpy"
    )
    assert caught.value.exit_code == 4


def test_a_wheel_that_would_overwrite_a_file_of_a_conda_package(project: Project) -> None:
    project.publish(Cut(name="owner", files={"lib/python3.11/site-packages/clash.py": b"OWNER = 1\n"}))
    project.sources.publish("pypi", "clash", "1.0")
    recipe = project.recipe(conda=["owner"], dependencies=["clash"])
    with pytest.raises(AssembleError) as caught:
        project.build(recipe)
    assert caught.value.message == (
        "lib/python3.11/site-packages/clash.py belongs to the conda package owner-1.0-0.conda, "
        "and clash-1.0-py3-none-any.whl would overwrite it"
    )
    assert caught.value.hint == (
        f"{recipe.path}:9: take clash from the channel too (conda: [clash]), or drop it, "
        f"or owner at {recipe.path}:8"
    )
    assert caught.value.exit_code == 6
