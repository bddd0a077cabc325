"""The page after a run: comparison, stages, films, downloads, the visit's pictures, and restored settings."""

import dataclasses
import re

import av
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageChops

from helpers.browsing import (
    SMALL_RUN,
    download,
    open_tab,
    press_and_wait,
    read_image,
    set_number,
    status,
    toggle_sections,
    upload_pictures,
)
from helpers.pictures import make_picture
from nst import StyleSettings, describe, read_recipe, save_result

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A photo whose left half is transparent, and a painting."""
    folder = tmp_path_factory.mktemp("files")
    photo = make_picture(96, 72, seed=1).convert("RGBA")
    photo.putalpha(Image.fromarray(np.tile(np.uint8([0] * 48 + [255] * 48), (72, 1))))
    photo.save(folder / "photo.png")
    make_picture(80, 80, seed=2).save(folder / "painting.png")
    return folder / "photo.png", folder / "painting.png"


@pytest.fixture(scope="module")
def painted(module_visit, files):
    """A page with one finished picture, which the tests below share."""
    page = module_visit(SMALL_RUN)
    upload_pictures(page, *files)
    assert press_and_wait(page).startswith("Done")
    return page


def test_keys_move_the_edge_between_before_and_after(painted):
    open_tab(painted, "Before and after")
    edge = painted.locator("#compare input[type=range]")
    edge.focus()
    edge.press("Home")
    comparison = painted.locator("#compare .compare")
    assert comparison.evaluate("(e) => e.style.getPropertyValue('--at')") == "0%"
    before, after = (read_image(painted, f"#compare img.{name}") for name in ("before", "after"))
    assert before.size == after.size == (64, 48)
    painting_only = comparison.screenshot()
    edge.press("End")
    assert comparison.evaluate("(e) => e.style.getPropertyValue('--at')") == "100%"
    assert comparison.screenshot() != painting_only


def test_the_scrubber_shows_the_stages(painted, files):
    from playwright.sync_api import expect

    open_tab(painted, "Step by step")
    image = painted.locator("#stage img").first
    expect(image).to_be_visible()
    final = image.get_attribute("src")
    set_number(painted, "scrubber", 1)
    expect(image).not_to_have_attribute("src", final)
    first = read_image(painted, "#stage img")
    refused = []
    painted.on("response", lambda response: refused.append(response.url) if response.status >= 400 else None)
    set_number(painted, "scrubber", 40)  # the slider takes its last value
    expect(image).to_have_attribute("src", final)
    assert not refused  # the page would lose an event that comes before the answer to a refused event
    photo = Image.open(files[0]).convert("RGBA")
    photo = Image.alpha_composite(Image.new("RGBA", photo.size, "white"), photo).convert("RGB").resize(first.size)
    distances = [
        np.asarray(ImageChops.difference(stage, photo)).mean() for stage in (first, read_image(painted, "#stage img"))
    ]
    assert distances[0] < distances[1]


@pytest.mark.parametrize("suffix", ["webp", "mp4"])
def test_the_stages_can_be_downloaded_as_a_film(painted, tmp_path, suffix):
    open_tab(painted, "Step by step")
    painted.locator(f"#make_{suffix}").click()
    link = painted.locator(f"#film a[href$='.{suffix}']")
    link.first.wait_for()
    with painted.expect_download() as caught:
        link.first.click()
    path = tmp_path / caught.value.suggested_filename
    caught.value.save_as(path)
    if suffix == "webp":
        assert 2 <= Image.open(path).n_frames <= 40
    else:
        with av.open(path) as film:
            assert sum(1 for _ in film.decode(video=0)) >= 2


@pytest.mark.parametrize(
    ("kind", "transparent", "mode"),
    [("PNG", True, "rgba"), ("PNG, 16 bits", False, "rgb48be"), ("TIFF, 16 bits", True, "TIFF")],
)
def test_downloads_have_the_chosen_format_and_the_recipe(painted, files, tmp_path, kind, transparent, mode):
    painted.locator("#kind input").click()
    painted.get_by_role("option", name=kind, exact=True).click()
    painted.get_by_label("Keep transparency").set_checked(transparent)

    def read_format(path) -> tuple[str, np.ndarray]:
        if path.suffix == ".tif":
            return "TIFF", tifffile.imread(path)
        with av.open(path) as file:
            frame = next(file.decode(video=0))
            return frame.format.name, frame.to_ndarray()

    expected = (mode, (48, 64, 4 if transparent else 3))
    for _ in range(150):  # until the server has written the file with both choices
        name, pixels = read_format(path := download(painted, "#download", tmp_path))
        if (name, pixels.shape) == expected:
            break
        painted.wait_for_timeout(200)
    assert (name, pixels.shape) == expected
    assert pixels.dtype == (np.uint8 if kind == "PNG" else np.uint16)
    if transparent:
        assert pixels[:, :30, 3].max() == 0 and pixels[:, 34:, 3].min() == np.iinfo(pixels.dtype).max
    assert read_recipe(path) == describe(*files, StyleSettings.preset("quick", size=64, steps=12, scales=1))


def test_the_pictures_of_a_visit_can_be_inspected_and_reused(painted):
    from playwright.sync_api import expect

    toggle_sections(painted, "Advanced", "Pictures of this visit")
    set_number(painted, "steps", 5)
    set_number(painted, "size", 80)
    press_and_wait(painted)
    pictures = painted.locator("#gallery button.thumbnail-item")
    expect(pictures).to_have_count(2)
    pictures.nth(1).click()
    expect(painted.locator("#about")).to_contain_text("12 of 12 steps were done. Size 64 · Steps 12 · Style")
    painted.locator("#reuse").click()
    expect(painted.locator("#size input[type=number]")).to_have_value("64")
    expect(painted.locator("#steps input[type=number]")).to_have_value("12")
    painted.locator("#chosen_as_photo").click()
    painted.wait_for_function("document.querySelector('#content img').naturalWidth == 64")
    painted.locator("#as_photo").click()
    painted.wait_for_function("document.querySelector('#content img').naturalWidth == 80")
    photo, painting = (read_image(painted, f"{name} img").size for name in ("#content", "#style"))
    painted.locator("#swap").click()
    painted.wait_for_function("document.querySelector('#style img').naturalWidth == 80")
    assert read_image(painted, "#content img").size == painting != photo


def save_result_with(settings: StyleSettings, files, path):
    """Save a picture whose recipe has these settings. Return its path."""
    recipe = describe(*files, StyleSettings.preset("quick", size=64, steps=2))
    return save_result(make_picture(64, 48), path, dataclasses.replace(recipe, settings=settings, steps_done=1))


def test_a_results_file_restores_its_settings(visit, files, tmp_path):
    from playwright.sync_api import expect

    settings = StyleSettings.preset("classic", size=96, steps=7, seed=11, init="noise", style_layers=("conv2_1",))
    page = visit()
    toggle_sections(page, "Advanced", "Keep and restore")
    page.locator("#restore input[type=file]").set_input_files(save_result_with(settings, files, tmp_path / "a.png"))
    for field, value in {"size": "96", "steps": "7", "seed": "11", "tv_weight": "0"}.items():
        expect(page.locator(f"#{field} input[type=number]")).to_have_value(value)
    expect(page.locator("#init input")).to_have_value("noise")
    page.locator("#make_link").click()
    link = page.locator("#link textarea, #link input").first
    expect(link).to_have_value(re.compile(r"\?preset=classic&size=96&steps=7&style_layers=conv2_1&init=noise&seed=11$"))
    other = visit(link.input_value().rpartition("/")[2])
    toggle_sections(other, "Advanced")
    expect(other.locator("#seed input[type=number]")).to_have_value("11")


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"size": 4096}, "size"),
        ({"backbone": "someone/else"}, "backbone"),
        ({"steps": 9000}, "steps"),
        (None, "recipe"),
    ],
)
def test_settings_that_cannot_be_restored_are_refused_by_name(visit, files, tmp_path, changes, name):
    path = tmp_path / "result.png"
    if changes is None:
        make_picture(64, 48).save(path)
    else:
        save_result_with(StyleSettings.preset("quick", **changes), files, path)
    page = visit()
    toggle_sections(page, "Advanced", "Keep and restore")
    page.locator("#restore input[type=file]").set_input_files(path)
    toast = page.locator(".toast-body").first
    toast.wait_for()
    text = toast.inner_text()
    assert name in text and "/" not in text.replace("someone/else", "") and "Traceback" not in text
    assert page.locator("#size input[type=number]").first.input_value() == "512"
    assert status(page).input_value().startswith("Add a photo and a painting")
