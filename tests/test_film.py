"""Films: which frames are kept, and what other readers find in the files."""

import base64
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.pictures import make_picture
from helpers.refusals import refusal
from nst.output.film import MAX_FRAMES, Film
from nst.stylization import Step


def step(number: int, image: Image.Image | None) -> Step:
    return Step(number, 100, 0, *[0.0] * 7, image=image)


def numbered(number: int, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """A picture that tells its number by sixteen upright bars, black or white."""
    bars = Image.new("L", (16, 1))
    bars.putdata([255 * (number >> bit & 1) for bit in range(16)])
    return bars.resize(size, Image.Resampling.NEAREST).convert("RGB")


def film_of(count: int) -> Film:
    film = Film()
    for number in range(count):
        film.add(step(number + 1, numbered(number)))
    return film


def numbers(film: Film) -> list[int]:
    bars = [np.asarray(film.frame(number).convert("L"))[24, 2::4] > 127 for number in range(len(film.stored))]
    return [sum(1 << bit for bit in range(16) if one[bit]) for one in bars]


# Which frames


@pytest.mark.parametrize("count", [1, 2, 39, 40])
def test_a_short_run_is_kept_whole(count):
    assert numbers(film_of(count)) == list(range(count))


@pytest.mark.parametrize("count", [41, 42, 79, 80, 81, 100, 161, 1000, 4097])
def test_a_long_run_is_kept_evenly_with_first_and_last(count):
    found = numbers(film_of(count))
    assert MAX_FRAMES / 2 <= len(found) <= MAX_FRAMES
    assert (found[0], found[-1]) == (0, count - 1)
    gaps = np.diff(found)
    assert len(set(gaps[:-1])) == 1 and 0 < gaps[-1] <= gaps[0]  # the last may come early


def test_at_every_moment_the_latest_is_there():
    film = Film()
    for number in range(200):
        film.add(step(number + 1, numbered(number)))
        film.add(step(number + 1, None))  # without a picture: not a frame
        assert numbers(film)[-1] == number and len(film.stored) <= MAX_FRAMES


@pytest.mark.parametrize("steps", [1, 39, 40, 41, 75, 150, 300, 10_000])
def test_the_interval_gives_enough_frames_and_no_more(steps):
    pictures = len({number for number in range(1, steps + 1) if number % Film.interval(steps) == 0} | {steps})
    assert min(steps, MAX_FRAMES / 2) <= pictures <= MAX_FRAMES


def test_large_pictures_are_scaled_down_and_small_ones_left_alone():
    film = Film()
    picture = make_picture(1024, 683)
    film.add(step(1, picture))
    assert film.frame(0).size == (512, 342)
    assert film.frame(0).getpixel((100, 100)) == pytest.approx(picture.getpixel((200, 200)), abs=6)
    film.add(step(2, numbered(7)))
    assert film.frame(1).size == (64, 48)


# Files


@pytest.fixture(scope="module")
def frames() -> list[Image.Image]:
    """Odd sides; the colour goes from blue to red."""
    return [Image.blend(Image.new("RGB", (65, 49), "blue"), make_picture(65, 49, seed=3), i / 4) for i in range(5)]


@pytest.fixture(scope="module")
def files(frames, tmp_path_factory) -> dict[str, Path]:
    film = Film()
    for number, image in enumerate(frames, 1):
        film.add(step(number, image))
    folder = tmp_path_factory.mktemp("films")
    return {suffix: film.save(folder / "new" / f"film{suffix}") for suffix in (".webp", ".mp4")}


def boxes(data: bytes) -> dict[bytes, bytes]:
    """The boxes of an MP4 file or box, in order."""
    found, at = {}, 0
    while at + 8 <= len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        found[kind] = data[at + 8 : at + length]
        at += length
    return found


def test_a_webp_holds_every_frame_and_the_last_for_longer(files, frames):
    data = files[".webp"].read_bytes()
    assert data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    durations, at = [], 12
    while at < len(data):
        kind, length = struct.unpack("<4sI", data[at : at + 8])
        if kind == b"ANMF":  # x, y, width and height, 3 bytes each, then the duration
            durations.append(int.from_bytes(data[at + 8 + 12 : at + 8 + 15], "little"))
        if kind == b"ANIM":
            assert data[at + 8 + 4 : at + 8 + 6] == b"\0\0"  # it repeats for ever
        at += 8 + length + length % 2
    assert durations == [100] * 4 + [1500]
    with Image.open(files[".webp"]) as image:
        for number, frame in enumerate(frames):
            image.seek(number)
            assert np.abs(np.asarray(image.convert("RGB"), float) - np.asarray(frame, float)).mean() < 8


def test_an_mp4_is_h264_with_its_index_first(files):
    found = boxes(files[".mp4"].read_bytes())
    assert found[b"ftyp"].startswith(b"isom")
    assert list(found).index(b"moov") < list(found).index(b"mdat")
    track = boxes(boxes(found[b"moov"])[b"trak"])
    media = boxes(track[b"mdia"])
    scale, duration = struct.unpack(">II", media[b"mdhd"][12:20])
    assert duration / scale == pytest.approx(4 * 0.1 + 1.5)
    description = boxes(boxes(media[b"minf"])[b"stbl"])[b"stsd"][8:]
    entry = boxes(description)[b"avc1"]
    assert struct.unpack(">HH", entry[24:28]) == (64, 48)
    assert boxes(entry[78:])[b"colr"] == b"nclx" + struct.pack(">HHHB", 1, 13, 1, 0)
    assert str(files[".mp4"].parent).encode() not in files[".mp4"].read_bytes()


def bt709_to_rgb(planes: np.ndarray) -> np.ndarray:
    """(48, 64, 3) from the planes of a 64x48 frame in yuv420p, by the standard's own numbers."""
    y = (planes[:48].astype(float) - 16) * 255 / 219
    u, v = ((plane.reshape(24, 32).astype(float) - 128) * 255 / 224 for plane in np.split(planes[48:], 2))
    u, v = (np.kron(plane, np.ones((2, 2))) for plane in (u, v))
    return np.dstack([y + 1.5748 * v, y - 0.1873 * u - 0.4681 * v, y + 1.8556 * u]).clip(0, 255)


def test_an_mp4_shows_the_frames(files, frames):
    import av

    with av.open(str(files[".mp4"])) as file:
        shown = [bt709_to_rgb(frame.to_ndarray()) for frame in file.decode(video=0)]
    assert len(shown) == 4 + 15
    for found, frame in zip(shown, frames + frames[-1:] * 14, strict=True):
        assert np.abs(found - np.asarray(frame, float)[:48, :64]).mean() < 8


def test_a_browser_plays_it_in_the_right_colours(browser, tmp_path):
    film = Film()
    film.add(step(1, Image.new("RGB", (64, 48), (200, 60, 30))))
    film.save(tmp_path / "film.mp4")
    film = base64.b64encode((tmp_path / "film.mp4").read_bytes()).decode()  # of another origin it would give no pixels
    look = """async () => {
        const video = document.querySelector("video");
        if (!video.canPlayType('video/mp4; codecs="avc1.42E01E"')) return null;
        video.currentTime = 1;
        await new Promise((done, fail) => { video.onseeked = done; video.onerror = fail; });
        const context = document.querySelector("canvas").getContext("2d");
        context.drawImage(video, 0, 0);
        const colour = Array.from(context.getImageData(30, 20, 1, 1).data).slice(0, 3);
        return [video.videoWidth, video.videoHeight, video.duration, colour];
    }"""
    with browser.new_context() as context:
        page = context.new_page()
        page.set_content(
            f"<video src='data:video/mp4;base64,{film}' muted></video><canvas width=64 height=48></canvas>"
        )
        found = page.evaluate(look)
    if found is None:
        pytest.skip("this Chromium was built without H.264")
    assert found[:2] == [64, 48] and found[2] == pytest.approx(1.5)
    assert found[3] == pytest.approx([200, 60, 30], abs=6)


def test_what_cannot_be_a_film_is_refused(tmp_path):
    assert ".webp or .mp4" in refusal(film_of(2).save, tmp_path / "film.avi")
    assert "no picture" in refusal(Film().save, tmp_path / "film.webp")
    (tmp_path / "file").write_text("in the way")
    assert "cannot be written" in refusal(film_of(2).save, tmp_path / "file" / "film.mp4")
    assert "cannot be written" in refusal(film_of(2).save, tmp_path / "file" / "film.webp")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
