"""Estimates of time and memory: how they grow, one real peak of memory, and refusals of runs that do not fit."""

import re
import subprocess
import sys
from dataclasses import replace

import pytest
from PIL import Image

from nst import StyleSettings, StyleTransferError, estimation, stylize
from nst.models.checkpoints import load_backbone


@pytest.fixture
def estimate(random_checkpoint, monkeypatch):
    """Estimate a run of the classic preset in which a pixel takes a microsecond."""
    monkeypatch.setattr(estimation, "_seconds_per_pixel", lambda *_: 1e-6)

    def estimate(photo=(800, 600), **changes):
        changes = {"size": 512, "keep_aspect": True, "steps": 200, "device": "cpu", "precision": "float32"} | changes
        return estimation.estimate(photo, StyleSettings.preset("classic", **changes), load_backbone(random_checkpoint))

    return estimate


def test_the_time_is_proportional_to_all_pixels_of_all_steps(estimate):
    """The targets of a stage count as 1.2 steps, the finish as half a step."""
    assert estimate().seconds == pytest.approx(512 * 384 * 201.2 * 1e-6)
    assert estimate((300, 300), steps=210, scales=3).seconds == pytest.approx(71.2 * (128**2 + 256**2 + 512**2) * 1e-6)
    assert estimate((800, 300)).seconds == pytest.approx(512 * 192 * 201.2 * 1e-6)
    assert estimate((800, 300), keep_aspect=False).seconds == pytest.approx(512**2 * 201.2 * 1e-6)
    assert estimate(match_palette=True).seconds == pytest.approx(512 * 384 * 201.7 * 1e-6)


def test_memory_grows_with_the_area_and_the_layers(estimate):
    growth = estimate(size=1024).peak_bytes - estimate().peak_bytes
    further = estimate(size=1448).peak_bytes - estimate(size=1024).peak_bytes  # twice the area
    assert further == pytest.approx(growth * 4 / 3, rel=0.01)
    assert estimate(style_layers=["conv1_1"], content_layers=["conv1_2"]).peak_bytes < estimate().peak_bytes
    assert estimate(precision="bf16").peak_bytes < estimate().peak_bytes


def test_tiles_bound_the_memory(estimate):
    """A tiled picture with nine times the pixels needs less than three times the memory of an untiled one."""
    assert estimate(size=4096).peak_bytes < 3 * estimate(size=1400).peak_bytes


@pytest.mark.parametrize("precision", ["bf16", "float32"])
def test_a_print_of_8192_px_fits_into_16_gb(estimate, precision):
    """Measured in bf16: 11.8 GB. The photo's features would take 8.6 GB more."""
    layers = {"content_layers": ("conv1_2", "conv2_2"), "style_layers": ("conv1_1", "conv2_1", "conv3_1")}
    assert 9e9 < estimate((3000, 2000), size=8192, precision=precision, **layers).peak_bytes < 16e9


@pytest.mark.slow
def test_the_estimated_memory_is_near_a_real_peak(random_checkpoint):
    """A new process paints, and the system measures its peak: it is within the promised factor of two."""
    program = (
        "import resource, sys; from PIL import Image; from nst import StyleSettings, stylize, estimate, load_backbone;"
        "s = StyleSettings(size=512, steps=1, scales=1, precision='float32', backbone=sys.argv[1]);"
        "list(stylize(Image.new('RGB', (512, 384), 'teal'), Image.new('RGB', (512, 384), 'red'), s));"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,"
        "      estimate((512, 384), s, load_backbone(sys.argv[1])).peak_bytes)"
    )
    out = subprocess.run([sys.executable, "-c", program, random_checkpoint], capture_output=True, text=True, check=True)
    real, estimated = map(int, out.stdout.split())
    assert real / 2 < estimated < 2 * real  # convolutions need different buffers on different processors


def test_a_run_that_does_not_fit_is_refused_with_the_largest_size_that_does(monkeypatch):
    settings = StyleSettings(size=2048, device="cpu", precision="float32")
    monkeypatch.setattr(estimation, "free_memory", lambda device: 2_000_000_000)
    with pytest.raises(StyleTransferError, match=r"size 2048 needs about .* GB .* 2\.0 GB are free") as error:
        estimation.check_memory((4000, 3000), settings)
    advised = int(re.search(r"set size to (\d+)", str(error.value))[1])
    estimation.check_memory((4000, 3000), replace(settings, size=advised))
    with pytest.raises(StyleTransferError):
        estimation.check_memory((4000, 3000), replace(settings, size=advised + 32))
    monkeypatch.setattr(estimation, "free_memory", lambda device: 1000)
    with pytest.raises(StyleTransferError, match="close other programs"):
        estimation.check_memory((4000, 3000), settings)
    monkeypatch.setattr(estimation, "free_memory", lambda device: None)  # the system does not tell
    estimation.check_memory((4000, 3000), settings)


def test_a_run_that_does_not_fit_ends_before_its_first_step(monkeypatch):
    monkeypatch.setattr(estimation, "free_memory", lambda device: 1000)
    picture = Image.new("RGB", (80, 60))
    with pytest.raises(StyleTransferError, match="GB of memory"):
        next(stylize(picture, picture, StyleSettings(size=64, device="cpu")))


def test_a_pixel_is_timed_once_for_each_kind_of_run(random_checkpoint, monkeypatch):
    monkeypatch.setattr(estimation, "PROBE_SIDE", 32)
    monkeypatch.setattr(estimation, "_measured", {})
    evaluations = []
    monkeypatch.setattr(estimation, "_evaluate", lambda *_: evaluations.append(1))
    settings = StyleSettings(device="cpu", precision="float32")
    for changes in ({}, {"size": 300, "steps": 7}, {"style_layers": ("conv1_1",)}):
        changed = StyleSettings.from_dict(settings.to_dict() | changes)
        estimation.estimate((80, 60), changed, load_backbone(random_checkpoint))
    assert len(evaluations) == 6
