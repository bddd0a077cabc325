"""Video files: what browsers play, with the clip's sound."""

import base64

import numpy as np
import pytest
from PIL import Image

from helpers.clips import pan, read_tone, read_video, write_clip
from nst.video import encoding
from nst.video.clips import Clip
from nst.video.encoding import VideoWriter, join_parts, write_part


def make_video(tmp_path, pictures, clip, sides=(5, 12)):
    """Return a video of the pictures in parts that end at the numbers `sides`."""
    clip = Clip(clip)
    ranges = zip((0, *sides), sides, strict=False)
    parts = [write_part(pictures[a:b], clip.rate, tmp_path / f"{a}.mp4") for a, b in ranges]
    return join_parts(parts, clip, tmp_path / "video.mp4")


def test_a_video_has_the_form_that_browsers_play(tmp_path):
    import av

    video = make_video(tmp_path, pan(12, (65, 49)), write_clip(tmp_path / "clip.mp4", pan(12), rate=12))
    with av.open(str(video)) as file:
        stream = file.streams.video[0]
        codec = stream.codec_context
        assert (codec.name, codec.pix_fmt, codec.width, codec.height) == ("h264", "yuv420p", 64, 48)
        assert (codec.color_primaries, codec.color_trc, codec.colorspace, codec.color_range) == (1, 1, 1, 1)
        assert stream.average_rate == 12 and stream.frames == 12
        times = [frame.time for frame in file.decode(video=0)]
    assert times == pytest.approx([number / 12 for number in range(12)], abs=1e-4)
    data = video.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # the index comes first


def test_the_frames_of_a_video_are_the_pictures(tmp_path):
    pictures = pan(12)
    video = make_video(tmp_path, pictures, write_clip(tmp_path / "clip.mp4", pictures))
    for frame, picture in zip(read_video(video), pictures, strict=True):
        assert np.abs(frame.astype(float) - np.asarray(picture)).mean() < 5


def test_flat_colours_stay(tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", pan(12))
    for colour in ((230, 30, 30), (20, 200, 60), (40, 50, 240), (128, 128, 128)):
        video = make_video(tmp_path, [Image.new("RGB", (32, 32), colour)] * 12, clip)
        assert np.abs(read_video(video)[6].mean((0, 1)) - colour).max() < 3


@pytest.mark.parametrize(
    ("name", "sound", "kept"),
    [("a.mp4", "aac", "aac"), ("a.mp4", "libmp3lame", "mp3"), ("a.mkv", "libopus", "opus"), ("a.mkv", "flac", "flac"),
     ("a.mkv", "ac3", "aac"), ("a.mov", "pcm_s16le", "aac")],
)  # fmt: skip
def test_the_sound_is_kept(tmp_path, name, sound, kept):
    clip = write_clip(tmp_path / name, pan(12), rate=12, sound=sound)
    video = make_video(tmp_path, pan(12), clip)
    codec, seconds, frequency = read_tone(video)
    assert codec == kept
    assert seconds == pytest.approx(1, abs=0.08) and frequency == pytest.approx(440, abs=3)


def test_copied_sound_is_not_encoded_anew(tmp_path):
    import av

    clip = write_clip(tmp_path / "a.mp4", pan(12), sound="aac")
    video = make_video(tmp_path, pan(12), clip)
    packets = []
    for path in (clip, video):
        with av.open(str(path)) as file:
            packets.append([bytes(packet) for packet in file.demux(audio=0)])
    assert packets[0] == packets[1]


def test_sound_stays_with_a_picture_that_begins_later(tmp_path):
    """The picture begins half a second after the sound: the video begins with the picture."""
    import av

    clip = write_clip(tmp_path / "a.mkv", pan(12), milliseconds=[500 + 83 * n for n in range(12)], sound="ac3")
    video = make_video(tmp_path, pan(12), clip)
    with av.open(str(video)) as file:
        assert next(file.decode(video=0)).time == 0
    with av.open(str(video)) as file:
        ends = [frame.time + frame.samples / frame.sample_rate for frame in file.decode(audio=0)]
    assert ends[-1] == pytest.approx(0.5, abs=0.05)


def test_a_browser_plays_a_video_with_its_sound_in_the_right_colours(browser, tmp_path):
    clip = write_clip(tmp_path / "clip.mkv", pan(12), sound="ac3")
    pictures = [Image.new("RGB", (64, 48), (60 if number < 6 else 200, 60, 30)) for number in range(12)]
    video = base64.b64encode(make_video(tmp_path, pictures, clip).read_bytes()).decode()
    script = """async () => {
        const video = document.querySelector("video");
        if (!video.canPlayType('video/mp4; codecs="avc1.42E01E, mp4a.40.2"')) return null;
        const context = document.querySelector("canvas").getContext("2d");
        const colours = [];
        for (const time of [0.2, 0.8]) {
            video.currentTime = time;
            await new Promise((done, fail) => { video.onseeked = done; video.onerror = fail; });
            context.drawImage(video, 0, 0);
            colours.push(Array.from(context.getImageData(30, 20, 1, 1).data).slice(0, 3));
        }
        const ended = new Promise(done => { video.onended = done; });
        await video.play();
        await ended;
        return [video.duration, colours, video.webkitAudioDecodedByteCount > 0];
    }"""
    with browser.new_context() as context:
        page = context.new_page()
        page.set_content(
            f"<video src='data:video/mp4;base64,{video}' muted></video><canvas width=64 height=48></canvas>"
        )
        result = page.evaluate(script)
    if result is None:
        pytest.skip("this Chromium was built without H.264")
    duration, colours, has_sound = result
    assert duration == pytest.approx(1, abs=0.1) and has_sound
    assert colours[0] == pytest.approx([60, 60, 30], abs=6) and colours[1] == pytest.approx([200, 60, 30], abs=6)


@pytest.mark.parametrize("sound", ["aac", "ac3"])  # copied, and encoded anew
def test_a_video_that_is_saved_early_has_its_frames_and_as_much_sound(tmp_path, monkeypatch, sound):
    monkeypatch.setattr(encoding, "PART_FRAMES", 4)
    pictures = pan(24)
    clip = Clip(write_clip(tmp_path / "clip.mkv", pictures, rate=12, sound=sound))
    with VideoWriter(clip, tmp_path / "video.mp4") as writer:
        for picture in pictures[:10]:
            writer.add(picture)
        path = writer.save()
        assert len(list(tmp_path.iterdir())) == 3
    assert sorted(file.name for file in tmp_path.iterdir()) == ["clip.mkv", "video.mp4"]  # the parts are deleted
    frames = read_video(path)
    assert len(frames) == 10
    for frame, picture in zip(frames, pictures, strict=False):
        assert np.abs(frame.astype(float) - np.asarray(picture)).mean() < 5
    _, seconds, frequency = read_tone(path)
    assert seconds == pytest.approx(10 / 12, abs=0.06) and frequency == pytest.approx(440, abs=3)
