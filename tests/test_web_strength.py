"""The slider "How much?" under the picture, in a real browser: what is shown, downloaded, kept and continued."""

import io
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from helpers.browsing import (
    SMALL_RUN,
    SMALL_SETTINGS,
    download,
    open_tab,
    press_and_wait,
    read_image,
    set_number,
    settle,
    status,
    toggle_sections,
    upload_pictures,
)
from nst import load_picture, read_recipe, stylize

pytestmark = pytest.mark.slow


def painted_at(pictures, **changes) -> Image.Image:
    """Return what the library paints with these settings."""
    *_, last = stylize(*pictures, replace(SMALL_SETTINGS, **changes))
    return last.image


def as_shown(picture: Image.Image) -> Image.Image:
    """Return the picture as the page shows it: as a JPEG."""
    file = io.BytesIO()
    picture.convert("RGB").save(file, "JPEG")
    return Image.open(file)


def distance(first: Image.Image, second: Image.Image) -> float:
    """Return the mean difference of two pictures, from 0 to 255."""
    return float(np.abs(np.asarray(first.convert("RGB"), float) - np.asarray(second.convert("RGB"), float)).mean())


def set_strength(page, value: float) -> None:
    """Move the slider, and wait until the shown picture and the file to download follow."""
    from playwright.sync_api import expect

    before = page.locator("#output img").get_attribute("src")
    set_number(page, "strength", value)
    expect(page.locator("#output img")).not_to_have_attribute("src", before)
    expect(page.locator("#download")).to_be_enabled()


@pytest.fixture
def painted(visit, pictures):
    """A page with one finished picture of full strength."""
    page = visit(SMALL_RUN)
    upload_pictures(page, *pictures)
    assert press_and_wait(page).startswith("Done")
    return page


def test_the_slider_changes_the_shown_picture_the_file_and_its_recipe(painted, pictures, tmp_path):
    photo = load_picture(pictures[0]).resize((64, 48), Image.Resampling.LANCZOS)
    set_strength(painted, 0)
    assert distance(read_image(painted, "#output img"), as_shown(photo)) < 1
    set_strength(painted, 0.5)
    half, painting = painted_at(pictures, strength=0.5), painted_at(pictures)
    assert distance(half, painting) > 4 < distance(half, photo)
    assert distance(read_image(painted, "#output img"), as_shown(half)) < 1
    file = download(painted, "#download", tmp_path)
    assert distance(Image.open(file), half) == 0
    recipe = read_recipe(file)
    assert recipe.settings.strength == 0.5 and recipe.repeatable
    set_strength(painted, 1)
    file = download(painted, "#download", tmp_path)
    assert distance(Image.open(file), painting) == 0 and read_recipe(file).settings == SMALL_SETTINGS


def test_sixteen_bits_the_gallery_and_the_comparison_have_the_strength_too(painted, pictures, tmp_path):
    import tifffile
    from playwright.sync_api import expect

    set_strength(painted, 0.25)
    expected = painted_at(pictures, strength=0.25)
    painted.locator("#kind input").click()
    painted.get_by_role("option", name="TIFF, 16 bits", exact=True).click()
    for _ in range(100):  # until the server has written the file
        file = download(painted, "#download", tmp_path)
        if file.suffix == ".tif":
            break
        painted.wait_for_timeout(200)
    difference = tifffile.imread(file) / 257 - np.asarray(expected, float)
    assert np.abs(difference).max() < 2 and read_recipe(file).settings.strength == 0.25
    open_tab(painted, "Before and after")
    full = painted_at(pictures)
    assert distance(after := read_image(painted, "#compare img.after"), expected) < distance(after, full) / 2
    toggle_sections(painted, "Pictures of this visit")
    item = painted.locator("#gallery button.thumbnail-item")
    expect(item).to_have_count(1)
    assert distance(small := read_image(painted, "#gallery img"), expected) < distance(small, full) / 2
    item.click()
    expect(painted.locator("#about")).to_contain_text("How much 0.25")
    assert distance(Image.open(download(painted, "#download_chosen", tmp_path)), expected) == 0


def test_continue_goes_on_from_the_full_painting(painted, pictures, tmp_path):
    set_strength(painted, 0.5)
    toggle_sections(painted, "Advanced")
    set_number(painted, "steps", 16)
    assert press_and_wait(painted, "#continue").startswith("Done")
    *_, first = stylize(*pictures, SMALL_SETTINGS)
    longer = replace(SMALL_SETTINGS, steps=16, strength=0.5)
    *_, expected = stylize(*pictures, longer, resume=first.state)
    assert distance(Image.open(download(painted, "#download", tmp_path)), expected.image) == 0


def test_during_a_run_the_slider_acts_on_the_next_preview_and_on_the_result(visit, pictures):
    from playwright.sync_api import expect

    page = visit("?preset=quick&size=128&steps=1000&scales=1")
    upload_pictures(page, *pictures)
    page.locator("#stylize").click()
    expect(status(page)).to_have_value(re.compile("^Step"))
    photo = load_picture(pictures[0]).resize((128, 96), Image.Resampling.LANCZOS)
    photo = as_shown(photo)
    assert distance(read_image(page, "#output img"), photo) > 8
    set_number(page, "strength", 0)
    for _ in range(100):  # until the next preview
        if distance(read_image(page, "#output img"), photo) < 4:
            break
        page.wait_for_timeout(100)
    assert distance(read_image(page, "#output img"), photo) < 4
    page.locator("#stop").click()
    expect(status(page)).to_have_value(re.compile("^Stopped"))
    assert distance(read_image(page, "#output img"), photo) < 4
    set_strength(page, 1)
    assert distance(read_image(page, "#output img"), photo) > 8


def test_a_link_and_a_file_restore_the_strength(painted, visit, tmp_path):
    from playwright.sync_api import expect

    set_strength(painted, 0.75)
    file = download(painted, "#download", tmp_path)
    other = visit("?preset=quick&strength=0.5")
    box = other.locator("#strength input[type=number]")
    expect(box).to_have_value("0.5")
    toggle_sections(other, "Advanced", "Keep and restore")
    other.locator("#restore input[type=file]").set_input_files(file)
    expect(box).to_have_value("0.75")
    settle(other)  # a click while the settings are still being shown is lost
    other.locator("#make_link").click()
    expect(other.locator("#link textarea, #link input").first).to_have_value(re.compile("strength=0.75"))
    assert other.locator("#controls #strength").count() == 0  # one control, under the picture
