"""The names, channels and strides of VGG19's convolutions. This module does not import torch."""

BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))  # (channels, convolutions) of each block; a pooling follows
LAYERS = tuple(f"conv{b}_{i}" for b, (_, depth) in enumerate(BLOCKS, 1) for i in range(1, depth + 1))
CHANNELS = {f"conv{b}_{i}": width for b, (width, depth) in enumerate(BLOCKS, 1) for i in range(1, depth + 1)}


def layer_block(layer: str) -> int:
    """Return the block of a layer, from 1: `conv4_2` is in block 4."""
    return int(layer[4])


def layer_stride(layer: str) -> int:
    """Return how many pixels of the picture one position of the layer's feature map stands for, in each direction.

    Every block begins after a 2x2 pooling, so that `conv4_2` has a stride of 8.
    """
    return 2 ** (layer_block(layer) - 1)
