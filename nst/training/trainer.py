"""Training a VGG19: the steps, the measuring, and the state that a run continues from. `train.py` is the run itself."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nst.engine.hardware import Hardware, free_memory
from nst.errors import StyleTransferError
from nst.io.files import write_atomically
from nst.models.vgg import VGG19
from nst.training.convolution import TrainedConv2d
from nst.training.data import augment, normalise, random_crops
from nst.training.muon import Muon
from nst.training.recipes import Recipe, flag, schedule

SHARE_OF_GPU = 0.25  # of a GPU's memory that the pictures may take; what is larger stays with the processor


class Trainer:
    """A network, its optimisers and its schedule, moved on one batch at a time.

    Everything random (initialisation, order, augmentation, dropout) is a function of the recipe's seed and the step, so
    a resumed run equals an uninterrupted one. Under `torch.distributed` each process takes its share of every batch and
    all hold the same weights (DistributedDataParallel); batch norm shares its statistics on GPUs (SyncBatchNorm) and
    keeps to the process's own pictures on CPUs, where torch has no shared one.

    images, labels: the whole training split, (N, 3, S, S) uint8 and (N,) int64, the same in all processes.
    mean, std: per channel, of the pictures in [0, 1].
    width: multiplies the channels of the network.
    """

    def __init__(
        self,
        recipe: Recipe,
        images: Tensor,
        labels: Tensor,
        classes: int,
        hardware: Hardware,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        width: float = 1.0,
    ):
        self.recipe, self.hardware, self.mean, self.std = recipe, hardware, mean, std
        on_gpu = hardware.device.type == "cuda" and images.nbytes < free_memory(hardware.device) * SHARE_OF_GPU
        # There they are cut and flipped in no time, and nothing waits for a processor to do it.
        self.images, self.labels = (x.to(hardware.device) if on_gpu else x for x in (images, labels))
        distributed = torch.distributed.is_initialized()
        self.rank = torch.distributed.get_rank() if distributed else 0
        self.processes = torch.distributed.get_world_size() if distributed else 1
        self.batch = min(recipe.batch_size, len(images))
        if self.batch % self.processes:
            raise StyleTransferError(f"--batch-size must be a multiple of the {self.processes} processes.")
        self.steps_per_epoch = len(images) // self.batch  # without the incomplete last batch: batch norm dislikes ones
        self.steps = recipe.epochs * self.steps_per_epoch
        self.step = 0

        torch.manual_seed(recipe.seed)
        network = VGG19(classes, width=width, batch_norm=True, pooling=recipe.pooling, convolution=TrainedConv2d)
        if self.processes > 1 and hardware.device.type == "cuda":
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        self.network = network.to(hardware.device, memory_format=hardware.memory_format)
        self._frozen = _up_to(self.network, recipe.freeze).requires_grad_(False)
        self._model = nn.parallel.DistributedDataParallel(self.network) if self.processes > 1 else self.network
        self.optimizers = _optimizers(self.network, recipe)
        self._order = (-1, None)

    @property
    def epoch(self) -> int:
        """Of the step to come, counted from 0."""
        return self.step // self.steps_per_epoch

    def _chosen(self) -> Tensor:
        """Which pictures the step to come sees, over all processes."""
        if self._order[0] != self.epoch:
            generator = torch.Generator().manual_seed(self.recipe.seed * 10_000 + self.epoch)
            order = torch.randperm(len(self.images), generator=generator)
            self._order = (self.epoch, order.to(self.images.device))
        position = (self.step % self.steps_per_epoch) * self.batch
        return self._order[1][position : position + self.batch]

    def train_step(self, size: int) -> tuple[Tensor, Tensor]:
        """One step on pictures of that side; the sum of the losses and how many were right, of this process's share.

        Both stay on the device: reading them waits for it.
        """
        recipe, device = self.recipe, self.hardware.device
        chosen = self._chosen()
        images, target = self.images[chosen], self.labels[chosen]
        if recipe.augment:
            generator = torch.Generator().manual_seed(recipe.seed * 10_000_000 + self.step)
            cropping = recipe.crop < 1
            images = random_crops(images, generator, size, recipe.crop) if cropping else augment(images, generator)
        share = slice(self.rank, None, self.processes)
        x = normalise(images[share].to(device, non_blocking=True), self.mean, self.std, size)
        target = target[share].to(device, non_blocking=True)
        self._frozen.eval()  # its batch norm goes by what it has seen before
        torch.manual_seed((recipe.seed * 10_000_000 + self.step) * self.processes + self.rank)  # dropout
        with autocast(self.hardware):
            logits = self._model(x.contiguous(memory_format=self.hardware.memory_format))
        loss = F.cross_entropy(logits.float(), target, label_smoothing=recipe.label_smoothing)
        self.network.zero_grad(set_to_none=True)
        loss.backward()
        progress = schedule(self.step, self.steps, recipe)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * progress
            optimizer.step()
        self.step += 1
        return loss.detach() * len(target), (logits.detach().argmax(1) == target).sum()

    def save(self, path: Path, recipe: dict) -> None:
        """Write the whole state to `path`, atomically. `recipe`: what a continued run must agree on."""
        optimizers = [optimizer.state_dict() for optimizer in self.optimizers]
        state = {"network": self.network.state_dict(), "optimizers": optimizers, "step": self.step}
        write_atomically(path, lambda temporary: torch.save(state | {"recipe": recipe}, temporary))

    def resume(self, path: Path, recipe: dict) -> dict:
        """Continue from `path`; what that run was told.

        Raises StyleTransferError if it is missing, damaged, or of another recipe.
        """
        state = _read_state(path, "nothing to resume; start without --resume.")
        if changed := [key for key, value in recipe.items() if state["recipe"].get(key) != value]:
            earlier = state["recipe"].get(changed[0])
            raise StyleTransferError(f"{path} was trained with another {flag(changed[0])}: {earlier}.")
        self._load(path, state, self.optimizers)
        self.step = state["step"]
        return state["recipe"]

    def start_from(self, path: Path) -> dict:
        """Begin with the network of another run, whose state is `path`; what that run was told.

        Raises StyleTransferError if it is missing, damaged, or has other classes.
        """
        state = _read_state(path, "no such training state to start from.")
        self._load(path, state, [])
        return state["recipe"]

    def _load(self, path: Path, state: dict, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        try:
            self.network.load_state_dict(state["network"])
            for optimizer, earlier in zip(optimizers, state["optimizers"], strict=bool(optimizers)):
                optimizer.load_state_dict(earlier)
        except Exception as error:  # missing keys, other shapes
            message = f"{path} does not fit: it is from a data set with other classes, or damaged."
            raise StyleTransferError(message) from error


def _read_state(path: Path, missing: str) -> dict:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return state | {"step": int(state["step"]), "recipe": dict(state["recipe"])}
    except FileNotFoundError as error:
        raise StyleTransferError(f"{path}: {missing}") from error
    except Exception as error:  # torch.load raises many types on a damaged file
        raise StyleTransferError(f"{path}: a damaged training state.") from error


def _up_to(network: VGG19, layer: str) -> nn.Sequential:
    """What comes before and up to that convolution's ReLU; nothing without a name."""
    if not layer:
        return nn.Sequential()
    at = list(network.features).index(network.convolutions()[layer])
    return network.features[: at + 3]  # convolution, batch norm, ReLU


