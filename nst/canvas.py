"""What is optimised: a canvas holds its own parameters and optimiser, and shows pixels."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

MOMENTS = ("exp_avg", "exp_avg_sq")


class PixelCanvas:
    """The picture itself, (1, 3, H, W) in [0, 1], under Adam (Kingma & Ba 2015).

    Another image space is another class with these methods: `update` takes the gradient with respect to `pixels()` and
    carries it to whatever the parameters are.
    """

    def __init__(self, pixels: Tensor):
        self.parameter = pixels.detach().clone().float().requires_grad_(True)
        # beta2 0.99: the picture changes quickly at first, and a memory of a thousand steps outlives the run.
        self.optimizer = torch.optim.Adam([self.parameter], betas=(0.9, 0.99))

    def pixels(self) -> Tensor:
        """The picture, part of the autograd graph."""
        return self.parameter

    @torch.no_grad()
    def update(self, gradient: Tensor, learning_rate: float) -> None:
        """One Adam step along `gradient` (the shape of `pixels()`), then back into [0, 1]."""
        self.parameter.grad = gradient
        self.optimizer.param_groups[0]["lr"] = learning_rate
        self.optimizer.step()
        self.parameter.grad = None
        self.parameter.clamp_(0, 1)

    @torch.no_grad()
    def resized(self, size: tuple[int, int]) -> "PixelCanvas":
        """A canvas of (height, width) `size` with the picture and Adam's moments scaled along."""
        canvas = PixelCanvas(_resize(self.parameter, size).clamp(0, 1))
        if state := self.optimizer.state.get(self.parameter):
            moments = {name: _resize(state[name], size) for name in MOMENTS}
            moments["exp_avg_sq"].clamp_(min=0)  # it is squared gradients: interpolation must not make it negative
            canvas.optimizer.state[canvas.parameter] = {"step": state["step"].clone(), **moments}
        return canvas

    def state(self) -> dict[str, np.ndarray]:
        """Everything that `restore` needs, as float32 arrays."""
        arrays = {"pixels": self.parameter, **self.optimizer.state.get(self.parameter, {})}
        return {name: value.detach().cpu().float().numpy().copy() for name, value in arrays.items()}

    @classmethod
    def restore(cls, arrays: dict[str, Any], device: torch.device) -> "PixelCanvas":
        """The canvas whose `state` was `arrays`."""
        canvas = cls(torch.from_numpy(arrays["pixels"]).to(device))
        if "step" in arrays:
            moments = {name: torch.from_numpy(arrays[name].copy()).to(device) for name in MOMENTS}
            canvas.optimizer.state[canvas.parameter] = {"step": torch.tensor(float(arrays["step"])), **moments}
        return canvas


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)
