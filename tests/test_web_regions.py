"""Regions and mixing on the page: what is brushed in which colour, what follows from it, and both in a real browser."""

import itertools

import gradio as gr
import numpy as np
import pytest
from PIL import Image, ImageDraw
from skimage.color import deltaE_ciede2000, rgb2lab

from helpers.browsing import (
    SMALL_RUN,
    SMALL_SETTINGS,
    download,
    press_and_wait,
    settle,
    status,
    toggle_sections,
    upload,
    upload_pictures,
)
from helpers.pictures import make_picture
from helpers.refusals import refusal
from nst import Style, read_recipe, stylize
from nst.web.mixing import load_artist, styles_of
from nst.web.regions import (
    COLOURS,
    _layer,
    brush_subject,
    brushed_places,
    check_shape,
    invert_drawing,
    masks_of,
    part_of,
    show_new_picture,
    show_picture,
)

# Machado, Oliveira & Fernandes (2009): what people without red, green or blue cones see, in linear RGB.
BLINDNESS = {
    "red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def stroke(number: int, box: tuple[int, int, int, int], size: tuple[int, int] = (40, 20)) -> Image.Image:
    layer = Image.new("RGBA", size)
    layer.paste((*COLOURS[number], 150), box)
    return layer


def drawn(*layers: Image.Image) -> dict:
    return {"background": make_picture(*layers[0].size), "layers": list(layers), "composite": layers[0]}


def area(mask) -> np.ndarray:
    return np.asarray(mask) > 127


def with_path(picture: Image.Image, path: str) -> Image.Image:
    picture.info["path"] = path
    return picture


# What was brushed


@pytest.mark.parametrize("blindness", [None, *BLINDNESS])
def test_everybody_can_tell_the_colours_apart(blindness):
    matrix = np.array(BLINDNESS[blindness]) if blindness else np.eye(3)

    def seen(colour) -> np.ndarray:
        values = np.array(colour) / 255
        linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
        linear = (matrix @ linear).clip(0, 1)
        return rgb2lab(np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)[None, None])

    for one, other in itertools.combinations(COLOURS.values(), 2):
        assert deltaE_ciede2000(seen(one), seen(other)).item() > 20


def test_a_mask_is_white_where_the_visitor_brushed():
    (mask,) = masks_of(drawn(stroke(1, (0, 0, 10, 20)))).values()
    assert mask.size == (40, 20) and area(mask)[:, :10].all() and not area(mask)[:, 10:].any()
    empty = {"layers": [Image.new("RGBA", (8, 8))]}
    for nothing in (None, {"layers": []}, show_picture(make_picture(900, 300))[0], empty):
        assert masks_of(nothing) == {}
    assert show_picture(make_picture(900, 300))[0]["background"].size == (512, 171)


def test_every_colour_is_a_painting_and_the_last_one_counts_where_they_overlap():
    layer = stroke(1, (0, 0, 20, 20))
    layer.alpha_composite(stroke(3, (10, 0, 30, 20)))
    masks = masks_of(drawn(layer))
    assert sorted(masks) == [1, 3]
    assert area(masks[1])[:, :10].all() and not area(masks[1])[:, 10:].any()
    assert area(masks[3])[:, 10:30].all() and not area(masks[3])[:, 30:].any()


@pytest.mark.parametrize("number", COLOURS)
def test_the_faint_edge_of_a_round_stroke_belongs_to_its_colour(number):
    """Drawn four times as large, and reduced as browsers do: with rounded premultiplied colours at the edge."""
    large = Image.new("RGBA", (400, 240))
    ImageDraw.Draw(large).line((60, 60, 340, 180), fill=(*COLOURS[number], 153), width=60)
    layer = large.convert("RGBa").reduce(4).convert("RGBA")
    alpha = np.asarray(layer)[..., 3]
    assert ((alpha > 0) & (alpha < 20)).any()
    places = brushed_places(drawn(layer))
    assert list(places) == [number] and np.array_equal(places[number], alpha > 0)


def test_the_layers_of_the_server_are_cut_to_the_picture():
    found = np.zeros((20, 40), bool)
    found[5:, 30:] = True
    places = brushed_places({"background": make_picture(40, 20), "layers": [_layer({2: found})]})
    assert list(places) == [2] and np.array_equal(places[2], found)


