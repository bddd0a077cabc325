"""`stylize`: paint a photo in the style of a painting, as a generator that yields every step."""

import functools
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from nst.canvas import Canvas
from nst.clock import Clock
from nst.detail import KeptStrokes
from nst.engine.hardware import choose_hardware
from nst.engine.threads import limit_threads_of
from nst.errors import StyleTransferError
from nst.estimation import check_memory
from nst.finish import Palette, Unpainted, finish
from nst.io.reading import PictureLike, load_with_opacity
from nst.io.sizes import resize_picture
from nst.io.tensors import to_array, to_picture, to_tensor
from nst.models.checkpoints import load_backbone
from nst.objective import Objective, build_extractor
from nst.optimize import Guard, Optimizer, Request
from nst.optimize_cuda import CudaOptimizer
from nst.pictures import (
    Style,
    check_final_sides,
    check_saved_styles,
    load_styles,
    start_noise,
    start_picture,
    style_inputs,
)
from nst.run_state import RunState
from nst.seamless import paint_with_border
from nst.settings import DEFAULT_PRESET, PRESETS, StyleSettings
from nst.sketch import SKETCH_EXPONENT, Sketch
from nst.stages import remaining_stages, restore_canvas
from nst.step import Step
from nst.strength import mix_with_photo


def _translate_out_of_memory(run: Callable[..., Iterator[Step]]) -> Callable[..., Iterator[Step]]:
    """Turn the errors of a machine without free memory into one line that says what to do."""

    @functools.wraps(run)
    def translated(*arguments: Any, **options: Any) -> Iterator[Step]:
        try:
            yield from run(*arguments, **options)
            return
        except (MemoryError, torch.OutOfMemoryError):
            pass
        except RuntimeError as error:
            if "can't allocate memory" not in str(error):  # torch's message on a processor
                raise
        # Raised here, outside the except blocks, because the failed run and all it held are freed by now.
        raise StyleTransferError("There is not enough memory for this size: choose a smaller one.")

    return translated


