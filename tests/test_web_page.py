"""The page itself: accessibility in light and dark, on a phone and by keyboard; and its tab about the network."""

import re

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image

from helpers.browsing import (
    ENDED,
    SMALL_RUN,
    open_tab,
    press_and_wait,
    read_image,
    settle,
    status,
    toggle_sections,
    upload_pictures,
)
from nst import PRESETS, estimate, feature_maps, load_backbone
from nst.examples import painting_path, photo_path
from nst.models.card import SUPERCLASSES

pytestmark = pytest.mark.slow

EVERYTHING = ("Advanced", "Several paintings", "Regions", "Part of the painting", "Keep and restore",
              "Pictures of this visit", "Losses")  # fmt: skip
# Return [ratio, text]: the visible text with the lowest contrast to its background, by WCAG's formula.
CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgba = (css) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = css;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].map((value) => value / 255);
  };
  const over = (top, under) => [0, 1, 2].map((c) => top[c] * top[3] + under[c] * (1 - top[3]));
  const light = (colour) => {
    const [r, g, b] = colour.map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const under = (element) => {
    if (!element) return [1, 1, 1];
    const colour = rgba(getComputedStyle(element).backgroundColor);
    return colour[3] == 1 ? colour.slice(0, 3) : over(colour, under(element.parentElement));
  };
  let lowest = [21, ""];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = texts.nextNode());) {
    const element = node.parentElement;
    if (!node.textContent.trim() || element.closest("svg, script, style, :disabled, [aria-hidden=true]")) continue;
    if (!element.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
    const back = under(element);
    const [a, b] = [light(over(rgba(getComputedStyle(element).color), back)), light(back)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < lowest[0]) lowest = [ratio, node.textContent.trim().slice(0, 60)];
  }
  return lowest;
}"""
# Sum up the layout shifts that browsers report, except those just after an action of the visitor.
SHIFTS = """() => {
  window.shifted = 0;
  new PerformanceObserver((list) => list.getEntries().forEach((entry) => {
    if (!entry.hadRecentInput) window.shifted += entry.value;
  })).observe({type: "layout-shift"});
}"""


def problems(page) -> list[str]:
    """Return the violations that axe reports with a serious or critical impact."""
    violations = Axe().run(page).response["violations"]
    return [
        f"{violation['id']}: {node['html'][:160]} {node['any'][0]['message'] if node['any'] else ''}"
        for violation in violations
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious_and_all_text_has_enough_contrast(visit, pictures, theme):
    from playwright.sync_api import expect

    page = visit(SMALL_RUN, color_scheme=theme)

    def check() -> None:
        page.add_style_tag(content="*, ::before, ::after { transition: none !important; animation: none !important; }")
        settle(page)
        assert problems(page) == []
        ratio, text = page.evaluate(CONTRAST)
        assert ratio >= 4.5, text

    check()
    toggle_sections(page, *EVERYTHING)
    upload_pictures(page, *pictures)
    press_and_wait(page)
    check()
    page.locator("#variations").click()
    page.locator("#variations_gallery img").nth(3).wait_for()
    page.locator("#stop").click()
    expect(status(page)).to_have_value(re.compile("^Click one"))
    check()
    for title in ("Before and after", "Step by step", "Film"):
        open_tab(page, title)
        check()
    page.locator("#example_clips button").first.click()
    page.locator("#clip video").wait_for()
    check()
    open_tab(page, "What the network sees")
    toggle_sections(page, "The network that looks")
    check()


def test_on_a_phone_nothing_is_cut_off_and_the_button_is_near(visit, pictures):
    from playwright.sync_api import expect

    page = visit(SMALL_RUN, width=390, has_touch=True)
    button = page.locator("#stylize").bounding_box()
    assert button["y"] < 1100 and 0 <= button["x"] < button["x"] + button["width"] <= 390  # a short scroll away
    result, advanced = (page.locator(name).bounding_box()["y"] for name in ("#views", "#advanced"))
    assert result < advanced  # the picture before the many controls
    upload_pictures(page, *pictures)
    page.locator("#stylize").tap()
    expect(page.locator("#output")).to_be_in_viewport(ratio=0.9)  # it is brought into view while it is painted
    page.locator("#output img").wait_for()
    expect(status(page)).to_have_value(ENDED)
    press_and_wait(page)

    def check(where: str) -> None:
        settle(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, where
        beyond = """() => [...document.querySelectorAll("button, input, textarea, img, h1, p, label")].filter(
            (element) => element.checkVisibility() && element.getBoundingClientRect().right > 391 &&
            !element.closest("[aria-hidden=true]")
        ).map((element) => element.outerHTML.slice(0, 120))"""
        assert page.evaluate(beyond) == [], where

    assert page.locator("#continue").evaluate("(e) => e.scrollWidth <= e.clientWidth")  # its text fits
    toggle_sections(page, *EVERYTHING)
    for title in ("Picture", "Before and after", "Step by step", "Film", "What the network sees"):
        open_tab(page, title)
        check(title)
    toggle_sections(page, "The network that looks")
    check("curves")
    open_tab(page, "Paint")
    for width in (1280, 390):  # a wide drawing becomes narrow again when the phone is turned
        page.set_viewport_size({"width": width, "height": 900})
        settle(page)
    check("made smaller")


def test_the_page_works_by_keyboard_alone(visit):
    from playwright.sync_api import expect

    page = visit("?preset=quick&size=128&steps=1000&scales=1")

    def go_to(element: str, key: str = "Tab") -> None:
        for _ in range(70):
            page.keyboard.press(key)
            if page.evaluate("(s) => document.activeElement.matches(s)", element):
                ring = "(e) => getComputedStyle(e).outlineStyle + getComputedStyle(e).boxShadow"
                style = page.locator(element).first.evaluate(ring)
                assert style != "nonenone", f"{element} does not show that it has the focus"
                return
        raise AssertionError(f"{element} cannot be reached by {key}")

    go_to("#example_photos button")
    page.keyboard.press("Enter")
    page.locator("#content img").first.wait_for()
    go_to("#example_paintings button")
    page.keyboard.press("Enter")
    page.locator("#style img").first.wait_for()
    go_to("#stylize")
    page.keyboard.press("Enter")
    page.locator("#output img").wait_for()
    go_to("#stop")
    page.keyboard.press("Enter")
    expect(status(page)).to_have_value(re.compile(r"^Stopped at step \d+ of 1000"))
    go_to("#views [data-tab-id=compare]")
    page.keyboard.press("Enter")
    go_to("#compare input")
    page.keyboard.press("End")
    assert page.locator("#compare .compare").evaluate("(e) => e.style.getPropertyValue('--at')") == "100%"
    go_to("#download")
    with page.expect_download() as caught:
        page.keyboard.press("Enter")
    assert caught.value.suggested_filename == "stylized.png"
    go_to("#strength input[type=range]")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#strength input[type=number]")).to_have_value("0.95")
    expect(page.locator("#download")).to_be_enabled()
    go_to("#enlarge")


def test_nothing_shifts_during_a_run(visit, pictures):
    page = visit("?preset=quick&size=128&steps=40&scales=2")
    upload_pictures(page, *pictures)
    settle(page)
    page.evaluate(SHIFTS)
    press_and_wait(page)
    settle(page)
    assert page.evaluate("window.shifted") < 0.02


def test_three_clicks_make_a_picture(visit):
    from playwright.sync_api import expect

    page = visit("?size=96&steps=8")
    page.evaluate("() => { window.clicks = 0; addEventListener('click', () => { window.clicks += 1; }, true); }")
    page.locator("#example_photos button").first.click()
    page.locator("#example_paintings button").first.click()
    for target in ("#content", "#style"):
        expect(page.locator(f"{target} img").first).to_be_visible()
    page.locator("#stylize").click()
    expect(status(page)).to_have_value(ENDED)
    assert max(read_image(page, "#output img").size) == 96
    assert page.evaluate("window.clicks") == 3


def test_the_network_tab_shows_an_example_before_any_click(page):
    """The maps are those of the example pair, and shallow layers hold more of the photo than deep ones."""
    from playwright.sync_api import expect

    open_tab(page, "What the network sees")
    for name, path in (("photo", photo_path("chelsea")), ("painting", painting_path("oil"))):
        items = page.locator(f"#{name}_maps button.thumbnail-item")
        expect(items).to_have_count(8)
        channel, strongest = feature_maps(path, "conv3_1", count=1)[0]
        expect(items.first).to_contain_text(f"channel {channel}")
        shown = read_image(page, f"#{name}_maps img")
        assert np.corrcoef(np.ravel(shown.convert("L")), np.ravel(strongest))[0, 1] > 0.99
        page.locator(f"#{name}_seen img").wait_for()
    photo = np.asarray(Image.open(photo_path("chelsea")).resize((128, 85)), float)
    page.locator("#photo_depths").scroll_into_view_if_needed()
    shallow, deep = (read_image(page, f"#photo_depths .gallery-item:nth-child({n}) img") for n in (1, 5))
    errors = [np.abs(np.asarray(picture.resize((128, 85)), float) - photo).mean() for picture in (shallow, deep)]
    assert errors[0] < 0.2 * errors[1]


def test_presets_show_their_seconds(page):
    """Their ratio is that of the library's estimates, whatever the speed of the machine."""
    for name in PRESETS:
        page.locator("#preset label", has_text=re.compile(rf"{name} · \d+ (s|min)")).wait_for(timeout=180_000)
    texts = page.locator("#preset label").all_inner_texts()
    times = dict(text.strip().split(" · ") for text in texts)
    seconds = {name: float(time.split()[0]) * (60 if time.endswith("min") else 1) for name, time in times.items()}
    network = load_backbone("cifar100")
    expected = {name: estimate((3, 2), PRESETS[name], network).seconds for name in ("quick", "balanced")}
    assert seconds["balanced"] / seconds["quick"] == pytest.approx(expected["balanced"] / expected["quick"], rel=0.35)
    page.locator("#preset input[value=fine]").check()
    page.locator("#preset input[value=fine]:checked").wait_for()


