from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.deployment.references import read_references
from envbuilder.errors import DeployError

NAME = "small-0123456789ab.tar.gz"


def write(config: Path, environment: str) -> None:
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(
        f'backend: "python"\nparameters {{ key: "EXECUTION_ENV_PATH" value {{ string_value: "{environment}" }} }}\n'
    )


@pytest.mark.parametrize("config", ["config.pbtxt", "configs/gpu.pbtxt"])
def test_a_path_below_the_model_is_the_models_own(config: str, tmp_path: Path) -> None:
    write(tmp_path / "m" / config, f"$$TRITON_MODEL_DIRECTORY/{NAME}")
    ((said,),) = read_references(tmp_path).values()
    assert said.is_relative
    assert said.names(tmp_path / "m" / NAME, shared=False)
    assert not said.names(tmp_path / "other" / NAME, shared=False)
    assert not said.names(tmp_path / "m" / "small-ffffffffffff.tar.gz", shared=False)


def test_the_name_is_enough_where_a_container_sees_another_path(tmp_path: Path) -> None:
    write(tmp_path / "m" / "config.pbtxt", f"/mnt/{NAME}")
    ((said,),) = read_references(tmp_path).values()
    assert not said.is_relative
    assert said.names(tmp_path / "environments" / NAME, shared=True)
    assert not said.names(tmp_path / "environments" / "other", shared=True)


def test_folders_without_a_configuration_say_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "lost+found").mkdir()
    assert read_references(tmp_path) == {tmp_path / "a": []}


def test_what_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "config.pbtxt").write_text("backend: {")
    with pytest.raises(DeployError, match=r"a/config\.pbtxt"):
        read_references(tmp_path)
    with pytest.raises(DeployError, match="gone cannot be read: No such file"):
        read_references(tmp_path / "gone")
