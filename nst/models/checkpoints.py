"""Checkpoints: trained weights from the project itself, torchvision, a file, or the Hub.

A checkpoint is a safetensors file with torchvision's VGG19 keys (`features.N.weight`, ...), and the fully connected
layers under `classifier.`. Its metadata says what the network was trained on, how accurate it is, and which
normalization and pooling the feature extractor must use.
"""

import copy
import hashlib
import json
import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from nst.engine.winograd import FrozenConv2d
from nst.errors import StyleTransferError, quote
from nst.io.files import write_atomically
from nst.io.tensors import IMAGENET_MEAN, IMAGENET_STD
from nst.layers import BLOCKS
from nst.models.hub import check_reachable, download, split_hub_id
from nst.models.vgg import MAX_CLASSES, POOLINGS, VGG19, Vgg19, fold_batch_norm

NAMES = ("cifar100", "imagenet")
BUNDLED_NAME = "vgg19-cifar100.safetensors"
BUNDLED_PATHS = (  # in the repository, and in the installed package
    Path(__file__).resolve().parents[2] / "checkpoints" / BUNDLED_NAME,
    Path(__file__).resolve().parents[1] / "checkpoints" / BUNDLED_NAME,
)
FILE_SUFFIXES = (".safetensors", ".pt", ".pth")
MAX_HIDDEN = 4096  # units of the classifier's hidden layer, as in the paper; keeps a forged file from taking all memory


