"""The arithmetic floor: what one victim-iteration would cost if only its matrix products took time.

The products are counted by hand for the smallest algorithm known to us, not read off the engine: products
that the engine could have spared must not raise the floor. Matrix products only, a multiply-add being two
operations. Of one Linear layer (``in`` x ``out``, T positions):

    forward                                              T in out
    delta at its input                                   T in out       not for the layer that sees the image
    backward through that delta                          T in out       likewise
    backward through the forward pass                    T in out
    matching with a received gradient of rank R = T      2 (T^2 + T R)(in + out) through Gram matrices, or
                                                         3 T in out by forming the gradient: the smaller

Attention with Q queries and T keys: 2 products of Q T dim forward, 4 backward, and the backward passes of
those six take two each (18 altogether). In the last block only the class token asks, is projected and goes
on.
"""

import time

import torch

Shape = tuple[int, int, int]


def linear(tokens: int, fan_in: int, fan_out: int, *, sees_image: bool = False) -> int:
    """Multiply-adds of one Linear layer in one iteration."""
    product = tokens * fan_in * fan_out
    passes = 2 if sees_image else 4
    matching = min(2 * (tokens**2 + tokens * tokens) * (fan_in + fan_out), 3 * product)
    return passes * product + matching


def mlp(shape: Shape, classes: int, images: int, width: int = 512, depth: int = 3) -> int:
    """Multiply-adds of one victim-iteration of the ``mlp``."""
    channels, height, breadth = shape
    hidden = sum(linear(images, width, width) for _ in range(depth - 1))
    first = linear(images, channels * height * breadth, width, sees_image=True)
    return first + hidden + linear(images, width, classes)


def vit(
    shape: Shape,
    classes: int,
    images: int,
    patch: int = 4,
    dim: int = 256,
    depth: int = 4,
    hidden: int = 256,
) -> int:
    """Multiply-adds of one victim-iteration of the ``vit``."""
    channels, height, width = shape
    patches = (height // patch) * (width // patch)
    tokens = patches + 1
    total = linear(images * patches, channels * patch**2, dim, sees_image=True)
    for block in range(depth):
        asking = 1 if block == depth - 1 else tokens
        total += linear(images * asking, dim, dim) + linear(images * tokens, dim, 2 * dim)
        total += images * 18 * asking * tokens * dim
        total += linear(images * asking, dim, dim)
        total += linear(images * asking, dim, hidden) + linear(images * asking, hidden, dim)
    return total + linear(images, dim, classes)


def convolution(side: int, fan_in: int, fan_out: int, kernel: int, **where: bool) -> int:
    """Multiply-adds of a square convolution with an output of ``side`` pixels each way: a Linear on its windows."""
    return linear(side**2, fan_in * kernel**2, fan_out, **where)


def lenet(shape: Shape, classes: int, images: int) -> int:
    """Multiply-adds of one victim-iteration of the ``lenet``, one image."""
    channels, side, _ = shape
    side += 4 if side < 29 else 0
    total = 0
    for fan_in, fan_out in ((channels, 16), (16, 32), (32, 64)):
        side = (side - 5) // 2 + 1
        total += convolution(side, fan_in, fan_out, 5, sees_image=fan_in == channels)
    return images * (total + linear(1, 64 * side**2, classes))


def resnet18(shape: Shape, classes: int, images: int) -> int:
    """Multiply-adds of one victim-iteration of the ``resnet18``, one image."""
    channels, side, _ = shape
    side = (side + 1) // 2
    total = convolution(side, channels, 64, 7, sees_image=True)
    side, before = (side + 1) // 2, 64
    for width in (64, 128, 256, 512):
        if width != before:
            side = (side + 1) // 2
            total += convolution(side, before, width, 1)
        total += convolution(side, before, width, 3) + 3 * convolution(side, width, width, 3)
        before = width
    return images * (total + linear(1, 512, classes))


def flops(model: str, shape: Shape, classes: int = 10, images: int = 1) -> int:
    """Floating-point operations of one victim-iteration."""
    count = {"mlp": mlp, "vit": vit, "lenet": lenet, "resnet18": resnet18}[model]
    return 2 * count(shape, classes, images)


def matrix_rate(device: torch.device, seconds: float = 0.3) -> float:
    """Floating-point operations a second of float32 matrix products, here and now: the best of some sizes."""
    best = 0.0
    for size in (512, 1024, 2048) if device.type == "cpu" else (4096, 8192):
        a, b = (torch.randn(size, size, device=device) for _ in range(2))
        out = a @ b
        end = time.perf_counter() + seconds / 3
        while time.perf_counter() < end:
            synchronise(device)
            began = time.perf_counter()
            torch.mm(a, b, out=out)
            synchronise(device)
            best = max(best, 2 * size**3 / (time.perf_counter() - began))
    return best


def synchronise(device: torch.device) -> None:
    """Wait for the device; a CPU is never ahead."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
