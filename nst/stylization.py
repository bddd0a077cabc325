"""The stylisation loop: a generator that paints one step at a time."""

import functools
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor

from nst.canvas import Canvas, check_state
from nst.engine.hardware import choose_hardware
from nst.errors import StyleTransferError
from nst.estimation import check_memory
from nst.io.colour import with_colours_of, with_covariance_of
from nst.io.files import write_atomically
from nst.io.reading import PictureLike, load_picture
from nst.io.sizes import MIN_SIDE, check_sides, fitted_size, resize_picture
from nst.io.tensors import to_picture, to_tensor
from nst.models.checkpoints import load_backbone
from nst.objective import Objective, build_extractor
from nst.optimize import Guard, descend
from nst.settings import Stage, StyleSettings


@dataclass(frozen=True)
class Style:
    """A style picture, its weight among several (above 0), and a mask picture: white where the style goes."""

    picture: PictureLike
    weight: float = 1.0
    mask: PictureLike | None = None


@dataclass
class RunState:
    """Where a run stands: enough to continue it bit for bit on the same machine.

    arrays: the canvas's pixels and Adam's moments, float32. step: steps done in all; stage: number of the current one,
    from 0; stage_step: steps done in it. random_state: of the torch generator that drew the start. step_scale: what the
    learning rate is multiplied by, under 1 once a step had to be taken back.
    """

    arrays: dict[str, np.ndarray]
    step: int
    stage: int
    stage_step: int
    random_state: np.ndarray
    step_scale: float = 1.0

    def save(self, path: str | os.PathLike) -> None:
        """Write a safetensors file."""
        counts = {"step": self.step, "stage": self.stage, "stage_step": self.stage_step}
        counts = json.dumps(counts | {"step_scale": self.step_scale})
        tensors = {f"canvas.{name}": np.atleast_1d(array) for name, array in self.arrays.items()}
        tensors["random_state"] = self.random_state
        write_atomically(path, lambda temporary: save_file(tensors, temporary, metadata={"run_state": counts}))

    @classmethod
    def load(cls, path: str | os.PathLike) -> "RunState":
        """Read what `save` wrote. Raises StyleTransferError for anything else."""
        try:
            with safe_open(path, "np") as file:
                counts = json.loads((file.metadata() or {})["run_state"])
                tensors = {key: file.get_tensor(key) for key in file.keys()}
            arrays = {k.removeprefix("canvas."): v for k, v in tensors.items() if k.startswith("canvas.")}
            arrays |= {k: v[0] for k, v in arrays.items() if v.ndim == 1}
            state = cls(arrays, **counts, random_state=tensors["random_state"])
            state._check()
            return state
        except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise StyleTransferError(f"{os.path.basename(path)}: not a saved run.") from error

    @classmethod
    def at_picture(cls, picture: Image.Image, step: int, stage: int) -> "RunState":
        """For a run of which only a preview is left, of the final size, after `step` steps.

        It is taken to be in its last stage, number `stage`, and Adam begins anew.
        """
        pixels = to_tensor(picture).numpy()
        return cls({"pixels": pixels}, step, stage, 0, torch.Generator().get_state().numpy())

    def _check(self) -> None:
        """Raise one of several errors for what no run can have left behind: a file may be damaged or from elsewhere."""
        if not all(type(n) is int and n >= 0 for n in (self.step, self.stage, self.stage_step)):
            raise ValueError("counts")
        if type(self.step_scale) is not float or not 0 < self.step_scale <= 1:
            raise ValueError("step_scale")
        pixels = self.arrays["pixels"]
        if pixels.ndim != 4 or pixels.shape[:2] != (1, 3) or any(a.dtype != np.float32 for a in self.arrays.values()):
            raise ValueError("arrays")
        check_state(self.arrays)
        torch.Generator().set_state(torch.from_numpy(self.random_state))


@dataclass
class Step:
    """One optimiser step, as plain data that can be pickled.

    step: from 1 to `steps`. stage: from 0. The losses are those of the picture this step started from. seconds: since
    the run began; seconds_left: until it ends, at the pace so far. image: where the caller asked for one, and always in
    the last step. state: in the last step. note: one sentence where something was put right, otherwise empty.
    """

    step: int
    steps: int
    stage: int
    content_loss: float
    laplacian_loss: float
    style_loss: float
    tv_loss: float
    total_loss: float
    seconds: float
    seconds_left: float
    note: str = ""
    image: Image.Image | None = field(default=None, repr=False)
    state: RunState | None = field(default=None, repr=False)


def _memory_said(run: Callable[..., Iterator[Step]]) -> Callable[..., Iterator[Step]]:
    """What the machine says when it has no memory left, as the one line that helps."""

    @functools.wraps(run)
    def told(*arguments: Any, **options: Any) -> Iterator[Step]:
        try:
            yield from run(*arguments, **options)
            return
        except (MemoryError, torch.OutOfMemoryError):
            pass
        except RuntimeError as error:
            if "can't allocate memory" not in str(error):  # torch's words on a processor
                raise
        # Out here, where the failed run and all that it held are gone.
        raise StyleTransferError("There is not enough memory for this size: choose a smaller one.")

    return told