@pytest.mark.parametrize("width", [1280, 390])
def test_the_download_is_just_under_the_picture(visit, width):
    page = visit(width=width)
    picture, status_line, button, kind = (
        page.locator(name).bounding_box() for name in ("#output", "#status", "#download", "#kind")
    )
    bottom = picture["y"] + picture["height"]
    assert abs(status_line["y"] - bottom) < 4  # time left and step are at the picture's lower edge
    assert bottom < button["y"] < bottom + 140
    assert abs(kind["y"] + kind["height"] / 2 - button["y"] - button["height"] / 2) < 12  # beside it
    assert page.locator("#losses").count() == 0 or not page.locator("#losses").is_visible()


def test_the_page_shows_what_the_network_sees(visit, pictures):
    from playwright.sync_api import expect

    page = visit(SMALL_RUN)
    open_tab(page, "What the network sees")
    look_status = page.locator("#look_status textarea, #look_status input").first
    page.locator("#look").click()
    expect(page.locator(".toast-body").first).to_contain_text("Add a photo and a painting")
    open_tab(page, "Paint")
    upload_pictures(page, *pictures)
    open_tab(page, "What the network sees")
    page.locator("#layer input").click()
    page.get_by_role("option", name="conv1_2").click()
    page.locator("#look").click()
    expect(look_status).to_have_value(re.compile("^Photo, from conv1_2 alone: step"))
    for name in ("photo", "painting"):
        expect(page.locator(f"#{name}_maps button.thumbnail-item")).to_have_count(8)
        assert len(read_image(page, f"#{name}_maps img").getcolors(1 << 24)) > 10
    expect(look_status).to_have_value(re.compile("^Style of conv1_1: step"))
    for name, shape in (("photo", 4 / 3), ("painting", 1)):
        page.locator(f"#{name}_seen img").wait_for()
        width, height = read_image(page, f"#{name}_seen img").size
        assert width / height == pytest.approx(shape, rel=0.02)
    page.locator("#stop_looking").click()
    expect(look_status).to_have_value("Stopped")


def test_the_page_shows_how_the_network_was_trained(page):
    from nst.models.checkpoints import bundled_checkpoint, read_metadata

    open_tab(page, "What the network sees")
    toggle_sections(page, "The network that looks")
    for key in ("top1", "loss"):
        page.locator(f"#curve_{key} svg, #curve_{key} canvas").first.wait_for()
    text = page.locator("#network").inner_text()
    assert all(name in text for name in SUPERCLASSES)
    assert f"{read_metadata(bundled_checkpoint())['top1']} %" in text
