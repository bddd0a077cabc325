"""The reference against the package: the same losses, gradients and pictures, computed by other code."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from nst.engine.hardware import choose_hardware
from nst.io.reading import load_picture
from nst.io.sizes import resize_picture
from nst.io.tensors import to_tensor
from nst.models.checkpoints import load_backbone
from nst.objective import Objective, build_extractor
from nst.reference import SIZE, STEPS, Reference, main, paint
from nst.settings import PRESETS
from nst.stylization import stylize

CLASSIC = replace(PRESETS["classic"], precision="float32", device="cpu")


@pytest.fixture(scope="module")
def pair():
    """A real photo and painting, 96x72 px."""
    from nst.examples import painting_path, photo_path

    paths = (photo_path("chelsea"), painting_path("oil"))
    return tuple(resize_picture(load_picture(path), (96, 72)) for path in paths)


@pytest.mark.parametrize("pooling", ["average", "max"])
@pytest.mark.parametrize("content_layers", [("conv4_2",), ("conv1_2", "conv2_2")])
def test_gradients_of_the_objective_are_those_of_the_reference(pair, pooling, content_layers, monkeypatch):
    """With PyTorch's convolutions: a fast one rounds otherwise, and some ReLUs then open that were shut."""
    monkeypatch.setattr("nst.engine.winograd.is_wide", lambda *_: False)
    content, style = map(to_tensor, pair)
    settings = replace(CLASSIC, content_layers=content_layers, pooling=pooling)
    backbone = load_backbone("cifar100")
    pixels = (content + 0.1 * torch.randn(content.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    reference = Reference(content, style, backbone, content_layers=content_layers, pooling=pooling)
    total, expected = reference.evaluate(pixels)
    extractor = build_extractor(backbone, settings, choose_hardware("cpu", "float32"))
    losses, gradient = Objective(extractor, settings, content, [(style, 1.0, None)]).evaluate(pixels)
    assert losses.total.item() == pytest.approx(total, rel=1e-5)
    assert (gradient - expected).norm() < 1e-5 * expected.norm()


def test_gradients_with_fast_convolutions_point_the_same_way(pair):
    content, style = map(to_tensor, pair)
    backbone = load_backbone("cifar100")
    _, expected = Reference(content, style, backbone).evaluate(content)
    extractor = build_extractor(backbone, CLASSIC, choose_hardware("cpu", "float32"))
    _, gradient = Objective(extractor, CLASSIC, content, [(style, 1.0, None)]).evaluate(content)
    assert (gradient - expected).norm() < 2e-3 * expected.norm()


@pytest.mark.slow
def test_the_classic_preset_paints_the_picture_of_the_reference(pair, monkeypatch):
    """With PyTorch's convolutions: after twelve steps a fast one leaves 5 % of the values more than 0.002 apart."""
    monkeypatch.setattr("nst.engine.winograd.is_wide", lambda *_: False)
    content, style = map(to_tensor, pair)
    settings = replace(CLASSIC, size=96, keep_aspect=True, steps=12)
    *_, last = stylize(*pair, settings, preview_every=None)
    expected = paint(Reference(content, style, load_backbone("cifar100")), content, steps=12)
    # Adam's first steps are nearly signs: a gradient that rounds to the other side of zero moves one pixel far.
    difference = np.abs(last.state.arrays["pixels"] - expected.numpy())
    assert difference.mean() < 1e-3 and np.mean(difference > 0.002) < 0.005


def test_the_constants_are_those_of_the_classic_preset():
    assert (CLASSIC.size, CLASSIC.size) == SIZE and CLASSIC.steps == STEPS


@pytest.mark.slow
def test_the_page_runs_by_itself(pair, tmp_path, monkeypatch):
    monkeypatch.setattr("nst.reference.SIZE", (64, 48))
    monkeypatch.setattr(paint, "__defaults__", (2,))
    paths = [str(tmp_path / name) for name in ("photo.png", "painting.png", "result.png")]
    for picture, path in zip(pair, paths, strict=False):
        picture.save(path)
    main(*paths)
    assert load_picture(paths[2]).size == (64, 48)
