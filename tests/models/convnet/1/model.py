"""A residual convolution net for images of 32 by 32, in the manner of He et al., with weights from a fixed seed."""

import torch
from torch import nn

from .blocks import Residual


class ConvNet(nn.Module):
    """Three stages of two residual blocks, then a mean over the image and a linear layer."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.stem = nn.Sequential(
                nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
            )
            self.stages = nn.Sequential(
                Residual(16, 16),
                Residual(16, 16),
                Residual(16, 32, stride=2),
                Residual(32, 32),
                Residual(32, 64, stride=2),
                Residual(64, 64),
            )
            self.head = nn.Linear(64, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Map images (N, 3, 32, 32) to scores (N, 10)."""
        scores: torch.Tensor = self.head(self.stages(self.stem(image)).mean((2, 3)))
        return scores
