"""Small clips for tests, written by PyAV itself, and what is in a video's file."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Interpolation
from PIL import Image

from helpers.pictures import make_picture
from nst.video.clips import ACCURATE

TONE = 440  # Hz
MATRIX_OF_TKHD = bytes.fromhex("00010000 00000000 00000000 00000000 00010000 00000000 00000000 00000000 40000000")
QUARTER_TURN = bytes.fromhex("00000000 00010000 00000000 ffff0000 00000000 00000000 00000000 00000000 40000000")


def pan(count: int, size: tuple[int, int] = (64, 48), cut: int | None = None) -> list[Image.Image]:
    """Return the frames of a camera that moves 2 px to the right each frame; from `cut` on they show something else."""
    width, height = size
    scenes = [make_picture(width + 2 * count, height, seed) for seed in (5, 6)]
    return [
        scenes[cut is not None and number >= cut].crop((2 * number, 0, 2 * number + width, height))
        for number in range(count)
    ]


def write_clip(
    path: Path,
    pictures: Sequence[Image.Image],
    rate: int = 12,
    milliseconds: Sequence[int] | None = None,
    sound: str | None = None,
    tags: tuple[int, int, int] = (1, 1, 1),
    pixel_format: str = "yuv420p",
) -> Path:
    """Write a clip and return its path.

    milliseconds: the time of each frame; by default they follow each other at `rate`. sound: a codec, for a tone of
    `TONE` Hz. tags: the code points of primaries, curve and matrix.
    """
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=rate, options={"crf": "6"})
        stream.width, stream.height = pictures[0].size
        stream.pix_fmt = pixel_format
        codec = stream.codec_context
        codec.color_primaries, codec.color_trc, codec.colorspace = tags
        if milliseconds:
            codec.time_base = Fraction(1, 1000)
        tone = file.add_stream(sound, rate=48_000, layout="stereo") if sound else None
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.array(picture), format="rgb24")
            frame = frame.reformat(format=pixel_format, dst_colorspace=tags[2])
            frame.pts = milliseconds[number] if milliseconds else number
            frame.time_base = codec.time_base if milliseconds else Fraction(1, rate)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
        if tone:
            _write_tone(file, tone, len(pictures) / rate)
    return path


def write_tone(path: Path) -> None:
    """Write a second of the tone alone, as AAC."""
    with av.open(str(path), "w") as file:
        _write_tone(file, file.add_stream("aac", rate=48_000, layout="stereo"), 1.0)


def _write_tone(file, stream, seconds: float) -> None:
    wave = 0.3 * np.sin(2 * np.pi * TONE * np.arange(int(48_000 * seconds)) / 48_000)
    frame = av.AudioFrame.from_ndarray(np.stack([wave, wave]).astype(np.float32), format="fltp", layout="stereo")
    frame.sample_rate, frame.pts = 48_000, 0
    resampler = av.AudioResampler(stream.format, stream.layout, stream.rate, stream.frame_size or 1024)
    for part in (*resampler.resample(frame), *resampler.resample(None)):
        file.mux(stream.encode(part))
    file.mux(stream.encode(None))


def read_video(path: Path) -> list[np.ndarray]:
    """Return the frames of a video as arrays (H, W, 3), uint8."""
    with av.open(str(path)) as file:
        # Without these flags PyAV's conversion repeats each second pixel's colours.
        exact = Interpolation.BICUBIC | ACCURATE
        return [frame.reformat(format="rgb24", interpolation=exact).to_ndarray() for frame in file.decode(video=0)]


def read_tone(path: Path) -> tuple[str, float, float]:
    """Return a file's sound: the codec, its length in seconds, and its loudest frequency in Hz."""
    with av.open(str(path)) as file:
        stream = file.streams.audio[0]
        planes = [(frame.to_ndarray(), frame.format.is_planar) for frame in file.decode(audio=0)]
        channels = stream.codec_context.channels
        wave = np.concatenate([plane[0] if is_planar else plane[0, ::channels] for plane, is_planar in planes])
        spectrum = np.abs(np.fft.rfft(wave))
        rate = stream.codec_context.sample_rate
        return (
            stream.codec_context.codec.canonical_name,
            len(wave) / rate,
            float(np.argmax(spectrum) * rate / len(wave)),
        )
