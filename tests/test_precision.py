"""What rounding to bf16 does to a gradient, and to a picture: stated here and in the README."""

from dataclasses import replace

import numpy as np

from helpers.pictures import make_picture
from nst import StyleSettings, load_backbone, stylize
from nst.engine.hardware import choose_hardware
from nst.io.tensors import to_tensor
from nst.objective import Objective, build_extractor

PHOTO, PAINTING = make_picture(96, 72, seed=1), make_picture(80, 60, seed=2)
SETTINGS = StyleSettings(size=96, steps=24, scales=2, device="cpu", precision="float32")


def painted(settings: StyleSettings) -> np.ndarray:
    *_, last = stylize(PHOTO, PAINTING, settings, preview_every=None)
    return np.asarray(last.image, dtype=float)


def test_a_picture_in_bf16_is_within_4_of_255_of_float32s():
    """On average; strokes grow from noise, and another seed's picture is several times further away."""
    exact = painted(SETTINGS)
    rounded = np.abs(painted(replace(SETTINGS, precision="bf16")) - exact).mean()
    assert 0 < rounded < 4
    assert rounded < np.abs(painted(replace(SETTINGS, seed=1)) - exact).mean() / 2


def test_a_gradient_in_bf16_is_within_a_tenth_of_float32s():
    gradients = []
    for precision in ("float32", "bf16"):
        extractor = build_extractor(load_backbone("cifar100"), SETTINGS, choose_hardware("cpu", precision))
        objective = Objective(extractor, SETTINGS, to_tensor(PHOTO), [(to_tensor(PAINTING), 1.0, None)])
        gradients.append(objective.evaluate(to_tensor(PHOTO))[1])
    assert 0 < (gradients[1] - gradients[0]).norm() < 0.1 * gradients[0].norm()
