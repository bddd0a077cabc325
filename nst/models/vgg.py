"""VGG19 (Simonyan & Zisserman 2014, configuration E): the classifier and the feature extractor.

Two classes have similar names, which programs use already: `VGG19` is the whole classifier, which `train.py` trains.
`Vgg19` is the feature extractor, which painting uses: it shares a trained `VGG19`'s convolutions and returns their
feature maps by name. Layers have the papers' names, `conv<block>_<index>`, and mean the output of the ReLU after the
convolution.
"""

import functools
from collections.abc import Iterable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nst.engine.cuda_network import CudaNetwork, has_kernels
from nst.engine.winograd import FrozenConv2d
from nst.errors import StyleTransferError
from nst.layers import BLOCKS, LAYERS, layer_stride

POOLINGS = ("max", "average")
MAX_CLASSES = 25_000  # more outputs than any labelled set needs; keeps a forged file from taking all memory


def pooling_layer(kind: str) -> nn.Module:
    """Return a 2x2 pooling with stride 2: `max`, which torchvision's weights use, or `average`.

    Gatys et al. 2016 prefer `average` for painting. Raises StyleTransferError for any other kind.
    """
    if kind not in POOLINGS:
        raise StyleTransferError(f"Unknown pooling {kind!r}: choose from {', '.join(POOLINGS)}.")
    return nn.MaxPool2d(2) if kind == "max" else nn.AvgPool2d(2)


