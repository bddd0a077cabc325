"""The plain loop that `nst.tools.benchmark` compares with: what programs of this kind do without any care for speed.

Built like the common implementations: one pass through the network up to the deepest layer, losses on the way, float32,
contiguous memory, frozen weights, in-place ReLUs, targets computed once; torch's own layers, none of this package's.
"""

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from nst.layers import LAYERS
from nst.models.checkpoints import Backbone
from nst.settings import StyleSettings


class PlainLoop:
    """Content and style loss of Gatys et al. (2016) with the weights and layers of `settings`, as `stylize` means them.

    content, style: (1, 3, H, W) float32 in [0, 1].
    """

    def __init__(self, backbone: Backbone, settings: StyleSettings, content: Tensor, style: Tensor):
        self.settings = settings
        device = content.device
        self.mean, self.std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (backbone.mean, backbone.std))
        self.weights = {
            name: (layer.weight.detach().float().contiguous().to(device), layer.bias.detach().float().to(device))
            for name, layer in backbone.network.convolutions().items()
        }
        wanted = {*settings.content_layers, *settings.style_layers}
        self.layers = LAYERS[: 1 + max(map(LAYERS.index, wanted))]
        pooling = backbone.network.pooling if settings.pooling == "backbone" else settings.pooling
        self.pool = F.max_pool2d if pooling == "max" else F.avg_pool2d
        with torch.no_grad():
            features = self._features(content)
            self.content_targets = {layer: features[layer] for layer in settings.content_layers}
            features = self._features(style)
            self.style_targets = {layer: _gram(features[layer]) for layer in settings.style_layers}

    def _features(self, x: Tensor) -> dict[str, Tensor]:
        x = (x - self.mean) / self.std
        features = {}
        for name in self.layers:
            if name.endswith("_1") and name != "conv1_1":
                x = self.pool(x, 2)
            x = F.relu_(F.conv2d(x, *self.weights[name], padding=1))
            features[name] = x
        return features

    def loss(self, pixels: Tensor) -> Tensor:
        """The weighted total, a scalar, without total variation."""
        features = self._features(pixels)
        content = sum(F.mse_loss(features[name], target) for name, target in self.content_targets.items())
        style = sum(F.mse_loss(_gram(features[name]), target) for name, target in self.style_targets.items())
        settings = self.settings
        return (
            settings.content_weight * content / len(self.content_targets)
            + settings.style_weight * style / len(self.style_targets)
        )

    def evaluate(self, pixels: Tensor) -> tuple[float, Tensor]:
        """The loss and its gradient at `pixels`."""
        pixels = pixels.detach().requires_grad_()
        with torch.enable_grad():
            loss = self.loss(pixels)
            loss.backward()
        return loss.item(), pixels.grad

    def lbfgs(self, start: Tensor, evaluations: int, seen: Callable[[], None] = lambda: None) -> list[dict]:
        """L-BFGS as neural-style-pt runs it (history 100, step 1, no line search), with a row for every evaluation.

        Rows hold `seconds` since the start and `loss`, the lowest so far. Its best pictures count: none is clamped.
        """
        pixels = start.clone().requires_grad_()
        optimizer = torch.optim.LBFGS(
            [pixels], lr=1, max_iter=evaluations, max_eval=evaluations, tolerance_grad=-1, tolerance_change=-1,
            history_size=100,
        )  # fmt: skip
        rows: list[dict] = []
        started = time.perf_counter()

        def closure() -> Tensor:
            loss, pixels.grad = self.evaluate(pixels)
            lowest = min([loss, *(row["loss"] for row in rows[-1:])])
            rows.append({"seconds": time.perf_counter() - started, "loss": lowest})
            seen()
            return torch.tensor(loss)

        optimizer.step(closure)
        return rows


def _gram(features: Tensor) -> Tensor:
    rows = features.flatten(2)[0]
    return rows @ rows.T / rows.shape[1]
