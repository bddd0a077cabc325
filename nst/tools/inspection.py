"""Look inside the network: its feature maps, a picture as one layer represents it, and a style as layers represent it.

The last two are runs of `stylize` from noise with only one of the two losses. All are small, to finish in seconds.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from PIL import Image

from nst.engine.threads import limited_threads
from nst.errors import StyleTransferError
from nst.io.reading import PictureLike, load_picture
from nst.io.sizes import resize_picture
from nst.io.tensors import to_tensor
from nst.models.checkpoints import load_backbone
from nst.settings import StyleSettings
from nst.stylization import Step, stylize

MAX_SIDE = 256  # px
CHEAPEST_LAYER = "conv1_1"  # for the loss that is switched off


@limited_threads()
@torch.no_grad()
def feature_maps(
    picture: PictureLike, layer: str, backbone: str = "cifar100", count: int = 16, size: int = MAX_SIDE
) -> list[tuple[int, Image.Image]]:
    """Return the `count` channels of `layer` with the highest mean activation over the picture, the strongest first.

    Each is (channel index from 0, mode L image): black is no activation, white is the channel's highest. The map's
    positions are drawn as squares, so that all images have the size of the picture, whose long side becomes `size` px.

    Raises StyleTransferError for a picture, layer or backbone that cannot be used, a size over `MAX_SIDE`, or a count
    below 1.
    """
    _check_size(size)
    if type(count) is not int or count < 1:
        raise StyleTransferError(f"count must be 1 or more, not {count!r}.")
    photo = resize_picture(load_picture(picture), size)
    features = load_backbone(backbone).extractor([layer]).extract_features(to_tensor(photo))[layer][0]
    strongest = features.mean((1, 2)).argsort(descending=True, stable=True)[:count].tolist()
    images = []
    for channel in strongest:
        values = features[channel].numpy()
        grey = Image.fromarray((values * (255 / max(values.max(), 1e-8))).round().astype(np.uint8))
        images.append((channel, grey.resize(photo.size, Image.Resampling.NEAREST)))
    return images


def reconstruct(
    picture: PictureLike,
    layer: str,
    backbone: str = "cifar100",
    steps: int = 100,
    size: int = 128,
    *,
    preview_every: int | float | None = 1,
    should_stop: Callable[[], bool] | None = None,
) -> Iterator[Step]:
    """Paint a picture from noise with the content loss of `layer` only: what the layer keeps.

    Gatys et al. 2016, figure 1.

    size: long side in px. Yields the steps of `stylize`, which explains `preview_every` and `should_stop`.

    Raises StyleTransferError, at the first step, as `stylize` does, and for a size over `MAX_SIDE`.
    """
    settings = _settings(size, steps, backbone, content_layers=(layer,), content_weight=1.0)
    yield from stylize(picture, picture, settings, preview_every=preview_every, should_stop=should_stop)


def synthesize(
    picture: PictureLike,
    layers: Sequence[str],
    backbone: str = "cifar100",
    steps: int = 100,
    size: int = 128,
    *,
    preview_every: int | float | None = 1,
    should_stop: Callable[[], bool] | None = None,
) -> Iterator[Step]:
    """Paint a picture from noise with the style losses of `layers` only: the style they see (Gatys et al. 2015).

    Yields and raises as `reconstruct` does. `synthesise` is another name of this function.
    """
    settings = _settings(size, steps, backbone, style_layers=layers, style_weight=1.0)
    yield from stylize(picture, picture, settings, preview_every=preview_every, should_stop=should_stop)


synthesise = synthesize


def _settings(size: int, steps: int, backbone: str, **loss_settings) -> StyleSettings:
    """Return plain settings from noise with both losses off, except for those that `loss_settings` turn on."""
    _check_size(size)
    layers = (CHEAPEST_LAYER,)
    off = {"content_weight": 0.0, "style_weight": 0.0, "content_layers": layers, "style_layers": layers}
    plain = {"init": "noise", "scales": 1, "style_levels": 1, "laplacian_weight": 0.0, "tv_weight": 0.0}
    plain |= {"sketch": False, "match_palette": False, "sharpness": 0.0, "canvas": "pyramid"}
    return StyleSettings(size=size, steps=steps, backbone=backbone, **(plain | off | loss_settings))


def _check_size(size: int) -> None:
    if type(size) is not int or not 32 <= size <= MAX_SIDE:
        raise StyleTransferError(f"size must be from 32 to {MAX_SIDE} px here, not {size!r}.")
