"""Paint a clip in a file as a video in a file, so that a run that was stopped goes on where it stopped.

Under torchrun the scenes are shared: each process paints some of them, and the first one joins all.
"""

import hashlib
import itertools
import os
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from nst.io.tensors import to_tensor
from nst.output.recipe import describe
from nst.pictures import load_styles
from nst.settings import StyleSettings
from nst.tools.batch import count_failures, is_first_process, jobs_of_this_process, process_count
from nst.video.clips import Clip
from nst.video.encoding import join_parts
from nst.video.flow import is_cut
from nst.video.painting import VideoPainter, fit_frame
from nst.video.work_folder import WorkFolder

Scene = tuple[int, int | None]  # the numbers of its first frame and of the next scene's; None: up to the clip's end


def paint_clip(
    clip: Clip,
    style: str | os.PathLike,
    output: Path,
    settings: StyleSettings,
    on_frame: Callable[[int, int | None], None] = lambda finished, total: None,
    should_stop: Callable[[], bool] = lambda: False,
    hold: Callable[[], None] = lambda: None,
) -> None:
    """Paint a clip in the style of a painting, and write it as an MP4 with the clip's sound.

    Finished frames are kept in the folder `<output>.frames` until the video is whole. The same call goes on from there,
    and gives the same bytes as a run that was not stopped.

    on_frame: called with the number of frames that are finished and the number of all that this process paints, which
    is an estimate, or None; first with those of an earlier run. should_stop: if it returns True, the first process
    waits no longer for the others. hold: called before the parts are joined, from when on nothing should interrupt it.

    Raises StyleTransferError for a clip, painting or settings that cannot be used, and for a folder of another job.
    """
    styles = load_styles(style)
    folder = WorkFolder(output, clip.rate)
    folder.open(describe(Image.new("RGB", (1, 1)), styles, settings), _sha256(clip.path))
    scenes = jobs_of_this_process(find_scenes(clip, settings) if process_count() > 1 else [(0, None)])
    total = sum(end - first for first, end in scenes) if process_count() > 1 else clip.frame_count
    finished = 0
    for first, end in scenes:
        scene_folder = WorkFolder(output, clip.rate, first, end)
        painter = VideoPainter(styles, settings, first)
        number = scene_folder.resume(painter)
        finished += number - first
        on_frame(finished, total)
        for frame in itertools.islice(clip.frames(number, settings.size), end and end - number):
            picture = painter.paint(frame)
            scene_folder.keep(picture, painter.memory)
            finished += 1
            on_frame(finished, total)
        scene_folder.encode()
    count_failures(0, "video", should_stop)  # this waits for the other processes
    if is_first_process() and not should_stop():
        hold()
        os.replace(join_parts(folder.parts(), clip, folder.path / "whole.mp4"), output)
        folder.remove()


def find_scenes(clip: Clip, settings: StyleSettings) -> list[Scene]:
    """Return the scenes of a clip, as `VideoPainter` would find them."""
    cuts, before, number = [], None, 0
    for number, frame in enumerate(clip.frames(0, settings.size), 1):
        source = to_tensor(fit_frame(frame, settings))
        if before is None or is_cut(before, source):
            cuts.append(number - 1)
        before = source
    return list(itertools.pairwise([*cuts, number]))


def _sha256(path: Path) -> str:
    checksum = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            checksum.update(block)
    return checksum.hexdigest()
