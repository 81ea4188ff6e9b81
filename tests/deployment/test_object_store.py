from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
from tritonclient import http

from envbuilder.api import deploy as deploy_verb
from envbuilder.deployment.layout import deploy
from envbuilder.deployment.object_store import NOT_AT_ONCE, deploy_to_objects
from envbuilder.deployment.options import DeployOptions
from envbuilder.deployment.record import record_beside
from envbuilder.errors import DeployError, StoreError
from envbuilder.store.objects import RemoteObjects
from envbuilder.verification.server.servers import StartOptions
from envbuilder.verification.server.tritonserver import TritonServer
from tests.deployment.conftest import CONFIG, MODEL, uncompiled, write_archive
from tests.helpers.s3 import CREDENTIALS


def test_the_repository_holds_what_a_folder_would(
    url: str, archive: Path, model: Path, tmp_path: Path
) -> None:
    local = deploy(archive, model, tmp_path / "repository")
    done = deploy_to_objects(archive, model, url)
    there = RemoteObjects(url)
    held = there.walk("net")
    assert set(held) == {
        path.relative_to(local.folder).as_posix() for path in local.folder.rglob("*") if path.is_file()
    }
    for path in held:
        assert b"".join(there.read(f"net/{path}")) == (local.folder / path).read_bytes()
    assert done.environment_path == f"$$TRITON_MODEL_DIRECTORY/{archive.name}" == local.environment_path
    assert done.folder == f"{url}/net"
    assert (done.uploaded[0], done.uploaded[-1]) == (archive.name, "config.pbtxt")
    assert NOT_AT_ONCE in done.findings
    again = deploy_to_objects(archive, model, url)
    assert (again.changed, again.uploaded) == (False, ())


def test_another_archive_and_another_model(url: str, archive: Path, model: Path, tmp_path: Path) -> None:
    (model / "notes.txt").write_text("of the first")
    deploy_to_objects(archive, model, url)
    (model / "notes.txt").unlink()
    (model / "1" / "model.py").write_text(MODEL + "# changed\n")
    other = write_archive(tmp_path / "other", files={"more": b"more"})
    done = deploy_to_objects(other, model, url)
    assert done.uploaded == (other.name, "1/model.py", "config.pbtxt")
    assert (done.removed, done.old_archives) == (("notes.txt",), (archive.name,))
    assert archive.name in RemoteObjects(url).walk("net")
    pruned = deploy_to_objects(other, model, url, DeployOptions(prune=True))
    assert (pruned.removed, pruned.old_archives, pruned.deleted) == ((), (), (archive.name,))
    assert {path for path in RemoteObjects(url).walk("net") if "/_torch_runtime/" not in path} == {
        "1/model.py",
        "1/torch_runtime.py",
        "config.pbtxt",
        other.name,
        record_beside(other).name,
    }


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            DeployOptions(layout="shared"),
            "no layout shared in s3://b/r: a server would download the environment for each",
        ),
        (
            DeployOptions(layout="backend"),
            "no layout backend in s3://b/r: Triton loads backends from the server's own disk only",
        ),
        (
            DeployOptions(unpacked=True),
            "no unpacked environment in s3://b/r: objects have neither modes nor links",
        ),
    ],
)
def test_what_no_object_store_can_serve(
    options: DeployOptions, said: str, archive: Path, model: Path
) -> None:
    with pytest.raises(DeployError) as raised:
        deploy_verb(archive, model, "s3://b/r", options)
    assert raised.value.message.startswith(said)
    assert raised.value.exit_code == 8


def test_a_bucket_that_is_not_there(bucket: str, archive: Path, model: Path) -> None:
    with pytest.raises(StoreError) as raised:
        deploy_verb(archive, model, f"{bucket}-gone/repository")
    assert raised.value.message.startswith(f"{bucket}-gone/repository/net/{archive.name}: ")
    assert raised.value.exit_code == 4


def put(url: str, path: str, data: bytes, tmp_path: Path) -> None:
    source = tmp_path / "object"
    source.write_bytes(data)
    RemoteObjects(url).replace(path, source)


def named(value: str) -> bytes:
    parameter = f'parameters {{ key: "EXECUTION_ENV_PATH" value {{ string_value: "{value}" }} }}'
    return f'backend: "python"\n{parameter}\n'.encode()


PRUNE = DeployOptions(prune=True)


