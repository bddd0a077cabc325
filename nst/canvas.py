"""What is optimised: a canvas holds a picture and its optimiser, and takes steps."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

MOMENTS = ("exp_avg", "exp_avg_sq")


class Canvas:
    """A picture x, (1, 3, H, W) in [0, 1], under Adam (Kingma & Ba 2015)."""

    def __init__(self, pixels: Tensor):
        self._pixels = pixels.detach().clone().float()
        # beta2 0.99: the picture changes quickly at first, and a memory of a thousand steps outlives the run.
        self.optimizer = torch.optim.Adam([self._pixels], betas=(0.9, 0.99))

    def pixels(self) -> Tensor:
        """The picture. `update` and `roughen` change it in place."""
        return self._pixels

    @torch.no_grad()
    def update(self, gradient: Tensor, learning_rate: float) -> None:
        """One step of Adam, given the gradient at `pixels()`; the picture then goes back into [0, 1]."""
        self._pixels.grad = gradient
        self.optimizer.param_groups[0]["lr"] = learning_rate
        self.optimizer.step()
        self._pixels.grad = None
        self._pixels.clamp_(0, 1)

    @torch.no_grad()
    def roughen(self, grain: Tensor) -> None:
        """Add `grain`, which broadcasts to the picture, and go back into [0, 1]."""
        self._pixels.add_(grain).clamp_(0, 1)

    @torch.no_grad()
    def resized(self, size: tuple[int, int]) -> "Canvas":
        """A canvas of (height, width) `size` with the picture and Adam's moments scaled along."""
        canvas = Canvas(_resize(self._pixels, size).clamp_(0, 1))
        if state := self.optimizer.state.get(self._pixels):
            moments = {name: _resize(state[name], size) for name in MOMENTS}
            moments["exp_avg_sq"].clamp_(min=0)  # it is squared gradients: interpolation must not make it negative
            canvas.optimizer.state[canvas._pixels] = {"step": state["step"].clone(), **moments}
        return canvas

    def state(self) -> dict[str, np.ndarray]:
        """Everything that `restore` needs, as float32 arrays: `pixels`, and after a step `step` and the two moments."""
        arrays = {"pixels": self._pixels, **self.optimizer.state.get(self._pixels, {})}
        return {name: value.detach().cpu().float().numpy().copy() for name, value in arrays.items()}

    @classmethod
    def restore(cls, arrays: dict[str, Any], device: torch.device) -> "Canvas":
        """The canvas whose `state` was `arrays`. Raises ValueError if no such canvas can have left them."""
        canvas = cls(torch.from_numpy(arrays["pixels"]).to(device))
        if "step" in arrays:
            moments = {name: torch.from_numpy(arrays[name].copy()).to(device) for name in MOMENTS}
            canvas.optimizer.state[canvas._pixels] = {"step": torch.tensor(float(arrays["step"])), **moments}
            shapes = {moment.shape for moment in moments.values()}
            if shapes != {canvas._pixels.shape}:
                raise ValueError("arrays")
        if set(arrays) != set(canvas.state()):
            raise ValueError("arrays")
        return canvas


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)