class VGG19(nn.Module):
    """The classifier: 16 convolutions in five blocks, then two fully connected layers on the global average.

    `features` is numbered as in torchvision (`vgg19`, or `vgg19_bn` with `batch_norm`), so that its weights fit. Global
    average pooling replaces the 7x7x512 input of the original classifier, so any input from 16 px up is accepted.

    Input: (N, 3, H, W) float, normalized with the mean and standard deviation of the training pictures.
    Output: (N, num_classes) logits.

    width: multiplies the channels of every convolution; 1 is the paper's network, and the tests train narrow ones.
    hidden: units of the first fully connected layer. dropout: probability after it. convolution: the class to build
    convolutions with.
    """

    def __init__(
        self,
        num_classes: int = 100,
        *,
        width: float = 1.0,
        batch_norm: bool = False,
        pooling: str = "max",
        hidden: int = 512,
        dropout: float = 0.1,
        convolution: type[nn.Conv2d] = nn.Conv2d,
    ):
        super().__init__()
        self.width, self.pooling, self.batch_norm = width, pooling, batch_norm
        layers: list[nn.Module] = []
        inputs = 3
        for channels, depth in BLOCKS:
            outputs = round(channels * width)
            for _ in range(depth):
                layers.append(convolution(inputs, outputs, 3, padding=1))
                if batch_norm:
                    layers.append(nn.BatchNorm2d(outputs))
                layers.append(nn.ReLU(inplace=True))
                inputs = outputs
            layers.append(pooling_layer(pooling))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(inputs, hidden), nn.ReLU(inplace=True), nn.Dropout(dropout), nn.Linear(hidden, num_classes)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)
                if module.in_channels == module.out_channels:
                    # A deep plain network that starts near the identity learns faster (Zagoruyko & Komodakis 2017).
                    module.weight.data.add_(nn.init.dirac_(torch.empty_like(module.weight)))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (N, num_classes) of normalized pictures (N, 3, H, W)."""
        x = self.features[:-1](x)
        if min(x.shape[-2:]) > 1:  # a map of one pixel cannot be pooled any further
            x = self.features[-1](x)
        return self.classifier(x.mean((2, 3)))

    def convolutions(self) -> dict[str, nn.Conv2d]:
        """Return the 16 convolutions by layer name, `conv1_1` first."""
        return dict(zip(LAYERS, (m for m in self.features if isinstance(m, nn.Conv2d)), strict=True))


@torch.no_grad()
def fold_batch_norm(network: VGG19) -> VGG19:
    """Return a VGG19 without batch norm that computes the same as `network` in eval mode.

    Batch norm after a convolution is linear: y = g (Wx + b - m) / s + t with s = sqrt(v + eps), so W' = W g / s
    and b' = (b - m) g / s + t (Jacob et al. 2018, section 3.2).
    """
    hidden, classes = network.classifier[0].out_features, network.classifier[-1].out_features
    plain = VGG19(classes, width=network.width, pooling=network.pooling, hidden=hidden, convolution=FrozenConv2d)
    plain.classifier.load_state_dict(network.classifier.state_dict())
    norms = [m for m in network.features if isinstance(m, nn.BatchNorm2d)]
    pairs = zip(network.convolutions().values(), plain.convolutions().values(), strict=True)
    for index, (source, target) in enumerate(pairs):
        weight, bias = source.weight, source.bias
        if norms:
            norm = norms[index]
            scale = norm.weight / (norm.running_var + norm.eps).sqrt()
            weight, bias = weight * scale.view(-1, 1, 1, 1), (bias - norm.running_mean) * scale + norm.bias
        target.weight.copy_(weight)
        target.bias.copy_(bias)
    return plain.eval()


class Vgg19(nn.Module):
    """The feature extractor: frozen convolutions, computed only as deep as the deepest layer that is needed.

    It shares the parameters of `network` without a copy, and turns their gradients off.

    required_layers: names from `LAYERS`, in any order.
    mean, std: of the three channels of the training pictures in [0, 1]; the extractor normalizes its input with them.
    pooling: `max` or `average`; by default the pooling that the network was trained with.

    Raises StyleTransferError for an unknown layer or pooling.
    """

    def __init__(
        self,
        network: VGG19,
        required_layers: Iterable[str],
        *,
        mean: Sequence[float],
        std: Sequence[float],
        pooling: str | None = None,
    ):
        super().__init__()
        required = set(required_layers)
        if unknown := sorted(required - set(LAYERS)):
            raise StyleTransferError(f"Unknown layer {unknown[0]!r}: layers are conv1_1 ... conv5_4.")
        if not required:
            raise StyleTransferError("The extractor needs at least one layer.")
        if network.batch_norm:
            raise StyleTransferError("Fold the batch norm into the convolutions before extracting features.")
        self.required_layers = tuple(name for name in LAYERS if name in required)
        deepest = LAYERS.index(self.required_layers[-1])
        self.convolutions = nn.ModuleDict(dict(list(network.convolutions().items())[: deepest + 1]))
        self.pool = pooling_layer(pooling or network.pooling)
        device = self.convolutions["conv1_1"].weight.device
        for name, values in (("mean", mean), ("std", std)):
            buffer = torch.tensor(values, dtype=torch.float32, device=device).view(1, 3, 1, 1)
            self.register_buffer(name, buffer, persistent=False)
        self.eval().requires_grad_(False)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the convolutions, and so of the features."""
        return self.convolutions["conv1_1"].weight.dtype

    @functools.cached_property
    def cuda_network(self) -> CudaNetwork | None:
        """The same features and gradients by hand-written GPU kernels; None where PyTorch's own layers compute them."""
        is_narrow = self.convolutions["conv1_1"].out_channels < BLOCKS[0][0]  # the kernels multiply larger matrices
        if self.mean.device.type != "cuda" or is_narrow or not has_kernels():
            return None
        return CudaNetwork(dict(self.convolutions.items()), self.mean, self.std, isinstance(self.pool, nn.MaxPool2d))

    def iterate_features(self, x: Tensor, layers: Iterable[str] | None = None) -> Iterator[tuple[str, Tensor]]:
        """Yield each layer's name and its ReLU output, as soon as it is computed, for (N, 3, H, W) RGB in [0, 1].

        `conv<b>_<i>` has shape (N, C, H / 2^(b-1), W / 2^(b-1)) and the dtype of the convolutions. layers: some of
        `required_layers`, all by default; nothing deeper than the deepest of them is computed.

        Raises StyleTransferError if a side is too short to be pooled down to the deepest layer.
        """
        requested = set(self.required_layers if layers is None else layers)
        layers = [layer for layer in self.required_layers if layer in requested]
        _check_side(x, layers[-1])
        if self.cuda_network and len(x) == 1:
            yield from self.cuda_network.features(x, layers).items()
            return
        x = ((x - self.mean) / self.std).to(self.dtype)
        for layer, convolution in self.convolutions.items():
            if layer.endswith("_1") and layer != "conv1_1":
                x = self.pool(x)
            # In place: the weights are frozen, so the gradient does not need the values before the ReLU.
            x = F.relu_(convolution(x))
            if layer in requested:
                yield layer, x
            if layer == layers[-1]:
                return

    def extract_features(self, x: Tensor, layers: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Return what `iterate_features` yields, by layer."""
        return dict(self.iterate_features(x, layers))

    forward = extract_features


def _check_side(x: Tensor, deepest: str) -> None:
    stride = layer_stride(deepest)
    if min(x.shape[-2:]) < stride:
        raise StyleTransferError(
            f"A {x.shape[-1]}x{x.shape[-2]} picture is too small for {deepest}: "
            f"the short side must be at least {stride} px."
        )