def _optimizers(network: VGG19, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Adam or AdamW for all weights; or Muon for the convolutions between the first one and the classifier.

    Muon's authors keep the first and the last layer to AdamW, as biases and batch norm, which are no matrices.
    """
    hidden = list(network.convolutions().values())[1:] if recipe.optimizer == "muon" else []
    matrices = [convolution.weight for convolution in hidden if convolution.weight.requires_grad]
    taken = {id(weight) for weight in matrices}
    rest = [p for p in network.parameters() if p.requires_grad and id(p) not in taken]
    groups = [
        {"params": [p for p in rest if p.dim() > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in rest if p.dim() == 1], "weight_decay": 0.0},  # decay would only fight batch norm
    ]
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    found = [kind(groups, lr=recipe.lr, fused=True)]  # fused: one pass over the weights instead of ten
    if matrices:
        found.append(Muon(matrices, lr=recipe.muon_lr, weight_decay=recipe.muon_weight_decay))
    for optimizer in found:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]  # torch's own name for what a schedule scales
    return found


def autocast(hardware: Hardware) -> contextlib.AbstractContextManager:
    return torch.autocast(hardware.device.type, torch.bfloat16, enabled=hardware.dtype is torch.bfloat16)


@torch.no_grad()
def evaluate(
    network: VGG19,
    images: Tensor,
    labels: Tensor,
    *,
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    hardware: Hardware,
    classes: Sequence[str] = (),
) -> dict:
    """Top-1 and top-5 in percent and the mean cross entropy; single crop, no test-time augmentation.

    With `classes`, also `top1_by_class`: in percent, by name, of those that occur.
    """
    training = network.training
    network.eval()
    best, losses = [], []
    for start in range(0, len(images), 250):
        target = labels[start : start + 250].to(hardware.device)
        x = normalise(images[start : start + 250].to(hardware.device), mean, std, size)
        with autocast(hardware):
            logits = network(x.contiguous(memory_format=hardware.memory_format)).float()
        best.append(logits.topk(min(5, logits.shape[1])).indices == target[:, None])
        losses.append(F.cross_entropy(logits, target, reduction="none"))
    network.train(training)
    best, loss = torch.cat(best).cpu(), torch.cat(losses).mean().item()
    result = {"top1": _percent(best[:, 0]), "top5": _percent(best.any(1)), "loss": round(loss, 4)}
    if classes:
        by_class = {name: best[labels == number, 0] for number, name in enumerate(classes)}
        result["top1_by_class"] = {name: _percent(right) for name, right in by_class.items() if len(right)}
    return result


def _percent(right: Tensor) -> float:
    return round(100 * right.double().mean().item(), 2)
