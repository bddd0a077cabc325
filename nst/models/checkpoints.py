"""Where trained weights come from: the bundled checkpoint, torchvision, a file, or the Hub.

A checkpoint is a safetensors file with torchvision's VGG19 keys (`features.N.weight`, ...), the fully connected layers
under `classifier.`, and its metadata inside: what it was trained on, how well it does, and the normalisation and
pooling that the extractor must use.
"""

import copy
import hashlib
import json
import os
import re
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
from nst.models.bundled import bundled_checkpoint
from nst.models.hub import check_reachable, download
from nst.models.vgg import MAX_CLASSES, POOLINGS, VGG19, Vgg19, fold_batch_norm

NAMES = ("cifar100", "imagenet")


@dataclass
class Backbone:
    """A trained VGG19 and what there is to know about it. Shared by everyone in the process: treat as read-only.

    metadata: what the checkpoint says of itself (`dataset`, `epochs`, `top1`, `classes`, ...), JSON values.
    sha256: of the checkpoint file.
    """

    name: str
    network: VGG19
    mean: tuple[float, ...]
    std: tuple[float, ...]
    metadata: dict
    sha256: str
    _prepared: dict = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def prepared(
        self,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> VGG19:
        """A frozen copy of the network for that device, dtype and layout; the same copy every time it is asked for."""
        key = (str(device), dtype, memory_format)
        with self._lock:
            if key not in self._prepared:
                network = copy.deepcopy(self.network)
                self._prepared[key] = network.to(device=device, dtype=dtype, memory_format=memory_format)
            return self._prepared[key]

    def extractor(self, required_layers: Iterable[str], *, pooling: str | None = None, **prepared) -> Vgg19:
        """A `Vgg19` over `prepared(**prepared)`, with this backbone's normalisation and, by default, its pooling."""
        network = self.prepared(**prepared)
        return Vgg19(network, required_layers, mean=self.mean, std=self.std, pooling=pooling)


def save_checkpoint(network: VGG19, path: str | os.PathLike, metadata: dict) -> Path:
    """Write `network`, its batch norm folded, as a float16 safetensors checkpoint with `metadata` inside.

    `metadata` must hold `mean` and `std`; the pooling is added. Values may be anything that JSON can hold.
    """
    plain = fold_batch_norm(network)
    tensors = {name: value.half().contiguous() for name, value in plain.state_dict().items()}
    if broken := [name for name, value in tensors.items() if not value.isfinite().all()]:
        raise StyleTransferError(f"The weights {broken[0]} are not finite: training diverged; nothing was exported.")
    text = {"format": "pt", "pooling": json.dumps(network.pooling), **{k: json.dumps(v) for k, v in metadata.items()}}
    return write_atomically(path, lambda temporary: save_file(tensors, temporary, metadata=text))


_cache: dict[tuple, Backbone] = {}
_cache_lock = threading.Lock()


def load_backbone(name: str | os.PathLike = "cifar100") -> Backbone:
    """The backbone called `name`, loaded once per process and shared.

    `cifar100`: the checkpoint that comes with the project; needs no network.
    `imagenet`: torchvision's VGG19 weights, downloaded on first use.
    a path to a `.safetensors` file (or a torch file, read with `weights_only=True`).
    `owner/name` or `owner/name@revision`: `model.safetensors` from that Hub repository.

    Raises StyleTransferError for an unknown name, a missing, damaged or unfitting checkpoint (naming its keys), and,
    within seconds, when the network is needed and cannot be reached.
    """
    name = os.fspath(name)
    with _cache_lock:
        if name == "imagenet":
            key = (name,)
        else:
            path = _checkpoint_path(name)
            try:
                stat = path.stat()
            except OSError as error:  # gone since
                raise StyleTransferError(f"{path.name}: no such checkpoint file.") from error
            key = (str(path.resolve()), stat.st_mtime_ns, stat.st_size)  # a file that was written anew is read anew
        if key not in _cache:
            _cache[key] = _load_imagenet() if name == "imagenet" else _load_file(name, path)
        return _cache[key]


def _checkpoint_path(name: str) -> Path:
    if name == "cifar100":
        return bundled_checkpoint()
    if Path(name).suffix in (".safetensors", ".pt", ".pth"):
        if not Path(name).is_file():
            raise StyleTransferError(f"{Path(name).name}: no such checkpoint file.")
        return Path(name)
    if re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", name) and ".." not in name:
        return download(*name.partition("@")[::2])
    raise StyleTransferError(
        f"Unknown backbone {quote(name)}: use {' or '.join(NAMES)}, a .safetensors file, or a Hub id like owner/name."
    )


def _load_file(name: str, path: Path) -> Backbone:
    data, metadata = _read_checkpoint(path)
    metadata = {key: _json(value) for key, value in metadata.items() if key != "format"}
    return _build(name, data, metadata, hashlib.sha256(path.read_bytes()).hexdigest(), path.name)


def _read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}
        data = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise StyleTransferError(f"{path.name}: a damaged checkpoint, or not one at all.") from error
    except Exception as error:  # UnpicklingError and whatever else a hostile file provokes
        raise StyleTransferError(f"{path.name}: not a plain file of weights; refused.") from error
    if not isinstance(data, dict) or not all(isinstance(value, Tensor) for value in data.values()):
        raise StyleTransferError(f"{path.name}: holds no table of weights.")
    return data, {}


