"""A package compared with eager before it is kept: which sizes are asked for, and what is no rounding."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envbuilder.guest.compare_package import Trial
from tests.helpers.compiling import NET, net
from tests.helpers.runtime import UNCOMPILED, load_runtime
from tests.runtime.conftest import Serve

pytestmark = pytest.mark.torch
VARIANT: dict[str, Any] = {
    "dims": [["b", "n", 4]],
    "present": [True, False],
    "ranges": {"b": [2, 8], "n": [2, None]},
}


class Refused(Exception):
    """What a trial raises."""


@pytest.fixture
def engine(serve: Serve) -> Any:
    serve.write(NET)
    return serve.load(net(**UNCOMPILED)).instance.engine


def trial(engine: Any, path: object = "none", sizes: tuple[int, ...] = (1, 2, 3, 8)) -> Trial:
    return Trial(engine, str(path), [*sizes], Refused)


# -- sizes -----------------------------------------------------------------------------------------


def test_a_size_of_one_is_tried_though_export_does_not_vouch_for_it(engine: Any) -> None:
    tried = trial(engine).from_one(VARIANT)
    assert tried["ranges"] == {"b": [1, 8], "n": [1, None]}
    assert VARIANT["ranges"] == {"b": [2, 8], "n": [2, None]}, "the key is changed by what is found"
    kept = {**VARIANT, "ranges": {"b": [4, 8]}}
    assert trial(engine).from_one(kept)["ranges"] == {"b": [4, 8]}


def test_the_sizes_of_each_dim_are_swept(engine: Any) -> None:
    sizes = trial(engine).sweep(trial(engine).from_one(VARIANT))
    assert [one["b"] for one in sizes[:4]] == [1, 2, 3, 8], "first the batch, others as usual"
    usual = sizes[0]["n"]
    assert {one["n"] for one in sizes[:4]} == {usual}
    others = {one["n"] for one in sizes[4:]}
    assert others == {1, 2, 3, usual + 5, 2 * usual}
    assert {(one["b"], one["n"]) for one in sizes[4:]} == {(b, n) for b in (1, 2) for n in others}


def test_sizes_that_the_package_is_not_made_for_are_not_asked(engine: Any) -> None:
    narrow = {**VARIANT, "ranges": {"b": [2, 3], "n": [2, 3]}}
    for one in trial(engine).sweep(narrow):
        assert 2 <= one["b"] <= 3
        assert 2 <= one["n"] <= 3
    assert trial(engine).in_range(VARIANT, "n", 10**9)
    assert not trial(engine).in_range(VARIANT, "b", 9)
    assert not trial(engine).in_range(VARIANT, "b", 1)


def test_values_are_the_same_each_time_and_indexes_into_anything(engine: Any) -> None:
    import torch

    field = engine.model.inputs[0]
    first, again, other = (trial(engine).values(field, [2, 3, 4], seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert (first.dtype, tuple(first.shape)) == (torch.float32, (2, 3, 4))
    whole = trial(engine).values(field._replace(data_type="INT64"), [100], 0)
    assert whole.dtype == torch.int64
    assert set(whole.tolist()) == {0, 1}


# -- answers ---------------------------------------------------------------------------------------


@pytest.fixture
def made(serve: Serve, packaged: Path) -> tuple[Any, Path, dict[str, Any]]:
    """The engine of the model, a package of it, and the key of that."""
    shutil.copytree(packaged, serve.folder(), dirs_exist_ok=True)
    path = serve.folder() / "compiled.cpu.pt2"
    away = path.rename(serve.root / "package.pt2")  # what is served is the model itself
    engine = serve.load(net(**UNCOMPILED)).instance.engine
    assert engine.served == "eager"
    key: dict[str, Any] = load_runtime().runtime_module("package_key").read_key(str(away))
    return engine, away, key


@pytest.mark.slow
def test_a_package_of_the_model_is_as_near_as_rounding(made: tuple[Any, Path, dict[str, Any]]) -> None:
    engine, path, key = made
    before = copy.deepcopy(key)
    with engine.model.mode:
        assert trial(engine, path).compare(key) < 1e-4
    starts = [least for variant in key["variants"] for least, _ in variant["ranges"].values()]
    was = [least for variant in before["variants"] for least, _ in variant["ranges"].values()]
    assert all(now in (one, 1) for now, one in zip(starts, was, strict=True)), "a range begins at 1 or stays"
    assert 1 in starts, "a batch of one is answered right, and served"


@pytest.mark.slow
def test_a_package_of_another_model_is_refused(made: tuple[Any, Path, dict[str, Any]]) -> None:
    import torch

    engine, path, key = made
    forward = engine.model.eager.forward
    with engine.model.mode, torch.no_grad():
        engine.model.eager.forward = lambda *args, **named: {
            name: value + 1 for name, value in forward(*args, **named).items()
        }
        with pytest.raises(Refused, match="its outputs differ from eager, for sizes"):
            trial(engine, path).compare(key)


@pytest.mark.slow
def test_weights_that_are_not_built_in_may_be_others(made: tuple[Any, Path, dict[str, Any]]) -> None:
    engine, path, key = made
    weights = {name: tensor.clone() for name, tensor in engine.model.weights().items()}
    with engine.model.mode:
        assert trial(engine, path).accepts_other_weights(key)
    for name, tensor in engine.model.weights().items():
        np.testing.assert_array_equal(tensor.detach().numpy(), weights[name].detach().numpy())
