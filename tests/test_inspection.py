"""Feature maps against a network written out here, and runs with one of the losses by their pictures."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file

import nst
from helpers.pictures import make_picture
from helpers.refusals import refusal
from nst.tools.inspection import feature_maps, reconstruct, synthesize

PICTURE = make_picture(96, 64, seed=1)


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture(scope="module")
def backbone(random_checkpoint) -> str:
    return str(random_checkpoint)


def reference_conv2_1(checkpoint: str, picture: Image.Image) -> np.ndarray:
    """Return conv2_1 of a VGG19 with average pooling, (128, H / 2, W / 2)."""
    weights = {key: value.float() for key, value in load_file(checkpoint).items()}
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    x = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] / 255
    x = (x - mean) / std
    for number in (0, 2):
        x = F.conv2d(x, weights[f"features.{number}.weight"], weights[f"features.{number}.bias"], padding=1).relu()
    x = F.avg_pool2d(x, 2)
    return F.conv2d(x, weights["features.5.weight"], weights["features.5.bias"], padding=1).relu()[0].numpy()


# Feature maps


def test_the_strongest_channels_come_first_and_each_map_reaches_white(backbone):
    features = reference_conv2_1(backbone, PICTURE)
    maps = feature_maps(PICTURE, "conv2_1", backbone, count=5, size=96)
    means = features.mean((1, 2))
    assert [channel for channel, _ in maps] == np.argsort(-means)[:5].tolist()
    for channel, image in maps:
        assert (image.mode, image.size) == ("L", PICTURE.size)
        expected = np.kron(features[channel] / features[channel].max() * 255, np.ones((2, 2)))
        assert np.abs(np.asarray(image) - expected).max() <= 0.51
        assert np.asarray(image).max() == 255


def test_a_count_above_the_number_of_channels_returns_all_channels(backbone):
    maps = feature_maps(PICTURE, "conv1_1", backbone, count=1000, size=64)
    assert sorted(channel for channel, _ in maps) == list(range(64))
    assert {image.size for _, image in maps} == {(64, 43)}


def test_a_picture_can_be_a_file(backbone, tmp_path):
    PICTURE.save(tmp_path / "photo.png")
    (channel, image), *_ = feature_maps(tmp_path / "photo.png", "conv5_4", backbone)
    assert 0 <= channel < 512 and image.size == (256, 171)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layer": "conv9_1"}, "conv9_1"),
        ({"size": 257}, "size"),
        ({"size": "large"}, "size"),
        ({"count": 0}, "count"),
        ({"backbone": "resnet"}, "resnet"),
        ({"picture": "missing.png"}, "missing.png"),
        ({"picture": Image.new("RGB", (400, 4))}, "short side"),
    ],
)
def test_feature_maps_refuse_wrong_arguments(backbone, arguments, message):
    valid = {"picture": PICTURE, "layer": "conv2_1", "backbone": backbone}
    assert message in refusal(feature_maps, **valid | arguments)


# Runs with one of the losses


def distance(first: Image.Image, second: Image.Image) -> float:
    return np.abs(np.asarray(first, float) - np.asarray(second, float)).mean()


def test_the_picture_is_reconstructed_from_a_shallow_layer(backbone):
    steps = list(reconstruct(PICTURE, "conv1_1", backbone, size=96, steps=60))
    assert len(steps) == 60 and all(step.image.size == PICTURE.size for step in steps)
    assert distance(steps[0].image, PICTURE) > 50
    assert distance(steps[-1].image, PICTURE) < 10
    assert all(step.total_loss == pytest.approx(step.content_loss) for step in steps)


def test_a_synthesized_style_has_the_loss_but_not_the_layout_of_the_picture(backbone):
    steps = list(synthesize(PICTURE, ["conv1_1", "conv2_1"], backbone, size=64, steps=30, preview_every=None))
    assert all(step.total_loss == pytest.approx(step.style_loss) for step in steps)
    assert steps[-1].style_loss < 0.2 * steps[0].style_loss
    assert [step.image is None for step in steps] == [True] * 29 + [False]
    assert distance(steps[-1].image, PICTURE.resize((64, 43), Image.Resampling.LANCZOS)) > 20


def test_a_run_can_be_stopped(backbone):
    assert len(list(reconstruct(PICTURE, "conv1_1", backbone, size=64, should_stop=lambda: True))) == 1
    assert len(list(synthesize(PICTURE, ["conv1_1"], backbone, size=64, should_stop=lambda: True))) == 1


@pytest.mark.parametrize(
    ("run", "layers", "options", "message"),
    [
        (reconstruct, "conv9_1", {}, "conv9_1"),
        (reconstruct, "conv1_1", {"size": 512}, "256"),
        (synthesize, ["conv1_1"], {"size": 512}, "256"),
        (synthesize, [], {}, "style_layers"),
        (synthesize, ["conv1_1"], {"steps": 0}, "steps"),
    ],
)
def test_runs_with_wrong_arguments_are_refused_at_the_first_step(backbone, run, layers, options, message):
    assert message in refusal(next, run(PICTURE, layers, backbone, **options))


def test_synthesise_is_another_name_of_synthesize():
    assert nst.synthesise is synthesize
