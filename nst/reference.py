"""Neural style transfer on one page: Gatys, Ecker & Bethge, "Image Style Transfer Using CNNs" (CVPR 2016).

    python -m nst.reference photo.jpg painting.jpg result.png

This file is for readers. It uses PyTorch's own layers and nothing that makes them fast. In float32, preset `classic`
paints the same picture up to rounding. The tests check that; the benchmark compares the speed with this file's.
"""

import sys

import torch
import torch.nn.functional as F
from torch import Tensor

from nst.io.reading import load_picture
from nst.io.sizes import resize_picture
from nst.io.tensors import to_picture, to_tensor
from nst.layers import LAYERS
from nst.models.checkpoints import Backbone, load_backbone

CONTENT_LAYERS = ("conv4_2",)  # the paper's choice: deep enough to forget pixels
STYLE_LAYERS = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")  # the paper's choice: grain to large strokes
CONTENT_WEIGHT = 1.0  # alpha
STYLE_WEIGHT = 1000.0  # beta
SIZE = (224, 224)  # px
STEPS = 100
LEARNING_RATE = 0.02  # of a pixel value in [0, 1]
BETAS = (0.9, 0.99)  # the picture changes quickly at first; Adam's usual 0.999 remembers a thousand steps


class Reference:
    """The losses of a picture, for one photo and one painting.

    content, style: (1, 3, H, W) RGB in [0, 1], float32 or float64.
    """

    def __init__(
        self,
        content: Tensor,
        style: Tensor,
        backbone: Backbone,
        *,
        content_layers: tuple[str, ...] = CONTENT_LAYERS,
        style_layers: tuple[str, ...] = STYLE_LAYERS,
        content_weight: float = CONTENT_WEIGHT,
        style_weight: float = STYLE_WEIGHT,
        pooling: str | None = None,
    ):
        self.content_weight, self.style_weight = content_weight, style_weight
        self.layers = LAYERS[: 1 + max(map(LAYERS.index, (*content_layers, *style_layers)))]
        self.pool = F.max_pool2d if (pooling or backbone.network.pooling) == "max" else F.avg_pool2d
        self.mean, self.std = (torch.tensor(x).to(content).view(1, 3, 1, 1) for x in (backbone.mean, backbone.std))
        convolutions = backbone.network.convolutions()
        self.parameters = {
            layer: [x.detach().to(content).contiguous() for x in (convolutions[layer].weight, convolutions[layer].bias)]
            for layer in self.layers
        }
        with torch.no_grad():
            content_features, style_features = self.features(content), self.features(style)
        self.content_targets = {layer: content_features[layer] for layer in content_layers}
        self.style_targets = {layer: gram_matrix(style_features[layer]) for layer in style_layers}

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Return the feature maps F^l of VGG19, the ReLU outputs, by layer."""
        x = (x - self.mean) / self.std
        features = {}
        for layer in self.layers:
            if layer.endswith("_1") and layer != "conv1_1":
                x = self.pool(x, 2)
            weight, bias = self.parameters[layer]
            x = F.relu_(F.conv2d(x, weight, bias, padding=1))
            features[layer] = x
        return features

    def losses(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the content loss (eq. 1), the style loss (eq. 4, 5) and their weighted sum (eq. 7), scalars.

        The paper's sums are means here, which differ by a constant factor: a weight then means the same at any size.
        """
        features = self.features(x)
        content = sum(F.mse_loss(features[layer], target) for layer, target in self.content_targets.items())
        style = sum(F.mse_loss(gram_matrix(features[layer]), target) for layer, target in self.style_targets.items())
        content, style = content / len(self.content_targets), style / len(self.style_targets)
        return content, style, self.content_weight * content + self.style_weight * style

    def evaluate(self, x: Tensor) -> tuple[float, Tensor]:
        """Return the weighted sum of the losses, and its gradient at the pixels (1, 3, H, W)."""
        x = x.detach().requires_grad_()
        total = self.losses(x)[-1]
        total.backward()
        return total.item(), x.grad


def gram_matrix(features: Tensor) -> Tensor:
    """Return G_ij = 1/M sum_p F_ip F_jp over the M positions p of (1, C, H, W) features (eq. 3), (C, C)."""
    rows = features.flatten(2)[0]
    return rows @ rows.T / rows.shape[1]


def paint(reference: Reference, start: Tensor, steps: int = STEPS) -> Tensor:
    """Return the picture that Adam reaches from `start`, (1, 3, H, W) in [0, 1]. The picture itself is optimized."""
    picture = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([picture], lr=LEARNING_RATE, betas=BETAS)
    for _ in range(steps):
        _, picture.grad = reference.evaluate(picture)
        optimizer.step()
        with torch.no_grad():
            picture.clamp_(0, 1)
    return picture.detach()


def main(photo: str, painting: str, result: str) -> None:
    """Paint `photo` in the style of `painting`."""
    content, style = (to_tensor(resize_picture(load_picture(path), SIZE)) for path in (photo, painting))
    reference = Reference(content, style, load_backbone("cifar100"))
    to_picture(paint(reference, content)).save(result)


if __name__ == "__main__":
    main(*sys.argv[1:])
