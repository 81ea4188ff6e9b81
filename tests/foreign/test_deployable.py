"""An environment that another tool packed is deployed in every layout; what no release loads is refused."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from envbuilder import api
from envbuilder.deployment.options import DeployOptions
from envbuilder.deployment.tree import unpack
from envbuilder.errors import DeployError
from envbuilder.util.files import file_sha256
from envbuilder.util.resources import sample_model
from tests.helpers.environments import add, environment, pack


@pytest.mark.parametrize("layout", ["model", "shared", "backend"])
def test_every_layout(packed: Path, tmp_path: Path, layout: str) -> None:
    done = api.deploy(packed, sample_model(), tmp_path / "models", DeployOptions(layout=layout))
    assert done.release == "pytriton-0.7.0"
    environments = [path for path in tmp_path.rglob("env-*.tar.gz") if not path.is_symlink()]
    (placed,) = environments
    assert placed.name == f"env-{file_sha256(packed)[:12]}.tar.gz"
    record = json.loads(placed.with_name(f"{placed.name}.deployed.json").read_text())
    assert (record["recipe"], record["release"]) == ("env", "pytriton-0.7.0")
    assert record["sha256"] == file_sha256(packed)
    again = api.deploy(packed, sample_model(), tmp_path / "models", DeployOptions(layout=layout))
    assert not again.changed


def test_unpacked(packed: Path, tmp_path: Path) -> None:
    options = DeployOptions(layout="shared", unpacked=True)
    api.deploy(packed, sample_model(), tmp_path / "models", options)
    (folder,) = [path for path in (tmp_path / "environments").iterdir() if path.is_dir()]
    assert (folder / "bin" / "activate").is_file()
    assert not api.deploy(packed, sample_model(), tmp_path / "models", options).changed


def test_unpacked_names_are_no_matter_of_their_character_set(tmp_path: Path) -> None:
    archive = tmp_path / "env.tar"
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        add(tar, "share/\xe9", b"1")
    unpack(archive, tmp_path / "env")
    assert (tmp_path / "env" / "share" / "\xe9").read_bytes() == b"1"


@pytest.mark.parametrize(
    ("tree", "text", "hint"),
    [
        (
            {f"env/{path}": data for path, data in environment().items()},
            "everything is in the folder env/",
            "tar -C env",
        ),
        (
            {path: data for path, data in environment().items() if path != "bin/activate"},
            "has no bin/activate",
            "conda-pack --prefix",
        ),
        (
            environment() | {"bin/activate": b"VIRTUAL_ENV=/home/me/venv\n"},
            "its bin/activate sets the folder /home/me/venv",
            "uv venv --relocatable",
        ),
    ],
)
def test_what_no_release_loads_is_refused(
    tmp_path: Path, tree: dict[str, bytes], text: str, hint: str
) -> None:
    with pytest.raises(DeployError) as caught:
        api.deploy(pack(dict(tree), tmp_path), sample_model(), tmp_path / "models")
    assert text in caught.value.message
    assert hint in (caught.value.hint or "")
    assert not (tmp_path / "models").exists()


def test_a_folder(prefix: Path, venv: Path, tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="has no bin/activate"):
        api.deploy(prefix, sample_model(), tmp_path / "models")
    with pytest.raises(DeployError, match="its bin/activate sets the folder"):
        api.deploy(venv, sample_model(), tmp_path / "models")


def test_its_contents_are_told(packed: Path, prefix: Path) -> None:
    components = {one["name"]: one for one in json.loads(api.sbom(packed))["components"]}
    assert {"alpha", "beta", "greeting", "python", "cpython"} <= components.keys()
    assert components["alpha"]["purl"] == "pkg:pypi/alpha@1.0"
    assert "hashes" not in components["alpha"]  # its wheel is not there
    assert components["greeting"]["hashes"][0]["alg"] == "SHA-256"
    sizes = {cell.package for cell in api.size(packed).by_package()}
    assert {"alpha", "beta", "greeting", "python", "(activation)"} <= sizes
    changed = api.diff(str(packed), str(prefix))
    assert not changed.packages
    assert {one.path for one in changed.files} >= {"bin/activate"}


@pytest.mark.parametrize(("text", "listed"), [(b"", False), (b"Name: nov\n", True)])
def test_its_contents_are_told_where_metadata_says_little(tmp_path: Path, text: bytes, listed: bool) -> None:
    tree = environment() | {"lib/python3.11/site-packages/nov-1.2.dist-info/METADATA": text}
    components = {one["name"]: one for one in json.loads(api.sbom(pack(dict(tree), tmp_path)))["components"]}
    assert ("nov" in components) == listed
    assert not listed or components["nov"]["version"] == "1.2", "of the folder's name"
