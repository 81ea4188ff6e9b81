"""The layout image: what a model's folder says, and what a cluster is given."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from envbuilder.deployment.layout import deploy
from envbuilder.deployment.options import DeployOptions
from envbuilder.errors import DeployError

IMAGE = f"registry.example.com/envs/resnet@sha256:{'ab' * 32}"
OPTIONS = DeployOptions(layout="image", image=f"oci://{IMAGE}", mounted_at="/envs/resnet")


def test_a_model_and_what_a_cluster_needs(archive: Path, model: Path, repository: Path) -> None:
    done = deploy(archive, model, repository, OPTIONS)
    assert done.environment_path == "/envs/resnet"
    assert 'string_value: "/envs/resnet"' in (done.folder / "config.pbtxt").read_text()
    assert [path.name for path in done.folder.rglob("*.tar.gz")] == []
    folder = repository.parent / "kubernetes"
    written = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    assert len(written) == 2
    texts = [(folder / name).read_text() for name in written]
    assert all(IMAGE in text for text in texts)
    assert done.manifests == tuple(folder / name for name in reversed(written))
    assert (
        f"manifest: {folder / 'net.pod.yaml'} (put your volume claim into it, then kubectl apply)"
        in done.lines()
    )
    before = [(path.stat().st_mtime_ns, path.stat().st_ino) for path in folder.iterdir()]
    assert not deploy(archive, model, repository, OPTIONS).changed
    assert [(path.stat().st_mtime_ns, path.stat().st_ino) for path in folder.iterdir()] == before


def test_a_dry_run_writes_nothing(archive: Path, model: Path, repository: Path) -> None:
    done = deploy(archive, model, repository, dataclasses.replace(OPTIONS, dry_run=True))
    assert done.changed
    assert not (repository.parent / "kubernetes").exists()


def test_models_whose_names_are_alike(archive: Path, model: Path, repository: Path) -> None:
    names = ("a.b", "a_b")
    for name in names:
        deploy(archive, model, repository, dataclasses.replace(OPTIONS, name=name))
    files = list((repository.parent / "kubernetes").glob("*.pod.yaml"))
    assert len(files) == 2


@pytest.mark.parametrize("path", ["/opt/envs", "/mnt/envs", "/tmp/envs", "/sbin2", "/envs"])
def test_places_that_are_free(path: str, archive: Path, model: Path, repository: Path) -> None:
    assert deploy(
        archive, model, repository, dataclasses.replace(OPTIONS, mounted_at=path)
    ).environment_path == (path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mounted_at": None}, "needs the path at which the image is mounted"),
        ({"image": None}, "needs the image's digest"),
        ({"image": "oci://host/a:latest"}, "a tag may point to a different image later"),
        ({"mounted_at": "envs/resnet"}, "is not a path where a server finds"),
        ({"mounted_at": "$$TRITON_MODEL_DIRECTORY/env"}, "is not a valid mount path"),
        ({"mounted_at": "/envs/../etc"}, "is not a path where a server finds"),
        ({"mounted_at": "/envs/"}, "is not a valid mount path"),
        ({"mounted_at": "/"}, "is not a valid mount path"),
        ({"mounted_at": "/models/env"}, "lies in /models"),
        ({"mounted_at": "/usr/lib"}, "lies in /usr"),
        ({"mounted_at": "/opt"}, "/opt would hide /opt/tritonserver"),
        ({"mounted_at": "/mnt"}, "/mnt would hide /mnt/models"),
        ({"mounted_at": "/dev/shm"}, "lies in /dev"),
        ({"mounted_at": "/sbin"}, "lies in /sbin"),
        ({"mounted_at": "/tmp"}, "/tmp would be read-only, and the server writes to it"),
        ({"mounted_at": "/a\nb"}, "control characters"),
        ({"unpacked": True}, "nothing is unpacked"),
    ],
)
def test_what_makes_no_sense(
    changes: dict[str, Any], said: str, archive: Path, model: Path, repository: Path
) -> None:
    with pytest.raises(DeployError, match=said):
        deploy(archive, model, repository, dataclasses.replace(OPTIONS, **changes))
    assert not repository.exists() or not any(repository.iterdir())
    assert not (repository.parent / "kubernetes").exists()
