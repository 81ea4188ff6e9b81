"""What is known of a model before a server is asked for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from envbuilder.verification.server.served_model import ServedModel
from envbuilder.verification.server.tritonserver import TritonServer
from tests.helpers.serving import checks_of_server


@pytest.fixture
def subject(tmp_path: Path) -> ServedModel:
    server = TritonServer(binary=Path("/x"), backends=tmp_path, stubs={})
    (one,) = checks_of_server(tmp_path, server).subjects()
    return one


def test_what_the_probe_wrote(subject: ServedModel) -> None:
    assert list(subject.known) == [case.label for case in subject.deployed.questions.cases]
    (response,) = subject.known["1"]
    assert np.array_equal(response["y"], np.full((1, 2), 3, np.float32))
    subject.deployed.outputs.unlink()
    assert subject.known == {}, "it ended before it wrote any"


def test_without_a_probe_nothing_is_known(subject: ServedModel) -> None:
    unknown = replace(subject, probed=None)
    assert (unknown.known, unknown.varying, unknown.against) == ({}, [], "the probe")


@pytest.mark.parametrize(
    ("probed", "varying", "against"),
    [
        ({"compiled": True}, [], "eager"),
        ({"compiled": False, "varying": ["z"]}, ["z"], "the probe"),
        # Served as constructed: its weights are others at each start.
        ({"compiled": True, "constructed": True, "varying": []}, ["y"], "eager"),
    ],
)
def test_what_is_compared_with_what(
    subject: ServedModel, probed: dict[str, object], varying: list[str], against: str
) -> None:
    one = replace(subject, probed=probed)
    assert (one.varying, one.against) == (varying, against)
