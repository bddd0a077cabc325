"""Read clips: any file that PyAV reads becomes upright sRGB pictures at even times, or one clear error."""

import contextlib
import functools
import itertools
import os
import stat
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.stream import Disposition
from av.video.reformatter import Colorspace, Interpolation
from PIL import Image

from nst.errors import StyleTransferError
from nst.io.addresses import refuse_address
from nst.io.colour_spaces import ColourSpace, from_code_points
from nst.io.decoding import MAX_PIXELS
from nst.io.sizes import fitted_size

MAX_RATE = 60  # frames a second, unless the caller asks for more: of slow motion and of screen recordings
USUAL_RATE = 25  # where a clip does not say its own
HD_HEIGHT = 720  # px: from here on, a clip that does not say so has the colours of BT.709, as players assume
# Code points (ITU-T H.273): the curves PQ and HLG, and BT.2020's and P3's primaries; others are close to sRGB's.
HDR_CURVES, WIDE_PRIMARIES, SRGB_CURVE = (16, 18), (9, 11, 12), 13
# swscale's flags ACCURATE_RND, FULL_CHR_H_INT and FULL_CHR_H_INP: without them colours are off by 3 of 255 on average.
ACCURATE = 0x40000 | 0x2000 | 0x4000
# Kinds of files that name other files or devices: a clip that a stranger uploads must not show these.
LISTS = {"concat", "dash", "hls", "imf", "rtp", "rtsp", "sap", "sdp", "vobsub", "webm_dash_manifest"}
DEVICES = {"alsa", "fbdev", "iec61883", "jack", "kmsgrab", "lavfi", "oss", "pulse", "v4l2", "video4linux2", "x11grab"}
UNSPECIFIED = 2  # the code point of a matrix that a clip does not say
TURNS = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}


class Clip:
    """A clip in a file: its frames, at even times, and what is known of it before they are read.

    name: of the file. rate: frames a second. size: upright, (width, height) in px, with square pixels.
    frame_count: about how many frames there are; None if the file does not tell. damaged: how many parts could not be
    read so far, and were left out.

    Raises StyleTransferError if the file is missing, empty, damaged, a folder, a picture, or has no video.
    """

    def __init__(self, path: str | os.PathLike, rate: float | None = None):
        """
        rate: frames a second, 1 to 120; by default the clip's own, at most `MAX_RATE`.
        """
        self.path, self.name, self.damaged = Path(path), Path(path).name or str(path), 0
        _check_file(path, self.name)
        with self.open() as file:
            stream = _video_of(file)
            own = stream.average_rate or stream.guessed_rate or Fraction(USUAL_RATE)
            self.rate = Fraction(rate).limit_denominator(1001) if rate else min(own, Fraction(MAX_RATE))
            seconds = _seconds_of(file, stream)
            self._pixel_aspect = Fraction(stream.sample_aspect_ratio or 1)
        self.frame_count = None if seconds is None else max(1, round(seconds * self.rate))
        self.start, self.size = self._look_at_first_frame()

    def frames(self, first: int = 0, long_side: int | None = None) -> Iterator[Image.Image]:
        """Yield the frames as RGB pictures, from the one with the number `first`, counted from 0.

        Frame n is the one that the clip shows n / `rate` seconds after its first. long_side: larger frames are scaled
        down to it. Parts that cannot be decoded are left out, as players do.
        """
        number, latest, end = 0, None, self.start
        for time, frame in itertools.chain(self._decoded(), [(None, None)]):  # the last one stands for the end
            until = end if time is None else time
            while latest is not None and self.start + (number + Fraction(1, 2)) / self.rate <= until:
                if number >= first:
                    yield self._picture(latest, long_side)
                number += 1
            if time is not None:
                length = frame.duration * frame.time_base if frame.duration else 1 / self.rate
                latest, end = frame, max(time + length, self.start + 1 / self.rate)

    def open(self) -> av.container.InputContainer:
        """Return the file as PyAV opens it. Raises StyleTransferError as the class does."""
        try:
            options = {"protocol_whitelist": "file", "format_whitelist": _readable_formats()}
            file = av.open(str(self.path), options=options)
        except (av.error.FFmpegError, ValueError, OSError) as error:
            reason = "it is damaged, of an unknown kind, or a list of other files"
            raise StyleTransferError(f"{self.name}: not a clip that can be read; {reason}.") from error
        with contextlib.ExitStack() as stack:
            stack.callback(file.close)
            if file.format.name == "image2" or file.format.name.endswith("_pipe"):
                raise StyleTransferError(f"{self.name}: a picture, not a clip; for that: nst PHOTO STYLE -o OUT.png")
            if _video_of(file) is None:
                raise StyleTransferError(f"{self.name}: there is no video in it that can be read.")
            stack.pop_all()
        return file

    def _decoded(self) -> Iterator[tuple[Fraction, av.VideoFrame]]:
        """Yield all frames of the file, each with its time in seconds, in the order of these."""
        last = None
        with self.open() as file:
            stream = _video_of(file)
            stream.thread_type = "AUTO"
            for packet in self._packets(file, stream):
                try:
                    frames = packet.decode()
                except av.error.FFmpegError:
                    self.damaged += 1
                    continue
                for frame in frames:
                    time = None if frame.pts is None else frame.pts * frame.time_base
                    if time is not None and (last is None or time > last):
                        last = time
                        yield time, frame

    def _packets(self, file: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.Packet]:
        try:
            yield from file.demux(stream)
        except av.error.FFmpegError:  # the file breaks off
            self.damaged += 1

    def _look_at_first_frame(self) -> tuple[Fraction, tuple[int, int]]:
        """Return the time of the first frame in seconds, and its upright size."""
        for time, frame in self._decoded():
            if frame.width * frame.height > MAX_PIXELS:
                raise StyleTransferError(f"{self.name}: over the limit of {MAX_PIXELS // 10**6} megapixels a frame.")
            return time, self._picture(frame, None).size
        raise StyleTransferError(f"{self.name}: there is no frame in it that can be read; it is empty or damaged.")

    def _picture(self, frame: av.VideoFrame, long_side: int | None) -> Image.Image:
        size = max(1, round(frame.width * self._pixel_aspect)), frame.height
        if long_side and max(size) > long_side:
            size = fitted_size(size, long_side)
        picture = _to_srgb(frame, size)
        turn = TURNS.get(round(frame.rotation / 90) * 90 % 360)
        return picture if turn is None else picture.transpose(turn)