def test_the_subject_is_brushed_in_indigo_and_other_colours_stay():
    photo = Image.new("RGB", (160, 120), (60, 110, 80))
    ImageDraw.Draw(photo).ellipse((50, 20, 110, 118), fill=(200, 60, 40))
    photo = with_path(Image.fromarray(np.uint8(np.random.default_rng(0).normal(photo, 6).clip(0, 255))), "photo.png")
    value, file = brush_subject(photo, None, "")
    places = brushed_places(value)
    assert file == "photo.png" and list(places) == [1] and places[1][70, 80] and not places[1][10, 10]
    yellow = stroke(2, (125, 20, 155, 60), (160, 120))
    value, _ = brush_subject(photo, {"background": value["background"], "layers": [yellow]}, file)
    again = brushed_places(value)
    assert (
        sorted(again) == [1, 2]
        and again[2][40, 140]
        and again[1][70, 80]
        and not (again[1] & area(yellow.getchannel("A"))).any()
    )
    other, _ = brush_subject(photo, {"background": value["background"], "layers": [yellow]}, "another.png")
    assert list(brushed_places(other)) == [1]
    inverted = brushed_places(invert_drawing(value))
    assert list(inverted) == [1] and np.array_equal(inverted[1], ~(again[1] | again[2]))
    with pytest.raises(gr.Error, match="Load the photo"):
        invert_drawing(None)


def test_an_editor_keeps_what_is_brushed_on_the_same_picture():
    photo = with_path(make_picture(80, 60), "a.png")
    value, loaded = show_new_picture(photo, "")
    assert value["background"].size == (80, 60) and loaded == "a.png"
    assert all(isinstance(x, dict) and x["__type__"] == "update" for x in show_new_picture(photo, "a.png"))
    assert show_new_picture(photo, "b.png")[1] == "a.png"
    assert show_new_picture(None, "a.png") == (None, "")


def test_what_was_brushed_on_another_picture_is_refused():
    masks = masks_of(drawn(stroke(1, (0, 0, 10, 20))))
    check_shape(make_picture(800, 400), masks)
    assert "another photo" in refusal(check_shape, make_picture(400, 800), masks)
    painting = with_path(make_picture(40, 20), "a.png")
    brushed = drawn(stroke(1, (0, 0, 10, 20)))
    assert np.array_equal(area(part_of(brushed, painting, "a.png")), area(masks[1]))
    assert "another painting" in refusal(part_of, brushed, painting, "b.png")
    assert part_of(None, painting, "b.png") is None


# The styles


FIRST, SECOND, THIRD = (make_picture(9, 9, seed=seed) for seed in (1, 2, 3))
OTHERS = [(SECOND, 2.0), (THIRD, 1.0)]


def test_what_is_not_brushed_takes_the_paintings_without_a_colour():
    masks = masks_of(drawn(stroke(1, (0, 0, 10, 20))))
    first, second, third = styles_of(Style(FIRST), OTHERS, masks)
    assert (first.weight, second.weight, third.weight) == (1, 2, 1)
    assert (area(first.mask) == ~area(second.mask)).all() and (area(second.mask) == area(third.mask)).all()
    (alone,) = styles_of(Style(FIRST), [(None, 1.0)], masks)
    assert area(alone.mask).sum() == 200
    (stays,) = styles_of(Style(FIRST), OTHERS, masks, rest_stays=True)
    assert stays.picture is FIRST
    masks = masks_of(drawn(stroke(3, (0, 0, 10, 20))))
    first, second, third = styles_of(Style(FIRST), OTHERS, masks)
    assert (area(third.mask) == ~area(first.mask)).all() and (area(first.mask) == area(second.mask)).all()
    assert [style.mask for style in styles_of(Style(FIRST), OTHERS, {}, rest_stays=True)] == [None] * 3
    assert "Painting 3 is missing" in refusal(styles_of, Style(FIRST), [(SECOND, 1.0), (None, 1.0)], masks)
    assert "red" in refusal(styles_of, Style(FIRST), [], masks)


@pytest.mark.parametrize(("mix", "weights"), [(0, [1]), (0.25, [1.5, 1, 0.5]), (0.5, [1, 2, 1]), (1, [4, 2])])
def test_the_mix_goes_from_the_first_painting_to_the_others(mix, weights):
    styles = styles_of(Style(FIRST), OTHERS, {}, mix)
    shares = [style.weight / sum(style.weight for style in styles) for style in styles]
    assert shares == pytest.approx([weight / sum(weights) for weight in weights])
    assert styles[0].picture is (SECOND if mix == 1 else FIRST)
    (alone,) = styles_of(Style(FIRST), [(None, 1.0)], {}, mix)
    assert alone == Style(FIRST)


def test_paintings_with_a_region_are_not_mixed():
    masks = masks_of(drawn(stroke(2, (0, 0, 10, 20))))
    styles = styles_of(Style(FIRST), OTHERS, masks, 0.0)
    assert [(style.picture, style.weight) for style in styles] == [(FIRST, 2.0), (SECOND, 2.0)]


