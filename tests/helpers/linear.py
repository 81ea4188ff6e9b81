"""A linear layer, what it is asked, and what it answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

X = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)


def layer() -> torch.nn.Linear:
    """Return the layer: the same each time."""
    torch.manual_seed(0)
    return torch.nn.Linear(4, 3)


def state(linear: torch.nn.Linear, prefix: str = "linear.") -> dict[str, torch.Tensor]:
    """Return its weights, as the model of ``LINEAR`` names them."""
    return {prefix + key: value for key, value in linear.state_dict().items()}


def expected(linear: torch.nn.Linear) -> Any:
    """Return what it answers to ``X``."""
    with torch.no_grad():
        return linear(torch.from_numpy(X)).numpy()
