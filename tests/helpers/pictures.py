"""Pictures and tensors from seeds: the same seed gives the same values."""

import numpy as np
from PIL import Image


def make_picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Return smooth coloured blobs: structured enough for every layer to respond, different for each seed."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


def uniform(*shape: int, seed: int = 0, low: float = -1.0, high: float = 1.0):
    """Return a float32 tensor of uniform random numbers in [low, high)."""
    import torch

    return torch.from_numpy(np.random.default_rng(seed).uniform(low, high, shape)).float()


def photo(seed: int, height: int = 32, width: int = 40):
    """Return a float32 tensor of shape (1, 3, height, width) with values in [0, 1): noise in the place of a photo."""
    return uniform(1, 3, height, width, seed=seed, low=0)
