"""BF16 as its bits."""

from __future__ import annotations

import numpy as np

from envbuilder.guest.bfloat16 import from_bits, to_bits


def test_values_are_rounded_to_the_nearest_and_then_to_the_even_one() -> None:
    values = np.array([1, -2.5, 1 + 2**-8, 1 + 3 * 2**-8, 3.4e38, np.inf, -0.0], np.float32)
    assert to_bits(values).tolist() == [0x3F80, 0xC020, 0x3F80, 0x3F82, 0x7F80, 0x7F80, 0x8000]
    assert np.isnan(from_bits(to_bits(np.array([np.nan], np.float32)))).all()


def test_what_is_bfloat16_stays_as_it_is() -> None:
    bits = np.arange(0x7F80, dtype=np.uint16).reshape(2, -1)
    assert np.array_equal(to_bits(from_bits(bits)), bits)
    assert from_bits(to_bits(np.float32(3))).shape == ()
