"""What a configuration lacks is found by running the model."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helpers.compiling import NET, Inside, net
from tests.helpers.runtime import config, field
from tests.runtime.conftest import Serve

pytestmark = [pytest.mark.torch, pytest.mark.slow]


def described(compiling: Inside, serve: Serve, source: str | None, asked: dict[str, Any]) -> dict[str, Any]:
    if source is not None:
        serve.write(source)
    return compiling.run(serve.folder().parent, asked, task="describe")


def test_outputs_are_found_by_running_the_model(compiling: Inside, serve: Serve) -> None:
    """Names from the dict, sizes that vary with an input's as -1, the batch left out."""
    found = described(compiling, serve, NET, {**net(), "output": []})
    shown = {"data_type": "FP32", "dims": [-1, 3]}
    assert found == {"inputs": [], "outputs": [{"name": "unused", **shown}, {"name": "y", **shown}]}


def test_outputs_without_names_and_without_batching(compiling: Inside, serve: Serve) -> None:
    source = "import torch\n\ndef f(x):\n    return x.sum(), (x > 0), x.long().argmax(0)\n"
    found = described(compiling, serve, source, config([field("x", "FP32", [5, 4])], []))
    assert found["outputs"] == [
        {"name": "OUTPUT__0", "data_type": "FP32", "dims": [1]},
        {"name": "OUTPUT__1", "data_type": "BOOL", "dims": [5, 4]},
        {"name": "OUTPUT__2", "data_type": "INT64", "dims": [4]},
    ]


def test_an_exported_program_knows_its_inputs(compiling: Inside, serve: Serve) -> None:
    import torch

    class Two(torch.nn.Module):
        def forward(self, x: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
            return x + ids.unsqueeze(-1)

    any_size = torch.export.Dim.DYNAMIC
    example = (torch.zeros(3, 7, 4), torch.zeros(3, 7, dtype=torch.int64))
    shapes = {"x": {0: any_size, 1: any_size}, "ids": {0: any_size, 1: any_size}}
    program = torch.export.export(Two(), example, dynamic_shapes=shapes)
    torch.export.save(program, serve.folder() / "model.pt2")
    found = described(compiling, serve, None, config([], [], max_batch_size=8))
    assert found == {
        "inputs": [
            {"name": "x", "data_type": "FP32", "dims": [-1, 4]},
            {"name": "ids", "data_type": "INT64", "dims": [-1]},
        ],
        "outputs": [{"name": "OUTPUT__0", "data_type": "FP32", "dims": [-1, 4]}],
    }


def test_a_module_does_not_know_its_inputs(compiling: Inside, serve: Serve) -> None:
    found = described(compiling, serve, NET, config([], []))
    assert "only an exported program (model.pt2) describes its own" in found["failed"]["text"]
