"""What a picture is judged by while it is painted: losses and their gradient at the pixels.

The loop knows one call, `evaluate(pixels) -> (losses, gradient)`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nst.losses import GramStyle, content_loss, total_variation
from nst.settings import StyleSettings
from nst.vgg import Vgg19


class Losses(NamedTuple):
    """Scalar tensors; total = content_weight * content + style_weight * style + tv_weight * tv."""

    content: Tensor
    style: Tensor
    tv: Tensor
    total: Tensor


@dataclass
class StyleTarget:
    """One style to paint in: its statistic per layer, its share, and (1, 1, H, W) in [0, 1] where it goes, or None."""

    statistics: dict[str, Tensor]
    weight: float
    mask: Tensor | None = None


class PlainObjective:
    """The whole picture through the network and back at once."""

    def __init__(
        self,
        extractor: Vgg19,
        settings: StyleSettings,
        content: Tensor,
        styles: Sequence[tuple[Tensor, float, Tensor | None]],
    ):
        """Compute the targets, once.

        content: (1, 3, H, W) in [0, 1], at the size to be painted.
        styles: (picture, weight, mask) each; the picture (1, 3, h, w), the mask (1, 1, H, W) or None. A style's share
        is its weight over the sum of the weights.
        """
        self.extractor, self.settings = extractor, settings
        self.statistic = GramStyle
        total = sum(weight for _, weight, _ in styles)
        with torch.no_grad():
            features = extractor.extract_features(content)
            self.content_targets = {layer: features[layer].clone() for layer in settings.content_layers}
            self.style_targets = [
                StyleTarget(self._statistics(extractor.extract_features(picture), None), weight / total, mask)
                for picture, weight, mask in styles
            ]

    def _statistics(self, features: dict[str, Tensor], mask: Tensor | None) -> dict[str, Tensor]:
        statistics = {}
        for layer in self.settings.style_layers:
            weights = None if mask is None else F.interpolate(mask, size=features[layer].shape[-2:], mode="area")
            statistics[layer] = self.statistic.finish(*self.statistic.accumulate(features[layer], weights))
        return statistics

    def evaluate(self, pixels: Tensor) -> tuple[Losses, Tensor]:
        """Losses and the gradient of the total at `pixels`, (1, 3, H, W) in [0, 1]."""
        settings = self.settings
        features = self.extractor.extract_features(pixels)
        content = sum(content_loss(features[layer], target) for layer, target in self.content_targets.items())
        content = content / len(self.content_targets)
        style = pixels.new_zeros(())
        plain = None
        for target in self.style_targets:
            if target.mask is None:  # all styles without a mask share one statistic of the picture
                plain = plain or self._statistics(features, None)
            statistics = plain if target.mask is None else self._statistics(features, target.mask)
            for layer in settings.style_layers:
                loss = self.statistic.compare(statistics[layer], target.statistics[layer])
                style = style + loss * (target.weight / len(settings.style_layers))
        tv = total_variation(pixels)
        total = settings.content_weight * content + settings.style_weight * style + settings.tv_weight * tv
        (gradient,) = torch.autograd.grad(total, pixels)
        return Losses(*(x.detach() for x in (content, style, tv, total))), gradient
