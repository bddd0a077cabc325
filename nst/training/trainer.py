"""The trainer of a VGG19: its steps, its saved state, and the measuring of accuracy. `train.py` is the run itself."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nst.engine.hardware import Hardware
from nst.engine.limits import free_memory
from nst.errors import StyleTransferError
from nst.io.files import write_atomically
from nst.models.vgg import VGG19
from nst.training.convolution import TrainedConv2d
from nst.training.data import augment, normalize, random_crops
from nst.training.muon import Muon
from nst.training.recipes import Recipe, flag, schedule

GPU_SHARE = 0.25  # of a GPU's memory that the pictures may take; larger sets stay in the machine's memory


class Trainer:
    """A trainer: it holds a network, its optimizers and its schedule, and trains on one batch at a time.

    All random numbers (initialization, order, augmentation, dropout) depend on the recipe's seed and the step only, so
    that a resumed run equals an uninterrupted one. Under `torch.distributed` each process trains on its share of every
    batch, and all have the same weights (DistributedDataParallel). Batch norm shares its statistics on GPUs
    (SyncBatchNorm); on CPUs, where torch has no shared batch norm, it uses the process's own pictures.

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
        on_gpu = hardware.device.type == "cuda" and images.nbytes < free_memory(hardware.device) * GPU_SHARE
        # On the GPU, cutting and flipping them takes no noticeable time, and nothing waits for the processor.
        self.images, self.labels = (x.to(hardware.device) if on_gpu else x for x in (images, labels))
        distributed = torch.distributed.is_initialized()
        self.rank = torch.distributed.get_rank() if distributed else 0
        self.processes = torch.distributed.get_world_size() if distributed else 1
        self.batch = min(recipe.batch_size, len(images))
        if self.batch % self.processes:
            raise StyleTransferError(f"--batch-size must be a multiple of the {self.processes} processes.")
        self.steps_per_epoch = len(images) // self.batch  # batch norm needs full batches: the rest is dropped
        self.steps = recipe.epochs * self.steps_per_epoch
        self.step = 0

        torch.manual_seed(recipe.seed)
        network = VGG19(classes, width=width, batch_norm=True, pooling=recipe.pooling, convolution=TrainedConv2d)
        if self.processes > 1 and hardware.device.type == "cuda":
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        self.network = network.to(hardware.device, memory_format=hardware.memory_format)
        self._frozen = _modules_up_to(self.network, recipe.freeze).requires_grad_(False)
        self._model = nn.parallel.DistributedDataParallel(self.network) if self.processes > 1 else self.network
        self.optimizers = _optimizers(self.network, recipe)
        self._order = (-1, None)

    @property
    def epoch(self) -> int:
        """The epoch of the next step, from 0."""
        return self.step // self.steps_per_epoch

    def _next_batch(self) -> Tensor:
        """Return the numbers of the pictures of the next step, for all processes together."""
        if self._order[0] != self.epoch:
            generator = torch.Generator().manual_seed(self.recipe.seed * 10_000 + self.epoch)
            order = torch.randperm(len(self.images), generator=generator)
            self._order = (self.epoch, order.to(self.images.device))
        position = (self.step % self.steps_per_epoch) * self.batch
        return self._order[1][position : position + self.batch]

    def train_step(self, size: int) -> tuple[Tensor, Tensor]:
        """Train on one batch of pictures of `size` px.

        Return the sum of the losses and the number of correct answers, of this process's share of the batch. Both stay
        on the device, because reading them would wait for it.
        """
        recipe, device = self.recipe, self.hardware.device
        batch = self._next_batch()
        images, target = self.images[batch], self.labels[batch]
        if recipe.augment:
            generator = torch.Generator().manual_seed(recipe.seed * 10_000_000 + self.step)
            if recipe.crop < 1:
                images = random_crops(images, generator, size, recipe.crop)
            else:
                images = augment(images, generator)
        share = slice(self.rank, None, self.processes)
        x = normalize(images[share].to(device, non_blocking=True), self.mean, self.std, size)
        target = target[share].to(device, non_blocking=True)
        self._frozen.eval()  # its batch norm uses the statistics of earlier runs
        torch.manual_seed((recipe.seed * 10_000_000 + self.step) * self.processes + self.rank)  # dropout
        with autocast(self.hardware):
            logits = self._model(x.contiguous(memory_format=self.hardware.memory_format))
        loss = F.cross_entropy(logits.float(), target, label_smoothing=recipe.label_smoothing)
        self.network.zero_grad(set_to_none=True)
        loss.backward()
        rate_factor = schedule(self.step, self.steps, recipe)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * rate_factor
            optimizer.step()
        self.step += 1
        return loss.detach() * len(target), (logits.detach().argmax(1) == target).sum()

    def save(self, path: Path, recipe: dict) -> None:
        """Write the whole state to `path`, atomically. recipe: the record that a resumed run must share.

        Raises StyleTransferError if the file cannot be written.
        """
        optimizers = [optimizer.state_dict() for optimizer in self.optimizers]
        state = {"network": self.network.state_dict(), "optimizers": optimizers, "step": self.step}
        write_atomically(path, lambda temporary: torch.save(state | {"recipe": recipe}, temporary))

    def resume(self, path: Path, recipe: dict) -> dict:
        """Continue from the state in `path`; return the recipe that was saved with it.

        Raises StyleTransferError if the state is missing, damaged, or of another recipe.
        """
        state = _read_state(path, "nothing to resume; start without --resume.")
        if changed := [key for key, value in recipe.items() if state["recipe"].get(key) != value]:
            earlier = state["recipe"].get(changed[0])
            raise StyleTransferError(f"{path} was trained with another {flag(changed[0])}: {earlier}.")
        self._load(path, state, self.optimizers)
        self.step = state["step"]
        return state["recipe"]

    def start_from(self, path: Path) -> dict:
        """Start with the network of another run, whose state is in `path`; return the recipe that was saved with it.

        Raises StyleTransferError if the state is missing, damaged, or of a network with other classes.
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


def _modules_up_to(network: VGG19, layer: str) -> nn.Sequential:
    """Return all modules up to the ReLU of a layer; none if the layer's name is empty."""
    if not layer:
        return nn.Sequential()
    index = list(network.features).index(network.convolutions()[layer])
    return network.features[: index + 3]  # convolution, batch norm, ReLU


