"""Paint a clip in a file as a video in a file, so that a run that was stopped goes on where it stopped."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from nst.output.recipe import describe
from nst.pictures import load_styles
from nst.settings import StyleSettings
from nst.video.clips import Clip
from nst.video.encoding import join_parts
from nst.video.painting import VideoPainter
from nst.video.work_folder import WorkFolder


def paint_clip(
    clip: Clip,
    style: str | os.PathLike,
    output: Path,
    settings: StyleSettings,
    on_frame: Callable[[int], None] = lambda number: None,
) -> int:
    """Paint a clip in the style of a painting, write it as an MP4 with the clip's sound, and return its frames' number.

    Finished frames are kept in the folder `<output>.frames` until the video is whole. The same call goes on from
    there, and gives the same frames as a run that was not stopped. on_frame: called with the number of frames that are
    finished, first with those of an earlier run.

    Raises StyleTransferError for a clip, painting or settings that cannot be used, and for a folder of another job.
    """
    styles = load_styles(style)
    folder = WorkFolder(output, clip.rate)
    folder.open(describe(Image.new("RGB", (1, 1)), styles, settings), _sha256(clip.path))
    painter = VideoPainter(styles, settings)
    number = folder.resume(painter)
    on_frame(number)
    for frame in clip.frames(number, settings.size):
        picture = painter.paint(frame)
        folder.keep(picture, painter.memory)
        number += 1
        on_frame(number)
    folder.encode()
    whole = join_parts(folder.parts(), clip, folder.path / "whole.mp4")
    os.replace(whole, output)
    folder.remove()
    return number


def _sha256(path: Path) -> str:
    checksum = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            checksum.update(block)
    return checksum.hexdigest()
