from __future__ import annotations

import ast
import io
import tarfile
from pathlib import Path

import conda_pack
import pytest

from envbuilder.bench import baseline
from envbuilder.bench.baseline import deploy_baseline, pack_baseline
from envbuilder.deployment.config import read_config


def test_the_environment_has_no_bytecode_and_nothing_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "a.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name in (
            "bin/python3",
            "bin/activate",
            "lib/a.py",
            "lib/__pycache__/a.pyc",
            "share/envbuilder/x",
        ):
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    packed: list[str] = []

    def pack(*, prefix: str, output: str, **_: object) -> None:
        packed.extend(str(path.relative_to(prefix)) for path in Path(prefix).rglob("*") if path.is_file())
        Path(output).touch()

    monkeypatch.setattr(conda_pack, "pack", pack)
    monkeypatch.setattr(baseline, "conda_pack", conda_pack, raising=False)
    (tmp_path / "scratch").mkdir()
    pack_baseline(archive, tmp_path / "scratch", tmp_path / "b.tar.gz")
    assert sorted(packed) == ["bin/python3", "lib/a.py"]
    assert (tmp_path / "b.tar.gz").exists()


def test_the_model_is_served_by_a_file_of_its_own(tmp_path: Path) -> None:
    model = tmp_path / "m"
    (model / "1").mkdir(parents=True)
    (model / "1" / "model.py").write_text("import torch\n")
    (model / "config.pbtxt").write_text(
        'backend: "torch"\ndefault_model_filename: "x.py"\nmax_batch_size: 4\n'
    )
    deploy_baseline(model, tmp_path / "a.tar.gz", tmp_path / "r")
    config = read_config(tmp_path / "r" / "m")
    assert (config.message.backend, config.message.default_model_filename) == ("python", "")
    assert (config.message.max_batch_size, config.environment) == (4, str(tmp_path / "a.tar.gz"))
    assert (tmp_path / "r" / "m" / "1" / "net" / "model.py").read_text() == "import torch\n"
    served = ast.parse((tmp_path / "r" / "m" / "1" / "model.py").read_text())
    assert "TritonPythonModel" in {node.name for node in served.body if isinstance(node, ast.ClassDef)}
