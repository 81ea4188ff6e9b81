"""What each release's Python backend offers to a model."""

from __future__ import annotations

import pytest

from envbuilder.catalog.python_backend import ADDITIONS, came_with, lacked_by


@pytest.mark.parametrize(
    ("release", "lacks", "has"),
    [
        ("23.08", "TritonError.code", None),
        ("23.10", "InferenceRequest.set_release_flags", "InferenceRequest.is_cancelled"),
        ("24.05", "get_response_sender in a model that is not decoupled", "InferenceTrace.get_context"),
        ("pytriton-0.7.0", "InferenceResponse.parameters", "MetricFamily.HISTOGRAM"),
        ("25.03", "ResponseIterator.cancel", "InferenceResponse.__init__(parameters)"),
        ("26.02", "is_ready of a model", "ResponseIterator.cancel"),
    ],
)
def test_what_a_release_lacks(release: str, lacks: str, has: str | None) -> None:
    assert lacks in lacked_by(release)
    assert has not in lacked_by(release)


def test_the_newest_release_lacks_nothing_and_each_name_is_there_once() -> None:
    assert lacked_by("26.07") == ()
    assert len({one.name for one in ADDITIONS}) == len(ADDITIONS)
    assert lacked_by("23.08") == tuple(one.name for one in ADDITIONS)
    assert came_with("Metric.observe") == "24.08"
    assert came_with("no such name") is None
