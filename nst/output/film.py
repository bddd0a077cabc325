"""The process as a film: a few frames of the run, kept while it paints."""

import io
import math
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from nst.errors import StyleTransferError
from nst.io.files import write_atomically
from nst.io.sizes import fitted_size
from nst.stylization import Step

MAX_FRAMES = 40
MAX_SIDE = 512  # px
FRAME_MS, LAST_MS = 100, 1500  # the last frame is held, so that the result can be looked at
QUALITY = 92  # of the JPEGs that frames are kept as, a tenth of their pixels
FORMATS = (".webp", ".mp4")


class Film:
    """Pictures of one run, at most `MAX_FRAMES`, evenly spread however long it gets; the latest is always among them.

    stored: their JPEG files, in order, no side over `MAX_SIDE` px.
    """

    def __init__(self):
        self.stored: list[bytes] = []
        self._every = 1  # of the pictures that come, one in so many is kept
        self._seen = 0
        self._latest_stays = True

    @staticmethod
    def interval(steps: int) -> int:
        """Every how many steps a run of that length should show a picture: often enough, and no more."""
        return math.ceil(steps / MAX_FRAMES)

    def add(self, step: Step) -> None:
        """Take the step's picture, if it has one."""
        if step.image is None:
            return
        if not self._latest_stays:
            self.stored.pop()
        self.stored.append(_compressed(step.image))
        if len(self.stored) > MAX_FRAMES:
            self.stored = self.stored[::2]
            self._every *= 2
        self._latest_stays = self._seen % self._every == 0
        self._seen += 1

    def frame(self, number: int) -> Image.Image:
        """The picture of that number, from 0 or, from the end, -1: RGB."""
        return Image.open(io.BytesIO(self.stored[number])).convert("RGB")

    def save(self, path: str | os.PathLike) -> Path:
        """Write an animated WebP, which repeats, or an MP4 (H.264) that browsers play; the suffix says which.

        Raises StyleTransferError for another suffix, a film without frames, or a file that cannot be written.
        """
        check_format(path)
        path = Path(path)
        if not self.stored:
            raise StyleTransferError("There is no picture for the film yet.")
        save = _save_webp if path.suffix.lower() == ".webp" else _save_mp4
        frames = [self.frame(number) for number in range(len(self.stored))]
        return write_atomically(path, lambda temporary: save(frames, temporary))


def check_format(path: str | os.PathLike) -> None:
    """Raise StyleTransferError for a suffix that no film is written as."""
    if Path(path).suffix.lower() not in FORMATS:
        raise StyleTransferError(f"{Path(path).name}: a film is written as {' or '.join(FORMATS)}.")


def _compressed(image: Image.Image) -> bytes:
    if max(image.size) > MAX_SIDE:
        image = image.resize(fitted_size(image.size, MAX_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY, subsampling=0)
    return buffer.getvalue()


def _save_webp(frames: list[Image.Image], path: str) -> None:
    durations = [FRAME_MS] * (len(frames) - 1) + [LAST_MS]
    frames[0].save(path, "WEBP", save_all=True, append_images=frames[1:], duration=durations, loop=0, quality=85)


def _save_mp4(frames: list[Image.Image], path: str) -> None:
    import av  # half a second, for the few who ask for it

    # The colours' matrix is told, or players guess by the size. The index goes first: a browser then starts at once.
    bt709, srgb, limited = 1, 13, 1
    with av.open(path, "w", options={"movflags": "+faststart"}) as file:
        stream = file.add_stream("libx264", rate=Fraction(1000, FRAME_MS), options={"crf": "18"})
        stream.width, stream.height = (side - side % 2 for side in frames[0].size)  # yuv420p has no odd sides
        stream.pix_fmt = "yuv420p"
        codec = stream.codec_context
        codec.colorspace = codec.color_primaries = bt709
        codec.color_trc, codec.color_range = srgb, limited
        held = [frames[-1]] * (LAST_MS // FRAME_MS - 1)  # players do not hold a last frame: it is repeated
        for image in frames + held:
            array = np.asarray(image)[: stream.height, : stream.width]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format="rgb24")
            file.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace="ITU709")))
        file.mux(stream.encode(None))
