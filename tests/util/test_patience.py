from __future__ import annotations

import threading

import pytest

from envbuilder.util.patience import GRACE, SLOWEST, Errand, Patience, TooSlowError


def test_what_comes_gives_more_time() -> None:
    patience = Patience(2.0)
    assert GRACE * 2.0 - 1 < patience.left(0) <= GRACE * 2.0
    assert patience.left(100 * SLOWEST) > GRACE * 2.0 + 98
    patience.extend(30.0)
    assert patience.left(0) > GRACE * 2.0 + 28
    assert Patience(None).left(0) > 50  # a client without a timeout of its own


def test_it_has_an_end() -> None:
    patience = Patience(1e-9)
    assert patience.left(0) == 0.0
    assert str(patience.over(1_500)) == "too slow: 1.5 kB in 0 s"


def test_an_errand_gives_a_result_or_an_error() -> None:
    dropped: list[int] = []
    assert Errand(lambda: 3, dropped.append).result(Patience(60.0)) == 3
    with pytest.raises(ZeroDivisionError):
        Errand(lambda: 1 // 0, dropped.append).result(Patience(60.0))
    assert dropped == []


def test_an_errand_that_takes_too_long_is_left_and_its_result_dropped() -> None:
    go, dropped, done = threading.Event(), list[int](), threading.Event()

    def drop(value: int) -> None:
        dropped.append(value)
        done.set()

    def work() -> int:
        assert go.wait(60)
        return 3

    errand = Errand(work, drop)
    with pytest.raises(TooSlowError, match="too slow: 0 B in 0 s"):
        errand.result(Patience(0.01))
    go.set()
    assert done.wait(60)
    assert dropped == [3]
