"""What an older server refuses of a model is told apart from what the archive's release refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.verification.server.newer import lacked_by_server
from envbuilder.verification.server.tritonserver import TritonServer

SERVER = TritonServer(binary=Path("/x"), backends=Path("/x"), stubs={}, release="pytriton-0.7.0")
ARGUMENT = """Failed to process the request(s), message: TypeError: __init__(): incompatible constructor \
arguments. The following argument types are supported:
    1. c_python_backend_utils.InferenceResponse(output_tensors: list, error: object = None)

Invoked with: kwargs: output_tensors=[<c_python_backend_utils.Tensor>], parameters={'took': 1}
"""
"""As a server of 24.10 words it."""
ATTRIBUTE = "AttributeError: 'c_python_backend_utils.ResponseIterator' object has no attribute 'cancel'"


@pytest.mark.parametrize(
    ("release", "said", "lacks"),
    [
        ("25.06", ARGUMENT, "InferenceResponse.__init__(parameters), which Triton has since release 25.02"),
        ("25.06", ATTRIBUTE, "ResponseIterator.cancel, which Triton has since release 25.04"),
        ("25.03", ATTRIBUTE, None),  # that release lacks it, too
        ("pytriton-0.7.0", ARGUMENT, None),
        ("25.06", "AttributeError: 'Net' object has no attribute 'weights'", None),
        ("25.06", "TypeError: __init__(): incompatible constructor arguments: Tensor(name=1)", None),
        ("", ATTRIBUTE, None),
    ],
)
def test_what_a_server_lacks_for_a_model(release: str, said: str, lacks: str | None) -> None:
    found = lacked_by_server(SERVER, release, said)
    assert (found is None) is (lacks is None)
    assert lacks is None or f"release 24.10) lacks {lacks}; {release}, which" in str(found)


def test_a_server_of_no_known_release_decides() -> None:
    server = TritonServer(binary=Path("/x"), backends=Path("/x"), stubs={})
    assert lacked_by_server(server, "25.06", ATTRIBUTE) is None
