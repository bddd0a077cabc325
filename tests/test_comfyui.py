"""The node for ComfyUI, imported as ComfyUI does, with stand-ins for the parts of ComfyUI that it uses."""

import importlib.util
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.pictures import make_picture
from helpers.shell import ROOT
from nst import Style, StyleSettings, StyleTransferError, stylize, unrounded

CHANGES = {"size": 64, "strength": 0.8, "style_scale": 0.7, "preserve_colours": True, "seed": 3}
PHOTOS = [make_picture(80, 60, seed=seed) for seed in (1, 2)]
PAINTING = make_picture(90, 70, seed=3)


class Interrupted(Exception):
    """ComfyUI's exception after Cancel."""


@pytest.fixture
def comfy(monkeypatch) -> SimpleNamespace:
    """What ComfyUI is told: the updates of the progress bar. `cancel_at`: the update after which Cancel is pressed."""
    told = SimpleNamespace(updates=[], cancel_at=None)

    class ProgressBar:
        def __init__(self, total):
            told.total = total

        def update_absolute(self, value, total=None, preview=None):
            told.updates.append((value, total, preview))

    def throw_exception_if_processing_interrupted():
        if told.cancel_at is not None and len(told.updates) >= told.cancel_at:
            raise Interrupted

    modules = {"comfy": {}, "comfy.utils": {"ProgressBar": ProgressBar}, "comfy.model_management": {
        "throw_exception_if_processing_interrupted": throw_exception_if_processing_interrupted}}  # fmt: skip
    for name, members in modules.items():
        module = ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
    return told


def load_node():
    path = ROOT / "docs" / "integrations" / "comfyui_node.py"
    spec = importlib.util.spec_from_file_location("neural_style_transfer", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.NODE_CLASS_MAPPINGS.keys() == module.NODE_DISPLAY_NAME_MAPPINGS.keys()
    (node,) = module.NODE_CLASS_MAPPINGS.values()
    return node


def as_images(*pictures: Image.Image) -> torch.Tensor:
    """Return pictures as ComfyUI has them: (B, H, W, 3) in [0, 1]."""
    return torch.from_numpy(np.stack([np.asarray(picture, np.float32) / 255 for picture in pictures]))


def run(node, **inputs) -> torch.Tensor:
    """Call the node as ComfyUI does: in inference mode, with all inputs by name."""
    with torch.inference_mode():
        (result,) = getattr(node(), node.FUNCTION)(**inputs)
    return result


def paint(photo: Image.Image, **options) -> np.ndarray:
    settings = StyleSettings.preset("quick", **CHANGES)
    *_, last = stylize(photo, [Style(PAINTING, **options)], settings, preview_every=None)
    return unrounded(last)


def test_the_inputs_are_settings_with_their_ranges_and_defaults():
    node = load_node()
    required = node.INPUT_TYPES()["required"]
    assert node.RETURN_TYPES == ("IMAGE",) and node.CATEGORY
    presets, options = required.pop("preset")
    assert options["default"] in presets
    for name, (kind, *options) in required.items():
        if kind == "IMAGE":
            continue
        assert options[0]["default"] == getattr(StyleSettings(), name)
        for value in {options[0].get("min"), options[0].get("max")} - {None}:
            StyleSettings(**{name: value})


def test_every_photo_is_painted_as_the_package_paints_it(comfy):
    result = run(load_node(), photo=as_images(*PHOTOS), painting=as_images(PAINTING), preset="quick", **CHANGES)
    assert (result.shape, result.dtype) == ((2, 48, 64, 3), torch.float32)
    for picture, photo in zip(result, PHOTOS, strict=True):
        assert np.array_equal(picture.numpy(), paint(photo))
    values, totals, previews = zip(*comfy.updates, strict=True)
    assert list(values) == sorted(values) and values[-1] == comfy.total == 24 and set(totals) == {24}
    kind, picture, _ = next(filter(None, previews))
    assert kind == "JPEG" and picture.size == (64, 48)


def test_cancel_ends_the_run_with_comfyuis_own_exception(comfy):
    comfy.cancel_at = 5
    with pytest.raises(Interrupted):
        run(load_node(), photo=as_images(PHOTOS[0]), painting=as_images(PAINTING), preset="quick", **CHANGES)
    assert len(comfy.updates) == 5


def test_the_node_works_where_comfyui_has_no_progress_bar_and_takes_a_mask_and_an_alpha_channel():
    mask = Image.new("L", PHOTOS[0].size)
    mask.paste(255, (0, 0, 40, 60))
    photo = torch.cat([as_images(PHOTOS[0]), torch.ones(1, 60, 80, 1)], 3)
    result = run(load_node(), photo=photo, painting=as_images(PAINTING), preset="quick",
                 mask=torch.from_numpy(np.asarray(mask, np.float32)[None] / 255), **CHANGES)  # fmt: skip
    assert np.array_equal(result[0].numpy(), paint(PHOTOS[0], mask=mask))


def test_a_photo_that_is_too_narrow_is_refused_in_one_line(comfy):
    with pytest.raises(StyleTransferError, match="short side") as caught:
        run(load_node(), photo=torch.rand(1, 4, 200, 3), painting=as_images(PAINTING), preset="quick", **CHANGES)
    assert "\n" not in str(caught.value)