def test_a_dry_run_writes_nothing(url: str, archive: Path, model: Path, tmp_path: Path) -> None:
    dry = deploy_to_objects(archive, model, url, DeployOptions(dry_run=True))
    assert RemoteObjects(url).walk("") == {}
    done = deploy_to_objects(archive, model, url)
    assert dataclasses.replace(dry, dry_run=False) == done
    other = write_archive(tmp_path / "other", torch="2.8.0")
    before = RemoteObjects(url).walk("net")
    dry = deploy_to_objects(other, model, url, DeployOptions(prune=True, dry_run=True))
    assert RemoteObjects(url).walk("net") == before
    assert dry.lines()[0] == f"net: {url}/net (dry run: nothing is written)"
    assert f"would be deleted: {archive.name}" in dry.lines()
    assert dataclasses.replace(dry, dry_run=False) == deploy_to_objects(other, model, url, PRUNE)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("theirs/config.pbtxt", "/mnt/{name}"),
        ("theirs/configs/gpu.pbtxt", "/mnt/{name}"),
        ("net/configs/gpu.pbtxt", "$$TRITON_MODEL_DIRECTORY/{name}"),
    ],
)
def test_an_environment_that_is_named_is_kept(
    archive: Path, model: Path, tmp_path: Path, path: str, value: str
) -> None:
    url = f"file://{tmp_path}/there"
    deploy_to_objects(archive, model, url)
    if path.startswith("net/"):  # a file of the model itself
        (model / "configs").mkdir()
        (model / "configs" / "gpu.pbtxt").write_bytes(named(value.format(name=archive.name)))
    else:
        put(url, path, named(value.format(name=archive.name)), tmp_path)
    other = write_archive(tmp_path / "other", torch="2.8.0")
    assert deploy_to_objects(other, model, url, PRUNE).deleted == ()
    assert archive.name in RemoteObjects(url).walk("net")


def test_another_models_own_environment_is_not_this_one(archive: Path, model: Path, tmp_path: Path) -> None:
    url = f"file://{tmp_path}/there"
    deploy_to_objects(archive, model, url)
    put(url, "theirs/config.pbtxt", named(f"$$TRITON_MODEL_DIRECTORY/{archive.name}"), tmp_path)
    other = write_archive(tmp_path / "other", torch="2.8.0")
    assert deploy_to_objects(other, model, url, PRUNE).deleted == (archive.name,)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"not ours {", ", line 1: "),
        (b"\xff", " is not UTF-8: byte 0"),
        (b"#" * (2**20 + 1), " is larger than 1 MiB, the limit for configurations"),
    ],
)
def test_a_configuration_that_cannot_be_read_stops_a_prune(
    url: str, archive: Path, model: Path, tmp_path: Path, data: bytes, said: str
) -> None:
    deploy_to_objects(archive, model, url)
    put(url, "theirs/config.pbtxt", data, tmp_path)
    other = write_archive(tmp_path / "other", torch="2.8.0")
    before = RemoteObjects(url).walk("")
    with pytest.raises(DeployError) as raised:
        deploy_to_objects(other, model, url, PRUNE)
    assert raised.value.message.startswith(f"{url}/theirs/config.pbtxt{said}")
    assert RemoteObjects(url).walk("") == before
    done = deploy_to_objects(other, model, url)
    assert done.old_archives == ()
    assert "unknown-use" in [finding.id for finding in done.findings]


@pytest.mark.parametrize("record", [None, b"[]", b"{}", b"\xff", b" " * (2**20 + 1)])
def test_what_no_deployment_placed_is_kept_there(
    archive: Path, model: Path, tmp_path: Path, record: bytes | None
) -> None:
    url = f"file://{tmp_path}/there"
    deploy_to_objects(archive, model, url)
    theirs = "theirs-0123456789ab.tar.gz"
    put(url, f"net/{theirs}", b"theirs", tmp_path)
    if record is not None:
        put(url, f"net/{theirs}.deployed.json", record, tmp_path)
    other = write_archive(tmp_path / "other", torch="2.8.0")
    assert deploy_to_objects(other, model, url, PRUNE).deleted == (archive.name,)
    assert theirs in RemoteObjects(url).walk("net")


def test_an_environment_of_somebody_elses_there(url: str, archive: Path, model: Path, tmp_path: Path) -> None:
    put(url, "net/config.pbtxt", named("$$TRITON_MODEL_DIRECTORY/env/theirs.tar.gz"), tmp_path)
    put(url, "net/env/theirs.tar.gz", b"theirs", tmp_path)
    with pytest.raises(DeployError) as raised:
        deploy_to_objects(archive, model, url)
    assert raised.value.message == (
        f"{url}/net/config.pbtxt has an EXECUTION_ENV_PATH that was not written by a deployment: "
        "'$$TRITON_MODEL_DIRECTORY/env/theirs.tar.gz'"
    )
    assert set(RemoteObjects(url).walk("net")) == {"config.pbtxt", "env/theirs.tar.gz"}
    done = deploy_to_objects(archive, model, url, DeployOptions(replace=True, prune=True))
    assert done.replaced == "$$TRITON_MODEL_DIRECTORY/env/theirs.tar.gz"
    assert "env/theirs.tar.gz" in RemoteObjects(url).walk("net")
    assert deploy_to_objects(archive, model, url).replaced is None


