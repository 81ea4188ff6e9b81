"""What torch.compile made is served, and a request compiles nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from tests.helpers.runtime import graphs, load_runtime

pytestmark = pytest.mark.torch


@pytest.fixture
def sealed() -> Iterator[Any]:
    """The module, and a Dynamo that knows nothing before and after."""
    torch._dynamo.reset()
    module = load_runtime().runtime_module("sealed")
    yield module
    torch.compiler.set_stance("default")
    torch._dynamo.reset()


@pytest.fixture
def double() -> Callable[[Any], Any]:
    """Compiled, a graph for each shape."""
    compiled: Callable[[Any], Any] = torch.compile(lambda x: x * 2, backend="eager", dynamic=False)
    return compiled


def ask(seal: Any, function: Callable[[Any], Any], size: int) -> Any:
    x = torch.ones(size)
    return seal.call(lambda: function(x), [x])


def test_what_is_compiled_answers_and_the_rest_is_left_to_the_model(sealed: Any, double: Any) -> None:
    double(torch.ones(2))
    before = graphs()
    seal = sealed.Seal()
    assert ask(seal, double, 2).tolist() == [2.0, 2.0]
    assert not seal.take_denied()
    assert ask(seal, double, 3) is sealed.UNCOMPILED
    assert seal.take_denied()
    assert not seal.take_denied(), "it is said once"
    assert graphs() == before, "nothing was compiled"


def test_a_shape_is_tried_once(sealed: Any, double: Any) -> None:
    double(torch.ones(2))
    seal = sealed.Seal()
    ask(seal, double, 3)
    seal.take_denied()
    # Known as one that nothing is compiled for: Dynamo runs the function as it is.
    assert ask(seal, double, 3).tolist() == [2.0] * 3
    assert seal.take_denied()
    assert ask(seal, double, 2).tolist() == [2.0] * 2
    assert not seal.take_denied()


def test_an_error_of_the_models_own_stays_one(sealed: Any) -> None:
    def fail() -> None:
        raise ValueError("no such row")

    seal = sealed.Seal()
    with pytest.raises(ValueError, match="no such row"):
        seal.call(fail, [torch.ones(1)])
    assert not seal.take_denied()


def test_shapes_that_are_kept_in_mind_are_bounded(
    sealed: Any, double: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealed, "MOST_SHAPES", 2)
    double(torch.ones(1))
    seal = sealed.Seal()
    for size in (2, 3, 4, 5):  # each asked once: none is known before
        assert ask(seal, double, size) is sealed.UNCOMPILED
    assert ask(seal, double, 2) is sealed.UNCOMPILED, "forgotten, and tried again"


def test_an_input_that_is_absent_is_a_shape_of_its_own(sealed: Any, double: Any) -> None:
    double(torch.ones(2))
    x = torch.ones(2)
    seal = sealed.Seal()
    assert seal.call(lambda: double(x), [x, None]).tolist() == [2.0, 2.0]
    assert seal.call(lambda: double(torch.ones(3)), [x, x]) is sealed.UNCOMPILED


def test_opened_it_compiles_again(sealed: Any, double: Any) -> None:
    double(torch.ones(2))
    seal = sealed.Seal()
    seal.open()
    before = graphs()
    assert double(torch.ones(3)).tolist() == [2.0] * 3
    assert graphs() == before + 1
