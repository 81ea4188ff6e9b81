"""BF16, which NumPy lacks: as float32 for comparisons, as 16 bits for sending."""

from __future__ import annotations

from typing import Any

import numpy as np


def to_bits(array: Any) -> Any:
    """Return float32 values as the bits (uint16) of the nearest BF16, with ties to even."""
    wide = np.ascontiguousarray(array, dtype=np.float32).reshape(np.shape(array))
    bits = wide.view(np.uint32).astype(np.int64)
    nearest = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(wide), 0x7FC0, nearest).astype(np.uint16)


def from_bits(bits: Any) -> Any:
    """Return the BF16 values with these *bits* (uint16) as float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)
