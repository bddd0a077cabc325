"""The app as its users see it: over its API, and in a real browser."""

import re
import time

import pytest
from PIL import Image

from helpers.browsing import upload_pictures
from helpers.pictures import make_picture

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def client(app_url):
    from gradio_client import Client

    return Client(app_url, verbose=False)


@pytest.fixture
def files(pictures):
    from gradio_client import handle_file

    return [handle_file(str(path)) for path in pictures]


# Over the API


def test_the_api_yields_previews_and_ends_with_a_lossless_png(client, files):
    job = client.submit(*files, size=96, steps=40, api_name="/stylize")
    *_, (picture, status, download) = results = list(job)
    assert len(results) >= 3  # a first status, previews, the end
    assert status.startswith("Done") and "96 x 72 px" in status
    assert Image.open(picture).size == (96, 72)
    png = Image.open(download)
    assert (png.format, png.size, png.mode) == ("PNG", (96, 72), "RGB")


def test_the_api_takes_missing_settings_from_the_preset(client, files):
    _, status, download = client.predict(*files, preset="classic", steps=1, api_name="/stylize")
    assert Image.open(download).size == (224, 224), status


def test_the_api_documents_two_endpoints_and_their_parameters(client):
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert list(endpoints) == ["/stylize", "/film"]  # the page's other events have no API
    parameters = {p["parameter_name"]: p for p in endpoints["/stylize"]["parameters"]}
    assert [name for name, p in parameters.items() if not p["parameter_has_default"]] == ["content", "style"]
    assert list(parameters) == [
        "content", "style", "preset", "size", "steps", "content_weight", "style_weight", "tv_weight", "seed",
        "backbone", "laplacian_weight", "strength", "style_scale", "preserve_colours",
    ]  # fmt: skip; clients may pass values by position
    assert {parameters[name]["parameter_default"] for name in list(parameters)[-4:]} == {None}  # the preset's
    assert endpoints["/stylize"]["description"].startswith("Paint a photo in the style of a picture")
    names = [parameter["parameter_name"] for parameter in endpoints["/film"]["parameters"]]
    assert names == ["clip", "style", "preset", "size", "fps", "strength", "style_scale"]


def test_a_cancelled_api_run_makes_room_for_the_next(client, files):
    job = client.submit(*files, size=512, steps=1000, api_name="/stylize")
    while len(job.outputs()) < 2:
        assert not job.done()
        time.sleep(0.1)
    job.cancel()
    assert client.predict(*files, size=64, steps=2, api_name="/stylize")[1].startswith("Done")


@pytest.mark.parametrize(
    ("settings", "pattern"),
    [
        ({"size": 100_000}, "size"),
        ({"size": -5}, "size"),
        ({"steps": 0}, "steps"),
        ({"style_weight": -1}, "style_weight"),
        ({"strength": 1.6}, "strength must be a number from 0 to 1.5, not 1.6"),
        ({"style_scale": 5}, "style_scale"),
        ({"preserve_colours": "no"}, "preserve_colours must be true or false"),
        ({"content_weight": "heavy"}, "content_weight"),
        ({"preset": "no such"}, "no such is not in the list of choices"),
        ({"backbone": "/etc/passwd"}, "/etc/passwd is not in the list of choices"),
    ],
)
def test_the_api_refuses_bad_settings_in_one_line(client, files, settings, pattern):
    with pytest.raises(Exception) as caught:
        client.predict(*files, **({"steps": 2} | settings), api_name="/stylize")
    message = str(caught.value)
    assert re.search(pattern, message) and "Traceback" not in message and "\n" not in message.strip()


@pytest.mark.parametrize("kind", ["text", "empty", "truncated", "heic"])
def test_the_api_refuses_a_bad_picture_by_its_name(client, files, tmp_path, kind):
    from gradio_client import handle_file

    bad = tmp_path / "holiday.png"
    make_picture(64, 64).save(bad)
    data = bad.read_bytes()
    bad.write_bytes({
        "text": b"not a picture", "empty": b"", "truncated": data[: len(data) // 2],
        "heic": b"\0\0\0\x18ftypheic" + bytes(64),
    }[kind])  # fmt: skip
    with pytest.raises(Exception) as caught:
        client.predict(handle_file(str(bad)), files[1], steps=2, api_name="/stylize")
    message = str(caught.value)
    assert "holiday.png" in message and "/" not in message.replace("I/O", "") and "Traceback" not in message


def test_two_clients_at_once_each_get_their_own_picture(app_url, pictures):
    from gradio_client import Client, handle_file

    photo, painting = (handle_file(str(path)) for path in pictures)
    jobs = [
        (size, Client(app_url, verbose=False).submit(photo, painting, size=size, steps=3, api_name="/stylize"))
        for size in (64, 128)
    ]
    for size, job in jobs:
        assert max(Image.open(job.result()[2]).size) == size


# In a browser


def test_a_visitor_watches_stops_and_downloads(page, pictures, tmp_path):
    from playwright.sync_api import expect

    upload_pictures(page, *pictures)
    page.locator("#stylize").click()
    output = page.locator("#output img")
    output.wait_for()
    previews = set()
    while len(previews) < 5:
        previews.add(output.get_attribute("src"))
        page.wait_for_timeout(50)
    page.locator("#stop").click()
    expect(page.locator("#download")).to_be_enabled()
    status = page.locator("#status textarea, #status input").first
    expect(status).to_have_value(re.compile(r"^Stopped at step \d+ of 40"))
    with page.expect_download() as caught:
        page.locator("#download").click()
    path = tmp_path / caught.value.suggested_filename
    caught.value.save_as(path)
    png = Image.open(path)
    assert (png.format, png.size) == ("PNG", (512, 384))
    assert len(png.convert("RGB").getcolors(512 * 384)) > 100  # a picture, not a plain sheet


def test_the_page_says_which_pictures_are_missing(page):
    page.locator("#stylize").click()
    page.get_by_text("Add a photo.", exact=True).wait_for()
    page.get_by_text("Add a painting.", exact=True).wait_for()


def test_the_page_says_why_a_file_is_refused_and_accepts_another(page, pictures, tmp_path):
    from playwright.sync_api import expect

    bad = tmp_path / "broken.png"
    bad.write_bytes(pictures[0].read_bytes()[:200])
    page.locator("#content input[type=file]").first.set_input_files(bad)
    toast = page.locator(".toast-body").first  # at once, before any run is started
    expect(toast).to_contain_text("broken.png")
    assert "Traceback" not in toast.inner_text() and "/tmp" not in toast.inner_text()
    expect(page.locator("#content img")).to_have_count(0)
    page.locator(".toast-close").first.click()
    upload_pictures(page, *pictures)
    page.locator("#preset input[value=quick]").check()
    page.locator("#stylize").click()
    page.locator("#output img").wait_for()
    page.locator("#stop").click()
    expect(page.locator("#download")).to_be_enabled()


def test_examples_fill_both_inputs(page):
    page.locator("#example_photos button").first.click()
    page.locator("#example_paintings button").first.click()
    page.locator("#content img").first.wait_for()
    page.locator("#style img").first.wait_for()
