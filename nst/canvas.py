"""The canvas: the picture that is optimized, and Adam, which updates it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nst.io.tensors import to_array, wrap_border

GRID_FILTER = (-1 / 16, 4 / 16, 10 / 16, 4 / 16, -1 / 16)
NOISE_LEFT = sum(weight**2 for weight in GRID_FILTER)  # of the standard deviation of white noise, along both axes
MOMENTS = ("exp_avg", "exp_avg_sq")  # torch's names of Adam's first and second moment


@dataclass(frozen=True)
class Kind:
    """A kind of canvas: which values of the picture Adam changes, and Adam's settings.

    coarsest_side: px on the short side of the pyramid's coarsest level, at least; None optimizes the pixels alone.
    betas: Adam's decay rates of its moments. With beta2 = 0.99 the second moment remembers about 100 steps: the picture
    changes quickly at first, and a memory of a thousand steps would be longer than the run.
    half_life: steps after which the learning rate is half of what it was: it is divided by 1 + steps / half_life.
    is_smooth: gradients and changes go through `without_grid`.
    """

    coarsest_side: int | None = None
    betas: tuple[float, float] = (0.9, 0.99)
    half_life: float = float("inf")
    is_smooth: bool = False


KINDS = {
    "pixels": Kind(),
    # Coarser levels would repaint whole areas, and little of the photo would remain.
    "pyramid": Kind(coarsest_side=64),
    "smooth-pyramid": Kind(coarsest_side=64, is_smooth=True),
    # This kind reaches the lowest loss in the fewest steps. The colours of whole areas move too, and every step counts,
    # so the memory is short. With the plain recipe at 256 px, 56 steps of 0.012 reach the loss that L-BFGS reaches in
    # 100 evaluations; 100 steps of Adam on pixels do not.
    "deep-pyramid": Kind(coarsest_side=6, betas=(0.85, 0.8), half_life=40),
}


class Canvas:
    """A picture x, (1, 3, H, W) in [0, 1], that Adam (Kingma & Ba 2015) optimizes.

    `KINDS` says whether Adam changes its pixels or a pyramid. The border of a seamless picture repeats its other
    sides after every change.

    In a pyramid, the coefficients c_k of a Laplacian pyramid (Burt & Adelson 1983) are optimized instead of the pixels:
    x = c_0 + U(c_1 + U(c_2 + ...)), where c_k is (1, 3, H / 2^k, W / 2^k) and U doubles a size bilinearly. The picture
    and its losses are the same. But Adam moves every coefficient by about the learning rate, whatever the size of its
    gradient. So a change that many pixels agree on moves them all at once, and strokes form as quickly as grain.

    Only the sum of the coefficients matters, which is the picture. So the canvas stores the picture, and Adam's moments
    for every level. Each update starts from coefficients of zero, and their sum after Adam's step is added to the
    picture. In a smooth pyramid, the gradient and the change of the picture are without a grid.

    step_factor: (1, 1, H, W), may be set to what the length of every step is multiplied by at each pixel.
    """

    step_factor: Tensor | None = None

    def __init__(self, pixels: Tensor, kind: str = "pixels", is_seamless: bool = False):
        self._pixels, self.kind, self.is_seamless = pixels.detach().clone().float(), kind, is_seamless
        self._wrap()
        sizes = _pyramid_sizes(tuple(pixels.shape[-2:]), KINDS[kind].coarsest_side)
        self.coefficients = [pixels.new_zeros(1, 3, *size, dtype=torch.float32, requires_grad=True) for size in sizes]
        # On a GPU Adam is one kernel that a CUDA graph can record: its count of steps and its rate are on the GPU too.
        is_gpu = pixels.is_cuda
        betas = KINDS[kind].betas
        self.optimizer = torch.optim.Adam(self.coefficients, betas=betas, fused=is_gpu, capturable=is_gpu)

    def pixels(self) -> Tensor:
        """Return the picture, (1, 3, H, W) float32 in [0, 1]. An update changes this tensor in place."""
        return self._pixels

    def update(self, gradient: Tensor, learning_rate: float | Tensor) -> None:
        """Do one step of Adam, given the gradient at `pixels()`, and clamp the picture to [0, 1]."""
        is_smooth = KINDS[self.kind].is_smooth
        gradient = without_grid(gradient) if is_smooth else gradient
        with torch.enable_grad():
            gradients = torch.autograd.grad(self._sum(), self.coefficients, gradient)
        for coefficient, coefficient_gradient in zip(self.coefficients, gradients, strict=True):
            coefficient.grad = coefficient_gradient
        state = self.optimizer.state.get(self.coefficients[0])
        steps = state["step"] if state else 0
        if state and not steps.is_cuda:  # a GPU's count is not read: that would wait for the GPU
            steps = steps.item()
        self.optimizer.param_groups[0]["lr"] = learning_rate / (1 + steps / KINDS[self.kind].half_life)
        self.optimizer.step()
        with torch.no_grad():
            change = without_grid(self._sum()) if is_smooth else self._sum()
            self._pixels.add_(change if self.step_factor is None else self.step_factor * change).clamp_(0, 1)
            del change
            self._wrap()
            for coefficient in self.coefficients:
                coefficient.zero_()
                coefficient.grad = None

    def _sum(self) -> Tensor:
        total = self.coefficients[-1]
        for coefficient in reversed(self.coefficients[:-1]):
            total = coefficient + _resize(total, coefficient.shape[-2:])
        return total

    @torch.no_grad()
    def add_noise(self, noise: Tensor) -> None:
        """Add `noise`, which broadcasts to the picture, and clamp the picture to [0, 1]."""
        self._pixels = (self._pixels + noise).clamp_(0, 1)
        self._wrap()

    def _wrap(self) -> None:
        if self.is_seamless:
            wrap_border(self._pixels)

    @torch.no_grad()
    def resized(self, size: tuple[int, int]) -> "Canvas":
        """Return a canvas of (height, width) `size`, with the picture and Adam's moments scaled.

        In a pyramid the moments stay with strokes of their size in the picture. When the picture is enlarged, the
        moments of every level move to the next coarser level. The finest level also takes those of the old finest
        level.
        """
        canvas = Canvas(_resize(self._pixels, size).clamp_(0, 1), self.kind, self.is_seamless)
        is_larger = size[0] > self._pixels.shape[-2]
        for level, coefficient in enumerate(canvas.coefficients):
            source = min(max(0, level - is_larger), len(self.coefficients) - 1)
            if state := self.optimizer.state.get(self.coefficients[source]):
                moments = {name: _resize(state[name], coefficient.shape[-2:]) for name in MOMENTS}
                moments["exp_avg_sq"].clamp_(min=0)  # squared gradients: interpolation must not make them negative
                canvas.optimizer.state[coefficient] = {"step": state["step"].clone(), **moments}
        return canvas

    # --- saving and restoring -----------------------------------------------------------------------------------------

    def tensors(self) -> list[Tensor]:
        """Return all tensors that an update changes in place: the picture, and Adam's state of every level."""
        for coefficient in self.coefficients:
            if coefficient not in self.optimizer.state:
                moments = {name: torch.zeros_like(coefficient, requires_grad=False) for name in MOMENTS}
                self.optimizer.state[coefficient] = {"step": self._step_count(0), **moments}
        states = (self.optimizer.state[coefficient] for coefficient in self.coefficients)
        return [self._pixels, *(x for state in states for x in state.values())]

    def state(self) -> dict[str, np.ndarray]:
        """Return all that `restore` needs as float32 arrays: `pixels`, `step`, and two moments for each level."""
        arrays = {"pixels": self._pixels}
        for level, coefficient in enumerate(self.coefficients):
            if state := self.optimizer.state.get(coefficient):
                arrays |= {"step": state["step"], **{f"{name}.{level}": state[name] for name in MOMENTS}}
        return {name: to_array(value) for name, value in arrays.items()}

    @classmethod
    def restore(
        cls, arrays: dict[str, Any], kind: str, device: torch.device, is_seamless: bool = False
    ) -> "Canvas":
        """Return the canvas with the state `arrays`. Raises KeyError or ValueError if no such canvas has that state."""
        canvas = cls(torch.from_numpy(arrays["pixels"]).to(device), kind, is_seamless)
        if "step" in arrays:
            for level, coefficient in enumerate(canvas.coefficients):
                moments = {name: torch.from_numpy(arrays[f"{name}.{level}"].copy()).to(device) for name in MOMENTS}
                count = canvas._step_count(float(arrays["step"]))
                canvas.optimizer.state[coefficient] = {"step": count, **moments}
        if {name: array.shape for name, array in canvas.state().items()} != {k: np.shape(v) for k, v in arrays.items()}:
            raise ValueError("arrays")
        return canvas

    def _step_count(self, steps: float) -> Tensor:
        """Return Adam's count of steps as a tensor, on the device where Adam expects it."""
        return torch.tensor(float(steps), device=self._pixels.device if self._pixels.is_cuda else "cpu")


