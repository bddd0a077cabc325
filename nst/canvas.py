"""What is optimised: a canvas holds a picture and its optimiser, and takes steps."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Kind:
    """What of a picture is optimised, and how Adam goes about it."""

    smallest: int | None = None  # px on the short side of the pyramid's coarsest level; None for pixels alone
    # beta2 0.99: the picture changes quickly at first, and a memory of a thousand steps outlives the run.
    betas: tuple[float, float] = (0.9, 0.99)
    half: float = float("inf")  # steps after which the learning rate is half of what it was, as 1 / (1 + steps / half)


KINDS = {
    "pixels": Kind(),
    # Coefficients coarser than this repaint whole areas, and little of the photo is left.
    "pyramid": Kind(smallest=64),
    # For the lowest loss in the fewest steps: colours of whole areas move too, and each step counts, so that the memory
    # is short. With the plain recipe at 256 px, 56 steps of 0.012 reach what L-BFGS reaches in 100 evaluations, and 100
    # steps of Adam on pixels do not.
    "deep-pyramid": Kind(smallest=6, betas=(0.85, 0.8), half=40),
}


class Canvas:
    """A picture x, (1, 3, H, W) in [0, 1], under Adam (Kingma & Ba 2015), by its pixels or by a pyramid: see `KINDS`.

    In a pyramid the coefficients c_k of a Laplacian pyramid (Burt & Adelson 1983) are optimised instead of pixels:
    x = c_0 + U(c_1 + U(c_2 + ...)), where c_k is (1, 3, H / 2^k, W / 2^k) and U doubles a size bilinearly. It is the
    same picture and the same losses, but Adam makes every step of a coefficient about the learning rate, whatever the
    size of its gradient: what many pixels agree on moves them all at once, and strokes form as quickly as grain.

    Of the coefficients only their sum, the picture, matters; so it is kept, with Adam's moments on every level: a step
    is found for coefficients of zero, and the picture takes the sum of them all.
    """

    def __init__(self, pixels: Tensor, kind: str = "pixels"):
        self._pixels, self.kind = pixels.detach().clone().float(), kind
        smallest, sizes = KINDS[kind].smallest, [tuple(pixels.shape[-2:])]
        while smallest and min(sizes[-1]) >= 2 * smallest:
            sizes.append(tuple(-(-side // 2) for side in sizes[-1]))
        self.steps = [pixels.new_zeros(1, 3, *size, dtype=torch.float32, requires_grad=True) for size in sizes]
        # On a GPU in one kernel, and so that a CUDA graph can do it: Adam's count of steps and its rate are there too.
        on_gpu = pixels.is_cuda
        self.optimizer = torch.optim.Adam(self.steps, betas=KINDS[kind].betas, fused=on_gpu, capturable=on_gpu)

    def pixels(self) -> Tensor:
        """The picture. An update changes it in place."""
        return self._pixels

    def tensors(self) -> list[Tensor]:
        """All that an update changes, in place: the picture, and Adam's memory of every level."""
        for step in self.steps:
            if step not in self.optimizer.state:
                moments = {name: torch.zeros_like(step, requires_grad=False) for name in MOMENTS}
                self.optimizer.state[step] = {"step": self._count(0), **moments}
        return [self._pixels, *(x for step in self.steps for x in self.optimizer.state[step].values())]

    def update(self, gradient: Tensor, learning_rate: float | Tensor) -> None:
        """One step of Adam, given the gradient at `pixels()`; the picture then goes back into [0, 1]."""
        with torch.enable_grad():
            gradients = torch.autograd.grad(self._sum(), self.steps, gradient)
        for step, at_step in zip(self.steps, gradients, strict=True):
            step.grad = at_step
        state = self.optimizer.state.get(self.steps[0])
        done = state["step"] if state else 0
        done = done.item() if state and not done.is_cuda else done  # a GPU's is not looked at: that would wait for it
        self.optimizer.param_groups[0]["lr"] = learning_rate / (1 + done / KINDS[self.kind].half)
        self.optimizer.step()
        with torch.no_grad():
            self._pixels.add_(self._sum()).clamp_(0, 1)
            for step in self.steps:
                step.zero_()
                step.grad = None

    @torch.no_grad()
    def roughen(self, grain: Tensor) -> None:
        """Add `grain`, which broadcasts to the picture, and go back into [0, 1]."""
        self._pixels = (self._pixels + grain).clamp_(0, 1)

    def _count(self, steps: float) -> Tensor:
        """Adam's count of its steps, where it keeps it."""
        return torch.tensor(float(steps), device=self._pixels.device if self._pixels.is_cuda else "cpu")

    def _sum(self) -> Tensor:
        total = self.steps[-1]
        for step in reversed(self.steps[:-1]):
            total = step + _resize(total, step.shape[-2:])
        return total

    @torch.no_grad()
    def resized(self, size: tuple[int, int]) -> "Canvas":
        """A canvas of (height, width) `size` with the picture and Adam's moments scaled along.

        In a pyramid each level's moments stay with strokes of their size in the picture: the next stage, twice as
        large, has them one level further down; its finest level takes those of the old finest.
        """
        canvas = Canvas(_resize(self._pixels, size).clamp_(0, 1), self.kind)
        for level, step in enumerate(canvas.steps):
            old = self.steps[min(max(0, level - (size[0] > self._pixels.shape[-2])), len(self.steps) - 1)]
            if state := self.optimizer.state.get(old):
                moments = {name: _resize(state[name], step.shape[-2:]) for name in MOMENTS}
                moments["exp_avg_sq"].clamp_(min=0)  # it is squared gradients: interpolation must not make it negative
                canvas.optimizer.state[step] = {"step": state["step"].clone(), **moments}
        return canvas

    def state(self) -> dict[str, np.ndarray]:
        """Everything that `restore` needs, as float32 arrays: `pixels`, `step`, and each level's two moments."""
        arrays = {"pixels": self._pixels}
        for level, step in enumerate(self.steps):
            if state := self.optimizer.state.get(step):
                arrays |= {"step": state["step"], **{f"{name}.{level}": state[name] for name in MOMENTS}}
        return {name: value.detach().cpu().float().numpy().copy() for name, value in arrays.items()}

    @classmethod
    def restore(cls, arrays: dict[str, Any], kind: str, device: torch.device) -> "Canvas":
        """The canvas whose `state` was `arrays`. Raises ValueError if no such canvas can have left them."""
        canvas = cls(torch.from_numpy(arrays["pixels"]).to(device), kind)
        if "step" in arrays:
            for level, step in enumerate(canvas.steps):
                moments = {name: torch.from_numpy(arrays[f"{name}.{level}"].copy()).to(device) for name in MOMENTS}
                canvas.optimizer.state[step] = {"step": canvas._count(float(arrays["step"])), **moments}
        if {name: array.shape for name, array in canvas.state().items()} != {k: np.shape(v) for k, v in arrays.items()}:
            raise ValueError("arrays")
        return canvas


def check_state(arrays: dict[str, Any]) -> None:
    """Raise ValueError for what no kind of canvas can have left: a file may be damaged or from elsewhere."""
    if not any(_fits(arrays, kind) for kind in KINDS):
        raise ValueError("arrays")


def _fits(arrays: dict[str, Any], kind: str) -> bool:
    try:
        return bool(Canvas.restore(arrays, kind, torch.device("cpu")))
    except (KeyError, ValueError):
        return False


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)
