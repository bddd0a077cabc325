"""Films: the choice of frames, and the files as other readers see them."""

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


def numbered_picture(number: int, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """Return a picture of a number: its sixteen bits as upright bars, black or white."""
    bars = Image.new("L", (16, 1))
    bars.putdata([255 * (number >> bit & 1) for bit in range(16)])
    return bars.resize(size, Image.Resampling.NEAREST).convert("RGB")


def film_of(count: int) -> Film:
    film = Film()
    for number in range(count):
        film.add(step(number + 1, numbered_picture(number)))
    return film


def numbers(film: Film) -> list[int]:
    """Return the numbers of the film's frames."""
    bars = [np.asarray(film.frame(number).convert("L"))[24, 2::4] > 127 for number in range(len(film.stored))]
    return [sum(1 << bit for bit in range(16) if frame_bars[bit]) for frame_bars in bars]


# The choice of frames


@pytest.mark.parametrize("count", [1, 2, 39, 40])
def test_a_film_of_a_short_run_has_every_frame(count):
    assert numbers(film_of(count)) == list(range(count))


@pytest.mark.parametrize("count", [41, 42, 79, 80, 81, 100, 161, 1000, 4097])
def test_a_film_of_a_long_run_is_evenly_spread_from_the_first_to_the_last(count):
    frames = numbers(film_of(count))
    assert MAX_FRAMES / 2 <= len(frames) <= MAX_FRAMES
    assert (frames[0], frames[-1]) == (0, count - 1)
    gaps = np.diff(frames)
    assert len(set(gaps[:-1])) == 1 and 0 < gaps[-1] <= gaps[0]  # the last may come early


def test_the_latest_picture_is_always_in_the_film():
    film = Film()
    for number in range(200):
        film.add(step(number + 1, numbered_picture(number)))
        film.add(step(number + 1, None))  # a step without a picture gives no frame
        assert numbers(film)[-1] == number and len(film.stored) <= MAX_FRAMES


@pytest.mark.parametrize("steps", [1, 39, 40, 41, 75, 150, 300, 10_000])
def test_the_interval_gives_enough_frames_and_no_more(steps):
    pictures = len({number for number in range(1, steps + 1) if number % Film.interval(steps) == 0} | {steps})
    assert min(steps, MAX_FRAMES / 2) <= pictures <= MAX_FRAMES


def test_large_pictures_are_scaled_down_and_small_ones_are_not():
    film = Film()
    picture = make_picture(1024, 683)
    film.add(step(1, picture))
    assert film.frame(0).size == (512, 342)
    assert film.frame(0).getpixel((100, 100)) == pytest.approx(picture.getpixel((200, 200)), abs=6)
    film.add(step(2, numbered_picture(7)))
    assert film.frame(1).size == (64, 48)


# Files


@pytest.fixture(scope="module")
def frames() -> list[Image.Image]:
    """Five pictures with odd sides. They change from blue to coloured blobs."""
    return [Image.blend(Image.new("RGB", (65, 49), "blue"), make_picture(65, 49, seed=3), i / 4) for i in range(5)]


@pytest.fixture(scope="module")
def files(frames, tmp_path_factory) -> dict[str, Path]:
    film = Film()
    for number, image in enumerate(frames, 1):
        film.add(step(number, image))
    folder = tmp_path_factory.mktemp("films")
    return {suffix: film.save(folder / "new" / f"film{suffix}") for suffix in (".webp", ".mp4")}


def boxes(data: bytes) -> dict[bytes, bytes]:
    """Return the boxes inside an MP4 file or a box, in order."""
    result, start = {}, 0
    while start + 8 <= len(data):
        length, kind = struct.unpack(">I4s", data[start : start + 8])
        result[kind] = data[start + 8 : start + length]
        start += length
    return result


def test_a_webp_has_every_frame_and_shows_the_last_for_longer(files, frames):
    data = files[".webp"].read_bytes()
    assert data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    durations, start = [], 12
    while start < len(data):
        kind, length = struct.unpack("<4sI", data[start : start + 8])
        content = data[start + 8 : start + 8 + length]
        if kind == b"ANMF":  # x, y, width and height, 3 bytes each, then the duration
            durations.append(int.from_bytes(content[12:15], "little"))
        if kind == b"ANIM":  # the background colour, 4 bytes, then the number of repetitions: 0 is for ever
            assert content[4:6] == b"\0\0"
        start += 8 + length + length % 2
    assert durations == [100] * 4 + [1500]
    with Image.open(files[".webp"]) as image:
        for number, frame in enumerate(frames):
            image.seek(number)
            assert np.abs(np.asarray(image.convert("RGB"), float) - np.asarray(frame, float)).mean() < 8


def test_an_mp4_is_h264_with_its_index_first(files):
    file = boxes(files[".mp4"].read_bytes())
    assert file[b"ftyp"].startswith(b"isom")
    assert list(file).index(b"moov") < list(file).index(b"mdat")
    track = boxes(boxes(file[b"moov"])[b"trak"])
    media = boxes(track[b"mdia"])
    scale, duration = struct.unpack(">II", media[b"mdhd"][12:20])
    assert duration / scale == pytest.approx(4 * 0.1 + 1.5)
    description = boxes(boxes(media[b"minf"])[b"stbl"])[b"stsd"][8:]
    entry = boxes(description)[b"avc1"]
    assert struct.unpack(">HH", entry[24:28]) == (64, 48)
    assert boxes(entry[78:])[b"colr"] == b"nclx" + struct.pack(">HHHB", 1, 13, 1, 0)
    assert str(files[".mp4"].parent).encode() not in files[".mp4"].read_bytes()


def bt709_to_rgb(planes: np.ndarray) -> np.ndarray:
    """Return (48, 64, 3) of the planes of a 64x48 frame in yuv420p, with the numbers of the standard (BT.709)."""
    y = (planes[:48].astype(float) - 16) * 255 / 219
    u, v = ((plane.reshape(24, 32).astype(float) - 128) * 255 / 224 for plane in np.split(planes[48:], 2))
    u, v = (np.kron(plane, np.ones((2, 2))) for plane in (u, v))
    return np.dstack([y + 1.5748 * v, y - 0.1873 * u - 0.4681 * v, y + 1.8556 * u]).clip(0, 255)


def test_an_mp4_shows_the_frames(files, frames):
    import av

    with av.open(str(files[".mp4"])) as file:
        decoded = [bt709_to_rgb(frame.to_ndarray()) for frame in file.decode(video=0)]
    assert len(decoded) == 4 + 15
    for picture, frame in zip(decoded, frames + frames[-1:] * 14, strict=True):
        assert np.abs(picture - np.asarray(frame, float)[:48, :64]).mean() < 8


def test_a_browser_plays_an_mp4_in_the_right_colours(browser, tmp_path):
    film = Film()
    film.add(step(1, Image.new("RGB", (64, 48), (200, 60, 30))))
    film.save(tmp_path / "film.mp4")
    # Inside the page: a browser does not give out the pixels of a film from another origin.
    film = base64.b64encode((tmp_path / "film.mp4").read_bytes()).decode()
    script = """async () => {
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
        result = page.evaluate(script)
    if result is None:
        pytest.skip("this Chromium was built without H.264")
    width, height, duration, colour = result
    assert (width, height) == (64, 48) and duration == pytest.approx(1.5)
    assert colour == pytest.approx([200, 60, 30], abs=6)


def test_a_wrong_suffix_an_empty_film_and_an_unwritable_folder_are_refused(tmp_path):
    assert ".webp or .mp4" in refusal(film_of(2).save, tmp_path / "film.avi")
    assert "no picture" in refusal(Film().save, tmp_path / "film.webp")
    (tmp_path / "file").write_text("in the way")
    assert "cannot be written" in refusal(film_of(2).save, tmp_path / "file" / "film.mp4")
    assert "cannot be written" in refusal(film_of(2).save, tmp_path / "file" / "film.webp")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
