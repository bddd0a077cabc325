"""A GPU computes the losses, gradients and pictures of a processor, without waits. Skipped without a GPU."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from nst import RunState, StyleSettings, StyleTransferError, stylize
from nst.canvas import Canvas
from nst.engine.cuda_network import has_kernels
from nst.engine.hardware import choose_hardware
from nst.io.tensors import IMAGENET_MEAN, IMAGENET_STD
from nst.models.checkpoints import load_backbone
from nst.objective import Objective, build_extractor
from nst.optimize import Guard
from nst.optimize_cuda import CudaOptimizer
from nst.pictures import Style
from nst.training.data import augment, random_crops
from nst.training.recipes import Recipe
from nst.training.trainer import Trainer

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
CLASSIC = StyleSettings.preset("classic", keep_aspect=True, size=128, device="cuda", precision="float32")
BALANCED = StyleSettings(size=128, steps=12, device="cuda", precision="float32")


@pytest.fixture(autouse=True)
def full_float32(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.fixture(scope="module")
def pair():
    y, x = np.mgrid[0:96, 0:128] / 128
    photo = np.stack([x, y, 1 - x], -1)
    painting = np.stack([np.sin(40 * x), np.sin(30 * y), np.sin(25 * (x + y))], -1) / 2 + 0.5
    return [Image.fromarray(np.uint8(255 * picture)) for picture in (photo, painting)]


def evaluate(settings, device, tile_side=None, mask=False, with_kernels=True):
    """Return the losses and the gradient for random pictures, on the CPU."""
    generator = torch.Generator().manual_seed(0)
    pixels, content, style = (torch.rand(1, 3, 90, 131, generator=generator).to(device) for _ in range(3))
    mask = torch.rand(1, 1, 90, 131, generator=generator).to(device) if mask else None
    extractor = build_extractor(load_backbone("cifar100"), settings, choose_hardware(device, settings.precision))
    if not with_kernels:
        extractor.__dict__["cuda_network"] = None
    objective = Objective(extractor, settings, content, [(style, 1.0, mask)], tile_side)
    losses, gradient = objective.evaluate(pixels)
    return torch.stack(losses).cpu(), gradient.cpu()


CASES = [
    (CLASSIC, {}),
    (replace(CLASSIC, pooling="max"), {}),
    (replace(CLASSIC, content_layers=("conv1_1", "conv2_1")), {}),
    (replace(CLASSIC, style_layers=("conv1_1",), content_layers=("conv1_1",)), {}),
    (BALANCED, {}),
    (replace(BALANCED, preserve_colours=True), {}),
    (BALANCED, {"mask": True}),
    (CLASSIC, {"tile_side": 64}),
    (replace(BALANCED, pooling="max"), {"tile_side": 64, "mask": True}),
]


@pytest.mark.parametrize("settings, changes", CASES)
@pytest.mark.parametrize("with_kernels", [True, False])
def test_losses_and_gradients_equal_those_of_a_processor(settings, changes, with_kernels):
    losses, gradient = evaluate(settings, "cpu", **changes)
    on_gpu, gradient_on_gpu = evaluate(settings, "cuda", with_kernels=with_kernels, **changes)
    torch.testing.assert_close(on_gpu, losses, rtol=1e-3, atol=1e-6)
    assert (gradient_on_gpu - gradient).norm() < 2e-3 * gradient.norm()


@pytest.mark.parametrize("settings", [CLASSIC, BALANCED])
def test_bf16_kernels_are_as_accurate_as_plain_layers(settings):
    _, exact = evaluate(settings, "cpu")
    settings = replace(settings, precision="bf16")
    gradients = [evaluate(settings, "cuda", with_kernels=with_kernels)[1] for with_kernels in (True, False)]
    errors = [(gradient - exact).norm() / exact.norm() for gradient in gradients]
    assert errors[0] < 1.3 * errors[1] < 0.3


def test_the_triton_kernels_are_used():
    assert has_kernels()


@pytest.mark.parametrize("settings", [replace(CLASSIC, steps=12), BALANCED])
def test_the_picture_is_near_that_of_a_processor(pair, settings):
    pictures = []
    for device in ("cpu", "cuda"):
        *_, last = stylize(*pair, replace(settings, device=device), preview_every=None)
        pictures.append(np.asarray(last.image, np.float32))
    assert np.abs(pictures[0] - pictures[1]).mean() < 1.5


def test_steps_come_in_order_and_each_preview_shows_its_step(pair):
    settings = replace(CLASSIC, steps=9)
    steps = list(stylize(*pair, settings, preview_every=1))
    assert [step.step for step in steps] == list(range(1, 10)) and all(step.image for step in steps)
    for count in (1, 2, 6):
        *_, last = stylize(*pair, replace(settings, steps=count), preview_every=None)
        difference = np.asarray(last.image, np.float32) - np.asarray(steps[count - 1].image, np.float32)
        assert np.abs(difference).mean() < 0.5  # the order of sums may differ
        assert last.total_loss == pytest.approx(steps[count - 1].total_loss, rel=1e-3)


def test_a_step_that_goes_too_far_is_undone_with_the_steps_after_it(pair, monkeypatch):
    launch, launches = CudaOptimizer.launch, itertools.count(1)

    def damaged_launch(optimizer):
        launch(optimizer)
        if next(launches) == 5:
            optimizer.canvas.pixels()[0, 0, 5, 5] = float("nan")

    monkeypatch.setattr(CudaOptimizer, "launch", damaged_launch)
    steps = list(stylize(*pair, replace(CLASSIC, steps=15), preview_every=None))
    assert [step.step for step in steps] == list(range(1, 16))
    assert [bool(step.note) for step in steps] == [False] * 5 + [True] + [False] * 9
    assert "Step 5" in steps[5].note and steps[-1].state.step_scale == 0.5
    assert steps[5].total_loss == pytest.approx(steps[4].total_loss, rel=1e-3)  # evaluated again where step 5 began
    assert all(np.isfinite(step.total_loss) for step in steps)


def test_a_step_does_not_wait_for_the_gpu(pair):
    """After the graph is recorded, no call to launch steps and to copy pictures waits for the GPU."""
    hardware = choose_hardware("cuda", "bf16")
    content, style = (torch.rand(1, 3, 96, 128, device="cuda") for _ in range(2))
    for settings in (CLASSIC, BALANCED):
        extractor = build_extractor(load_backbone("cifar100"), settings, hardware)
        objective = Objective(extractor, settings, content, [(style, 1.0, None)])
        canvas = Canvas(content, settings.canvas)
        optimizer = CudaOptimizer(objective, canvas, settings.learning_rate, Guard(1.0))
        for _ in range(2):
            optimizer.launch()
            optimizer.copy_picture()
        torch.cuda.set_sync_debug_mode("error")
        try:
            for _ in range(10):
                optimizer.launch()
                optimizer.copy_picture()
                result = optimizer.read()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert result.picture.shape == (96, 128, 3) and result.losses.total > 0


def test_a_stopped_run_ends_with_a_state_that_can_be_resumed(pair):
    settings = replace(BALANCED, steps=20, scales=1)
    answers = iter([False] * 6 + [True] * 99)
    *_, stopped = stylize(*pair, settings, should_stop=lambda: next(answers), preview_every=None)
    assert stopped.step == 7 and stopped.image and isinstance(stopped.state, RunState)
    *_, whole = stylize(*pair, settings, preview_every=None)
    *_, resumed = stylize(*pair, settings, resume=stopped.state, preview_every=None)
    assert resumed.step == 20
    assert np.abs(np.asarray(whole.image, np.float32) - np.asarray(resumed.image, np.float32)).mean() < 1.5


def test_masks_and_several_styles_paint_the_picture_of_a_processor(pair):
    mask = Image.fromarray(np.uint8(255 * (np.mgrid[0:96, 0:128][1] > 64)))
    styles = [Style(pair[1], mask=mask), Style(pair[0], 2.0)]
    *_, last = stylize(pair[0], styles, BALANCED, preview_every=None)
    *_, on_cpu = stylize(pair[0], styles, replace(BALANCED, device="cpu"), preview_every=None)
    assert np.abs(np.asarray(last.image, np.float32) - np.asarray(on_cpu.image, np.float32)).mean() < 1.5


def test_a_run_that_does_not_fit_is_refused(pair, monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (3_000_000_000, 8_000_000_000))
    with pytest.raises(StyleTransferError, match="set size to"):
        next(stylize(*pair, replace(BALANCED, size=2048)))


def test_training_augments_as_a_processor_does_and_learns():
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (128, 3, 32, 32), dtype=torch.uint8, generator=generator)
    for transform in (augment, lambda images, generator: random_crops(images, generator, 32, 0.5)):
        batches = [transform(x, torch.Generator().manual_seed(2)).cpu().float() for x in (images, images.cuda())]
        assert (batches[0] - batches[1]).abs().mean() < 0.1
    labels = torch.arange(128) % 4
    images[torch.arange(128), labels % 3] //= 4  # so that classes differ
    recipe = Recipe(epochs=12, batch_size=64, size=32, start_size=32)
    trainer = Trainer(recipe, images, labels, 4, choose_hardware("cuda"), IMAGENET_MEAN, IMAGENET_STD)
    losses = [trainer.train_step(32)[0].item() / 64 for _ in range(trainer.steps)]
    assert trainer.images.is_cuda and all(np.isfinite(losses)) and min(losses[-4:]) < losses[0]
