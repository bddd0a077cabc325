"""Saved styles on the page: the host's folder, the menu, and a run without a painting."""

import numpy as np
import pytest
from PIL import Image

from helpers.browsing import SMALL_RUN, download, press_and_wait, upload
from helpers.refusals import refusal
from helpers.server import run_server
from nst import StyleSettings, load_style, read_recipe, save_style, stylize
from nst.web.options import read_options
from nst.web.styles import NO_STYLE, chosen_style, find_styles, style_menu


@pytest.fixture
def folder(tmp_path, pictures):
    """A folder with a saved style of the painting, one that is damaged, and another file."""
    folder = tmp_path / "host's styles"
    save_style([pictures[1]], folder / "blobs.style", StyleSettings(device="cpu"), 64)
    (folder / "broken.style").write_bytes(b"no style")
    (folder / "notes.txt").write_text("no style")
    return folder


def test_the_menu_has_the_names_of_the_saved_styles(folder):
    assert list(find_styles(str(folder))) == ["blobs", "broken"]
    menu = style_menu(str(folder))
    assert [value for _, value in menu.choices] == ["", "blobs", "broken"] and menu.visible and menu.value == ""
    assert menu.choices[0] == NO_STYLE
    assert not style_menu("").visible


def test_only_a_style_of_the_folder_can_be_chosen(folder, pictures):
    assert chosen_style("blobs", str(folder)).sha256 == load_style(folder / "blobs.style").sha256
    for name in ("", None, "missing", "../host's styles/blobs"):
        assert chosen_style(name, str(folder)) is None
    assert chosen_style("blobs", "") is None
    assert "broken.style: not a saved style" in refusal(chosen_style, "broken", str(folder))


def test_the_host_names_the_folder(folder):
    assert read_options(["--styles", str(folder)], {}).styles == str(folder)
    assert read_options([], {"NST_STYLES": str(folder)}).styles == str(folder)
    assert "--styles must be a folder" in refusal(read_options, ["--styles", str(folder / "notes.txt")], {})


@pytest.mark.slow
def test_a_visitor_paints_with_a_saved_style_and_without_a_painting(browser, folder, pictures, tmp_path):
    from playwright.sync_api import expect

    with run_server(tmp_path / "server", "--styles", folder) as server:
        page = browser.new_page(accept_downloads=True)
        page.goto(f"{server.url}/{SMALL_RUN}")
        upload(page, "#content", pictures[0])
        menu = page.locator("#saved_style input")
        menu.click()
        page.get_by_role("option", name="broken").click()
        page.locator("#stylize").click()
        expect(page.get_by_text("broken.style: not a saved style").first).to_be_visible()
        menu.click()
        page.get_by_role("option", name="blobs").click()
        assert press_and_wait(page).startswith("Done")
        page.screenshot(path=tmp_path / "page.png", full_page=True)
        result = download(page, "#download", tmp_path)
        page.close()
    settings = StyleSettings.preset("quick", size=64, steps=12, scales=1)
    *_, step = stylize(pictures[0], load_style(folder / "blobs.style"), settings)
    with Image.open(result) as picture:
        assert np.array_equal(np.asarray(picture.convert("RGB")), np.asarray(step.image))
    assert read_recipe(result).styles[0].picture == load_style(folder / "blobs.style").sha256
