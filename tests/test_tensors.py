"""Sizes, tensors and the classic preprocessing, which is compared with torchvision's."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from helpers.picture_files import SIX_COLOURS, pixels, save
from helpers.pictures import make_picture
from helpers.refusals import refusal
from nst.io.sizes import fitted_size, resize_picture
from nst.io.tensors import IMAGENET_MEAN, IMAGENET_STD, deprocess_image, image_processing, to_picture, to_tensor


@pytest.mark.parametrize(
    "size, long_side, expected",
    [
        ((400, 300), 100, (100, 75)),
        ((300, 400), 100, (75, 100)),
        ((50, 50), 224, (224, 224)),
        ((4000, 1), 100, (100, 1)),
    ],
)
def test_fitted_size_keeps_the_aspect(size, long_side, expected):
    assert fitted_size(size, long_side) == expected


def test_a_picture_is_resized_to_a_long_side_or_to_an_exact_size():
    picture = make_picture(120, 80)
    assert resize_picture(picture, 60).size == (60, 40)
    assert resize_picture(picture, 240).size == (240, 160)
    assert resize_picture(picture, (33, 77)).size == (33, 77)


def test_resizing_keeps_edges_and_the_mean_colour():
    array = np.zeros((64, 96, 3), np.uint8)
    array[:, 48:] = 255
    result = pixels(resize_picture(Image.fromarray(array), 48))
    assert result.shape == (32, 48, 3)
    assert result[:, :20].max() <= 2
    assert result[:, 28:].min() >= 253
    assert abs(result.mean() - 127.5) < 1


@pytest.mark.parametrize(
    "size, fits", [(64, True), (63, True), (60, False), (32, False), ((16, 16), True), ((15, 64), False)]
)
def test_a_short_side_under_16_px_is_refused(size, fits):
    picture = make_picture(400, 100)
    if fits:
        assert min(resize_picture(picture, size).size) >= 16
    else:
        message = refusal(resize_picture, picture, size, "The photo")
        assert message.startswith("The photo:")
        assert "at least 16 px" in message


def test_to_tensor_is_rgb_in_zero_to_one():
    result = to_tensor(Image.fromarray(SIX_COLOURS))
    assert result.shape == (1, 3, 2, 3)
    assert result.dtype == torch.float32
    np.testing.assert_allclose(result[0].numpy(), np.moveaxis(SIX_COLOURS / 255.0, 2, 0), atol=1e-7)


def test_to_picture_clamps_and_rounds():
    values = torch.tensor([-0.5, 0.0, 0.4 / 255, 0.6 / 255, 254.4 / 255, 1.0, 7.0]).expand(1, 3, 1, -1)
    assert pixels(to_picture(values))[0, :, 0].tolist() == [0, 0, 0, 1, 254, 255, 255]
    assert pixels(to_picture(values[0]))[0, :, 0].tolist() == [0, 0, 0, 1, 254, 255, 255]


def test_image_processing_equals_torchvision(tmp_path):
    """With ToTensor and Normalize of the classic recipe, on a picture that needs no resizing."""
    path = save(tmp_path / "a.png", make_picture(224, 224, seed=3))
    recipe = transforms.Compose([transforms.ToTensor(), transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)])
    torch.testing.assert_close(image_processing(path), recipe(Image.open(path))[None], atol=1e-5, rtol=0)


def test_image_processing_resizes_like_torchvision(tmp_path):
    path = save(tmp_path / "a.png", make_picture(300, 200, seed=3))
    lanczos = transforms.Resize((224, 224), transforms.InterpolationMode.LANCZOS)
    recipe = transforms.Compose([lanczos, transforms.ToTensor(), transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)])
    torch.testing.assert_close(image_processing(path), recipe(Image.open(path))[None], atol=1e-5, rtol=0)


def test_the_imagenet_statistics_are_the_published_ones():
    assert (IMAGENET_MEAN, IMAGENET_STD) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize("size, shape", [((40, 30), (30, 40)), (60, (40, 60))])
def test_image_processing_takes_an_exact_size_or_a_long_side(size, shape):
    picture = make_picture(90, 60)
    assert image_processing(picture).shape == (1, 3, 224, 224)
    assert image_processing(picture, size).shape == (1, 3, *shape)


@pytest.mark.parametrize("batched", [True, False])
def test_deprocess_image_undoes_image_processing(batched):
    picture = make_picture(48, 32, seed=5)
    tensor = image_processing(picture, 48)
    result = deprocess_image(tensor if batched else tensor[0])
    assert abs(pixels(result) - pixels(picture)).max() <= 1


def test_deprocess_image_accepts_a_tensor_that_requires_a_gradient():
    tensor = image_processing(make_picture(48, 32), 48).requires_grad_()
    assert deprocess_image(tensor * 1).size == (48, 32)
