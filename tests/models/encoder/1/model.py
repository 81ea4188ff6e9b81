"""A small transformer encoder for sequences of any length up to 256, with weights from a fixed seed."""

import torch
from torch import nn

from .blocks import Layer


class Encoder(nn.Module):
    """Embeddings, two layers of attention, and the mean over the tokens that count."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.words = nn.Embedding(1000, 64)
            self.places = nn.Embedding(256, 64)
            self.layers = nn.ModuleList([Layer(64, heads=4), Layer(64, heads=4)])

    def forward(self, ids: torch.Tensor, mask: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """Map ids (N, L), and a mask of the tokens that count, to tokens (N, L, 64) and their mean (N, 64)."""
        places = torch.arange(ids.shape[1], device=ids.device)
        x = self.words(ids) + self.places(places)
        for layer in self.layers:
            x = layer(x, mask)
        if mask is None:
            return {"tokens": x, "pooled": x.mean(1)}
        counted = mask.unsqueeze(-1).to(x.dtype)
        return {"tokens": x, "pooled": (x * counted).sum(1) / counted.sum(1).clamp(min=1)}
