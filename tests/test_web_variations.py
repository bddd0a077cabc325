"""The variations on the page, in a real browser: four pictures grow, and a click on one paints it at full size."""

import re

import numpy as np
import pytest
from PIL import Image

from helpers.browsing import SMALL_RUN, download, read_image, set_number, status, toggle_sections, upload_pictures
from nst import StyleSettings, read_recipe, stylize
from nst.variations import VARIATIONS, vary

pytestmark = pytest.mark.slow

CHOOSE = "Click one of the four variations to paint it at full size."
PICTURES = "#variations_gallery button.thumbnail-item"


def shown(page) -> list[np.ndarray]:
    """Return the four pictures of the gallery as the browser shows them."""
    return [np.asarray(read_image(page, f"{PICTURES} >> nth={n} >> img"), float) for n in range(4)]


def test_four_variations_grow_and_a_click_paints_one_at_full_size(visit, pictures, tmp_path):
    from playwright.sync_api import expect

    page = visit(SMALL_RUN)
    upload_pictures(page, *pictures)
    assert page.locator("#variations_gallery").count() == 0 or not page.locator("#variations_gallery").is_visible()
    page.locator("#variations").click()
    expect(page.locator(PICTURES)).to_have_count(4)
    expect(status(page)).to_have_value(CHOOSE)
    settings = StyleSettings.preset("quick", size=64, steps=12, scales=1)
    expected = []
    for small in vary(settings):
        *_, last = stylize(*pictures, small, preview_every=None)
        expected.append(np.asarray(last.image, float))
    nearest = [int(np.argmin([np.abs(picture - other).mean() for other in expected])) for picture in shown(page)]
    assert nearest == [0, 1, 2, 3]  # each shows its own settings
    page.locator(PICTURES).nth(3).click()
    expect(status(page)).to_have_value(re.compile("^Done"))
    file = download(page, "#download", tmp_path)
    chosen = VARIATIONS[3].change(settings)
    assert read_recipe(file).settings == chosen
    *_, last = stylize(*pictures, chosen, preview_every=None)
    assert np.array_equal(np.asarray(Image.open(file)), np.asarray(last.image))
    toggle_sections(page, "Advanced")
    for name in ("style_weight", "style_scale"):
        expect(page.locator(f"#{name} input[type=number]")).to_have_value(f"{getattr(chosen, name):g}")
    page.locator(PICTURES).nth(0).click()  # of the settings that were varied, not of the chosen ones
    first = VARIATIONS[0].change(settings)
    expect(page.locator("#style_weight input[type=number]")).to_have_value(f"{first.style_weight:g}")


def test_variations_grow_together_and_can_be_stopped(visit, pictures):
    from playwright.sync_api import expect

    page = visit("?preset=covariance&size=256&steps=40&scales=1")
    upload_pictures(page, *pictures)
    page.locator("#variations").click()
    expect(status(page)).to_have_value(re.compile(r"^Four variations · step \d+ of 40"))
    before = shown(page)
    assert not np.array_equal(before[0], before[3])
    page.wait_for_function(
        "(n) => +document.querySelector('#status textarea').value.match(/step (\\d+)/)?.[1] > n",
        arg=int(re.search(r"step (\d+)", status(page).input_value())[1]) + 2,
    )
    after = shown(page)
    assert all(not np.array_equal(old, new) for old, new in zip(before, after, strict=True))
    page.locator("#stop").click()
    expect(status(page)).to_have_value(CHOOSE)


def test_variations_need_a_photo_and_a_painting(page):
    page.locator("#variations").click()
    page.get_by_text("Add a photo.", exact=True).wait_for()


def test_enlarge_paints_on_at_twice_the_size_within_the_hosts_limit(visit, pictures, tmp_path):
    from playwright.sync_api import expect

    page = visit("?preset=quick&size=256&steps=3&scales=1&strength=0.5")
    upload_pictures(page, *pictures)
    expect(page.locator("#enlarge")).to_be_disabled()
    page.locator("#stylize").click()
    expect(page.locator("#enlarge")).to_have_text("Enlarge to 512 px")
    for size in (512, 1024):
        page.locator("#enlarge").click()
        expect(status(page)).to_have_value(re.compile(rf"^Done .* {size} x {3 * size // 4} px"))
        file = download(page, "#download", tmp_path)
        assert Image.open(file).size == (size, 3 * size // 4)
        recipe = read_recipe(file)
        assert recipe.settings.size == size and recipe.settings.strength == 0.5
    expect(page.locator("#enlarge")).to_have_text("Enlarge: 1024 px is the limit here")
    expect(page.locator("#enlarge")).to_be_disabled()
    toggle_sections(page, "Advanced")
    expect(page.locator("#size input[type=number]")).to_have_value("1024")  # so that Continue fits
    set_number(page, "steps", recipe.settings.steps + 1)
    page.locator("#continue").click()
    expect(status(page)).to_have_value(re.compile(r"^Done .* 1024 x 768 px"))
