"""The vision transformer of the paper, with the parameter names and order of the authors' code.

Only the class token reaches the loss, so the last block computes nothing for the other tokens after its
attention's keys and values. The dropout masks of those tokens keep their place (and their part in the mask penalty).
"""

from typing import Any

import torch
from torch import Tensor, nn

from dia.errors import ModelError
from dia.models.dropout import Dropout

CLASS_TOKEN = slice(0, 1)


class PatchPixels(nn.Module):
    """(images, C, H, W) -> (images, patches, p1 * p2 * C): each patch's pixels in the order (p1 p2 c)."""

    def __init__(self, patch: int) -> None:
        super().__init__()
        self.patch = patch

    def forward(self, x: Tensor) -> Tensor:
        x = x.unflatten(3, (-1, self.patch)).unflatten(2, (-1, self.patch))  # b c h p1 w p2
        return x.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)


class AttentionWithDropout(nn.Module):
    """Softmax attention with dropout on the probabilities."""

    def __init__(self, scale: float, p: float) -> None:
        super().__init__()
        self.scale = scale
        self.dropout = Dropout(p)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, tokens: slice) -> Tensor:
        """(images, heads, len(tokens), d), (images, heads, T, d) twice -> (images, heads, len(tokens), d)."""
        heads, length = key.shape[1:3]
        attention = ((query * self.scale) @ key.transpose(2, 3)).softmax(-1)
        part = (slice(None), tokens)
        return self.dropout(attention, shape=(heads, length, length), part=part) @ value


class Attention(nn.Module):
    """Multi-head self-attention; dropout on the attention probabilities and after the projection."""

    def __init__(self, dim: int, heads: int, p: float) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.mixing = AttentionWithDropout((dim // heads) ** -0.5, p)
        self.to_out = nn.Sequential(nn.Linear(dim, dim), Dropout(p))

    def forward(self, x: Tensor, tokens: slice) -> Tensor:
        """(images, T, dim) -> (images, len(tokens), dim)."""
        length, dim = x.shape[1:]
        query, key, value = self.to_qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = self.mixing(query[:, :, tokens], key, value, tokens).transpose(1, 2).flatten(2)
        return self.to_out[1](self.to_out[0](x), shape=(length, dim), part=(tokens,))


class FeedForward(nn.Module):
    """Linear, GELU, dropout, Linear, dropout."""

    def __init__(self, dim: int, hidden: int, p: float) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(dim, hidden), nn.GELU(), Dropout(p), nn.Linear(hidden, dim), Dropout(p)
        )

    def forward(self, x: Tensor, length: int, tokens: slice) -> Tensor:
        up, activation, drop_hidden, down, drop_output = self.net
        x = activation(up(x))
        x = drop_hidden(x, shape=(length, x.shape[2]), part=(tokens,))
        x = down(x)
        return drop_output(x, shape=(length, x.shape[2]), part=(tokens,))


class PreNorm(nn.Module):
    """LayerNorm before ``fn``."""

    def __init__(self, dim: int, fn: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fn = fn

    def forward(self, x: Tensor, *args: object) -> Tensor:
        return self.fn(self.norm(x), *args)


class Transformer(nn.Module):
    """Pre-norm blocks; returns the class token alone."""

    def __init__(self, dim: int, depth: int, heads: int, hidden: int, p: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList([PreNorm(dim, Attention(dim, heads, p)), PreNorm(dim, FeedForward(dim, hidden, p))])
            for _ in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(images, T, dim) -> (images, dim)."""
        length = x.shape[1]
        tokens = slice(None)
        blocks: list[Any] = list(self.layers)
        for number, (attention, feed_forward) in enumerate(blocks, start=1):
            if number == len(self.layers):
                tokens = CLASS_TOKEN
            x = attention(x, tokens) + x[:, tokens]
            x = feed_forward(x, length, tokens) + x
        return x[:, 0]


class ViT(nn.Module):
    """Vision transformer with a class token and learnable positions.

    Args:
        shape: (C, H, W) of the input.
        num_classes: Number of outputs.
        p: Dropout rate of all sites, 0 <= p < 1.
        patch, dim, depth, heads, hidden: Architecture; the defaults are the paper's small one.

    Raises:
        ModelError: The image's sides are no multiple of ``patch``, or ``dim`` none of ``heads``.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        num_classes: int,
        p: float,
        *,
        patch: int = 4,
        dim: int = 256,
        depth: int = 4,
        heads: int = 16,
        hidden: int = 256,
    ) -> None:
        super().__init__()
        channels, height, width = shape
        if height % patch or width % patch:
            raise ModelError(f"image sides {height} x {width} must be multiples of the patch size {patch}")
        if dim % heads:
            raise ModelError(f"dim {dim} must be a multiple of heads {heads}")
        patches = (height // patch) * (width // patch)
        self.to_patch_embedding = nn.Sequential(PatchPixels(patch), nn.Linear(patch * patch * channels, dim))
        self.pos_embedding = nn.Parameter(torch.randn(1, patches + 1, dim))
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim))
        self.dropout = Dropout(p)
        self.transformer = Transformer(dim, depth, heads, hidden, p)
        self.mlp_head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        """(images, C, H, W) -> (images, num_classes)."""
        x = self.to_patch_embedding(x)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1) + self.pos_embedding
        return self.mlp_head(self.transformer(self.dropout(x)))
