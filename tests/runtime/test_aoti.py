"""A package of AOTInductor that a user made: its arguments, its shapes and its device are those of its export."""

from __future__ import annotations

import os
import zipfile
from typing import Any

import numpy as np
import pytest
import torch
import torch.utils._pytree as pytree

from tests.helpers.runtime import UNCOMPILED, config, field, load_runtime
from tests.runtime.conftest import Serve

pytestmark = pytest.mark.torch


class Loader:
    """Stands in for torch's: ``a - 2 b``, exported with these arguments for 2 rows."""

    arguments: tuple[Any, dict[str, Any]] = ((), {"a": 0, "b": 0})
    device = "cpu"

    def __init__(self, *_: Any) -> None:
        pass

    def get_call_spec(self) -> list[str]:
        return [pytree.treespec_dumps(pytree.tree_structure(tree)) for tree in (self.arguments, 0)]

    def get_metadata(self) -> dict[str, str]:
        return {"AOTI_DEVICE_KEY": self.device}

    def run(self, given: list[torch.Tensor]) -> list[torch.Tensor]:
        for one in given:
            if os.environ["AOTI_RUNTIME_CHECK_INPUTS"] == "1" and one.shape[0] != 2:
                raise RuntimeError(
                    f"Error: input_handles[0]: unmatched dim value at 0, expected: 2, but got: {one.shape[0]}\n"
                )
        return [given[0] - 2 * given[1]]


@pytest.fixture
def loader(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> type[Loader]:
    """Torch's loader, for a package that lies in the version folder."""
    made = type("Made", (Loader,), {})
    monkeypatch.setattr(torch._C._aoti, "AOTIModelPackageLoader", made)
    monkeypatch.delenv("AOTI_RUNTIME_CHECK_INPUTS", raising=False)
    with zipfile.ZipFile(serve.folder() / "model.pt2", "w") as archive:
        archive.writestr("model/data/aotinductor/model/code.so", b"")
    return made


def described(*names: str, most: int = 2, **rest: Any) -> dict[str, Any]:
    """Return a configuration with inputs of these names, for two rows."""
    parameters = {**UNCOMPILED, "WARMUP": '{"batch": [2]}'}
    inputs = [field(name, "FP32", [1]) for name in names]
    return config(inputs, [field("y", "FP32", [1])], max_batch_size=most, parameters=parameters, **rest)


def answer(model: Any, **inputs: float) -> float:
    given = {name: np.full((2, 1), value, np.float32) for name, value in inputs.items()}
    return float(model.infer(**given)["y"][0, 0])


def test_inputs_that_were_exported_by_name_go_by_name(serve: Serve, loader: type[Loader]) -> None:
    assert answer(serve.load(described("a", "b")), a=5, b=1) == 3
    assert answer(serve.load(described("b", "a")), a=5, b=1) == 3
    assert answer(serve.load(described("INPUT__0", "INPUT__1")), INPUT__0=5, INPUT__1=1) == 3


def test_one_that_was_exported_by_name_beside_one_by_place(serve: Serve, loader: type[Loader]) -> None:
    loader.arguments = ((0,), {"b": 0})
    assert answer(serve.load(described("x", "b")), x=5, b=1) == 3
    assert answer(serve.load(described("b", "x")), x=5, b=1) == 3


def test_some_of_the_names_are_refused(serve: Serve, loader: type[Loader]) -> None:
    assert serve.error(described("c", "a")) == (
        "the package was exported with a, b as named inputs, and the configuration has no input 'b': "
        "name its inputs so"
    )


def test_shapes_are_compared_with_those_of_the_export(serve: Serve, loader: type[Loader]) -> None:
    shapes = described("a", "b", most=8)
    shapes["parameters"]["WARMUP"] = {"string_value": '{"batch": [8]}'}
    assert serve.error(shapes) == (
        "the package was exported for other inputs: unmatched dim value at 0, expected: 2, but got: 8; "
        "set max_batch_size and dims to what it was exported with, or export it with a dynamic batch"
    )


def test_a_package_for_another_kind_of_device(serve: Serve, loader: type[Loader]) -> None:
    loader.device = "cuda"
    assert serve.error(described("a", "b")) == (
        "model.pt2: the package was compiled for cuda, and this instance is on cpu: "
        "set the kind in instance_group, or export and compile it on cpu"
    )


def test_kind_model_is_where_the_package_was_compiled_for(
    serve: Serve, loader: type[Loader], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = serve.load(described("a", "b")).instance.engine.model
    loading = load_runtime().runtime_module("loading")
    with monkeypatch.context() as patched:
        patched.setattr(torch.cuda, "is_available", lambda: True)
        assert loading.pick_device("MODEL", "0", model.eager).type == "cpu"


def test_a_single_row_for_a_dynamic_batch(
    serve: Serve, loader: type[Loader], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A single row is asked for twice; without a batch no dim is made larger."""

    def run(_: Any, given: list[torch.Tensor]) -> list[torch.Tensor]:
        if given[0].shape[0] == 1:
            text = "input_handles[0]: dim value is too small at 0, expected it to be >= 2, but got: 1"
            raise RuntimeError(text)
        return [given[0] - 2 * given[1]]

    monkeypatch.setattr(loader, "run", run)
    shapes = described("a", "b", most=8)
    shapes["parameters"]["WARMUP"] = {"string_value": '{"batch": [1, 2]}'}
    model = serve.load(shapes)
    one = np.ones((1, 1), np.float32)
    assert model.infer(a=one * 5, b=one)["y"].tolist() == [[3]]
    assert answer(model, a=5, b=1) == 3
    shapes["max_batch_size"] = 0
    shapes["parameters"]["WARMUP"] = {"string_value": "{}"}
    assert "dim value is too small at 0" in serve.error(shapes)
