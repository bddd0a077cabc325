"""What the upload fields show is what is painted: previews, compared with what Chromium shows, and the camera."""

import base64
import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageDraw

from helpers import picture_files
from helpers.browsing import (
    DRAW_ON_WHITE,
    SMALL_RUN,
    SMALL_SETTINGS,
    download,
    press_and_wait,
    read_image,
    settle,
    toggle_sections,
    upload,
)
from helpers.pictures import make_picture
from helpers.server import run_server
from nst import describe, load_picture, read_recipe
from nst.io.reading import open_picture
from nst.web.previews import MAX_SIDE, is_shown_as_painted, write_preview
from tools.corpus.formats import handmade_pictures, valid_pictures
from tools.corpus.metadata import metadata_files

PATCHES = np.kron(np.random.default_rng(1).integers(0, 256, (5, 6, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
# Draw the picture at an address; return its PNG, or null if the browser cannot show it.
DRAW = f"""async (url) => {{
  const image = new Image();
  image.src = url;
  try {{ return await ({DRAW_ON_WHITE})(image); }} catch (error) {{ return null; }}
}}"""


def saved(kind: str, array: np.ndarray = PATCHES, mode: str = "RGB", **options) -> bytes:
    data = io.BytesIO()
    Image.fromarray(array).convert(mode).save(data, kind, **options)
    return data.getvalue()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[274] = orientation
    return exif


def many_pictures() -> dict[str, bytes]:
    """Return pictures of all formats, turned ones, and ones with colour profiles and gammas, by file name."""
    files = dict(valid_pictures()) | dict(handmade_pictures())
    files |= {name: data for name, data, expected in metadata_files() if expected == "picture"}
    gamma = struct.pack(">I", 100_000), struct.pack(">I", 45_455)
    files |= {
        "gamma-1.png": picture_files.png(PATCHES, picture_files.chunk(b"gAMA", gamma[0])),
        "gamma-srgb.png": picture_files.png(PATCHES, picture_files.chunk(b"gAMA", gamma[1])),
        "primaries.png": picture_files.png(
            PATCHES, picture_files.chunk(b"gAMA", gamma[1]),
            picture_files.chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000)),
        ),
        "16-bit-rgb.png": picture_files.png(PATCHES.astype(np.uint16) * 257),
        "adobe.png": saved("PNG", icc_profile=picture_files.ADOBE),
        "swapped.jpg": saved("JPEG", icc_profile=picture_files.SWAPPED),
        "swapped.webp": saved("WEBP", icc_profile=picture_files.SWAPPED),
        "turned.webp": saved("WEBP", exif=turned(6)),
        "turned.png": saved("PNG", exif=turned(6)),
    }  # fmt: skip
    return files


@pytest.mark.slow
def test_chromium_shows_what_is_painted_or_a_preview_is_made(browser, tmp_path):
    page = browser.new_page()
    without_preview = []
    for number, (name, data) in enumerate(many_pictures().items()):
        path = tmp_path / f"{number}-{name}"
        path.write_bytes(data)
        with open_picture(path) as image:
            if not is_shown_as_painted(image):
                continue
            kind = image.get_format_mimetype() or "image/png"
        shown = page.evaluate(DRAW, f"data:{kind};base64,{base64.b64encode(data).decode()}")
        assert shown, f"{name} cannot be shown"
        shown, painted = Image.open(io.BytesIO(base64.b64decode(shown))).convert("RGB"), load_picture(path)
        assert shown.size == painted.size, name
        difference = np.abs(np.asarray(shown).astype(int) - np.asarray(painted)).max()
        assert difference <= (25 if "avif" in name else 3), name  # two decoders of AVIF interpolate colours otherwise
        without_preview.append(name)
    page.close()
    kinds = {name.rpartition(".")[2] for name in without_preview}
    assert {"png", "jpg", "webp", "gif", "bmp", "avif"} <= kinds  # the usual uploads stay as they are
    others = {"16-bit-rgb.png", "swapped.jpg", "adobe.png", "turned.png", "turned.webp", "gamma-1.png", "alpha.png"}
    assert others <= set(without_preview)


@pytest.mark.parametrize(("name", "data"), [
    ("tiff", saved("TIFF")), ("tga", saved("TGA")), ("ppm", saved("PPM")), ("jp2", saved("JPEG2000")),
    ("dds", saved("DDS")), ("ico", saved("ICO")), ("cmyk.jpg", saved("JPEG", mode="CMYK")),
    ("pq.png", picture_files.png(PATCHES, picture_files.cicp(9, 16))),
    ("animated.gif", saved("GIF", save_all=True, append_images=[make_picture(48, 40)])),
    ("cut.gif", saved("GIF", save_all=True, append_images=[make_picture(48, 40)])[:-300]),
])  # fmt: skip
def test_a_preview_is_made_of_what_browsers_do_not_show_as_it_is_painted(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with open_picture(tmp_path / name) as image:
        assert not is_shown_as_painted(image)


def test_a_preview_has_the_pictures_colours_and_is_small(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    picture = make_picture(4 * MAX_SIDE, 2 * MAX_SIDE)
    preview = Image.open(write_preview(picture))
    assert (preview.format, preview.mode, preview.size) == ("PNG", "RGB", (MAX_SIDE, MAX_SIDE // 2))
    means = np.asarray(picture, float).reshape(MAX_SIDE // 2, 4, MAX_SIDE, 4, 3).mean((1, 3))
    assert np.abs(means - np.asarray(preview)).max() < 3
    small = make_picture(40, 30)
    assert np.array_equal(np.asarray(Image.open(write_preview(small))), np.asarray(small))


# --- on the page ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with run_server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="module")
def app_url(server):
    """So that `visit` opens the page of this module's server, whose files the tests can see."""
    return server.url


def wait_for_picture(page, target: str, width: int) -> Image.Image:
    """Wait until the field shows a picture of that width. Return its pixels as the browser draws them."""
    page.wait_for_function(f"document.querySelector('{target} img')?.naturalWidth == {width}")
    return read_image(page, f"{target} img")


def assert_close(shown: Image.Image, expected: Image.Image, tolerance: float = 2) -> None:
    difference = np.abs(np.asarray(shown).astype(int) - np.asarray(expected.convert("RGB").resize(shown.size)))
    assert difference.mean() < tolerance


@pytest.mark.slow
def test_a_tiff_and_a_tga_are_shown_and_painted_from_their_files(visit, server, tmp_path):
    from playwright.sync_api import expect

    photo, painting = tmp_path / "my scan.tif", tmp_path / "painting.tga"
    make_picture(1000, 750, seed=1).save(photo)
    make_picture(120, 90, seed=2).save(painting)
    page = visit(SMALL_RUN)
    upload(page, "#content", photo)
    upload(page, "#style", painting)
    assert_close(wait_for_picture(page, "#content", MAX_SIDE), make_picture(1000, 750, seed=1))
    assert_close(wait_for_picture(page, "#style", 120), make_picture(120, 90, seed=2))
    assert press_and_wait(page).startswith("Done")
    # The file itself, not the preview:
    assert read_recipe(download(page, "#download", tmp_path)) == describe(photo, painting, SMALL_SETTINGS)

    toggle_sections(page, "Advanced")
    page.locator("#swap").click()
    assert wait_for_picture(page, "#content", 120).size == (120, 90)
    assert press_and_wait(page).startswith("Done")
    assert read_recipe(download(page, "#download", tmp_path)) == describe(painting, photo, SMALL_SETTINGS)

    for file in server.files():  # as after an hour
        if file.name == "painting.tga":
            file.unlink()
    page.locator("#stylize").click()
    expect(page.locator(".toast-body").first).to_contain_text("painting.tga")


@pytest.mark.slow
def test_an_upload_that_browsers_show_stays_as_it_is(visit, tmp_path):
    make_picture(1000, 700, seed=1).save(tmp_path / "photo.jpg")
    page = visit()
    upload(page, "#content", tmp_path / "photo.jpg")
    wait_for_picture(page, "#content", 1000)
    page.wait_for_timeout(1000)  # for a preview, which must not come
    assert page.locator("#content img").first.get_attribute("src").endswith("/photo.jpg")


@pytest.mark.slow
def test_another_painting_has_a_preview_too(visit, tmp_path):
    make_picture(90, 70, seed=3).save(tmp_path / "third.ppm")
    page = visit()
    toggle_sections(page, "Advanced", "Several paintings")
    upload(page, "#style_3", tmp_path / "third.ppm")
    assert_close(wait_for_picture(page, "#style_3", 90), make_picture(90, 70, seed=3))


@pytest.mark.slow
def test_a_late_preview_does_not_replace_the_next_upload(visit, tmp_path):
    make_picture(100, 80, seed=1).save(tmp_path / "first.tif")
    make_picture(110, 80, seed=2).save(tmp_path / "next.png")
    page, held = visit(), []
    settle(page)
    page.route("**/gradio_api/queue/join*", lambda route: route.continue_() if held else held.append(route))
    page.locator("#content input[type=file]").set_input_files(tmp_path / "first.tif")
    page.locator("#content img[src$='/first.tif']").wait_for(state="attached")
    page.locator("#content button[aria-label*='lear'], #content button[aria-label*='emove']").first.click()
    page.locator("#content input[type=file]").set_input_files(tmp_path / "next.png")
    wait_for_picture(page, "#content", 110)
    with page.expect_response("**/gradio_api/queue/join*"):
        held[0].continue_()
    page.wait_for_timeout(3000)  # for the first upload's preview
    assert page.locator("#content img").first.get_attribute("src").endswith("/next.png")


def drop(page, target: str, name: str, data: bytes, kind: str) -> None:
    """Drop a file with a media type on a field, as from a file manager."""
    settle(page)
    transfer = page.evaluate_handle(
        """([data, name, type]) => {
          const transfer = new DataTransfer();
          const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
          transfer.items.add(new File([bytes], name, {type}));
          return transfer;
        }""",
        [base64.b64encode(data).decode(), name, kind],
    )
    zone = page.locator(f"{target} button", has=page.locator("input[type=file]")).first
    zone.dispatch_event("drop", {"dataTransfer": transfer})


@pytest.mark.slow
@pytest.mark.parametrize(("name", "data", "kind"), [
    ("old.tga", saved("TGA"), ""), ("old.jp2", saved("JPEG2000"), "application/octet-stream"),
    ("scan.tif", saved("TIFF"), "image/tiff"), ("photo.png", saved("PNG"), "image/png"),
])  # fmt: skip
def test_a_picture_can_be_dropped_whatever_type_the_system_gives_it(visit, name, data, kind):
    page = visit()
    drop(page, "#content", name, data, kind)
    assert_close(wait_for_picture(page, "#content", 48), Image.fromarray(PATCHES))


@pytest.mark.slow
def test_a_dropped_file_that_is_no_picture_is_refused_by_its_name(visit):
    from playwright.sync_api import expect

    page = visit()
    drop(page, "#content", "notes.txt", b"not a picture", "text/plain")
    expect(page.locator(".toast-body").first).to_contain_text("notes.txt: not a picture that can be read")


@pytest.fixture
def camera_browser(launch_chromium, tmp_path):
    """A Chromium whose camera sees a sheet that is red on its left and blue on its right."""
    sheet = Image.new("RGB", (320, 240), "red")
    ImageDraw.Draw(sheet).rectangle((160, 0, 320, 240), "blue")
    luma, *chroma = sheet.convert("YCbCr").split()
    planes = [luma.tobytes(), *(plane.resize((160, 120)).tobytes() for plane in chroma)]
    video = tmp_path / "camera.y4m"
    video.write_bytes(b"YUV4MPEG2 W320 H240 F10:1 Ip C420jpeg\n" + 5 * (b"FRAME\n" + b"".join(planes)))
    chromium = launch_chromium(
        "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-video-capture={video}",
    )  # fmt: skip
    yield chromium
    chromium.close()


@pytest.mark.slow
def test_the_cameras_picture_is_not_mirrored(camera_browser, app_url, tmp_path):
    page = camera_browser.new_context(permissions=["camera"]).new_page()
    page.goto(f"{app_url}/{SMALL_RUN}")
    page.locator("#stylize").wait_for()
    page.locator("#content button[aria-label='Capture from camera']").click()
    page.locator("#content button", has_text="Click to Access Webcam").click()
    page.wait_for_function("document.querySelector('#content video')?.videoWidth > 0")
    assert page.locator("#content video").first.evaluate("(e) => getComputedStyle(e).transform") == "none"
    page.locator("#content button[aria-label='capture photo']").click()
    taken = wait_for_picture(page, "#content", 320)
    left, right = taken.getpixel((20, 120)), taken.getpixel((300, 120))
    assert left[0] > 200 > 60 > left[2] and right[2] > 200 > 60 > right[0]
    page.locator("#example_paintings button").first.click()
    page.locator("#style img").first.wait_for()
    press_and_wait(page)
    photo = tmp_path / "taken.png"
    photo.write_bytes(page.request.get(page.locator("#content img").first.get_attribute("src")).body())
    assert read_recipe(download(page, "#download", tmp_path)).content == describe(photo, photo, SMALL_SETTINGS).content
