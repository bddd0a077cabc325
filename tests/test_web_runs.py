"""Runs on the page: progress, stop and continue, several paintings, a mask, two visitors at once, links."""

import re

import numpy as np
import pytest
from PIL import Image, ImageChops

from helpers.browsing import (
    SMALL_RUN,
    download,
    press_and_wait,
    set_number,
    settle,
    status,
    toggle_sections,
    upload,
    upload_pictures,
)
from helpers.pictures import make_picture
from nst import Style, StyleSettings, read_recipe, stylize

pytestmark = pytest.mark.slow

SETTINGS = StyleSettings.preset("quick", size=64, steps=12, scales=1)


def last(steps):
    *_, step = steps
    return step


def largest_difference(first: Image.Image, second: Image.Image) -> int:
    """Return the largest difference of any channel, from 0 to 255."""
    assert first.size == second.size
    return max(high for _, high in ImageChops.difference(first.convert("RGB"), second).getextrema())


def test_continue_resumes_the_run_with_another_weight(visit, pictures, tmp_path):
    page = visit(SMALL_RUN)
    upload_pictures(page, *pictures)
    assert press_and_wait(page).startswith("Done")
    assert page.locator("#continue").inner_text() == "Continue to 62"
    toggle_sections(page, "Advanced")
    set_number(page, "steps", 20)
    set_number(page, "style_weight", 90)
    text = press_and_wait(page, "#continue")
    assert text.startswith("Done") and "Its recipe cannot repeat the picture exactly." in text
    path = download(page, "#download", tmp_path)

    first = last(stylize(*pictures, SETTINGS)).state
    longer = StyleSettings.preset("quick", size=64, steps=20, scales=1, style_weight=90)
    recipe = read_recipe(path)
    assert recipe.settings == longer and recipe.steps_done == 20 and not recipe.repeatable
    assert largest_difference(Image.open(path), last(stylize(*pictures, longer, resume=first)).image) == 0


def test_a_run_shows_the_picture_the_time_left_and_the_losses(visit, pictures):
    from playwright.sync_api import expect

    page = visit("?preset=quick&size=256&steps=1000&scales=1")
    upload_pictures(page, *pictures)
    page.locator("#stylize").click()
    page.locator("#output img").wait_for()
    expect(status(page)).to_have_value(re.compile(r"^Step \d+ of 1000 · \d+ (s|min) left$"))
    toggle_sections(page, "Losses")
    losses = r"Losses: content \S+ · style \S+ · total \S+\.\s*$"
    expect(page.locator("#numbers")).to_have_text(
        re.compile(r"^\s*Computed with 1 processor core, (16|32)-bit numbers. " + losses)
    )
    page.locator("#losses canvas, #losses svg.marks").first.wait_for()
    drawings = page.evaluate(
        """async () => {  // count the changes of the plot within three seconds
          let count = 0;
          const observer = new MutationObserver(() => { count += 1; });
          observer.observe(document.querySelector("#losses"), {childList: true, subtree: true, attributes: true});
          await new Promise((done) => setTimeout(done, 3000));
          return count;
        }"""
    )
    assert drawings < 100  # about two a second; a plot that is drawn for every frame would change 180 times
    page.locator("#stop").click()
    expect(status(page)).to_have_value(re.compile(r"^Stopped at step \d+ of 1000"))
    expect(page.locator("#continue")).to_have_text("Continue to 1000")


def test_after_a_reload_the_page_says_that_the_run_has_ended(visit, pictures):
    from playwright.sync_api import expect

    page = visit("?preset=quick&size=256&steps=1000&scales=1")
    upload_pictures(page, *pictures)
    page.locator("#stylize").click()
    page.locator("#output img").wait_for()
    page.reload()
    expect(status(page)).to_have_value(re.compile("Reloading the page has ended your run"))
    page.reload()
    expect(status(page)).to_have_value(re.compile("^Add a photo and a painting"))


def test_several_paintings_count_by_their_weights(visit, pictures, tmp_path):
    third = tmp_path / "third.png"
    make_picture(70, 90, seed=3).save(third)
    page = visit(SMALL_RUN)
    upload_pictures(page, *pictures)
    toggle_sections(page, "Advanced", "Several paintings")
    upload(page, "#style_2", third)
    set_number(page, "weight_2", 2.5)
    press_and_wait(page)
    path = download(page, "#download", tmp_path)
    expected = last(stylize(pictures[0], [Style(pictures[1]), Style(third, 2.5)], SETTINGS)).image
    assert largest_difference(Image.open(path), expected) == 0
    assert [style.weight for style in read_recipe(path).styles] == [1, 2.5]


def test_a_mask_painted_on_the_photo_confines_the_style(visit, pictures, tmp_path):
    photo = tmp_path / "large.png"
    make_picture(480, 320, seed=1).save(photo)
    page = visit("?preset=quick&size=64&steps=15&scales=1&tv_weight=0")
    upload_pictures(page, photo, pictures[1])
    toggle_sections(page, "Advanced", "Regions")
    page.locator("#take").click()
    canvas = page.locator("#mask canvas").first
    canvas.wait_for()
    settle(page)  # the editor scales the photo to its own size
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.3 * box["height"])
    page.mouse.down()
    for row in (0.5, 0.7):  # few moves: each one redraws the editor, which is slow without a graphics card
        for column in (0.12, 0.3):
            page.mouse.move(box["x"] + column * box["width"], box["y"] + row * box["height"])
    page.mouse.up()
    settle(page)
    toggle_sections(page, "Regions")  # an open editor is redrawn again and again
    press_and_wait(page)
    path = download(page, "#download", tmp_path)
    assert read_recipe(path).styles[0].mask is not None
    painted = np.asarray(Image.open(path), float)
    before = np.asarray(Image.open(photo).resize(painted.shape[1::-1], Image.Resampling.LANCZOS), float)
    change = np.abs(painted - before).mean(axis=(0, 2))
    assert change[: len(change) // 4].mean() > 2 * change[len(change) // 2 :].mean()


def test_two_visitors_at_once_see_only_their_own_pictures(visit, pictures, tmp_path):
    from playwright.sync_api import expect

    other = tmp_path / "other.png"
    make_picture(60, 96, seed=9).save(other)
    pages = [visit(SMALL_RUN), visit(SMALL_RUN)]
    for page, photo in zip(pages, (pictures[0], other), strict=True):
        upload_pictures(page, photo, pictures[1])
    for page in pages:
        page.locator("#stylize").click()
    for page, photo in zip(pages, (pictures[0], other), strict=True):
        expect(status(page)).to_have_value(re.compile("^Done"))
        path = download(page, "#download", tmp_path)
        assert largest_difference(Image.open(path), last(stylize(photo, pictures[1], SETTINGS)).image) == 0
        toggle_sections(page, "Pictures of this visit")
        expect(page.locator("#gallery button.thumbnail-item")).to_have_count(1)


@pytest.mark.parametrize("query", ["?size=5000", "?preset=no", "?style_layers=conv9_9", "?backbone=/etc/passwd"])
def test_an_unusable_setting_in_a_link_is_left_out_with_a_message(visit, query):
    page = visit(query)
    toast = page.locator(".toast-body").first
    toast.wait_for()
    assert "left out" in toast.inner_text() and "Traceback" not in toast.inner_text()


def test_a_new_page_has_nothing_to_stop_or_continue(page):
    from playwright.sync_api import expect

    for button in ("#continue", "#download", "#as_photo"):
        expect(page.locator(button)).to_be_disabled()
    page.locator("#stop").click()
    expect(status(page)).to_have_value("Nothing is being painted yet.")
