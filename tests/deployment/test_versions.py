"""Which folders Triton takes for versions: each case was tried on a server of 24.10."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from envbuilder.deployment.versions import find_misnamed, is_numbered, served_versions, version_of

ALL = "version_policy { all { } }"


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("1", 1),
        ("0", 0),
        ("-1", -1),
        ("2_old", 2),
        ("+3", 3),
        (" 4x", 4),
        ("\t-05", -5),
        ("00", None),
        ("011", None),
        ("0x", None),
        ("latest", None),
        ("v2", None),
        ("- 2", None),
        ("²", None),
        ("٣", None),
        ("warmup", None),
    ],
)
def test_the_version_that_a_name_counts_as(name: str, version: int | None) -> None:
    assert version_of(name) == version
    assert is_numbered(name) is (version is not None or name.startswith("0"))


@pytest.mark.parametrize(
    ("names", "policy", "served", "wrong"),
    [
        (["1", "2_old"], "", ["2"], ["2_old"]),
        (["1", "2_old"], ALL, ["1", "2"], ["2_old"]),
        (["2", "2_old"], "", ["2"], []),
        (["1", "2_old"], "version_policy { specific { versions: 1 } }", ["1"], []),
        (["1", str(2**63 - 1)], "", [str(2**63 - 1)], []),
        (["1", str(2**63)], "", ["1"], [str(2**63)]),
        (["1", f"-{2**64}x"], "", ["1"], [f"-{2**64}x"]),
        (["011", "labels"], "", [], []),
    ],
)
def test_what_is_served_and_what_keeps_a_server_from_it(
    tmp_path: Path, names: list[str], policy: str, served: list[str], wrong: list[str]
) -> None:
    for name in names:
        (tmp_path / name).mkdir()
    (tmp_path / "3").write_text("no folder")
    config = text_format.Parse(policy, model_config_pb2.ModelConfig())
    assert served_versions(tmp_path, config) == served
    assert list(find_misnamed(tmp_path, config)) == wrong
