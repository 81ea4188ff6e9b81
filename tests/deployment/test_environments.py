from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.deployment.environments import environment_of, find_environments, is_environment_name
from envbuilder.errors import DeployError

NAME = "small-0123456789ab"


def model(folder: Path, config: str) -> Path:
    (folder / "models" / "m").mkdir(parents=True)
    (folder / "models" / "m" / "config.pbtxt").write_text(config)
    return folder / "models" / "m"


def named(path: str) -> str:
    return (
        f'backend: "python"\nparameters {{ key: "EXECUTION_ENV_PATH" value {{ string_value: "{path}" }} }}\n'
    )


def test_names_that_build_gives() -> None:
    assert is_environment_name(f"{NAME}.tar.gz")
    assert not is_environment_name(NAME)
    assert not is_environment_name("other.tar.gz")


def test_archives_and_folders_that_one_is_unpacked_into(tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.tar.gz").touch()
    (tmp_path / NAME / "bin").mkdir(parents=True)
    (tmp_path / NAME / "bin" / "activate").touch()
    (tmp_path / "empty-0123456789ab").mkdir()
    (tmp_path / "link-0123456789ab.tar.gz").symlink_to(f"{NAME}.tar.gz")
    assert [path.name for path in find_environments(tmp_path)] == [NAME, f"{NAME}.tar.gz"]
    assert find_environments(tmp_path / "gone") == []


def test_the_one_that_a_model_names(tmp_path: Path) -> None:
    folder = model(tmp_path, named(f"$$TRITON_MODEL_DIRECTORY/{NAME}.tar.gz"))
    with pytest.raises(DeployError, match="its environment is not at"):
        environment_of(folder)
    (folder / f"{NAME}.tar.gz").touch()
    assert environment_of(folder) == (folder / f"{NAME}.tar.gz").resolve()


def test_the_default_of_a_backend(tmp_path: Path) -> None:
    folder = model(tmp_path, 'backend: "torch-small"\n')
    default = tmp_path / "backends" / "torch-small" / "pb_exec_env_model.py.tar.gz"
    default.parent.mkdir(parents=True)
    default.touch()
    assert environment_of(folder) == default.resolve()


@pytest.mark.parametrize(
    "config", [named("$$TRITON_MODEL_DIRECTORY/../other.tar.gz"), 'backend: "../x"\n', "max_batch_size: 1\n"]
)
def test_what_no_server_would_run(config: str, tmp_path: Path) -> None:
    with pytest.raises(DeployError):
        environment_of(model(tmp_path, config))