@torch.no_grad()
def without_grid(picture: Tensor) -> Tensor:
    """Return a picture (1, C, H, W) without what changes its sign from each pixel to the next.

    The network halves its maps by 2 x 2 pixels, so its gradient has a grid of the same size, and Adam makes that as
    strong as everything else. The filter takes waves of 2 px away, leaves three quarters of those of 4 px, and nearly
    all of broader ones.
    """
    mode = "reflect" if min(picture.shape[-2:]) > 2 else "replicate"
    for axis, padding in ((-1, (2, 2, 0, 0)), (-2, (0, 0, 2, 2))):  # conv2d would need four times the memory
        padded = F.pad(picture, padding, mode)
        shifted = [padded.narrow(axis, shift, picture.shape[axis]) for shift in range(len(GRID_FILTER))]
        picture = GRID_FILTER[0] * shifted[0]
        for weight, part in zip(GRID_FILTER[1:], shifted[1:], strict=True):
            picture.add_(part, alpha=weight)
    return picture


def check_state(arrays: dict[str, Any]) -> None:
    """Raise ValueError if no kind of canvas has this state: the file may be damaged, or made by another program."""
    if not any(_is_state_of(arrays, kind) for kind in KINDS):
        raise ValueError("arrays")


def _is_state_of(arrays: dict[str, Any], kind: str) -> bool:
    try:
        return bool(Canvas.restore(arrays, kind, torch.device("cpu")))
    except (KeyError, ValueError):
        return False


def _pyramid_sizes(size: tuple[int, int], coarsest_side: int | None) -> list[tuple[int, int]]:
    sizes = [size]
    while coarsest_side and min(sizes[-1]) >= 2 * coarsest_side:
        sizes.append(tuple(-(-side // 2) for side in sizes[-1]))  # rounded up
    return sizes


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)
