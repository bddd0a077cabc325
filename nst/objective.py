"""What a picture is judged by while it is painted: losses and their gradient at the pixels.

The loop knows one call, `evaluate(pixels) -> (losses, gradient)`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nst.backbones import Backbone
from nst.hardware import Hardware
from nst.losses import GramStyle, content_loss, total_variation
from nst.settings import StyleSettings
from nst.vgg import Vgg19


class Losses(NamedTuple):
    """Scalar tensors; total = content_weight * content + style_weight * style + tv_weight * tv."""

    content: Tensor
    style: Tensor
    tv: Tensor
    total: Tensor


def build_extractor(backbone: Backbone, settings: StyleSettings, hardware: Hardware) -> Vgg19:
    """The extractor that a run with these settings looks through."""
    return backbone.extractor(
        (*settings.content_layers, *settings.style_layers),
        pooling=None if settings.pooling == "backbone" else settings.pooling,
        device=hardware.device,
        dtype=hardware.dtype,
        memory_format=hardware.memory_format,
    )


Statistics = dict[tuple[int, str], Tensor]  # by level of the image pyramid and layer
SMALLEST_LEVEL = 16  # px on the short side: a smaller level of the pyramid holds too few positions to count


@dataclass
class StyleTarget:
    """One style to paint in: its statistics, what the loss at each is divided by, its share, and a mask.

    The mask is (1, 1, H, W) in [0, 1], where the style goes, or None for everywhere.
    """

    statistics: Statistics
    scales: Statistics
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
            self.content_targets = {layer: features[layer] for layer in settings.content_layers}
            self.content_scales = {
                layer: _at_least_tiny(target.float().var()) for layer, target in self.content_targets.items()
            }
            self.style_targets = []
            for picture, weight, mask in styles:
                statistics = self._statistics(self._pyramid(picture), None)
                scales = {key: _at_least_tiny(statistic.square().mean()) for key, statistic in statistics.items()}
                self.style_targets.append(StyleTarget(statistics, scales, weight / total, mask))

    def _pyramid(self, pixels: Tensor) -> list[dict[str, Tensor]]:
        """Style features of the picture, of its half size, and so on (Snelgrove 2017); the first with the content's."""
        settings = self.settings
        levels = [self.extractor.extract_features(pixels)]
        while len(levels) < settings.style_levels and min(pixels.shape[-2:]) >= 2 * SMALLEST_LEVEL:
            pixels = F.avg_pool2d(pixels, 2)
            levels.append(self.extractor.extract_features(pixels, settings.style_layers))
        return levels

    def _statistics(self, levels: list[dict[str, Tensor]], mask: Tensor | None) -> Statistics:
        statistics = {}
        for level, features in enumerate(levels):
            for layer in self.settings.style_layers:
                weights = None if mask is None else F.interpolate(mask, size=features[layer].shape[-2:], mode="area")
                sums = self.statistic.accumulate(features[layer], weights)
                statistics[level, layer] = self.statistic.finish(*sums)
        return statistics

    def _content(self, features: dict[str, Tensor]) -> Tensor:
        losses = []
        for layer, target in self.content_targets.items():
            loss = content_loss(features[layer], target)
            losses.append(loss / self.content_scales[layer] if self.settings.relative_losses else loss)
        return torch.stack(losses).mean()

    def _style(self, levels: list[dict[str, Tensor]]) -> Tensor:
        total = levels[0][self.settings.style_layers[0]].new_zeros((), dtype=torch.float32)
        plain = None
        for target in self.style_targets:
            if target.mask is None:  # all styles without a mask share one statistic of the picture
                plain = plain or self._statistics(levels, None)
            statistics = plain if target.mask is None else self._statistics(levels, target.mask)
            shared = [key for key in statistics if key in target.statistics]  # a small style has fewer levels
            for key in shared:
                loss = self.statistic.compare(statistics[key], target.statistics[key])
                if self.settings.relative_losses:
                    loss = loss / target.scales[key]
                total = total + loss * (target.weight / len(shared))
        return total

    def evaluate(self, pixels: Tensor) -> tuple[Losses, Tensor]:
        """Losses and the gradient of the total at `pixels`, (1, 3, H, W) in [0, 1]."""
        settings = self.settings
        levels = self._pyramid(pixels)
        content, style, tv = self._content(levels[0]), self._style(levels), total_variation(pixels)
        total = settings.content_weight * content + settings.style_weight * style + settings.tv_weight * tv
        (gradient,) = torch.autograd.grad(total, pixels)
        return Losses(*(x.detach() for x in (content, style, tv, total))), gradient


def _at_least_tiny(scale: Tensor) -> Tensor:
    return scale.clamp_min(1e-8)  # a flat target divides by almost nothing, not by zero
