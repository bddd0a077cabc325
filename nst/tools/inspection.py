"""What the network sees: its feature maps, what it remembers of a picture, and what it takes for a style.

The latter two are runs of `stylize` from noise with only one of the two losses. All are small, to answer in seconds.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from PIL import Image

from nst.errors import StyleTransferError
from nst.io.reading import PictureLike, load_picture
from nst.io.sizes import resize_picture
from nst.io.tensors import to_tensor
from nst.models.checkpoints import load_backbone
from nst.settings import StyleSettings
from nst.stylization import Step, stylize

MAX_SIDE = 256  # px
SHALLOWEST = "conv1_1"  # stands in for the layers of the loss that is switched off: it costs least


@torch.no_grad()
def feature_maps(
    picture: PictureLike, layer: str, backbone: str = "cifar100", count: int = 16, size: int = MAX_SIDE
) -> list[tuple[int, Image.Image]]:
    """The `count` channels of `layer` with the highest mean activation over the picture, the strongest first.

    Each is (channel index from 0, mode L image): black is no activation, white the channel's own highest. The map's
    positions are shown as squares, so that all images have the size of the picture, whose long side becomes `size` px.

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
        shown = Image.fromarray((values * (255 / max(values.max(), 1e-8))).round().astype(np.uint8))
        images.append((channel, shown.resize(photo.size, Image.Resampling.NEAREST)))
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
    """What `layer` knows of a picture: from noise, with its content loss alone (Gatys et al. 2016, figure 1).

    size: long side in px. Yields the steps of `stylize`, which explains `preview_every` and `should_stop`.

    Raises StyleTransferError, at the first step, as `stylize` does, and for a size over `MAX_SIDE`.
    """
    settings = _view(size, steps, backbone, content_layers=(layer,), content_weight=1.0)
    yield from stylize(picture, picture, settings, preview_every=preview_every, should_stop=should_stop)


def synthesise(
    picture: PictureLike,
    layers: Sequence[str],
    backbone: str = "cifar100",
    steps: int = 100,
    size: int = 128,
    *,
    preview_every: int | float | None = 1,
    should_stop: Callable[[], bool] | None = None,
) -> Iterator[Step]:
    """What `layers` take for the style of a picture: from noise, with their style losses alone (Gatys et al. 2015).

    Yields and raises as `reconstruct` does.
    """
    settings = _view(size, steps, backbone, style_layers=layers, style_weight=1.0)
    yield from stylize(picture, picture, settings, preview_every=preview_every, should_stop=should_stop)


def _view(size: int, steps: int, backbone: str, **one_loss) -> StyleSettings:
    """Plain settings from noise, both losses off but for what `one_loss` says."""
    _check_size(size)
    off = {"content_weight": 0.0, "style_weight": 0.0, "content_layers": (SHALLOWEST,), "style_layers": (SHALLOWEST,)}
    plain = {"init": "noise", "scales": 1, "style_levels": 1, "laplacian_weight": 0.0, "tv_weight": 0.0}
    return StyleSettings(size=size, steps=steps, backbone=backbone, **(plain | off | one_loss))


def _check_size(size: int) -> None:
    if type(size) is not int or not 32 <= size <= MAX_SIDE:
        raise StyleTransferError(f"size must be from 32 to {MAX_SIDE} px here, not {size!r}.")