@_memory_said
@torch.enable_grad()  # as a decorator it is entered anew at each next(), on whatever thread; a `with` would leak
def stylize(
    content: PictureLike,
    style: PictureLike | Sequence[Style],
    settings: StyleSettings | None = None,
    *,
    preview_every: int | float | None = 1,
    resume: RunState | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Iterator[Step]:
    """Paint `content` in the style of `style`; yields a `Step` for every optimiser step.

    content: a path or PIL image. style: the same, or a list of `Style`.
    preview_every: an int asks for an image every so many steps, a float every so many seconds, None only in the last.
    Every image has the final size, those of coarse stages scaled up.
    resume: the state of an earlier run of the same photo and size; `settings.steps` counts its steps too.
    should_stop: asked after every step but the last; True makes that step the last.

    Raises StyleTransferError, at the first step, for pictures, settings or weights that cannot be used, and for a size
    that this machine's memory cannot hold.
    """
    started = time.perf_counter()
    settings = StyleSettings() if settings is None else settings
    if not isinstance(settings, StyleSettings):
        raise StyleTransferError(f"settings must be StyleSettings, not {type(settings).__name__}.")
    if preview_every is not None and not (type(preview_every) in (int, float) and preview_every > 0):
        raise StyleTransferError(f"preview_every must be a number above 0, or None, not {preview_every!r}.")
    if resume is not None and not isinstance(resume, RunState):
        raise StyleTransferError(f"resume must be a RunState, not {type(resume).__name__}.")
    photo = load_picture(content, None if isinstance(content, (str, os.PathLike)) else "The content picture")
    styles = _load_styles(style)
    hardware = choose_hardware(settings.device, settings.precision)
    backbone = load_backbone(settings.backbone)
    extractor = build_extractor(backbone, settings, hardware)
    known_as = f"{backbone.sha256} {hardware} {settings.pooling}"
    stages = _remaining(photo, settings, resume)
    generator = torch.Generator().manual_seed(settings.seed)
    if resume:
        generator.set_state(torch.from_numpy(resume.random_state))
    final_size = _size(photo, settings, stages[-1][1])
    check_sides(final_size, "The content picture")
    for picture, _, _ in styles:
        check_sides(_size(picture, settings, stages[-1][1]), "The style picture")
    check_memory(photo.size, settings)
    canvas = _restored(resume, settings, hardware.device) if resume else None
    done = resume.step if resume else 0
    work_left = sum(_work(photo, settings, stage) * steps for _, stage, steps in stages)
    last_image = -float("inf")
    guard = Guard(resume.step_scale if resume else 1.0)

    for number, stage, steps in stages:
        size = _size(photo, settings, stage)
        pixels = to_tensor(resize_picture(photo, size)).to(hardware.device)
        targets = [_style_inputs(one, settings, stage, size, hardware.device) for one in styles]
        objective = Objective(extractor, settings, pixels, targets, known_as=known_as)
        if canvas is None:
            canvas = Canvas(_start(pixels, targets, settings, generator), settings.canvas)
        elif canvas.pixels().shape != pixels.shape:
            canvas = canvas.resized(pixels.shape[-2:])
        stage_step = resume.stage_step if resume and number == resume.stage else 0
        if stage_step == 0 and settings.start_noise:
            canvas.roughen(settings.start_noise * _grain(targets, pixels, settings, generator))
        guard.begin_stage(done)
        descent = descend(objective, canvas, settings.learning_rate, guard)
        pace_started = time.perf_counter()
        index, stopping = 0, False  # of the step that was read last in this stage
        while index < steps:
            while descent.launched < min(steps, index + 1 + descent.ahead):
                descent.launch()
                now, launched = time.perf_counter(), done - index + descent.launched
                if should_stop and launched < settings.steps and should_stop():
                    steps, stopping = descent.launched, True
                by_steps = isinstance(preview_every, int) and launched % preview_every == 0
                by_seconds = isinstance(preview_every, float) and now - last_image >= preview_every
                if by_steps or by_seconds:
                    descent.copy_picture()
                    last_image = now
            if (told := descent.read()) is None:
                continue
            index, done = index + 1, done + 1
            work_left -= _work(photo, settings, stage)
            finished = index == steps and (stopping or done >= settings.steps)
            now = time.perf_counter()
            step = Step(done, settings.steps, number, *told.losses, now - started, 0.0, told.note)
            if not finished:
                step.seconds_left = work_left * (now - pace_started) / (index * _work(photo, settings, stage))
            canvas = descent.canvas
            if finished or told.picture is not None:
                image = to_picture(canvas.pixels()) if finished else Image.fromarray(told.picture.numpy())
                step.image = image if image.size == final_size else image.resize(final_size, Image.Resampling.BICUBIC)
            if finished:
                drawn = generator.get_state().numpy()
                step.state = RunState(canvas.state(), done, number, stage_step + index, drawn, guard.step_scale)
            step.seconds = time.perf_counter() - started
            yield step
            if finished:
                return


def _load_styles(style: PictureLike | Sequence[Style]) -> list[tuple[Image.Image, float, Image.Image | None]]:
    if not isinstance(style, (list, tuple)):
        style = [Style(style)]
    if not style:
        raise StyleTransferError("At least one style picture is needed.")
    loaded = []
    for number, one in enumerate(style, 1):
        called = "The style picture" if len(style) == 1 else f"Style picture {number}"
        one = one if isinstance(one, Style) else Style(one)
        weight: Any = one.weight
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 < weight < float("inf"):
            raise StyleTransferError(f"{called}: its weight must be a number above 0, not {weight!r}.")
        named = None if isinstance(one.picture, (str, os.PathLike)) else called
        mask = None if one.mask is None else load_picture(one.mask, f"{called}'s mask")
        loaded.append((load_picture(one.picture, named), float(weight), mask))
    return loaded


def _remaining(
    photo: Image.Image, settings: StyleSettings, resume: RunState | None
) -> list[tuple[int, Stage, int]]:
    """(number, stage, steps still to do) of each stage that is not finished; added steps go to the last stage."""
    stages = settings.stages(photo.size)
    if resume is None:
        return [(number, stage, stage.steps) for number, stage in enumerate(stages)]
    if resume.step >= settings.steps:
        raise StyleTransferError(f"This run has done {resume.step} steps already: set steps higher to continue it.")
    if resume.stage >= len(stages):
        raise StyleTransferError("The saved run does not fit these settings: it has more stages.")
    height, width = resume.arrays["pixels"].shape[-2:]
    if (width, height) != (expected := _size(photo, settings, stages[resume.stage])):
        raise StyleTransferError(
            f"The saved run does not fit: it is {width}x{height} px, where this photo and these settings need "
            f"{expected[0]}x{expected[1]}."
        )
    left = settings.steps - resume.step
    remaining = []
    for number in range(resume.stage, len(stages)):
        stage = stages[number]
        steps = stage.steps - resume.stage_step if number == resume.stage else stage.steps
        steps = left if number == len(stages) - 1 else min(max(0, steps), left - 1)  # one is the final size's
        if steps:
            remaining.append((number, stage, steps))
        left -= steps
    return remaining


def _restored(resume: RunState, settings: StyleSettings, device: torch.device) -> Canvas:
    try:
        return Canvas.restore(resume.arrays, settings.canvas, device)
    except (KeyError, ValueError) as error:
        raise StyleTransferError("The saved run does not fit these settings: its canvas is another one.") from error


def _size(photo: Image.Image, settings: StyleSettings, stage: Stage) -> tuple[int, int]:
    return fitted_size(photo.size, stage.long_side, settings.keep_aspect)


def _work(photo: Image.Image, settings: StyleSettings, stage: Stage) -> float:
    width, height = _size(photo, settings, stage)
    return width * height


def _style_inputs(style, settings: StyleSettings, stage: Stage, size: tuple[int, int], device: torch.device):
    """(picture, weight, mask) as tensors for one stage; the style's long side follows the stage's and the scale."""
    picture, weight, mask = style
    width, height = (side * settings.style_scale for side in _size(picture, settings, stage))
    enlarge = max(1.0, MIN_SIDE / min(width, height))  # a long thin style would otherwise vanish in a coarse stage
    pixels = to_tensor(resize_picture(picture, (round(width * enlarge), round(height * enlarge)))).to(device)
    if mask is not None:
        mask = to_tensor(mask.resize(size, Image.Resampling.LANCZOS)).mean(1, keepdim=True).to(device)
    return pixels, weight, mask


def _start(content: Tensor, targets: list, settings: StyleSettings, generator: torch.Generator) -> Tensor:
    if settings.init == "content":
        return content
    if settings.init == "style":
        start = with_covariance_of(content, targets[0][0])
    else:
        start = torch.rand(content.shape, generator=generator).to(content.device)
    return with_colours_of(start, content) if settings.preserve_colours else start


def _grain(targets: list, pixels: Tensor, settings: StyleSettings, generator: torch.Generator) -> Tensor:
    """Gaussian noise of `pixels`' size, only where strokes can take it up, and in the channels that are painted."""
    channels = 1 if settings.preserve_colours else 3
    noise = torch.randn(1, channels, *pixels.shape[-2:], generator=generator).to(pixels.device)
    masks = [mask for _, _, mask in targets]
    return noise if any(mask is None for mask in masks) else noise * torch.stack(masks).amax(0)
