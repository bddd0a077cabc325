"""The effect of bf16 on a gradient and on a picture. The README states the same figures."""

from dataclasses import replace

import numpy as np

from helpers.pictures import make_picture
from nst import StyleSettings, load_backbone, stylize
from nst.engine.hardware import choose_hardware
from nst.io.tensors import to_tensor
from nst.objective import Objective, build_extractor

PHOTO, PAINTING = make_picture(96, 72, seed=1), make_picture(80, 60, seed=2)
SETTINGS = StyleSettings(size=64, steps=16, scales=2, device="cpu", precision="float32")


def paint(settings: StyleSettings) -> np.ndarray:
    """Return the result as an array in [0, 255]."""
    *_, last = stylize(PHOTO, PAINTING, settings, preview_every=None)
    return np.asarray(last.image, dtype=float)


def test_a_picture_in_bf16_differs_from_float32s_by_under_4_of_255():
    """On average. Strokes grow from noise: the picture of another seed is several times further away."""
    exact = paint(SETTINGS)
    difference = np.abs(paint(replace(SETTINGS, precision="bf16")) - exact).mean()
    assert 0 < difference < 4
    assert difference < np.abs(paint(replace(SETTINGS, seed=1)) - exact).mean() / 2


def test_a_gradient_in_bf16_differs_from_float32s_by_under_a_tenth():
    gradients = []
    for precision in ("float32", "bf16"):
        extractor = build_extractor(load_backbone("cifar100"), SETTINGS, choose_hardware("cpu", precision))
        objective = Objective(extractor, SETTINGS, to_tensor(PHOTO), [(to_tensor(PAINTING), 1.0, None)])
        gradients.append(objective.evaluate(to_tensor(PHOTO))[1])
    assert 0 < (gradients[1] - gradients[0]).norm() < 0.1 * gradients[0].norm()