def _optimizers(network: VGG19, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Return Adam or AdamW for all weights; with Muon, two optimizers: Muon for all convolutions but the first.

    Muon's authors use AdamW for the first and the last layer, and for biases and batch norm, which are no matrices.
    """
    hidden = list(network.convolutions().values())[1:] if recipe.optimizer == "muon" else []
    matrices = [convolution.weight for convolution in hidden if convolution.weight.requires_grad]
    matrix_ids = {id(weight) for weight in matrices}
    others = [p for p in network.parameters() if p.requires_grad and id(p) not in matrix_ids]
    groups = [
        {"params": [p for p in others if p.dim() > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in others if p.dim() == 1], "weight_decay": 0.0},  # biases and batch norm get no decay
    ]
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    optimizers = [kind(groups, lr=recipe.lr, fused=True)]  # fused: one pass over the weights instead of ten
    if matrices:
        optimizers.append(Muon(matrices, lr=recipe.muon_lr, weight_decay=recipe.muon_weight_decay))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]  # torch's schedulers use this name too
    return optimizers


def autocast(hardware: Hardware) -> contextlib.AbstractContextManager:
    """Return the context in which the network computes in the precision of `hardware`."""
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
    """Return `top1` and `top5` in percent and the mean cross entropy `loss`: one crop, no test-time augmentation.

    classes: names; with them the result also has `top1_by_class`, in percent, for the classes that occur.
    """
    training = network.training
    network.eval()
    is_correct, losses = [], []
    for start in range(0, len(images), 250):
        target = labels[start : start + 250].to(hardware.device)
        x = normalize(images[start : start + 250].to(hardware.device), mean, std, size)
        with autocast(hardware):
            logits = network(x.contiguous(memory_format=hardware.memory_format)).float()
        is_correct.append(logits.topk(min(5, logits.shape[1])).indices == target[:, None])
        losses.append(F.cross_entropy(logits, target, reduction="none"))
    network.train(training)
    is_correct, loss = torch.cat(is_correct).cpu(), torch.cat(losses).mean().item()
    result = {"top1": _percent(is_correct[:, 0]), "top5": _percent(is_correct.any(1)), "loss": round(loss, 4)}
    if classes:
        by_class = {name: is_correct[labels == number, 0] for number, name in enumerate(classes)}
        result["top1_by_class"] = {name: _percent(answers) for name, answers in by_class.items() if len(answers)}
    return result


def _percent(is_correct: Tensor) -> float:
    return round(100 * is_correct.double().mean().item(), 2)
