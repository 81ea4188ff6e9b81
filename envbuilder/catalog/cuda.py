"""Which NVIDIA driver a CUDA version needs."""

from __future__ import annotations

DRIVER_FLOORS = {11: (520, 61), 12: (525, 60), 13: (580, 65)}
"""Major version of CUDA → the minimum driver (NVIDIA's "CUDA Toolkit Release Notes", table 3)."""
