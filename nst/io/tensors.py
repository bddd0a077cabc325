"""PIL images to tensors and back.

All other modules work with float32 RGB in [0, 1], shape (N, 3, H, W).
"""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nst.io.reading import PictureLike, load_picture
from nst.io.sizes import resize_picture

BORDER_SHARE = 1 / 8  # of a seamless picture's sides; in a stage of 256 px the network sees half as far as this
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def to_tensor(image: Image.Image) -> Tensor:
    """Return an RGB image as (1, 3, H, W) float32 in [0, 1]."""
    array = np.array(image.convert("RGB"))
    return torch.from_numpy(array).permute(2, 0, 1)[None].contiguous().float().div_(255)


def to_picture(pixels: Tensor) -> Image.Image:
    """Return (1, 3, H, W) or (3, H, W) as an RGB image; values are clamped to [0, 1] and rounded to 8 bits."""
    return Image.fromarray(to_bytes(pixels).cpu().numpy())


def to_bytes(pixels: Tensor) -> Tensor:
    """Return (1, 3, H, W) or (3, H, W) in [0, 1] as (H, W, 3) uint8 on the same device, clamped and rounded."""
    pixels = pixels.detach()
    pixels = pixels[0] if pixels.dim() == 4 else pixels
    return pixels.float().clamp(0, 1).mul_(255).round_().to(torch.uint8).permute(1, 2, 0).contiguous()


def wrap_border(pixels: Tensor) -> Tensor:
    """Make the border of a seamless picture (1, C, H, W) repeat its opposite sides, in place; return the picture.

    The border on each side is `BORDER_SHARE` of what is inside it. So both ends of an axis show the same strip, which
    is two borders wide and has the seam in its middle. The strip becomes a mixture of both, softly from the one to the
    other: a copy of either would leave a jump at one of its ends.
    """
    for axis in (-2, -1):
        width = round(pixels.shape[axis] * BORDER_SHARE / (1 + 2 * BORDER_SHARE))
        first, last = pixels.narrow(axis, 0, 2 * width), pixels.narrow(axis, -2 * width, 2 * width)
        share = (torch.arange(2 * width, device=pixels.device) + 0.5) / (2 * width)
        strip = torch.lerp(last, first, share[:, None] if axis == -2 else share)
        first.copy_(strip)
        last.copy_(strip)
    return pixels


def image_processing(path_or_image: PictureLike, size: int | tuple[int, int] = (224, 224)) -> Tensor:
    """Return a picture as a network trained on ImageNet wants it: (1, 3, H, W), normalized with ImageNet's statistics.

    size: (width, height), by default 224x224; or the long side in px, which keeps the aspect.

    Raises StyleTransferError as `load_picture` and `resize_picture` do.
    """
    pixels = to_tensor(resize_picture(load_picture(path_or_image), size))
    return (pixels - _channels(IMAGENET_MEAN)) / _channels(IMAGENET_STD)


def deprocess_image(tensor: Tensor) -> Image.Image:
    """Return the PIL image of a tensor from `image_processing`, (1, 3, H, W) or (3, H, W)."""
    tensor = tensor.detach().float().cpu()
    return to_picture(tensor * _channels(IMAGENET_STD) + _channels(IMAGENET_MEAN))


def _channels(values: tuple[float, float, float]) -> Tensor:
    return torch.tensor(values).view(3, 1, 1)


def to_array(pixels: Tensor) -> np.ndarray:
    """Return pixels as a float32 array of the same shape, a copy."""
    return pixels.detach().cpu().float().numpy().copy()
