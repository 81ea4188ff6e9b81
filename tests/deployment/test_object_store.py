from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from tritonclient import http

from envbuilder.api import deploy as deploy_verb
from envbuilder.deployment.layout import deploy
from envbuilder.deployment.object_store import NOT_AT_ONCE, deploy_to_objects
from envbuilder.deployment.options import DeployOptions
from envbuilder.deployment.record import record_beside
from envbuilder.errors import DeployError, StoreError
from envbuilder.store.objects import Elsewhere
from envbuilder.util.resources import sample_model
from envbuilder.verification.server.servers import StartOptions
from envbuilder.verification.server.tritonserver import TritonServer
from tests.deployment.conftest import CONFIG, MODEL, write_archive
from tests.helpers.s3 import CREDENTIALS


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_archive(tmp_path / "built")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "models" / "net"
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(CONFIG)
    (folder / "1" / "model.py").write_text(MODEL)
    return folder


def test_the_repository_holds_what_a_folder_would(
    url: str, archive: Path, model: Path, tmp_path: Path
) -> None:
    local = deploy(archive, model, tmp_path / "repository")
    done = deploy_to_objects(archive, model, url)
    there = Elsewhere(url)
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
    assert archive.name in Elsewhere(url).walk("net")
    pruned = deploy_to_objects(other, model, url, DeployOptions(prune=True))
    assert (pruned.removed, pruned.old_archives, pruned.deleted) == ((), (), (archive.name,))
    assert {path for path in Elsewhere(url).walk("net") if "/_torch_runtime/" not in path} == {
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
            "no layout shared in s3://b/r: a server would download the environment once for each",
        ),
        (
            DeployOptions(layout="backend"),
            "no layout backend in s3://b/r: backends are loaded from the server's own disk",
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


@pytest.mark.server
@pytest.mark.slow
def test_a_real_server_serves_it(
    s3: str, bucket: str, cpu_archive: Path, server: TritonServer, tmp_path: Path
) -> None:
    """It downloads the model and the archive, extracts it, and answers."""
    model = tmp_path / "mlp"
    shutil.copytree(sample_model(), model)
    done = deploy_verb(cpu_archive, model, f"{bucket}/repository")
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
