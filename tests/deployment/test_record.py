from __future__ import annotations

import os
from pathlib import Path

from envbuilder.deployment.layout import deploy
from envbuilder.deployment.record import record_beside
from tests.deployment.conftest import MODEL


def test_what_the_model_directory_lost_is_gone_and_told(archive: Path, model: Path, repository: Path) -> None:
    (model / "2").mkdir()
    (model / "2" / "model.py").write_text(MODEL)
    deploy(archive, model, repository)
    (model / "2" / "model.py").unlink()
    (model / "2").rmdir()
    done = deploy(archive, model, repository)
    assert done.removed == ("2/model.py",)
    assert done.lines()[2:] == ["removed: 2/model.py"]
    assert sorted(os.listdir(repository / "net")) == [
        "1",
        "config.pbtxt",
        archive.name,
        record_beside(archive).name,
    ]


def test_what_is_no_model_stays_behind(archive: Path, model: Path, repository: Path) -> None:
    for name in (".git/config", "1/__pycache__/model.pyc", "1/.ipynb_checkpoints/x"):
        (model / name).parent.mkdir()
        (model / name).touch()
    done = deploy(archive, model, repository)
    assert sorted(os.listdir(done.folder)) == ["1", "config.pbtxt", archive.name, record_beside(archive).name]
    assert sorted(os.listdir(done.folder / "1")) == ["_torch_runtime", "model.py", "torch_runtime.py"]