@paint_with_border
@_translate_out_of_memory
@limit_threads_of
@torch.inference_mode(False)  # within a caller's inference mode no gradient could be computed
@torch.enable_grad()  # as a decorator it is entered at each next(), on any thread; a `with` block would leak to callers
@mix_with_photo
def stylize(
    content: PictureLike,
    style: PictureLike | Sequence[Style],
    settings: StyleSettings | None = None,
    *,
    preview_every: int | float | None = 1,
    resume: RunState | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Iterator[Step]:
    """Paint `content` in the style of `style`; yield a `Step` for every optimization step.

    If images are asked for, steps with the number 0 come first: they have the sketch as it grows.

    content: a path or a PIL image. Only its opaque parts are painted; behind the others is a plain ground, as in
    `load_picture`. style: the same, a saved style or the path of its file, or a list of `Style`.
    preview_every: an int asks for an image every so many steps, a float every so many seconds, None only in the last
    step. Every image has the final size; those of coarse stages are enlarged.
    resume: the state of an earlier run of the same photo and size, or of half the size, with settings from `enlarged`;
    `settings.steps` counts the steps of that run too.
    should_stop: called after every step but the last; if it returns True, that step is the last one.

    Raises StyleTransferError, at the first step, for pictures, settings or weights that cannot be used, and for a size
    that does not fit into this machine's memory.
    """
    started = time.perf_counter()
    settings = PRESETS[DEFAULT_PRESET] if settings is None else settings
    _check_arguments(settings, preview_every, resume)
    name = None if isinstance(content, (str, os.PathLike)) else "The content picture"
    photo, opacity = load_with_opacity(content, name)
    styles = load_styles(style)
    unpainted = Unpainted(styles, photo, opacity)
    hardware = choose_hardware(settings.device, settings.precision)
    backbone = load_backbone(settings.backbone)
    check_saved_styles(styles, settings, backbone)
    extractor = build_extractor(backbone, settings, hardware)
    cache_key = f"{backbone.sha256} {hardware} {settings.pooling}"
    stages = remaining_stages(photo.size, settings, resume)
    check_final_sides(photo, styles, settings, stages[-1].long_side)
    check_memory(photo.size, settings)

    generator = torch.Generator().manual_seed(settings.seed)
    canvas = None
    if resume:
        generator.set_state(torch.from_numpy(resume.random_state))
        canvas = restore_canvas(resume, settings, hardware.device)
    guard = Guard(resume.step_scale if resume else 1.0)
    monitor = _Monitor(settings.steps, preview_every, should_stop)
    clock = Clock(started, stages)
    steps_done = resume.step if resume else 0
    optimizer_class = CudaOptimizer if hardware.device.type == "cuda" else Optimizer

    palette = None
    if (settings.match_palette or settings.sketch) and not settings.preserve_colours:
        palette = Palette(styles, hardware.device, SKETCH_EXPONENT if settings.sketch else 1.0, opacity)
    sketch = None
    if settings.sketch and settings.style_weight:
        sketch = Sketch(settings, photo, styles, palette, hardware.device)
        if resume and "sketch" in resume.pictures:
            sketch.picture = torch.from_numpy(resume.pictures["sketch"]).to(hardware.device)
        else:
            for picture in sketch.make():
                if preview_every is not None:
                    yield _sketch_step(settings.steps, unpainted.keep(picture), clock, stages[-1].size)

    kept = KeptStrokes(settings, resume, hardware.device)
    for stage in stages:
        clock.begin_stage(stage)
        pixels = to_tensor(resize_picture(photo, stage.size)).to(hardware.device)
        if stage.adds_detail:
            start, canvas = kept.enlarge(canvas, stage, pixels)
        else:
            start = sketch.enlarged(pixels) if sketch else pixels
        inputs = style_inputs(styles, settings, stage, hardware.device)
        objective = Objective(extractor, settings, start, inputs, cache_key=cache_key)
        if canvas is None:
            canvas = Canvas(start_picture(start, inputs, settings, generator), settings.canvas, settings.seamless)
        elif canvas.pixels().shape != pixels.shape:
            canvas = canvas.resized(pixels.shape[-2:])
        if stage.steps_done == 0 and settings.start_noise and not stage.adds_detail:
            canvas.add_noise(start_noise(pixels, inputs, settings, generator))
        del pixels, start, inputs  # a large print has no room for what it does not need
        guard.begin_stage(steps_done)
        optimizer = optimizer_class(objective, canvas, settings.learning_rate, guard)
        stage_begin = steps_done - stage.steps_done
        for number, result in enumerate(optimizer.run(stage.steps, monitor.watch(steps_done)), steps_done + 1):
            is_last = number == monitor.last_step
            seconds_left = clock.tick(stage)
            state, image = None, None
            if is_last:
                picture = unpainted.keep(finish(optimizer.canvas.pixels(), styles, settings, palette))
                image = to_picture(picture)
                state = RunState(
                    optimizer.canvas.state(),
                    step=number,
                    stage=stage.number,
                    stage_step=number - stage_begin,
                    random_state=generator.get_state().numpy(),
                    step_scale=guard.rate_factor,
                    pictures={"finished": to_array(picture)}
                    | ({"sketch": to_array(sketch.picture)} if sketch else {})
                    | kept.saved(),
                )
            elif result.picture is not None:
                image = _preview(result.picture, unpainted)
            if image and image.size != stages[-1].size:
                image = image.resize(stages[-1].size, Image.Resampling.BICUBIC)
            yield Step(
                step=number,
                steps=settings.steps,
                stage=stage.number,
                content_loss=result.losses.content,
                laplacian_loss=result.losses.laplacian,
                style_loss=result.losses.style,
                tv_loss=result.losses.tv,
                total_loss=result.losses.total,
                seconds=clock.seconds(),
                seconds_left=0.0 if is_last else seconds_left,
                note=result.note,
                image=image,
                state=state,
            )
            if is_last:
                return
        steps_done, canvas = number, optimizer.canvas


def _check_arguments(settings: Any, preview_every: Any, resume: Any) -> None:
    if not isinstance(settings, StyleSettings):
        raise StyleTransferError(f"settings must be StyleSettings, not {type(settings).__name__}.")
    if preview_every is not None and not (type(preview_every) in (int, float) and preview_every > 0):
        raise StyleTransferError(f"preview_every must be a number above 0, or None, not {preview_every!r}.")
    if resume is not None and not isinstance(resume, RunState):
        raise StyleTransferError(f"resume must be a RunState, not {type(resume).__name__}.")


def _sketch_step(steps: int, picture: Tensor, clock: Clock, final_size: tuple[int, int]) -> Step:
    """Return the step, number 0, that shows the sketch so far."""
    unknown = (math.nan,) * 5  # the losses
    image = to_picture(picture).resize(final_size, Image.Resampling.BICUBIC)
    return Step(0, steps, 0, *unknown, clock.seconds(), seconds_left=math.nan, image=image)


def _preview(picture: Tensor, unpainted: Unpainted) -> Image.Image:
    """Return the picture (H, W, 3), uint8, with what is not painted."""
    image = Image.fromarray(picture.numpy())
    return to_picture(unpainted.keep(to_tensor(image))) if unpainted.is_seen else image


class _Monitor:
    """Decides after each step whether a preview is due, and whether the step is the last one of the run.

    last_step: the number of the run's last step; smaller than `steps` once `should_stop` has returned True.
    """

    def __init__(self, steps: int, preview_every: int | float | None, should_stop: Callable[[], bool] | None):
        self.steps, self.preview_every, self.should_stop = steps, preview_every, should_stop
        self.last_step = steps
        self._last_preview = -float("inf")

    def watch(self, steps_done: int) -> Callable[[int], Request]:
        """Return the function that an optimizer calls with the number of each of its steps, from 1."""
        return lambda number: self._request(steps_done + number)

    def _request(self, step: int) -> Request:
        now = time.perf_counter()
        stop = self.should_stop is not None and step < self.steps and self.should_stop()
        if stop:
            self.last_step = step
        if isinstance(self.preview_every, int):
            is_due = step % self.preview_every == 0
        else:
            is_due = self.preview_every is not None and now - self._last_preview >= self.preview_every
        if is_due:
            self._last_preview = now
        return Request(picture=is_due, stop=bool(stop))
