"""A film of a run: a few frames, collected while it paints, saved as WebP or MP4."""

import io
import math
import os
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import ExifTags, Image

from nst.errors import StyleTransferError
from nst.io.files import write_atomically
from nst.io.sizes import fitted_size

if TYPE_CHECKING:
    from nst.step import Step

MAX_FRAMES = 40
MAX_SIDE = 512  # px
FRAME_MS, LAST_MS = 100, 1500  # the last frame is shown for longer, so that viewers can look at the result
JPEG_QUALITY = 92  # of the stored frames: a tenth of the memory that their pixels would take
SUFFIXES = (".webp", ".mp4")
MARK = "painted by nst"  # in the metadata: such a film may be replaced by the next one


class Film:
    """Pictures of one run, at most `MAX_FRAMES`, evenly spread however long it gets. The latest is always among them.

    stored: their JPEG files, in order, no side over `MAX_SIDE` px.
    """

    def __init__(self):
        self.stored: list[bytes] = []
        self._stride = 1  # of this many pictures, one is stored for good
        self._added = 0
        self._last_is_permanent = True  # or else the next picture replaces the last

    @staticmethod
    def interval(steps: int) -> int:
        """Return the number of steps between two pictures for the film of a run of `steps` steps."""
        return math.ceil(steps / MAX_FRAMES)

    def add(self, step: "Step") -> None:
        """Add the step's picture, if it has one."""
        if step.image is None:
            return
        if not self._last_is_permanent:
            self.stored.pop()
        self.stored.append(_compress(step.image))
        if len(self.stored) > MAX_FRAMES:
            self.stored = self.stored[::2]
            self._stride *= 2
        self._last_is_permanent = self._added % self._stride == 0
        self._added += 1

    def frame(self, number: int) -> Image.Image:
        """Return the RGB picture with that number, counted from 0, or from the end as -1."""
        return Image.open(io.BytesIO(self.stored[number])).convert("RGB")

    def save(self, path: str | os.PathLike) -> Path:
        """Write the film and return its path: an animated WebP, which repeats, or an MP4 (H.264) that browsers play.

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
    """Raise StyleTransferError if the suffix of `path` is not that of a film."""
    if Path(path).suffix.lower() not in SUFFIXES:
        raise StyleTransferError(f"{Path(path).name}: a film is written as {' or '.join(SUFFIXES)}.")


def is_marked(path: str | os.PathLike) -> bool:
    """Return whether the file is a film that this program wrote."""
    try:
        if Path(path).suffix.lower() == ".webp":
            with Image.open(path) as image:
                return image.getexif().get(ExifTags.Base.Software) == MARK
        import av

        with av.open(path) as file:
            return file.metadata.get("comment") == MARK
    except (OSError, ValueError):  # not a film; av's errors are of these kinds
        return False


def _compress(image: Image.Image) -> bytes:
    """Return the image as a JPEG file with no side over `MAX_SIDE`."""
    if max(image.size) > MAX_SIDE:
        image = image.resize(fitted_size(image.size, MAX_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def _save_webp(frames: list[Image.Image], path: str) -> None:
    durations = [FRAME_MS] * (len(frames) - 1) + [LAST_MS]
    exif = Image.Exif()
    exif[ExifTags.Base.Software] = MARK
    options = {"duration": durations, "loop": 0, "quality": 85, "exif": exif}
    frames[0].save(path, "WEBP", save_all=True, append_images=frames[1:], **options)


def _save_mp4(frames: list[Image.Image], path: str) -> None:
    import av  # takes half a second, and few runs need it

    # Without the colour tags, players guess the conversion by the picture's size. The index goes to the start of the
    # file (faststart), so that a browser plays it at once.
    bt709, srgb, limited_range = 1, 13, 1
    with av.open(path, "w", options={"movflags": "+faststart"}) as file:
        file.metadata["comment"] = MARK
        stream = file.add_stream("libx264", rate=Fraction(1000, FRAME_MS), options={"crf": "18"})
        stream.width, stream.height = (side - side % 2 for side in frames[0].size)  # yuv420p needs even sides
        stream.pix_fmt = "yuv420p"
        codec = stream.codec_context
        codec.colorspace = codec.color_primaries = bt709
        codec.color_trc, codec.color_range = srgb, limited_range
        repeats = [frames[-1]] * (LAST_MS // FRAME_MS - 1)  # players do not hold a last frame: it is repeated
        for image in frames + repeats:
            array = np.asarray(image)[: stream.height, : stream.width]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format="rgb24")
            file.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace="ITU709")))
        file.mux(stream.encode(None))