def test_one_artist_has_at_most_eight_more_pictures(tmp_path):
    files = [tmp_path / f"{number}.png" for number in range(9)]
    for file in files:
        make_picture(20, 20).save(file)
    assert len(load_artist([str(file) for file in files[:8]])) == 8 and load_artist(None) == []
    assert "at most 8" in refusal(load_artist, files)
    files[0].write_text("no picture")
    assert refusal(load_artist, files[:1]).startswith("One artist: 0.png: not a picture")


# In a browser


@pytest.fixture
def paintings(tmp_path):
    """Three plain paintings with a little texture: reddish, greenish and bluish; and a grey photo of 480x320."""
    paths = []
    for name, colour in (("red", (200, 40, 40)), ("green", (40, 160, 60)), ("blue", (50, 60, 200))):
        texture = np.asarray(make_picture(120, 120, seed=len(name)), float)[..., :1] / 5 - 25
        paths.append(tmp_path / f"{name}.png")
        Image.fromarray(np.uint8((np.array(colour) + texture).clip(0, 255))).save(paths[-1])
    photo = tmp_path / "photo.png"
    make_picture(480, 320, seed=1).convert("L").convert("RGB").save(photo)
    return photo, *paths


def brush(page, editor: str, at: float, colour: int = 1) -> None:
    """Brush from the top to the bottom of an editor's picture; at: a share of its width.

    The brush is 40 px wide, a twelfth of the picture. Each move redraws the editor, which is slow without a graphics
    card: there are few.
    """
    frame = page.locator(editor)
    frame.locator("canvas").first.wait_for()
    frame.scroll_into_view_if_needed()
    settle(page)
    if colour > 1:
        frame.get_by_label("Color", exact=True).click()
        frame.locator(".swatch button").nth(colour - 1).click()
        frame.get_by_label("Color", exact=True).click()
    box = frame.locator("canvas").first.bounding_box()
    width = 480 * float(frame.locator(".zoom-number").inner_text().strip("% \n")) / 100
    x = box["x"] + box["width"] / 2 + (at - 0.5) * width
    page.mouse.move(x, box["y"] + 0.25 * box["height"])
    page.mouse.down()
    page.mouse.move(x, box["y"] + 0.5 * box["height"])
    page.mouse.move(x, box["y"] + 0.75 * box["height"])
    page.mouse.up()
    settle(page)


def shares(picture: Image.Image) -> dict[str, np.ndarray]:
    """Return by the name of a colour where a picture has it, (H, W)."""
    red, green, blue = np.asarray(picture.convert("RGB")).astype(int).transpose(2, 0, 1)
    return {
        "red": (red > green + 40) & (red > blue + 40),
        "green": (green > red + 40) & (green > blue + 20),
        "blue": (blue > red + 40) & (blue > green + 40),
    }


def close(page, *titles: str) -> None:
    toggle_sections(page, *titles)  # an open editor is redrawn again and again
    settle(page)


@pytest.mark.slow
def test_each_colour_takes_its_painting_and_the_rest_stays_exactly(visit, paintings, tmp_path):
    photo, red, green, _ = paintings
    page = visit(SMALL_RUN)
    upload_pictures(page, photo, red)
    toggle_sections(page, "Advanced", "Several paintings")
    upload(page, "#style_2", green)
    toggle_sections(page, "Several paintings", "Regions")
    brush(page, "#mask", 0.1)
    brush(page, "#mask", 0.9, colour=2)
    page.get_by_label("stays as it is").check()
    close(page, "Regions")
    press_and_wait(page)
    path = download(page, "#download", tmp_path)
    painted, colours = Image.open(path), shares(Image.open(path))
    assert colours["red"][15:28, 5:8].mean() > 0.8 and not colours["green"][:, :32].any()
    assert colours["green"][15:28, 56:59].mean() > 0.8 and not colours["red"][:, 32:].any()
    original = Image.open(photo).resize(painted.size, Image.Resampling.LANCZOS)
    assert np.array_equal(np.asarray(painted)[:, 28:36], np.asarray(original)[:, 28:36])
    first, second = read_recipe(path).styles
    assert first.mask and second.mask and first.mask != second.mask
    assert press_and_wait(page, "#continue").startswith("Done")
    continued = Image.open(download(page, "#download", tmp_path))
    assert np.array_equal(np.asarray(continued)[:, 28:36], np.asarray(original)[:, 28:36])


