"""Muon (Jordan et al. 2024): orthogonalized momentum. It trains VGG19's convolutions faster than Adam."""

import torch
from torch import Tensor

from nst.engine.hardware import computes_bf16

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # Jordan's quintic polynomial: steep at 0, so few iterations are enough


class Muon(torch.optim.Optimizer):
    """An optimizer that moves each weight matrix along the orthogonal matrix nearest to its momentum.

    A weight counts as a matrix of outputs x the rest. All directions of a layer then move at the same speed; Adam moves
    the weak ones more slowly. Momentum is Nesterov's, weight decay is decoupled, and the scale of the gradients does
    not matter.

    params: weights of two or more dimensions, the first of them the outputs. lr: the spectral norm of one step.
    iterations: Newton-Schulz iterations; three leave singular values between 0.3 and 1.2, which trains as well as five.
    """

    def __init__(self, params, lr: float, momentum: float = 0.95, weight_decay: float = 0.0, iterations: int = 3):
        settings = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "iterations": iterations}
        super().__init__(params, settings)

    @torch.no_grad()
    def step(self) -> None:
        """Update all weights from their gradients."""
        for group in self.param_groups:
            for weight in group["params"]:
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                state["momentum"].lerp_(weight.grad, 1 - group["momentum"])
                nesterov = weight.grad.lerp(state["momentum"], group["momentum"])
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(orthogonalize(nesterov, group["iterations"]), alpha=-group["lr"])


def orthogonalize(weight: Tensor, iterations: int) -> Tensor:
    """Return approximately U V^T, in the shape of `weight`, where U S V^T is the weight matrix's SVD.

    It is computed in bf16 where the device is fast in it: singular values need to be near one, not exactly one.
    """
    dtype = torch.bfloat16 if computes_bf16(weight.device.type) else torch.float32
    is_convolution = weight.dim() == 4  # in channels_last memory this order needs no copy; the columns' order is free
    x = (weight.permute(0, 2, 3, 1) if is_convolution else weight).to(dtype)
    shape = x.shape
    x = x.reshape(len(x), -1)
    is_tall = x.shape[0] > x.shape[1]
    x = x.t() if is_tall else x
    x = x / (x.float().norm() + 1e-7).to(x.dtype)
    x = (_iterate_on_gram if dtype is torch.float32 else _iterate)(x, iterations)
    x = (x.t() if is_tall else x).reshape(shape)
    return (x.permute(0, 3, 1, 2) if is_convolution else x).to(weight.dtype)


def _iterate(x: Tensor, iterations: int) -> Tensor:
    a, b, c = COEFFICIENTS
    for _ in range(iterations):
        gram = x @ x.t()
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def _iterate_on_gram(x: Tensor, iterations: int) -> Tensor:
    """Iterate on the Gram matrix G = X X^T instead of X: half the arithmetic for a matrix nine times as wide as high.

    Each iteration is P X, where P is a polynomial of G. P commutes with G, so P X has the Gram matrix P G P, and X is
    multiplied only once, at the end. The squares of small singular values need float32.
    """
    a, b, c = COEFFICIENTS
    gram = x @ x.t()
    identity = torch.eye(len(x), dtype=x.dtype, device=x.device)
    product = None
    for iteration in range(iterations):
        factor = torch.addmm(gram, gram, gram, beta=b, alpha=c).add_(identity, alpha=a)
        product = factor if product is None else factor @ product
        if iteration < iterations - 1:
            gram = factor @ gram @ factor
    return product @ x
