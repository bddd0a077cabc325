"""The cache of targets: what it builds, how large it grows, and that pictures are the same with it."""

import threading
from dataclasses import replace

import pytest
import torch
from PIL import Image

from nst import StyleSettings, stylize
from nst.engine.target_cache import TARGETS, TargetCache, digest

SETTINGS = StyleSettings(size=64, steps=2, scales=1, sketch=False)


def table(count):
    """Return a table of `count` zeros, 4 bytes each."""
    return {"x": torch.zeros(count)}


def paint(content, style, settings=SETTINGS):
    (*_, last) = stylize(content, style, settings, preview_every=None)
    return last.image.tobytes()


@pytest.fixture
def pictures():
    generator = torch.Generator().manual_seed(0)
    values = torch.randint(0, 256, (3, 80, 80, 3), dtype=torch.uint8, generator=generator).numpy()
    return [Image.fromarray(pixels) for pixels in values]


def test_a_second_run_builds_no_targets_and_paints_the_same(pictures):
    photo, painting, other = pictures
    TARGETS.clear()
    before = TARGETS.built
    first = paint(photo, painting)
    assert TARGETS.built - before == 3  # the photo's content and style, and the painting's style
    assert paint(photo, painting) == first
    assert TARGETS.built - before == 3
    paint(photo, other)
    assert TARGETS.built - before == 4
    TARGETS.clear()
    assert paint(photo, painting) == first


@pytest.mark.parametrize(
    "changes", [{"size": 48}, {"pooling": "max"}, {"style_levels": 1}, {"style_layers": ("conv1_1",)}]
)
def test_a_setting_that_changes_the_features_builds_new_targets(pictures, changes):
    photo, painting, _ = pictures
    TARGETS.clear()
    paint(photo, painting)
    before = TARGETS.built
    changed = StyleSettings(**{**vars(SETTINGS), **changes})
    with_cache = paint(photo, painting, changed)
    assert TARGETS.built > before
    TARGETS.clear()
    assert paint(photo, painting, changed) == with_cache


def test_other_weights_build_no_targets(pictures):
    photo, painting, _ = pictures
    paint(photo, painting)
    before = TARGETS.built
    paint(photo, painting, replace(SETTINGS, style_weight=7.0, tv_weight=1.0))
    assert TARGETS.built == before


def test_a_full_cache_drops_the_least_recently_used_table():
    cache = TargetCache(limit_bytes=4000)
    for key in "abc":
        cache.get(key, lambda: table(300))
    cache.get("a", lambda: pytest.fail("a was in the cache"))
    cache.get("d", lambda: table(300))  # drops b
    assert cache.bytes <= 4000
    cache.get("a", lambda: pytest.fail("a was in the cache"))
    built = cache.built
    cache.get("b", lambda: table(300))
    assert cache.built == built + 1


def test_a_table_that_is_too_large_is_not_stored():
    cache = TargetCache(limit_bytes=4000)
    cache.get("small", lambda: table(100))
    assert len(cache.get("large", lambda: table(600))["x"]) == 600
    assert cache.bytes == 400


def test_two_threads_build_different_tables_at_the_same_time():
    cache, both_build = TargetCache(), threading.Barrier(2, timeout=20)

    def build():
        both_build.wait()
        return table(1)

    threads = [threading.Thread(target=cache.get, args=(key, build)) for key in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert cache.built == 2


def test_different_pictures_have_different_digests():
    x = torch.rand(1, 3, 4, 6)
    y = x.clone()
    assert digest(x) == digest(y) == digest(x.to(memory_format=torch.channels_last))
    assert digest(x) != digest(x.reshape(1, 3, 6, 4))
    y[0, 2, 3, 5] += 1e-6
    assert digest(x) != digest(y)
