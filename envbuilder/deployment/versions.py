"""Determine which folders of a model directory are versions to Triton, and which of them it serves.

Source: ``VersionsToLoad`` of Triton core's ``model_lifecycle.cc``, where ``std::stoll`` reads the names. Each case was
tried on a server of 24.10.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from tritonclient.grpc import model_config_pb2

from envbuilder.util.printable import shown

VERSION: Final = re.compile(r"0|[1-9][0-9]*")
"""The name of a version folder, as people write it."""
_NUMBER: Final = re.compile(r"[ \t\n\v\f\r]*[+-]?[0-9]+")
_MOST: Final = 2**63
"""The first number that ``std::stoll`` refuses, which Triton does not expect."""


def version_of(name: str) -> int | None:
    """Return the version that Triton reads from a folder's name: 2 for ``2_old``; None if there is none."""
    if len(name) > 1 and name.startswith("0"):
        return None
    number = _NUMBER.match(name)
    return None if number is None else int(number[0])


def is_numbered(name: str) -> bool:
    """Whether a folder's name begins as a version's does."""
    return _NUMBER.match(name) is not None


def served_versions(model: Path, config: model_config_pb2.ModelConfig) -> list[str]:
    """Return the versions that Triton serves of a model directory, by its version policy, in order.

    It looks for each version in the folder named by its number, even if another name was read as that number.
    """
    found = {version_of(path.name) for path in model.iterdir() if path.is_dir()}
    versions = sorted(number for number in found if number is not None and -_MOST <= number < _MOST)
    policy = config.version_policy
    if policy.HasField("specific"):
        versions = [one for one in versions if one in policy.specific.versions]
    elif not policy.HasField("all"):
        versions = versions[-(policy.latest.num_versions or 1) :]
    return [str(one) for one in versions]


def version_folders(model: Path) -> list[Path]:
    """Return the version folders of a model directory, in order."""
    found = [path for path in model.iterdir() if path.is_dir() and VERSION.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(path.name))


def loaded_versions(model: Path, config: model_config_pb2.ModelConfig) -> list[Path]:
    """Return the version folders that a server loads: those that ``version_policy`` serves; all if it serves none."""
    folders, served = version_folders(model), served_versions(model, config)
    return [path for path in folders if path.name in served] or folders


def find_misnamed(model: Path, config: model_config_pb2.ModelConfig) -> dict[str, str]:
    """Return the folders whose names keep a server from loading the model, each with what is wrong with it."""
    folders = [path.name for path in sorted(model.iterdir()) if path.is_dir()]
    wrong = {}
    for version in served_versions(model, config):
        if version not in folders:
            name = next(one for one in folders if version_of(one) == int(version))
            wrong[name] = (
                f"folder {shown(name)} counts as version {version}, and there is no folder {version}"
            )
    for name in folders:
        number = version_of(name)
        if number is not None and not -_MOST <= number < _MOST:
            wrong[name] = (
                f"folder {shown(name)} counts as a version, and a number of this size ends the server"
            )
    return wrong