@pytest.mark.slow
def test_the_subject_is_found_and_its_opposite_painted(visit, paintings, tmp_path):
    _, red, _, _ = paintings
    photo = Image.new("RGB", (480, 320), (70, 110, 80))
    ImageDraw.Draw(photo).ellipse((150, 40, 330, 315), fill=(190, 170, 60))
    noise = np.random.default_rng(0).normal(0, 6, (320, 480, 3))
    Image.fromarray(np.uint8((np.asarray(photo) + noise).clip(0, 255))).save(tmp_path / "scene.png")
    page = visit(SMALL_RUN)
    upload_pictures(page, tmp_path / "scene.png", red)
    toggle_sections(page, "Advanced", "Regions")
    page.locator("#mask canvas").first.wait_for()
    settle(page)
    results = []
    for button in ("#find", "#invert"):
        page.locator(button).click()
        page.wait_for_timeout(1500)  # until the server has answered, nothing changes on the page
        settle(page, 1)
        press_and_wait(page)
        results.append(np.asarray(Image.open(download(page, "#download", tmp_path))))
    original = Image.open(tmp_path / "scene.png").resize((64, 43), Image.Resampling.LANCZOS)
    inside = np.zeros((43, 64), bool)
    inside[14:36, 26:38] = True
    outside = np.zeros((43, 64), bool)
    outside[:, :15] = outside[:, -15:] = True
    for result, painted, kept in ((results[0], inside, outside), (results[1], outside, inside)):
        assert np.array_equal(result[kept], np.asarray(original)[kept])
        assert (result[painted] != np.asarray(original)[painted]).any(1).mean() > 0.95


@pytest.mark.slow
def test_a_part_of_the_painting_is_brushed_and_opening_it_again_keeps_it(visit, paintings, tmp_path):
    photo, red, _, blue = paintings
    both = Image.new("RGB", (480, 320))
    both.paste(Image.open(red).resize((240, 320)), (0, 0))
    both.paste(Image.open(blue).resize((240, 320)), (240, 0))
    both.save(tmp_path / "both.png")
    # A single stroke is too narrow for a sketch, which needs patches that lie in the part.
    page = visit(SMALL_RUN.replace("size=64", "size=256") + "&sketch=no")
    upload_pictures(page, photo, tmp_path / "both.png")
    toggle_sections(page, "Advanced", "Part of the painting")
    brush(page, "#part", 0.2)
    toggle_sections(page, "Part of the painting")
    toggle_sections(page, "Part of the painting")  # the same painting: nothing is lost
    close(page, "Part of the painting")
    press_and_wait(page)
    path = download(page, "#download", tmp_path)
    colours = shares(Image.open(path))
    assert colours["red"].mean() > 0.8 and not colours["blue"].any()
    assert read_recipe(path).styles[0].part
    upload(page, "#style", blue)
    page.locator("#stylize").click()
    page.locator(".toast-body").first.wait_for()
    assert "brushed on another painting" in page.locator(".toast-body").first.inner_text()
    page.locator(".toast-close").first.click()  # while it is there, it counts down
    toggle_sections(page, "Part of the painting")  # shows the new painting, with nothing brushed
    settle(page)
    close(page, "Part of the painting")
    press_and_wait(page)
    assert read_recipe(download(page, "#download", tmp_path)).styles[0].part is None


@pytest.mark.slow
def test_the_mix_and_one_artist_reach_the_run(visit, paintings, tmp_path):
    from playwright.sync_api import expect

    photo, red, green, blue = paintings
    page = visit(SMALL_RUN)
    upload_pictures(page, photo, red)
    toggle_sections(page, "Advanced", "Several paintings")
    upload(page, "#style_2", green)
    box = page.locator("#mix input[type=number]").first
    box.fill("0.75")
    box.press("Tab")
    page.locator("#artist input[type=file]").set_input_files([blue, green])
    expect(page.locator("#artist")).to_contain_text("green")
    settle(page)
    press_and_wait(page)
    path = download(page, "#download", tmp_path)
    *_, expected = stylize(photo, [Style([red, blue, green], 0.5), Style(green, 1.5)], SMALL_SETTINGS)
    assert np.array_equal(np.asarray(Image.open(path)), np.asarray(expected.image))
    assert [style.weight for style in read_recipe(path).styles] == [0.5, 1.5]


@pytest.mark.slow
def test_a_colour_without_its_painting_is_explained(visit, paintings):
    photo, red, _, _ = paintings
    page = visit(SMALL_RUN)
    upload_pictures(page, photo, red)
    toggle_sections(page, "Advanced", "Regions")
    brush(page, "#mask", 0.5, colour=3)
    page.locator("#stylize").click()
    page.locator(".toast-body").first.wait_for()
    assert "Painting 3 is missing: add it, or erase what is brushed in red." in page.locator(".toast-body").inner_text()
    assert status(page).input_value().startswith("The run failed")
