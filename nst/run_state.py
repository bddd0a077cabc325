"""The state of a run: all that is needed to continue it, and its file."""

import json
import os
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from nst.canvas import check_state
from nst.errors import StyleTransferError
from nst.io.files import write_atomically
from nst.io.tensors import to_tensor


@dataclass
class RunState:
    """Where a run stands: enough to continue it bit for bit on the same machine.

    arrays: the canvas's pixels and Adam's moments, float32. step: steps done in all. stage: the number of the current
    stage, from 0. stage_step: steps done in that stage. random_state: of the torch generator that drew the noise.
    step_scale: what the learning rate is multiplied by; it is below 1 once a step had to be undone.
    pictures: `finished`, the painting, of the canvas's size; `sketch`, if the run has one; `kept`, the picture of the
    stage before, in a stage that adds detail; `tile`, the inside of a seamless painting; and `mixed`, the result in its
    final size, if its strength is not 1. All are float32.
    """

    arrays: dict[str, np.ndarray]
    step: int
    stage: int
    stage_step: int
    random_state: np.ndarray
    step_scale: float = 1.0
    pictures: dict[str, np.ndarray] = field(default_factory=dict)

    def save(self, path: str | os.PathLike) -> None:
        """Write a safetensors file. Raises StyleTransferError if it cannot be written."""
        counts = {"step": self.step, "stage": self.stage, "stage_step": self.stage_step}
        counts = json.dumps(counts | {"step_scale": self.step_scale})
        tensors = {f"canvas.{name}": np.atleast_1d(array) for name, array in self.arrays.items()}
        tensors |= {f"picture.{name}": array for name, array in self.pictures.items()}
        tensors["random_state"] = self.random_state
        write_atomically(path, lambda temporary: save_file(tensors, temporary, metadata={"run_state": counts}))

    def result(self, size: tuple[int, int], *, full_strength: bool = False) -> np.ndarray:
        """Return the result, (H, W, 3) float32 in [0, 1], in (width, height) `size`.

        full_strength: the painting before it was mixed with the photo.
        """
        painting = self.pictures.get("tile", self.pictures.get("finished", self.arrays["pixels"]))
        pixels = painting if full_strength else self.pictures.get("mixed", painting)
        channels = [Image.fromarray(channel) for channel in pixels[0]]
        if channels[0].size != size:  # stopped in a coarse stage: scaled up as `stylize` does
            channels = [channel.resize(size, Image.Resampling.BICUBIC) for channel in channels]
        return np.stack([np.asarray(channel) for channel in channels], axis=2).clip(0, 1)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "RunState":
        """Read a file that `save` wrote. Raises StyleTransferError for any other file."""
        try:
            with safe_open(path, "np") as file:
                counts = json.loads((file.metadata() or {})["run_state"])
                tensors = {key: file.get_tensor(key) for key in file.keys()}
            arrays = {k.removeprefix("canvas."): v for k, v in tensors.items() if k.startswith("canvas.")}
            arrays |= {k: v[0] for k, v in arrays.items() if v.ndim == 1}
            pictures = {k.removeprefix("picture."): v for k, v in tensors.items() if k.startswith("picture.")}
            state = cls(arrays, **counts, random_state=tensors["random_state"], pictures=pictures)
            state._check()
            return state
        except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise StyleTransferError(f"{os.path.basename(path)}: not a saved run.") from error

    @classmethod
    def at_picture(cls, picture: Image.Image, step: int, stage: int) -> "RunState":
        """Return a state for a run of which only a preview is left: `picture`, of the final size, after `step` steps.

        The run counts as being in its last stage, number `stage`, and Adam starts anew.
        """
        pixels = to_tensor(picture).numpy()
        return cls({"pixels": pixels}, step, stage, 0, torch.Generator().get_state().numpy())

    def _check(self) -> None:
        """Raise an error (of several types) if no run can have this state: the file may be damaged or forged."""
        if not all(type(count) is int and count >= 0 for count in (self.step, self.stage, self.stage_step)):
            raise ValueError("counts")
        if type(self.step_scale) is not float or not 0 < self.step_scale <= 1:
            raise ValueError("step_scale")
        pixels = self.arrays["pixels"]
        is_float32 = all(array.dtype == np.float32 for array in self.arrays.values())
        if pixels.ndim != 4 or pixels.shape[:2] != (1, 3) or not is_float32:
            raise ValueError("arrays")
        if any(x.dtype != np.float32 or x.ndim != 4 or x.shape[:2] != (1, 3) for x in self.pictures.values()):
            raise ValueError("pictures")
        if "finished" in self.pictures and self.pictures["finished"].shape != pixels.shape:
            raise ValueError("finished")
        check_state(self.arrays)
        torch.Generator().set_state(torch.from_numpy(self.random_state))
