"""The image of a real environment: verified from a registry, and served from a read-only mount."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tritonclient import http

from envbuilder import api
from envbuilder.archive.names import read_archive
from envbuilder.deployment.layout import deploy
from envbuilder.deployment.options import DeployOptions
from envbuilder.images.write import write_image
from envbuilder.registry.reference import parse_reference
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from envbuilder.transfer.images import push_image
from envbuilder.util.resources import sample_model
from envbuilder.verification.server.tritonserver import TritonServer
from tests.helpers.images import mounted, umoci
from tests.helpers.registries import docker_registry
from tests.helpers.trust import Team

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.torch, pytest.mark.server]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")
def test_a_server_serves_from_the_mounted_image(
    cpu_archive: Path, server: TritonServer, store: Store, tmp_path: Path
) -> None:
    write_image([cpu_archive], tmp_path / "cpu.oci", Session(store=store))
    umoci(tmp_path / "cpu.oci", "cpu", tmp_path / "bundle")
    image = f"oci://registry.example.com/cpu@sha256:{'0' * 64}"
    with mounted(tmp_path / "bundle" / "rootfs", tmp_path) as place:
        shutil.rmtree(tmp_path / "bundle")
        options = DeployOptions(layout="image", image=image, mounted_at=str(place))
        repository, log = tmp_path / "repository", tmp_path / "log"
        deploy(cpu_archive, sample_model(), repository, options)
        rows = torch.arange(384, dtype=torch.float32).reshape(3, 128) / 384
        with (
            server.start(repository, python="3.11", log=log) as running,
            http.InferenceServerClient(running.http, network_timeout=600, connection_timeout=600) as client,
        ):
            request = http.InferInput("x", [3, 128], "FP32")
            request.set_data_from_numpy(rows.numpy())
            answer = client.infer("mlp", [request]).as_numpy("y")
        expected = _eager(rows)
        np.testing.assert_allclose(answer, expected, rtol=1e-3, atol=1e-4)
    said = log.read_text(errors="replace")
    assert "Extracting Python execution env" not in said
    assert "uncompiled" not in said


def _eager(rows: torch.Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    source = (sample_model() / "1" / "model.py").read_text()
    found: dict[str, object] = {}
    exec(compile(source, "model.py", "exec"), found)
    model = found["MLP"]
    assert callable(model)
    with torch.no_grad():
        answer: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = model()(rows).numpy()
    return answer


def test_an_image_in_a_registry_is_proven_as_an_archive_is(
    cpu_archive: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    team = Team(tmp_path / "team")
    (tmp_path / "envs").mkdir()
    archive = tmp_path / "envs" / cpu_archive.name
    os.link(cpu_archive, archive)
    manifest = cpu_archive.with_name(cpu_archive.name.replace(".tar.gz", ".json"))
    shutil.copy(manifest, archive.with_name(manifest.name))
    api.attest(archive, key=team.private)
    session = Session(store=store)
    with docker_registry(tmp_path / "registry") as host:
        pushed = push_image(archive, parse_reference(f"oci://{host}/envs/cpu:v1"), session)
        assert pushed.image is not None
        report = api.verify(pushed.image, provenance=team.public, server=False, session=session)
    assert report.passed, list(report.failures)
    assert report.archive == pushed.image
    assert report.sha256 == read_archive(archive)[1]
    status = {check.id: check.status for check in report.checks}
    for name in ("layers", "tree", "readable", "mount", "archive"):
        assert status[f"image.{name}"] == "passed", name
    assert status["live.readonly"] == "passed"
    assert status["provenance.signature"] == "passed"
    assert status["manifest.origin"] == "passed"
    assert dataclasses.asdict(report)["isolated"]
