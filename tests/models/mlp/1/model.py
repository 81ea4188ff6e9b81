"""A three-layer perceptron with weights that are the same on every machine."""

import torch


class MLP(torch.nn.Module):
    """128 → 512 → 512 → 16, ReLU between the layers."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(128, 512),
            torch.nn.ReLU(),
            torch.nn.Linear(512, 512),
            torch.nn.ReLU(),
            torch.nn.Linear(512, 16),
        )
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-0.05, 0.05, generator=generator)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map a batch of rows (N, 128) to (N, 16)."""
        y: torch.Tensor = self.layers(x)
        return y
