"""The folder beside a video in which the finished frames wait until the video is whole.

A run that was stopped, or that crashed, goes on from it. It holds:

    job.json                  the recipe, the clip's checksum and the frame rate: what the frames belong to
    part-000000-000048.mp4    finished frames, encoded: from the first number up to, but without, the second
    frame-000048.png          finished frames that are not encoded yet, fewer than `PART_FRAMES`
    memory-000048.safetensors what the next frame is painted from

So its size is that of the video and of a few frames, however long the clip is. Every file is written whole or not at
all, and what the next step needs is deleted only after that step.
"""

import contextlib
import json
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from nst.errors import StyleTransferError
from nst.io.files import write_atomically
from nst.output.recipe import PaintingRecipe
from nst.tools.batch import is_first_process
from nst.video.encoding import PART_FRAMES, write_part
from nst.video.painting import VideoPainter
from nst.video.past import PaintedFrame

# All names that this program gives, the temporary ones of `write_atomically` too: only these are ever deleted.
OWN_NAME = re.compile(r"\.?(job|whole|part|frame|memory)[\w-]*\.(json|mp4|png|safetensors)")


class WorkFolder:
    """The folder of one video, or of the part of it that this process paints: see the module.

    first, end: the numbers of the frames, from 0; `end` is not among them, and None means all that follow.
    """

    def __init__(self, output: Path, rate: Fraction, first: int = 0, end: int | None = None):
        self.path, self.rate = output.with_name(f"{output.name}.frames"), rate
        self._numbers = range(first, sys.maxsize if end is None else end)

    def open(self, recipe: PaintingRecipe, clip_sha256: str) -> None:
        """Make the folder, or check that what is in it belongs to this video.

        Raises StyleTransferError if it holds another video's frames, or something else has its name.
        """
        job = {"clip": clip_sha256, "rate": str(self.rate), "recipe": recipe.to_json()}
        file = self.path / "job.json"
        while not is_first_process() and not file.exists():  # one process makes the folder for all
            time.sleep(0.1)
        if file.exists():
            if not _is_same_job(file, job):
                advice = "delete this folder, or write to another file"
                raise StyleTransferError(f"{self.path}: has frames of another clip, painting or settings; {advice}.")
            return
        if self.path.exists() and not (self.path.is_dir() and all(map(OWN_NAME.fullmatch, os.listdir(self.path)))):
            raise StyleTransferError(f"{self.path}: this name is needed for a folder; rename what has it.")
        self._clear()
        write_atomically(file, lambda temporary: Path(temporary).write_text(json.dumps(job)))

    def resume(self, painter: VideoPainter) -> int:
        """Give the painter the memory of the last finished frame, and return the number of the next one."""
        kept = self._kept("memory", "safetensors")
        # A crash may also have left frames that the memory had dropped already.
        painter.memory = [_read_memory(kept[number]) for number in _memory_numbers(kept)]
        next_number = painter.memory[-1].number + 1 if painter.memory else self._numbers.start
        encoded = self._numbers.start
        for path in self.parts():  # a crash may have left more than it kept the memory of
            _, end = map(int, path.stem.split("-")[1:])
            if end > next_number:
                path.unlink()
            else:
                encoded = end
        for number, path in self._kept("frame", "png").items():
            if not encoded <= number < next_number:
                path.unlink()
        self._encode_if_full()
        return next_number

    def keep(self, picture: Image.Image, memory: Sequence[PaintedFrame]) -> None:
        """Keep the latest frame, and the memory that the next one is painted from. `memory` ends with the latest."""
        latest = memory[-1]
        if latest.scene == latest.number:
            self.encode()
        path = self.path / f"frame-{latest.number:06d}.png"
        write_atomically(path, lambda temporary: picture.save(temporary, compress_level=1))
        path = self.path / f"memory-{latest.number:06d}.safetensors"
        needed = [frame.number for frame in memory]
        write_atomically(path, lambda temporary: _save_memory(latest, needed, temporary))
        for number, old in self._kept("memory", "safetensors").items():
            if number not in needed:
                old.unlink()
        self._encode_if_full()

    def _encode_if_full(self) -> None:
        if len(self._kept("frame", "png")) >= PART_FRAMES:
            self.encode()

    def encode(self) -> None:
        """Encode the finished frames that wait for it as one part. A scene never shares a part with the next one."""
        if waiting := self._kept("frame", "png"):
            pictures = [Image.open(path).convert("RGB") for path in waiting.values()]
            name = f"part-{min(waiting):06d}-{max(waiting) + 1:06d}.mp4"
            write_part(pictures, self.rate, self.path / name)
            for path in waiting.values():
                path.unlink()

    def parts(self) -> list[Path]:
        """Return the encoded parts in order."""
        return list(self._kept("part", "mp4").values())

    def remove(self) -> None:
        """Delete the folder with all that this program wrote in it."""
        self._clear()
        if not any(self.path.iterdir()):
            self.path.rmdir()

    def _clear(self) -> None:
        """Delete all that this program wrote: the memory first, so that no half of a folder looks like a whole one."""
        for path in sorted(self.path.glob("*"), key=lambda path: ("memory" not in path.name, "job" in path.name)):
            if OWN_NAME.fullmatch(path.name):
                path.unlink()

    def _kept(self, kind: str, suffix: str) -> dict[int, Path]:
        """Return the files of a kind, by the number of their first frame, in its order."""
        found = {int(path.stem.split("-")[1]): path for path in self.path.glob(f"{kind}-*.{suffix}")}
        return {number: found[number] for number in sorted(found) if number in self._numbers}


def _is_same_job(file: Path, job: dict[str, str]) -> bool:
    """Return whether the file describes the same job; versions of libraries do not count."""
    try:
        found = json.loads(file.read_text())
        recipes = [PaintingRecipe.from_json(text) for text in (found.pop("recipe"), job["recipe"])]
        return recipes[0] == recipes[1] and found == {name: job[name] for name in ("clip", "rate")}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _save_memory(frame: PaintedFrame, needed: Sequence[int], path: str) -> None:
    """Save a frame, and the numbers of all frames of the memory that ends with it."""
    tensors = {"source": frame.source, "canvas": frame.canvas}
    tensors |= {} if frame.sketch is None else {"sketch": frame.sketch}
    tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    save_file(tensors, path, {"scene": str(frame.scene), "memory": json.dumps(list(needed))})


def _memory_numbers(kept: dict[int, Path]) -> list[int]:
    """Return the numbers of the frames of the memory that the last one of the kept files ends."""
    if not kept:
        return []
    path = kept[max(kept)]
    with _refuse_damage(path), safe_open(path, "pt") as file:
        return [number for number in json.loads(file.metadata()["memory"]) if number in kept]


def _read_memory(path: Path) -> PaintedFrame:
    with _refuse_damage(path), safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        return PaintedFrame(number=int(path.stem.split("-")[1]), scene=int(file.metadata()["scene"]), **tensors)


@contextlib.contextmanager
def _refuse_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError, TypeError, KeyError, ValueError) as error:
        raise StyleTransferError(f"{path}: this file is damaged; delete its folder and start again.") from error
