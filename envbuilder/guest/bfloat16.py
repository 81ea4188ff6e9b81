"""BF16, which NumPy does not have: as float32 where values are compared, as its own 16 bits where they are sent."""

from __future__ import annotations

from typing import Any

import numpy as np


def to_bits(array: Any) -> Any:
    """Return float32 values as the bits (uint16) of the nearest BF16; of two that are as near, of the even one."""
    wide = np.ascontiguousarray(array, dtype=np.float32).reshape(np.shape(array))
    bits = wide.view(np.uint32).astype(np.int64)
    nearest = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(wide), 0x7FC0, nearest).astype(np.uint16)


def from_bits(bits: Any) -> Any:
    """Return the values of BF16 that *bits* (uint16) are, as float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)
