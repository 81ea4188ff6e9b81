"""The part that the encoder is made of; a helper of this name lies in another model, too."""

import torch
from torch import nn


class Layer(nn.Module):
    """Attention and a feed-forward net, each with a norm before it and added to its input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Map (N, L, width) to the same shape; *mask* (N, L) says which tokens are looked at."""
        rows, length, width = x.shape
        split = self.queries_keys_values(self.before_attention(x)).view(rows, length, 3, self.heads, -1)
        q, k, v = split.permute(2, 0, 3, 1, 4)
        seen = None if mask is None else mask[:, None, None, :]
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        x = x + self.out(mixed.transpose(1, 2).reshape(rows, length, width))
        y: torch.Tensor = x + self.feed_forward(x)
        return y
