"""Estimates against their definition; their figures against real runs are the reader's to compare, not a test's."""

import pytest

from nst import estimation
from nst.backbones import load_backbone
from nst.settings import StyleSettings


@pytest.fixture
def estimate(random_checkpoint, monkeypatch):
    """Estimates of a plain run in which a pixel takes a microsecond."""
    monkeypatch.setattr(estimation, "_seconds_per_pixel", lambda *_: 1e-6)

    def estimate(photo=(800, 600), **changes):
        changes = {"size": 512, "keep_aspect": True, "steps": 200, "device": "cpu", "precision": "float32"} | changes
        return estimation.estimate(photo, StyleSettings.preset("classic", **changes), load_backbone(random_checkpoint))

    return estimate


def test_time_is_that_of_all_pixels_of_all_steps(estimate):
    assert estimate().seconds == pytest.approx(512 * 384 * 200 * 1e-6)
    assert estimate((300, 300), steps=210, scales=3).seconds == pytest.approx(70 * (128**2 + 256**2 + 512**2) * 1e-6)
    assert estimate((800, 300)).seconds == pytest.approx(512 * 192 * 200 * 1e-6)
    assert estimate((800, 300), keep_aspect=False).seconds == pytest.approx(512**2 * 200 * 1e-6)


def test_memory_grows_with_the_area_and_the_layers(estimate):
    base = estimation.BASE_BYTES
    assert estimate(size=1024).peak_bytes - base == pytest.approx(4 * (estimate().peak_bytes - base), rel=1e-3)
    assert estimate(style_layers=["conv1_1"], content_layers=["conv1_2"]).peak_bytes < estimate().peak_bytes
    assert estimate(precision="bf16").peak_bytes < estimate().peak_bytes
    assert estimate(style_levels=3).peak_bytes > estimate().peak_bytes


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
