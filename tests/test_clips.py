"""Reading clips: the frames at even times, upright and in sRGB, or one line of advice."""

from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from helpers.clips import MATRIX_OF_TKHD, QUARTER_TURN, pan, write_clip, write_tone
from helpers.pictures import make_picture
from helpers.refusals import refusal
from nst.video.clips import Clip

GREYS = [Image.new("RGB", (32, 32), (20 * number,) * 3) for number in range(12)]


def greys(clip: Clip, **options) -> list[int]:
    """Return the number in `GREYS` that each frame of a clip shows."""
    return [round(np.asarray(frame).mean() / 20) for frame in clip.frames(**options)]


def test_every_frame_of_an_even_clip_is_read_once(tmp_path):
    clip = Clip(write_clip(tmp_path / "a.mp4", GREYS, rate=12))
    assert (clip.rate, clip.size, clip.frame_count) == (12, (32, 32), 12)
    assert greys(clip) == list(range(12))
    assert greys(clip, first=7) == [7, 8, 9, 10, 11]


def test_another_rate_takes_what_the_clip_shows_at_each_time(tmp_path):
    path = write_clip(tmp_path / "a.mp4", GREYS, rate=12)
    assert greys(Clip(path, 6)) == [0, 2, 4, 6, 8, 10]
    assert greys(Clip(path, 24)) == [number for number in range(12) for _ in range(2)]


def test_uneven_frames_become_even(tmp_path):
    path = write_clip(tmp_path / "a.mkv", GREYS[:4], rate=10, milliseconds=[500, 600, 1000, 1100])
    clip = Clip(path, 10)
    assert clip.start == Fraction(1, 2)
    assert greys(clip) == [0, 1, 1, 1, 1, 2, 3]


def test_a_fast_clip_has_at_most_60_frames_a_second(tmp_path):
    assert greys(clip := Clip(write_clip(tmp_path / "a.mp4", GREYS, rate=120))) == [0, 2, 4, 6, 8, 10]
    assert clip.rate == 60


def test_a_turned_clip_is_read_upright(tmp_path):
    """Cameras store the frames as they are held, and a matrix that turns them: here by a quarter, clockwise."""
    left_is_white = Image.new("RGB", (64, 32))
    left_is_white.paste("white", (0, 0, 32, 32))
    path = write_clip(tmp_path / "a.mp4", [left_is_white] * 3)
    data = path.read_bytes()
    place = data.index(MATRIX_OF_TKHD, data.index(b"tkhd"))  # before it there is the matrix of the whole film
    path.write_bytes(data[:place] + QUARTER_TURN + data[place + 36 :])
    clip = Clip(path)
    frame = np.asarray(next(clip.frames()))
    assert clip.size == (32, 64) and frame.shape == (64, 32, 3)
    assert frame[:30].mean() > 250 and frame[34:].mean() < 5


def test_large_frames_are_scaled_down_as_they_are_read(tmp_path):
    picture = make_picture(128, 96, seed=3)
    small = next(Clip(write_clip(tmp_path / "a.mp4", [picture])).frames(long_side=32))
    expected = picture.resize((32, 24), Image.Resampling.BOX)
    assert np.abs(np.asarray(small, float) - np.asarray(expected, float)).mean() < 3


@pytest.mark.parametrize("tags", [(1, 1, 1), (6, 6, 5), (2, 2, 2)], ids=["BT.709", "BT.601", "not said"])
def test_colours_are_those_of_the_picture(tmp_path, tags):
    matrix = tags if tags[2] != 2 else (2, 2, 5)  # a small clip that does not say so has BT.601's
    for colour in ((200, 40, 40), (40, 180, 60), (50, 60, 220)):
        path = write_clip(tmp_path / "a.mp4", [Image.new("RGB", (32, 32), colour)], tags=matrix)
        assert np.abs(np.asarray(next(Clip(path).frames()), float).mean((0, 1)) - colour).max() < 4


@pytest.mark.parametrize(("curve", "signal"), [(16, 0.5807), (18, 0.75)], ids=["PQ", "HLG"])
def test_the_reference_white_of_hdr_becomes_white(tmp_path, curve, signal):
    """ITU-R BT.2408, table 1: 203 cd/m² are 58 % of PQ's signal and 75 % of HLG's; half that light is sRGB's 188."""
    levels = [np.full((32, 32, 3), round(255 * signal * share), np.uint8) for share in (1.2, 1, 0.7, 0)]
    pictures = [Image.fromarray(level) for level in levels]
    path = write_clip(tmp_path / "a.mp4", pictures, tags=(9, curve, 9), pixel_format="yuv420p10le")
    brighter, white, darker, black = (float(np.asarray(frame).mean()) for frame in Clip(path).frames())
    assert brighter == 255 and white > 250 and 20 < darker < 200 and black == 0


def test_a_clip_that_breaks_off_is_read_up_to_there(tmp_path):
    path = write_clip(tmp_path / "a.mkv", pan(60))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    assert 20 <= len(list(Clip(path).frames())) < 50


def test_what_cannot_be_read_is_refused_in_one_line(tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "noise.mp4").write_bytes(bytes(range(256)) * 40)
    whole = write_clip(tmp_path / "whole.mp4", GREYS).read_bytes()
    (tmp_path / "headless.mp4").write_bytes(whole[: len(whole) // 2])  # its index was at the end
    make_picture(32, 32, 1).save(tmp_path / "picture.png")
    make_picture(32, 32, 1).save(tmp_path / "picture.jpg")
    write_tone(tmp_path / "tone.m4a")
    stream = write_clip(tmp_path / "stream.ts", GREYS)
    (tmp_path / "list.m3u8").write_text(f"#EXTM3U\n#EXTINF:1.0,\n{stream}\n#EXT-X-ENDLIST\n")
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile whole.mp4\n")
    for name, words in {
        "empty.mp4": "the file is empty",
        "noise.mp4": "not a clip that can be read",
        "headless.mp4": "not a clip that can be read",
        "picture.png": "a picture, not a clip",
        "picture.jpg": "a picture, not a clip",
        "tone.m4a": "there is no video in it",
        "list.m3u8": "a list of other files",  # a visitor could name files of the server in it
        "list.mp4": "a list of other files",
        "nothing.mp4": "no such file",
        ".": "this is a folder",
    }.items():
        message = refusal(lambda name=name: Clip(tmp_path / name))
        assert words in message and "\n" not in message, name