def _json(text: str):
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _build(name: str, data: dict[str, Tensor], metadata: dict, sha256: str, file: str) -> Backbone:
    pooling = metadata.get("pooling", "max")
    if pooling not in POOLINGS:
        raise StyleTransferError(f"{file}: its metadata names the pooling {quote(pooling)}, which is not known.")
    mean, std = metadata.get("mean", IMAGENET_MEAN), metadata.get("std", IMAGENET_STD)
    for values, low in ((mean, -1e6), (std, 0)):  # the bounds keep out NaN, infinity, and a division by zero
        numbers = isinstance(values, (list, tuple)) and all(type(v) in (int, float) for v in values)
        if not numbers or len(values) != 3 or not all(low < v < 1e6 for v in values):
            raise StyleTransferError(f"{file}: its metadata holds no usable mean and std.")
    if "classifier.6.bias" in data:  # torchvision's own three-layer classifier, which does not fit and is not needed
        data = {key: value for key, value in data.items() if key.startswith("features.")}
    last = data.get("classifier.3.bias")
    hidden = data.get("classifier.0.bias")
    with torch.device("meta"):  # shapes only: random weights would cost time and random numbers, to be overwritten
        network = VGG19(
            len(last) if last is not None and last.dim() == 1 and len(last) <= MAX_CLASSES else 100,
            pooling=pooling,
            hidden=len(hidden) if hidden is not None and hidden.dim() == 1 and len(hidden) <= 4096 else 512,
            convolution=FrozenConv2d,
        )
    if last is None:
        network.classifier = None  # features are all that painting needs
    wanted = network.state_dict()
    if missing := sorted(set(wanted) - set(data)):
        raise StyleTransferError(f"{file}: not a VGG19 checkpoint; {len(missing)} keys missing, first {missing[0]}.")
    for key, value in wanted.items():
        if data[key].shape != value.shape:
            found, expected = "x".join(map(str, data[key].shape)), "x".join(map(str, value.shape))
            raise StyleTransferError(f"{file}: {key} has the shape {found}; a VGG19 has {expected}.")
        if not data[key].is_floating_point() or not data[key].float().isfinite().all():
            raise StyleTransferError(f"{file}: {key} holds values that are not finite numbers.")
    network.load_state_dict({key: data[key].float() for key in wanted}, assign=True)
    network.eval().requires_grad_(False)
    return Backbone(name, network, tuple(mean), tuple(std), metadata, sha256)


def _load_imagenet() -> Backbone:
    from torchvision.models import VGG19_Weights

    url = VGG19_Weights.IMAGENET1K_V1.url
    file = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    if not file.exists():
        check_reachable(url, "The ImageNet weights")
    try:
        data = VGG19_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True)
    except Exception as error:  # URLError, a wrong hash, a broken file
        raise StyleTransferError(
            f"The ImageNet weights could not be loaded ({type(error).__name__}); the bundled cifar100 needs no network."
        ) from error
    data = {key: value for key, value in data.items() if key.startswith("features.")}
    metadata = {"dataset": "ImageNet-1k", "pooling": "max", "source": "torchvision VGG19_Weights.IMAGENET1K_V1"}
    return _build("imagenet", data, metadata, hashlib.sha256(file.read_bytes()).hexdigest(), file.name)
