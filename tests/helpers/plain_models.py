"""The paper's two models, written plainly: the vision transformer computes all tokens of all blocks.

Parameter names are those of :mod:`dia.models`, so that ``load_state_dict`` carries weights over.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn


class PlainMLP(nn.Module):
    """Linear, GELU, dropout, three times; then a Linear. No biases."""

    def __init__(
        self, shape: tuple[int, int, int], num_classes: int, p: float, *, width: int = 512, depth: int = 3
    ) -> None:
        super().__init__()
        channels, height, breadth = shape
        fans = [channels * height * breadth] + [width] * depth
        blocks = []
        for fan_in, fan_out in pairwise(fans):
            block = nn.Sequential()
            block.add_module("linear", nn.Linear(fan_in, fan_out, bias=False))
            block.add_module("activation", nn.GELU())
            block.add_module("dropout", nn.Dropout(p))
            blocks.append(block)
        head = nn.Sequential()
        head.add_module("linear", nn.Linear(width, num_classes, bias=False))
        self.layers = nn.Sequential(*blocks, head)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.flatten(1))


class _Attention(nn.Module):
    def __init__(self, dim: int, heads: int, p: float) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.dropout = nn.Dropout(p)
        self.to_out = nn.Sequential(nn.Linear(dim, dim), nn.Dropout(p))

    def forward(self, x: Tensor) -> Tensor:
        images, tokens, dim = x.shape
        q, k, v = (
            part.reshape(images, tokens, self.heads, -1).transpose(1, 2)
            for part in self.to_qkv(x).chunk(3, dim=-1)
        )
        scores = q @ k.transpose(-1, -2) * (dim // self.heads) ** -0.5
        attention = self.dropout(scores.softmax(dim=-1))
        return self.to_out((attention @ v).transpose(1, 2).reshape(images, tokens, dim))


class _FeedForward(nn.Module):
    def __init__(self, dim: int, hidden: int, p: float) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(dim, hidden), nn.GELU(), nn.Dropout(p), nn.Linear(hidden, dim), nn.Dropout(p)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class _PreNorm(nn.Module):
    def __init__(self, dim: int, fn: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fn = fn

    def forward(self, x: Tensor) -> Tensor:
        return self.fn(self.norm(x))


class _Transformer(nn.Module):
    def __init__(self, dim: int, depth: int, heads: int, hidden: int, p: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList(
                [_PreNorm(dim, _Attention(dim, heads, p)), _PreNorm(dim, _FeedForward(dim, hidden, p))]
            )
            for _ in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        for attention, feed_forward in self.layers:
            x = attention(x) + x
            x = feed_forward(x) + x
        return x


class PlainViT(nn.Module):
    """Patches, class token, learnable positions, pre-norm blocks, LayerNorm and Linear on the class token."""

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
        self.patch = patch
        self.to_patch_embedding = nn.Sequential(nn.Identity(), nn.Linear(patch * patch * channels, dim))
        patches = (height // patch) * (width // patch)
        self.pos_embedding = nn.Parameter(torch.randn(1, patches + 1, dim))
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim))
        self.dropout = nn.Dropout(p)
        self.transformer = _Transformer(dim, depth, heads, hidden, p)
        self.mlp_head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        images, channels, height, width = x.shape
        side = self.patch
        # "b c (h p1) (w p2) -> b (h w) (p1 p2 c)"
        x = x.reshape(images, channels, height // side, side, width // side, side)
        x = x.permute(0, 2, 4, 3, 5, 1).reshape(images, -1, side * side * channels)
        x = self.to_patch_embedding(x)
        x = torch.cat([self.cls_token.expand(images, -1, -1), x], dim=1) + self.pos_embedding
        x = self.transformer(self.dropout(x))
        return self.mlp_head(x[:, 0])


PLAIN = {"mlp": PlainMLP, "vit": PlainViT}