@functools.cache
def _readable_formats() -> str:
    """Return the names of all kinds of files that hold their video themselves, as FFmpeg takes them."""
    names = {name for names in av.formats_available for name in names.split(",")}
    return ",".join(sorted(names - LISTS - DEVICES))


def _check_file(path: str | os.PathLike, name: str) -> None:
    refuse_address(path, "download the clip first, and give the path of its file", name)
    if os.path.isdir(path):
        raise StyleTransferError(f"{name}: this is a folder; name one clip in it.")
    try:
        status = os.stat(path)
    except FileNotFoundError as error:
        raise StyleTransferError(f"{name}: no such file.") from error
    except (OSError, ValueError) as error:
        raise StyleTransferError(f"{name}: cannot be read ({getattr(error, 'strerror', None) or error}).") from error
    if not stat.S_ISREG(status.st_mode):  # reading would wait for a pipe, and a clip is read more than once
        raise StyleTransferError(f"{name}: not a file.")
    if not status.st_size:
        raise StyleTransferError(f"{name}: the file is empty.")


def _video_of(file: av.container.InputContainer) -> av.VideoStream | None:
    """Return the first video that is no cover of a piece of music, or None."""
    streams = [stream for stream in file.streams.video if not stream.disposition & Disposition.attached_pic]
    return next((stream for stream in streams if stream.codec_context and stream.codec_context.width), None)


def _seconds_of(file: av.container.InputContainer, stream: av.VideoStream) -> Fraction | None:
    if stream.duration and stream.time_base:
        return stream.duration * stream.time_base
    return Fraction(file.duration, av.time_base) if file.duration else None


def _to_srgb(frame: av.VideoFrame, size: tuple[int, int]) -> Image.Image:
    """Return a frame as an RGB picture of (width, height) `size`.

    Usual video is shown as it is, as players do. The colours of HDR (PQ, HLG) and of wide primaries are converted by
    `nst.io.colour_spaces`: their reference white of 203 cd/m² becomes white, and what is brighter is clipped.
    """
    space = _colour_space(frame)
    matrix = None  # the frame's own
    if frame.colorspace == UNSPECIFIED:
        matrix = Colorspace.ITU709 if frame.height >= HD_HEIGHT else Colorspace.ITU601
    scaling = Interpolation.BICUBIC if (frame.width, frame.height) == size else Interpolation.AREA
    options = {"width": size[0], "height": size[1], "src_colorspace": matrix, "interpolation": scaling | ACCURATE}
    if space is None:
        return Image.fromarray(frame.reformat(format="rgb24", **options).to_ndarray())
    return Image.fromarray(space.array_to_srgb(frame.reformat(format="rgb48le", **options).to_ndarray()))


def _colour_space(frame: av.VideoFrame) -> ColourSpace | None:
    """Return the colour space of a frame that is not shown as it is, or None."""
    if frame.color_trc in HDR_CURVES or frame.color_primaries in WIDE_PRIMARIES:
        curve = frame.color_trc if frame.color_trc in HDR_CURVES else SRGB_CURVE
        return from_code_points(int(frame.color_primaries), int(curve))
    return None
