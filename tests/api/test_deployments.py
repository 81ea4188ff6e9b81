from __future__ import annotations

from pathlib import Path

from envbuilder import api
from tests.deployment.conftest import CONFIG, MODEL, write_archive


def test_deploy_gives_the_deployment(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "envs")
    model = tmp_path / "tiny"
    (model / "1").mkdir(parents=True)
    (model / "1" / "model.py").write_text(MODEL)
    (model / "config.pbtxt").write_text(CONFIG)
    made = api.deploy(archive, model, tmp_path / "repository")
    assert (made.model, made.folder) == ("tiny", tmp_path / "repository" / "tiny")
