"""Clips on the page and over the API: they become films, in a real browser and for programs."""

import re
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from helpers.browsing import download, settle, upload
from helpers.clips import pan, write_clip, write_tone
from helpers.pictures import make_picture
from nst import StyleSettings, stylize_video
from nst.video.clips import Clip
from nst.video.encoding import write_part

pytestmark = pytest.mark.slow

FRAMES = 12
SETTINGS = StyleSettings.preset("quick", size=64)
ENDED = re.compile(r"^(Done|Stopped|No film)")


@pytest.fixture
def painting(tmp_path) -> Path:
    path = tmp_path / "painting.png"
    make_picture(80, 80, seed=2).save(path)
    return path


@pytest.fixture
def clip(tmp_path) -> Path:
    return write_clip(tmp_path / "clip.mp4", pan(FRAMES), sound="aac")


def sound_seconds(path: Path) -> float:
    with av.open(str(path)) as file:
        return float(sum(frame.samples for frame in file.decode(audio=0)) / file.streams.audio[0].rate)


def assert_painted(path: Path, clip: Path, painting: Path, settings: StyleSettings = SETTINGS) -> None:
    """Check that a film shows what Python's own call paints, as H.264 leaves it."""
    source = Clip(clip)
    expected = list(stylize_video(source.frames(0, settings.size), painting, settings))
    encoded = write_part(expected, source.rate, path.with_name("expected.mp4"))
    shown, painted = ([np.asarray(frame) for frame in Clip(file).frames()] for file in (path, encoded))
    assert len(shown) == len(painted) == FRAMES
    for frame, other in zip(shown, painted, strict=True):
        assert np.array_equal(frame, other)


def open_film_tab(visit, clip: Path, painting: Path):
    """Return a new page at the tab, with both files and the smallest size."""
    page = visit()
    page.get_by_role("tab", name="Film", exact=True).click()
    settle(page)  # a file that is given while the tab is still being built may be lost
    page.locator("#clip input[type=file]").set_input_files(clip)
    page.locator("#clip video").wait_for()
    upload(page, "#film_style", painting)
    box = page.locator("#film_size input[type=number]")
    box.fill("64")
    box.press("Tab")
    return page


def test_on_a_phone_the_frames_come_into_view(visit, clip, painting):
    from playwright.sync_api import expect

    page = open_film_tab(partial(visit, width=390), clip, painting)
    field, other = (page.locator(name).bounding_box() for name in ("#clip", "#film_style"))
    assert field["y"] == other["y"] and other["x"] + other["width"] <= 390  # side by side
    page.locator("#paint_film").click()
    expect(page.locator("#film_frame")).to_be_in_viewport(ratio=0.9)
    expect(film_status(page)).to_have_value(re.compile("^Done"))
    expect(page.locator("#film_result")).to_be_in_viewport(ratio=0.9)


def film_status(page):
    return page.locator("#film_status textarea")


def test_a_clip_becomes_a_film_with_its_sound(visit, clip, painting, tmp_path):
    from playwright.sync_api import expect

    page = open_film_tab(visit, clip, painting)
    page.locator("#paint_film").click()
    expect(page.locator("#film_frame img")).to_be_visible()  # frames are shown as they are made
    expect(film_status(page)).to_have_value(re.compile(rf"^Done · {FRAMES} frames · \d+ s · 64 x 48 px$"))
    film = page.locator("#film_result video")
    expect(film).to_be_visible()
    page.wait_for_function("document.querySelector('#film_result video').readyState >= 2")  # the browser can play it
    assert film.evaluate("video => [video.videoWidth, video.videoHeight, video.error]") == [64, 48, None]
    path = download(page, "#download_film", tmp_path)
    assert path.name == "film.mp4"
    assert_painted(path, clip, painting)
    assert sound_seconds(path) == pytest.approx(1, abs=0.1)


def test_stop_keeps_what_is_there_as_a_film(visit, painting, tmp_path):
    from playwright.sync_api import expect

    clip = write_clip(tmp_path / "long.mp4", pan(110), sound="aac")
    page = open_film_tab(visit, clip, painting)
    page.locator("#paint_film").click()
    expect(film_status(page)).to_have_value(re.compile("^Frame [2-9] of"))
    page.locator("#stop_film").click()
    expect(film_status(page)).to_have_value(re.compile("^Stopped at frame"))
    number = int(film_status(page).input_value().split()[3])
    assert 2 <= number < 110
    path = download(page, "#download_film", tmp_path)
    assert len(list(Clip(path).frames())) == number
    assert sound_seconds(path) == pytest.approx(number / 12, abs=0.1)  # it ends with the pictures
    page.locator("#paint_film").click()  # and again
    expect(film_status(page)).to_have_value(re.compile("^Frame"))
    page.locator("#stop_film").click()
    expect(film_status(page)).to_have_value(re.compile("^Stopped at frame"))


