"""Targets kept from run to run: counted, bounded, and the same as when made anew."""

import threading

import pytest
import torch
from PIL import Image

from nst import StyleSettings, stylize
from nst.engine.target_cache import TARGETS, TargetCache, digest

SETTINGS = StyleSettings(size=64, steps=2, scales=1)


def table(values):
    return {"x": torch.zeros(values)}  # 4 bytes each


def paint(content, style, settings=SETTINGS):
    (*_, last) = stylize(content, style, settings, preview_every=None)
    return last.image.tobytes()


@pytest.fixture
def pictures():
    generator = torch.Generator().manual_seed(0)
    values = torch.randint(0, 256, (3, 80, 80, 3), dtype=torch.uint8, generator=generator).numpy()
    return [Image.fromarray(one) for one in values]


def test_a_second_run_builds_nothing_and_paints_the_same(pictures):
    photo, painting, other = pictures
    TARGETS.clear()
    before = TARGETS.built
    first = paint(photo, painting)
    assert TARGETS.built - before == 3  # the photo's as content and as style, and the painting's
    assert paint(photo, painting) == first
    assert TARGETS.built - before == 3
    paint(photo, other)
    assert TARGETS.built - before == 4
    TARGETS.clear()
    assert paint(photo, painting) == first


@pytest.mark.parametrize(
    "changes", [{"size": 48}, {"pooling": "max"}, {"style_levels": 1}, {"style_layers": ("conv1_1",)}]
)
def test_what_changes_the_features_builds_anew(pictures, changes):
    photo, painting, _ = pictures
    TARGETS.clear()
    paint(photo, painting)
    before = TARGETS.built
    changed = StyleSettings(**{"size": 64, "steps": 2, "scales": 1, **changes})
    with_cache = paint(photo, painting, changed)
    assert TARGETS.built > before
    TARGETS.clear()
    assert paint(photo, painting, changed) == with_cache


def test_weights_alone_build_nothing(pictures):
    photo, painting, _ = pictures
    paint(photo, painting)
    before = TARGETS.built
    paint(photo, painting, StyleSettings(size=64, steps=2, scales=1, style_weight=7.0, tv_weight=1.0))
    assert TARGETS.built == before


def test_bounded_in_bytes_and_the_least_recently_used_goes_first():
    cache = TargetCache(limit_bytes=4000)
    for key in "abc":
        cache.get(key, lambda: table(300))
    cache.get("a", lambda: pytest.fail("a was there"))
    cache.get("d", lambda: table(300))  # b has waited longest
    assert cache.bytes <= 4000
    cache.get("a", lambda: pytest.fail("a was there"))
    built = cache.built
    cache.get("b", lambda: table(300))
    assert cache.built == built + 1


def test_what_is_too_large_is_not_kept():
    cache = TargetCache(limit_bytes=4000)
    cache.get("small", lambda: table(100))
    assert len(cache.get("large", lambda: table(600))["x"]) == 600
    assert cache.bytes == 400


def test_two_threads_may_ask_for_different_tables_at_once():
    cache, inside = TargetCache(), threading.Barrier(2, timeout=20)
    build = lambda: inside.wait() is None or table(1)  # noqa: E731 - each waits for the other to be building
    threads = [threading.Thread(target=cache.get, args=(key, build)) for key in "ab"]
    [t.start() for t in threads]
    [t.join(30) for t in threads]
    assert cache.built == 2


def test_a_digest_tells_pictures_apart():
    x = torch.rand(1, 3, 4, 6)
    y = x.clone()
    assert digest(x) == digest(y) == digest(x.to(memory_format=torch.channels_last))
    assert digest(x) != digest(x.reshape(1, 3, 6, 4))
    y[0, 2, 3, 5] += 1e-6
    assert digest(x) != digest(y)
