"""Write videos: H.264 parts of a few frames each, and one MP4 of all parts with the clip's sound."""

import contextlib
import heapq
import itertools
import os
import tempfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.video.reformatter import Colorspace, Interpolation
from PIL import Image

from nst.io.files import write_atomically
from nst.output.film import MARK
from nst.video.clips import ACCURATE, Clip

# Browsers play these in an MP4: they are copied as they are, and other sound becomes AAC.
COPIED_SOUND = ("aac", "mp3", "opus", "flac")
BT709, LIMITED_RANGE = 1, 1  # code points (ITU-T H.273), which players would otherwise guess by the size
MAX_SAMPLE_RATE, AAC_SAMPLES = 48_000, 1024  # Hz, and samples of one AAC frame
CRF = "18"  # x264's quality: hardly to be told from the frames themselves
PART_FRAMES = 48  # in one encoded part: each begins with a frame that stands alone, which takes more room

TimedPacket = tuple[Fraction, av.Packet]  # with its time of decoding, in seconds


def write_part(frames: Sequence[Image.Image], rate: Fraction, path: str | os.PathLike) -> Path:
    """Write frames, RGB pictures of one size, as a video without sound, and return its path.

    An odd row or column is cut off, because the colours of H.264's usual form have half the size. The same frames
    always give the same bytes.

    Raises StyleTransferError if the file cannot be written.
    """
    return write_atomically(path, lambda temporary: _encode(frames, rate, temporary))


def _encode(frames: Sequence[Image.Image], rate: Fraction, path: str) -> None:
    with av.open(path, "w", format="mp4") as file:
        # x264 divides its work among threads, and each number of threads gives other bytes. With B-frames, a part would
        # begin to be decoded before the end of another, and could not follow it.
        stream = file.add_stream("libx264", rate=rate, options={"crf": CRF, "threads": "1", "bf": "0"})
        stream.width, stream.height = (side - side % 2 for side in frames[0].size)
        stream.pix_fmt = "yuv420p"
        codec = stream.codec_context
        codec.colorspace = codec.color_primaries = codec.color_trc = BT709
        codec.color_range = LIMITED_RANGE
        for number, picture in enumerate(frames):
            array = np.ascontiguousarray(np.asarray(picture)[: stream.height, : stream.width])
            frame = av.VideoFrame.from_ndarray(array, format="rgb24")
            frame = frame.reformat(
                format="yuv420p", dst_colorspace=Colorspace.ITU709, interpolation=Interpolation.BICUBIC | ACCURATE
            )
            frame.pts, frame.time_base = number, 1 / rate
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


class VideoWriter:
    """A video that grows by one frame at a time, and can be saved after any of them. Its memory is bounded.

    A context manager, which deletes the parts that it has encoded until then.
    """

    def __init__(self, clip: Clip, output: Path):
        """
        clip: whose frames are painted. output: where `save` writes to; the parts are in a folder beside it.
        """
        self._clip, self._output = clip, output
        self._folder = tempfile.TemporaryDirectory(prefix="parts-", dir=output.parent)
        self._parts: list[Path] = []
        self._waiting: list[Image.Image] = []
        self.frames = 0

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, *_) -> None:
        self._folder.cleanup()

    def add(self, picture: Image.Image) -> None:
        """Add a frame. Raises StyleTransferError if it cannot be written."""
        self._waiting.append(picture)
        self.frames += 1
        if len(self._waiting) == PART_FRAMES:
            self._encode()

    def save(self) -> Path:
        """Write all frames as one MP4 with the clip's sound, as far as the frames go; return its path.

        Raises StyleTransferError if the file cannot be written.
        """
        if self._waiting:
            self._encode()
        return join_parts(self._parts, self._clip, self._output, sound_seconds=self.frames / self._clip.rate)

    def _encode(self) -> None:
        path = Path(self._folder.name, f"part-{len(self._parts):06d}.mp4")
        self._parts.append(write_part(self._waiting, self._clip.rate, path))
        self._waiting = []