@dataclass
class Backbone:
    """A trained VGG19 and what is known about it. All runs in the process share it: treat it as read-only.

    mean, std: of the three channels of the pictures in [0, 1] that it was trained on. metadata: the checkpoint's
    (`dataset`, `epochs`, `top1`, `classes`, ...), JSON values. sha256: of the checkpoint file.
    """

    name: str
    network: VGG19
    mean: tuple[float, ...]
    std: tuple[float, ...]
    metadata: dict
    sha256: str
    _copies: dict = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @torch.inference_mode(False)
    def prepared(
        self,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> VGG19:
        """Return a frozen copy of the network for that device, dtype and layout; every call returns the same copy."""
        key = (str(device), dtype, memory_format)
        with self._lock:
            if key not in self._copies:
                network = copy.deepcopy(self.network)
                self._copies[key] = network.to(device=device, dtype=dtype, memory_format=memory_format)
            return self._copies[key]

    def extractor(self, required_layers: Iterable[str], *, pooling: str | None = None, **prepared) -> Vgg19:
        """Return a `Vgg19` over `prepared(**prepared)` with this normalization and, by default, this pooling."""
        network = self.prepared(**prepared)
        return Vgg19(network, required_layers, mean=self.mean, std=self.std, pooling=pooling)


def save_checkpoint(network: VGG19, path: str | os.PathLike, metadata: dict) -> Path:
    """Write `network` as a float16 safetensors checkpoint, its batch norm folded, with `metadata` inside.

    metadata: must hold `mean` and `std`; the pooling is added. Its values may be anything that JSON can hold.

    Raises StyleTransferError if a weight is not finite, or if the file cannot be written.
    """
    tensors = {name: value.half().contiguous() for name, value in fold_batch_norm(network).state_dict().items()}
    if broken := [name for name, value in tensors.items() if not value.isfinite().all()]:
        raise StyleTransferError(f"The weights {broken[0]} are not finite: training diverged; nothing was exported.")
    text = {"format": "pt", "pooling": json.dumps(network.pooling), **{k: json.dumps(v) for k, v in metadata.items()}}
    return write_atomically(path, lambda temporary: save_file(tensors, temporary, metadata=text))


_cache: dict[tuple, Backbone] = {}
_cache_lock = threading.Lock()


@torch.inference_mode(False)  # tensors made in a caller's inference mode could not be used outside it
def load_backbone(name: str | os.PathLike = "cifar100") -> Backbone:
    """Return the backbone called `name`. It is loaded once per process and shared.

    `cifar100`: the checkpoint that comes with the project; it needs no internet connection.
    `imagenet`: torchvision's VGG19 weights, downloaded on first use.
    a path to a `.safetensors` file, or to a torch file, which is read with `weights_only=True`.
    `owner/name` or `owner/name@revision`: `model.safetensors` from that Hub repository.

    Raises StyleTransferError for an unknown name; for a checkpoint that is missing, damaged, or not of a VGG19 (the
    message names its keys); and within seconds if a download is needed and there is no internet connection.
    """
    name = os.fspath(name)
    with _cache_lock:
        if name == "imagenet":
            key = (name,)
        else:
            path = _checkpoint_path(name)
            try:
                status = path.stat()
            except OSError as error:  # deleted a moment ago
                raise StyleTransferError(f"{path.name}: no such checkpoint file.") from error
            key = (str(path.resolve()), status.st_mtime_ns, status.st_size)  # a file that was replaced is read again
        if key not in _cache:
            _cache[key] = _load_imagenet() if name == "imagenet" else _load_file(name, path)
        return _cache[key]


def bundled_checkpoint() -> Path:
    """Return the path of the checkpoint that comes with the project. Raises StyleTransferError if it is missing."""
    for path in BUNDLED_PATHS:
        if path.exists():
            return path
    raise StyleTransferError(f"checkpoints/{BUNDLED_NAME} is missing: get it from the repository, or train it.")


def read_metadata(checkpoint: str | os.PathLike) -> dict:
    """Return the metadata of a safetensors checkpoint, without loading its weights."""
    with safe_open(checkpoint, "np") as file:
        return {key: json.loads(value) for key, value in (file.metadata() or {}).items() if key != "format"}


def _checkpoint_path(name: str) -> Path:
    if name == "cifar100":
        return bundled_checkpoint()
    if Path(name).suffix in FILE_SUFFIXES:
        if not Path(name).is_file():
            raise StyleTransferError(f"{Path(name).name}: no such checkpoint file.")
        return Path(name)
    if hub_id := split_hub_id(name):
        return download(*hub_id)
    raise StyleTransferError(
        f"Unknown backbone {quote(name)}: use {' or '.join(NAMES)}, a .safetensors file, or a Hub id like owner/name."
    )


def _load_file(name: str, path: Path) -> Backbone:
    tensors, metadata = _read_checkpoint(path)
    metadata = {key: _parse_json(value) for key, value in metadata.items() if key != "format"}
    return _build(name, tensors, metadata, hashlib.sha256(path.read_bytes()).hexdigest(), path.name)


def _read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata of a checkpoint file."""
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise StyleTransferError(f"{path.name}: a damaged checkpoint, or not one at all.") from error
    except Exception as error:  # UnpicklingError, and all that a hostile file can provoke
        raise StyleTransferError(f"{path.name}: not a plain file of weights; refused.") from error
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise StyleTransferError(f"{path.name}: holds no table of weights.")
    return tensors, {}


def _parse_json(text: str):
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _build(name: str, tensors: dict[str, Tensor], metadata: dict, sha256: str, file: str) -> Backbone:
    """Return the backbone with these weights. Raises StyleTransferError, naming `file`, if they are no VGG19's."""
    pooling = metadata.get("pooling", "max")
    if pooling not in POOLINGS:
        raise StyleTransferError(f"{file}: its metadata names the pooling {quote(pooling)}, which is not known.")
    mean, std = metadata.get("mean", IMAGENET_MEAN), metadata.get("std", IMAGENET_STD)
    for values, low in ((mean, -1e6), (std, 0)):  # the bounds exclude NaN, infinity, and a division by zero
        are_numbers = isinstance(values, (list, tuple)) and all(type(v) in (int, float) for v in values)
        if not are_numbers or len(values) != 3 or not all(low < v < 1e6 for v in values):
            raise StyleTransferError(f"{file}: its metadata holds no usable mean and std.")
    if "classifier.6.bias" in tensors:  # torchvision's own three-layer classifier: it does not fit and is not needed
        tensors = {key: value for key, value in tensors.items() if key.startswith("features.")}
    network = _empty_network(tensors, pooling)
    _check_fits(network, tensors, file)
    network.load_state_dict({key: tensors[key].float() for key in network.state_dict()}, assign=True)
    network.eval().requires_grad_(False)
    return Backbone(name, network, tuple(mean), tuple(std), metadata, sha256)


def _empty_network(tensors: dict[str, Tensor], pooling: str) -> VGG19:
    """Return a network of the shapes that these weights need, without memory for its own weights."""
    classes = _length(tensors.get("classifier.3.bias"), MAX_CLASSES, default=100)
    hidden = _length(tensors.get("classifier.0.bias"), MAX_HIDDEN, default=512)
    channels = BLOCKS[0][0]
    width = (_length(tensors.get("features.0.bias"), channels, default=channels) or channels) / channels
    with torch.device("meta"):  # random weights would cost time and random numbers, and would be overwritten
        network = VGG19(classes, width=width, pooling=pooling, hidden=hidden, convolution=FrozenConv2d)
    if "classifier.3.bias" not in tensors:
        network.classifier = None  # painting needs the features only
    return network


def _length(bias: Tensor | None, limit: int, default: int) -> int:
    return len(bias) if bias is not None and bias.dim() == 1 and len(bias) <= limit else default


def _check_fits(network: VGG19, tensors: dict[str, Tensor], file: str) -> None:
    expected = network.state_dict()
    if missing := sorted(set(expected) - set(tensors)):
        raise StyleTransferError(f"{file}: not a VGG19 checkpoint; {len(missing)} keys missing, first {missing[0]}.")
    for key, value in expected.items():
        if tensors[key].shape != value.shape:
            shape, expected_shape = ("x".join(map(str, x.shape)) for x in (tensors[key], value))
            raise StyleTransferError(f"{file}: {key} has the shape {shape}; a VGG19 has {expected_shape}.")
        if not tensors[key].is_floating_point() or not tensors[key].float().isfinite().all():
            raise StyleTransferError(f"{file}: {key} holds values that are not finite numbers.")


def _load_imagenet() -> Backbone:
    from torchvision.models import VGG19_Weights

    url = VGG19_Weights.IMAGENET1K_V1.url
    file = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    if not file.exists():
        check_reachable(url, "The ImageNet weights")
    try:
        tensors = VGG19_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True)
    except Exception as error:  # URLError, a wrong hash, a broken file
        raise StyleTransferError(
            f"The ImageNet weights could not be loaded ({type(error).__name__}); the bundled cifar100 needs no network."
        ) from error
    tensors = {key: value for key, value in tensors.items() if key.startswith("features.")}
    metadata = {"dataset": "ImageNet-1k", "pooling": "max", "source": "torchvision VGG19_Weights.IMAGENET1K_V1"}
    return _build("imagenet", tensors, metadata, hashlib.sha256(file.read_bytes()).hexdigest(), file.name)
