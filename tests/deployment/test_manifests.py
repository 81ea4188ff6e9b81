"""The manifests of the layout image are their owner's to edit."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from envbuilder.deployment.kubernetes import object_name
from envbuilder.deployment.layout import deploy
from envbuilder.deployment.options import DeployOptions
from envbuilder.errors import DeployError
from tests.deployment.conftest import refused

OPTIONS = DeployOptions(layout="image", image=f"oci://host/a@sha256:{'ab' * 32}", mounted_at="/envs/net")
NEWER = dataclasses.replace(OPTIONS, image=f"oci://host/a@sha256:{'cd' * 32}")


def options(given: DeployOptions, **changes: bool) -> dict[str, object]:
    return {"layout": "image", "image": given.image, "mounted_at": given.mounted_at, **changes}


@pytest.mark.parametrize(
    "text", ["their own Pod", '# envbuilder: model "net", sha256 none', "x" * 2**20 + "y"]
)
def test_somebody_elses(archive: Path, model: Path, repository: Path, text: str) -> None:
    path = repository.parent / "kubernetes" / "net.pod.yaml"
    path.parent.mkdir()
    path.write_text(text)
    for dry_run in (True, False):
        error = refused(
            DeployError, archive, model, repository=repository, **options(OPTIONS, dry_run=dry_run)
        )
        assert error.message == f"{path} was not written by a deployment, and would be overwritten"
        assert "--replace" in (error.hint or "")
    done = deploy(archive, model, repository, dataclasses.replace(OPTIONS, replace=True))
    assert done.overwritten == (str(path),)
    assert f"replaced: {path}" in done.lines()


def test_edited(archive: Path, model: Path, repository: Path) -> None:
    """It stays while there is nothing new to say; then it is asked for."""
    path, other = deploy(archive, model, repository, OPTIONS).manifests
    edited = path.read_text().replace("claimName: models", "claimName: mine")
    assert "claimName: mine" in edited
    path.write_text(edited)
    assert not deploy(archive, model, repository, OPTIONS).changed
    error = refused(DeployError, archive, model, repository=repository, **options(NEWER))
    assert error.message == f"{path} was edited since it was written, and would be overwritten"
    assert path.read_text() == edited
    assert deploy(archive, model, repository, dataclasses.replace(NEWER, replace=True)).overwritten == (
        str(path),
    )
    assert "cd" * 32 in path.read_text()
    assert "cd" * 32 in other.read_text()
    assert deploy(archive, model, repository, OPTIONS).overwritten == ()


def test_two_models_of_one_name(archive: Path, model: Path, repository: Path) -> None:
    name = object_name("Net")  # a model may be called so itself
    path, _ = deploy(archive, model, repository, dataclasses.replace(OPTIONS, name=name)).manifests
    error = refused(
        DeployError, archive, model, repository=repository, **options(OPTIONS), name="Net", replace=True
    )
    assert error.message == f'{path} is the manifest of model "{name}", whose name in Kubernetes is the same'
    assert "--name" in (error.hint or "")