def join_parts(parts: Sequence[Path], clip: Clip, output: Path, sound_seconds: Fraction | None = None) -> Path:
    """Write the parts, in order, as one MP4 with the sound of `clip`, and return its path.

    Nothing is encoded anew but sound that browsers do not play. The index is at the start of the file (faststart), so
    that they play it at once. sound_seconds: where the sound ends; by default with the clip.

    Raises StyleTransferError if the file cannot be written.
    """

    def write(temporary: str) -> None:
        with contextlib.ExitStack() as stack:
            source = stack.enter_context(clip.open())
            options = {"movflags": "+faststart"}
            file = stack.enter_context(av.open(temporary, "w", format="mp4", options=options))
            file.metadata["comment"] = MARK
            with av.open(str(parts[0])) as first:
                video = file.add_stream_from_template(first.streams.video[0])
            streams = [_join_pictures(parts, clip.rate, video)]
            if sound := next((stream for stream in source.streams.audio if stream.codec_context), None):
                packets = _take_sound(source, sound, clip.start, file)
                streams.append(_until(sound_seconds, packets) if sound_seconds else packets)
            for _, packet in heapq.merge(*streams, key=lambda item: item[0]):  # a player needs both at once
                file.mux(packet)

    return write_atomically(output, write)


def _join_pictures(parts: Sequence[Path], rate: Fraction, video: av.VideoStream) -> Iterator[TimedPacket]:
    """Yield the packets of all parts."""
    begin = Fraction(0)
    for part in parts:
        with av.open(str(part)) as file:
            for packet in file.demux(video=0):
                if packet.dts is not None:  # the last packet is empty
                    yield _move(packet, begin, video)
            begin += file.streams.video[0].frames / rate


def _take_sound(
    source: InputContainer, sound: av.AudioStream, start: Fraction, file: OutputContainer
) -> Iterator[TimedPacket]:
    """Yield the packets of the clip's sound, copied or as AAC, from the time `start` on."""
    context = sound.codec_context
    if context.codec.canonical_name in COPIED_SOUND:
        copy = file.add_stream_from_template(sound)
        packets = (packet for packet in _packets(source, sound) if packet.dts is not None)
        return (_move(packet, -start, copy) for packet in packets)
    rate, layout = min(context.sample_rate, MAX_SAMPLE_RATE), "mono" if context.channels == 1 else "stereo"
    encoded = file.add_stream("aac", rate=rate, layout=layout)
    return _encode_sound(source, sound, start, encoded)


def _encode_sound(
    source: InputContainer, sound: av.AudioStream, start: Fraction, encoded: av.AudioStream
) -> Iterator[TimedPacket]:
    resampler = av.AudioResampler("fltp", encoded.layout, encoded.rate, encoded.frame_size or AAC_SAMPLES)
    for packet in _packets(source, sound):
        for frame in _decode(packet):
            frame.pts -= round(start / frame.time_base)
            for resampled in resampler.resample(frame):
                yield from _timed(encoded.encode(resampled))
    for resampled in resampler.resample(None):
        yield from _timed(encoded.encode(resampled))
    yield from _timed(encoded.encode(None))


def _until(seconds: Fraction, packets: Iterator[TimedPacket]) -> Iterator[TimedPacket]:
    """Yield the packets before a time."""
    return itertools.takewhile(lambda item: item[0] < seconds, packets)


def _packets(source: InputContainer, sound: av.AudioStream) -> Iterator[av.Packet]:
    """Yield the packets up to where the file breaks off."""
    with contextlib.suppress(av.error.FFmpegError):
        yield from source.demux(sound)


def _decode(packet: av.Packet) -> list[av.AudioFrame]:
    """Return the frames of a packet that have a time; none if it is damaged."""
    try:
        return [frame for frame in packet.decode() if frame.pts is not None]
    except av.error.FFmpegError:
        return []


def _move(packet: av.Packet, seconds: Fraction, stream: av.VideoStream | av.AudioStream) -> TimedPacket:
    offset = round(seconds / packet.time_base)
    packet.pts, packet.dts = packet.pts + offset, packet.dts + offset
    packet.stream = stream
    return packet.dts * packet.time_base, packet


def _timed(packets: Sequence[av.Packet]) -> Iterator[TimedPacket]:
    yield from ((packet.dts * packet.time_base, packet) for packet in packets)