def test_files_of_somebody_elses_there(url: str, archive: Path, model: Path, tmp_path: Path) -> None:
    put(url, "net/1/weights.pt", b"theirs", tmp_path)
    with pytest.raises(DeployError) as raised:
        deploy_to_objects(archive, model, url)
    assert raised.value.message == (
        f"{url}/net was not deployed by envbuilder, and contains files that the model directory does not: "
        "'1/weights.pt'"
    )
    assert set(RemoteObjects(url).walk("net")) == {"1/weights.pt"}
    done = deploy_to_objects(archive, model, url, DeployOptions(replace=True))
    assert done.removed == ("1/weights.pt",)


def test_two_deployments_at_once_are_seen(
    url: str, archive: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one comes by while this one uploads: half of each would be there, and somebody is told."""
    real = RemoteObjects.replace

    def replace(self: RemoteObjects, path: str, source: Path) -> None:
        real(self, path, source)
        if path.endswith("/config.pbtxt"):
            other = tmp_path / "other"
            other.write_text(MODEL + "# of another\n")
            real(self, "net/1/model.py", other)

    monkeypatch.setattr(RemoteObjects, "replace", replace)
    with pytest.raises(DeployError) as raised:
        deploy_to_objects(archive, model, url)
    assert raised.value.message == (
        f"{url}/net/1/model.py was changed by another process during the deployment"
    )
    monkeypatch.undo()
    assert deploy_to_objects(archive, model, url).uploaded == ("1/model.py",)


@pytest.mark.server
@pytest.mark.slow
def test_a_real_server_serves_it(
    s3: str, bucket: str, cpu_archive: Path, server: TritonServer, tmp_path: Path
) -> None:
    """It downloads the model and the archive, extracts it, and answers."""
    done = deploy_verb(cpu_archive, uncompiled(tmp_path), f"{bucket}/repository")
    address = bucket.replace("s3://", f"s3://{s3}/")
    environment = {**CREDENTIALS, "AWS_DEFAULT_REGION": "us-east-1"}
    log = tmp_path / "log"
    with (
        server.start(
            f"{address}/repository", python="3.11", log=log, options=StartOptions(env=environment)
        ) as running,
        http.InferenceServerClient(running.http, network_timeout=120) as client,
    ):
        (spec,) = client.get_model_metadata(done.model)["inputs"]
        rows = np.ones([2 if size == -1 else int(size) for size in spec["shape"]], dtype=np.float32)
        asked = http.InferInput(spec["name"], list(rows.shape), spec["datatype"])
        asked.set_data_from_numpy(rows)
        answer = client.infer(done.model, [asked])
    (output,) = answer.get_response()["outputs"]
    assert output["shape"][0] == 2


@pytest.fixture
def memory() -> Iterator[str]:
    """A repository on an object store that answers at once."""
    held = fsspec.filesystem("memory")
    held.store.clear()
    yield "memory://models"
    held.store.clear()


def test_objects_that_somebody_else_made(memory: str, archive: Path, model: Path, tmp_path: Path) -> None:
    put(memory, "net/1/model.py", b"# theirs", tmp_path)
    put(memory, "net/config.pbtxt", f"{CONFIG}# tuned\n".encode(), tmp_path)
    before = RemoteObjects(memory).walk("")
    with pytest.raises(DeployError) as raised:
        deploy_to_objects(archive, model, memory)
    assert raised.value.message.endswith("contains files with other content: '1/model.py' and 1 other file")
    assert RemoteObjects(memory).walk("") == before
    replace = DeployOptions(replace=True, dry_run=True)
    dry = deploy_to_objects(archive, model, memory, replace)
    assert "would be replaced: 1/model.py" in dry.lines()
    done = deploy_to_objects(archive, model, memory, dataclasses.replace(replace, dry_run=False))
    assert done.overwritten == ("1/model.py", "config.pbtxt") == dry.overwritten
    (model / "1" / "model.py").write_text(MODEL + "# changed\n")
    assert deploy_to_objects(archive, model, memory).overwritten == ()


def test_objects_that_say_the_same(memory: str, archive: Path, model: Path, tmp_path: Path) -> None:
    put(memory, "net/config.pbtxt", CONFIG.encode(), tmp_path)
    assert deploy_to_objects(archive, model, memory).overwritten == ()