def long_clip(path: Path) -> Path:
    return write_clip(path, pan(2), milliseconds=[0, 4 * 3600 * 1000])


def playlist(path: Path) -> Path:
    other = write_clip(path.with_suffix(".ts"), pan(12))
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:1.0,\n{other}\n#EXT-X-ENDLIST\n")
    return path


UNUSABLE = {
    "four hours long": (long_clip, "clip.mp4", r"240 min long; here at most 10 s"),
    "damaged": (lambda path: path.write_bytes(b"\0\0\0\x20ftypisom" + bytes(3000)), "clip.mp4", "not a clip"),
    "empty": (lambda path: path.touch(), "clip.mp4", "empty"),
    "without video": (write_tone, "clip.mp4", "no video"),
    "a list of other files": (playlist, "clip.m3u8", "list of other files"),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_an_unusable_clip_is_refused_in_one_line(client, kind, painting, tmp_path):
    from gradio_client import handle_file
    from gradio_client.exceptions import AppError

    make, name, pattern = UNUSABLE[kind]
    path = tmp_path / name
    make(path)
    with pytest.raises(AppError, match=pattern) as error:
        client.predict(handle_file(path), handle_file(painting), api_name="/film")
    assert "\n" not in str(error.value) and "Traceback" not in str(error.value)


def test_an_unusable_clip_leaves_the_field_at_once_and_says_why(visit, tmp_path):
    from playwright.sync_api import expect

    clip = long_clip(tmp_path / "long.mp4")
    page = visit()
    page.get_by_role("tab", name="Film", exact=True).click()
    settle(page)  # a file that is given while the tab is still being built may be lost
    page.locator("#clip input[type=file]").set_input_files(clip)
    toast = page.locator(".toast-body").first
    toast.wait_for()
    assert "240 min long; here at most 10 s" in toast.inner_text() and "Traceback" not in toast.inner_text()
    expect(page.locator("#clip video")).to_have_count(0)
    page.locator("#paint_film").click()
    expect(page.locator(".toast-body", has_text="Add a clip and a painting first.")).to_be_visible()
    expect(film_status(page)).to_have_value(re.compile("^No film"))


def test_the_example_clip_can_be_painted_within_three_clicks(visit):
    from playwright.sync_api import expect

    page = visit()
    page.get_by_role("tab", name="Film", exact=True).click()
    page.locator("#example_clips button").first.click()
    page.locator("#clip video").wait_for()
    page.locator("#example_film_paintings button").first.click()
    expect(page.locator("#film_style img").first).to_be_visible()
    page.locator("#paint_film").click()
    expect(film_status(page)).to_have_value(re.compile("^Frame 1 of 24"), timeout=180_000)
    page.locator("#stop_film").click()
    expect(film_status(page)).to_have_value(re.compile("^Stopped at frame"))


@pytest.fixture(scope="module")
def client(app_url):
    from gradio_client import Client

    return Client(app_url, verbose=False)


def test_the_api_yields_frames_and_ends_with_the_film(client, clip, painting):
    from gradio_client import handle_file

    job = client.submit(handle_file(clip), handle_file(painting), size=64, strength=0.5, api_name="/film")
    *_, (picture, status, path) = results = list(job)
    assert status.startswith(f"Done · {FRAMES} frames") and len(results) >= 4
    assert Image.open(picture).size == (64, 48)
    assert_painted(Path(path), clip, painting, StyleSettings.preset("quick", size=64, strength=0.5))


def test_the_api_paints_fewer_frames_a_second_and_refuses_what_the_page_does_not_offer(client, clip, painting):
    from gradio_client import handle_file
    from gradio_client.exceptions import AppError

    files = handle_file(clip), handle_file(painting)
    *_, path = client.predict(*files, size=64, fps=6, api_name="/film")
    assert Clip(path).rate == Fraction(6) and len(list(Clip(path).frames())) == FRAMES // 2
    for settings, pattern in (
        ({"fps": 100}, "Frames a second"),
        ({"size": 5000}, "size"),
        ({"strength": 3}, "strength"),
    ):
        with pytest.raises(AppError, match=pattern):
            client.predict(*files, **settings, api_name="/film")


def test_a_path_of_the_server_is_no_upload(client, painting):
    from gradio_client import handle_file
    from gradio_client.exceptions import AppError

    with pytest.raises(AppError):
        client.predict({"path": "/etc/passwd"}, handle_file(painting), api_name="/film")
