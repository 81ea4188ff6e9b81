"""A small true archive, and a model directory to put beside it."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import shutil
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import pytest

from envbuilder.archive.manifest import MANIFEST_PATH, Manifest, ManifestInterpreter
from envbuilder.deployment.layout import deploy
from envbuilder.deployment.options import DeployOptions
from envbuilder.deployment.pbtxt import set_parameter
from envbuilder.errors import EnvbuilderError
from envbuilder.util.resources import sample_model

CONFIG = """\
# Ours: do not touch.
backend: "python"   # the backend
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 4 ] } ]
"""
_COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "gz": lambda data: gzip.compress(data, mtime=0),  # the same archive is the same bytes a second later
    "xz": lzma.compress,
}
MODEL = "import torch\n\n\nclass Net(torch.nn.Module):\n    def forward(self, x):\n        return x\n"


def make_manifest(**changes: Any) -> Manifest:
    digest = "0" * 64
    interpreter = ManifestInterpreter(version="3.12.3", origin="host", digest=digest, locked_digest=digest)
    values: dict[str, Any] = {
        "recipe": "tiny",
        "recipe_digest": digest,
        "lock_digest": digest,
        "release": "25.06",
        "python": "3.12",
        "torch": "2.7.1+cpu",
        "cuda": "cpu",
        "interpreter": interpreter,
        "demands": (),
        "packages": (),
        "glibc": None,
        "glibcxx": None,
        "pack": {},
        "tools": {},
        "unpacked_size": 0,
        "files": (),
    }
    return Manifest(**{**values, **changes})


def write_archive(
    folder: Path,
    *,
    compression: Literal["", "gz", "xz"] = "gz",
    files: Mapping[str, bytes] | None = None,
    members: Callable[[tarfile.TarFile], None] | None = None,
    **changes: Any,
) -> Path:
    """Write an archive named by its content, with its manifest inside and beside it; *members* adds to it."""
    manifest = make_manifest(**changes)
    content = {"bin/activate": b"# nothing\n", "lib/libpython3.12.so.1.0": b"\x7fELF", **(files or {})}
    content[MANIFEST_PATH] = manifest.text().encode()
    folder.mkdir(parents=True, exist_ok=True)
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as tar:
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        if members is not None:
            members(tar)
    data = _COMPRESS[compression](written.getvalue())
    digest = hashlib.sha256(data).hexdigest()[:12]
    suffix = ".tar.gz" if compression == "gz" else ".tar" + (f".{compression}" if compression else "")
    archive = folder / f"{manifest.recipe}-{digest}{suffix}"
    if not archive.exists():  # the same file, the same time
        archive.write_bytes(data)
    archive.with_name(f"{manifest.recipe}-{digest}.json").write_text(manifest.text())
    return archive


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_archive(tmp_path / "built")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model directory called ``net``."""
    folder = tmp_path / "models" / "net"
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(CONFIG)
    (folder / "1" / "model.py").write_text(MODEL)
    return folder


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return tmp_path / "repository"


def inodes(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_ino for path in folder.rglob("*") if path.is_file()}


def tree(folder: Path) -> dict[str, str]:
    """Every path below a folder, with what tells whether it was touched."""
    return {
        path.relative_to(folder).as_posix(): f"{path.lstat().st_ino} {path.lstat().st_mtime_ns}"
        for path in folder.rglob("*")
    }


def refused(
    error: type[EnvbuilderError], archive: Path, model: Path, *, repository: Path, **options: Any
) -> EnvbuilderError:
    """Deploy and return the error, which left nothing behind."""
    folder = repository.parent
    before = tree(folder)
    with pytest.raises(error) as caught:
        deploy(archive, model, repository, DeployOptions(**options))
    after = tree(folder)
    assert after == before
    return caught.value


def uncompiled(folder: Path) -> Path:
    """The sample model, which loads sooner when it is not compiled."""
    model = shutil.copytree(sample_model(), folder / "models" / sample_model().name)
    config = model / "config.pbtxt"
    text = set_parameter(config.read_text(), "TORCH_COMPILE_OPTIONAL_PARAMETERS", '{"disable": true}')
    config.write_text(text)
    return model


DEPLOYED = """\
# Ours: do not touch.
backend: "python"   # the backend
default_model_filename: "torch_runtime.py"
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 4 ] } ]
parameters {
  key: "EXECUTION_ENV_PATH"
  value { string_value: "ENVIRONMENT" }
}
"""


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, with its bytes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def single_file_runtime(folder: Path, name: str) -> None:
    """Make *folder* what an envbuilder before the runtime was a folder left there."""
    shutil.rmtree(folder / "_torch_runtime", ignore_errors=True)
    (folder / name).write_text("class TritonPythonModel: pass\n")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / f"{name[:-3]}.cpython-311.pyc").write_bytes(b"compiled by the server's stub")
