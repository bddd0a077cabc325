"""`stylize_video`: paint the frames of a clip, each from those before it, so that the paint moves with the things.

Ruder, Dosovitskiy & Brox, "Artistic Style Transfer for Videos" (GCPR 2016): the first frame of a scene is painted as a
picture. Every later one begins with the painted frame before, moved along the optical flow, and a temporal loss keeps
what was seen there. What was hidden is painted anew, or as an earlier frame showed it. docs/method.md has the formulas.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import torch
from PIL import Image
from torch import Tensor

from nst.canvas import Canvas
from nst.engine.hardware import choose_hardware
from nst.engine.threads import limited_threads
from nst.errors import StyleTransferError
from nst.finish import Palette, Unpainted, finish
from nst.io.colour import recolour
from nst.io.reading import PictureLike, load_picture
from nst.io.sizes import resize_picture
from nst.io.tensors import to_picture, to_tensor
from nst.models.checkpoints import load_backbone
from nst.objective import Objective, build_extractor
from nst.optimize import Guard, Optimizer, Request
from nst.optimize_cuda import CudaOptimizer
from nst.palette import smooth_chroma
from nst.pictures import Style, check_saved_styles, load_styles, start_picture, style_inputs
from nst.settings import DEFAULT_PRESET, PRESETS, StyleSettings
from nst.sketch import SKETCH_EXPONENT, Sketch
from nst.stages import RemainingStage, remaining_stages
from nst.strength import StrengthMixer
from nst.stylization import stylize
from nst.video.flow import is_cut
from nst.video.past import LOOKBACK, PaintedFrame, Past, resize_map

STEPS_SHARE = 0.25  # of a picture's steps: a later frame begins painted, and needs few
# The length of steps where the paint is known. Adam's first steps move every pixel alike, however small its gradient:
# with their full length, the paint of a slow pan changes by four times as much.
KNOWN_STEP = 0.1
SKETCHED_STEP = 0.4  # the same where a sketch was made anew: it is painted already, and few long steps leave grain


def stylize_video(
    frames: Iterable[PictureLike],
    style: PictureLike | Sequence[Style],
    settings: StyleSettings | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Image.Image]:
    """Paint the frames of a clip in the style of `style`; yield each as an RGB picture. They do not flicker.

    frames: paths or PIL images, in order; they are taken one by one. A frame of another size, or one that shows
    something else, begins a new scene. style: a path or a PIL image, or a list of `Style`. should_stop: once it returns
    True, the frame that is being painted is the last one; the first frame of a scene is then painted as far as it is.

    Raises StyleTransferError, as `stylize` does, for frames, pictures, settings or weights that cannot be used.
    """
    painter = VideoPainter(style, settings)
    for frame in frames:
        yield painter.paint(frame, should_stop)
        if should_stop():
            return


class VideoPainter:
    """A painter of the frames of one clip.

    memory: what the next frame is painted from: the first frame of the scene, and the latest frames. Another painter
    with the same settings and this memory paints the same frames.

    Raises StyleTransferError as `stylize` does.
    """

    @torch.inference_mode(False)
    def __init__(
        self, style: PictureLike | Sequence[Style], settings: StyleSettings | None = None, first_number: int = 0
    ):
        """
        first_number: of the first frame, in the clip.
        """
        settings = PRESETS[DEFAULT_PRESET] if settings is None else settings
        if not isinstance(settings, StyleSettings):
            raise StyleTransferError(f"settings must be StyleSettings, not {type(settings).__name__}.")
        if settings.seamless:
            raise StyleTransferError("A video cannot be seamless: only pictures can.")
        # Sharp frames flicker more: in a pan 1.36 times as much as the clip, and without sharpness 1.11 times.
        self.settings = settings = replace(settings, sharpness=0.0)
        self.styles, self.first_number = load_styles(style), first_number
        self.memory: list[PaintedFrame] = []
        self._hardware = choose_hardware(settings.device, settings.precision)
        backbone = load_backbone(settings.backbone)
        check_saved_styles(self.styles, settings, backbone)
        self._extractor = build_extractor(backbone, settings, self._hardware)
        self._cache_key = f"{backbone.sha256} {self._hardware} {settings.pooling}"
        self._colours = SceneColours(self.styles, settings, self._hardware.device)

    @torch.inference_mode(False)
    @torch.enable_grad()
    def paint(self, frame: PictureLike, should_stop: Callable[[], bool] = lambda: False) -> Image.Image:
        """Paint the next frame, and return it as an RGB picture. should_stop: see `stylize_video`."""
        photo = fit_frame(frame, self.settings)
        with limited_threads():
            source = to_tensor(photo).to(self._hardware.device)
            if not self.memory or is_cut(self.memory[-1].source, source):
                return self._paint_first(photo, source, should_stop)
            return self._paint_later(photo, source)

    def _next_number(self) -> int:
        return self.memory[-1].number + 1 if self.memory else self.first_number

    def _paint_first(self, photo: Image.Image, source: Tensor, should_stop: Callable[[], bool]) -> Image.Image:
        """Paint the first frame of a scene as a picture is painted."""
        *_, step = stylize(photo, self.styles, self.settings, preview_every=None, should_stop=should_stop)
        arrays = {"canvas": step.state.arrays["pixels"], "sketch": step.state.pictures.get("sketch")}
        tensors = {name: torch.from_numpy(array).to(source) for name, array in arrays.items() if array is not None}
        number = self._next_number()
        self.memory = [PaintedFrame(number, number, source, **tensors)]
        return step.image

    def _paint_later(self, photo: Image.Image, source: Tensor) -> Image.Image:
        """Paint a frame from those before it."""
        settings, stage = self.settings, _last_stage(photo, self.settings)
        self._colours.begin_scene(self.memory[0])
        past = Past(self.memory, source, self._colours.paint)
        if settings.preserve_colours:
            past.canvas = recolour(past.canvas, source)
        sketch, target = self._follow_sketch(photo, past), source
        if sketch:
            target = sketch.enlarged(source)
        styles = style_inputs(self.styles, settings, stage, source.device)
        objective = Objective(self._extractor, settings, target, styles, cache_key=self._cache_key)
        objective.extra_loss = past.loss
        start = start_picture(target, styles, settings, torch.Generator().manual_seed(settings.seed))
        canvas = Canvas(torch.lerp(start, past.canvas, past.known), settings.canvas)
        new_step = torch.full_like(past.known, SKETCHED_STEP if sketch else 1.0)
        canvas.step_factor = torch.lerp(new_step, torch.full_like(past.known, KNOWN_STEP), past.known)
        painted = self._optimize(objective, canvas)
        self._remember(source, painted, sketch.picture if sketch else None)
        image = to_picture(Unpainted(self.styles, photo, None).keep(self._colours.finish(painted)))
        return image if settings.strength == 1 else StrengthMixer(photo, image).picture(settings.strength)

    def _follow_sketch(self, photo: Image.Image, past: Past) -> Sketch | None:
        if past.sketch is None:
            return None
        colours, device = self._colours, past.sketch.device
        sketch = Sketch(self.settings, photo, self.styles, colours.palette, device, colours.of_photo)
        sketch.follow(past.sketch, resize_map(past.known, past.sketch))
        return sketch

    def _optimize(self, objective: Objective, canvas: Canvas) -> Tensor:
        optimizer_class = CudaOptimizer if self._hardware.device.type == "cuda" else Optimizer
        optimizer = optimizer_class(objective, canvas, self.settings.learning_rate, Guard(1.0))
        for _ in optimizer.run(max(1, round(STEPS_SHARE * self.settings.steps)), lambda number: Request()):
            pass
        return optimizer.canvas.pixels()

    def _remember(self, source: Tensor, painted: Tensor, sketch: Tensor | None) -> None:
        number, scene = self._next_number(), self.memory[0].number
        self.memory.append(PaintedFrame(number, scene, source, painted, sketch))
        oldest = number + 1 - max(LOOKBACK)
        self.memory = [frame for frame in self.memory if frame.number >= oldest or frame.number == scene]


def fit_frame(frame: PictureLike, settings: StyleSettings) -> Image.Image:
    """Return a frame as an RGB picture of the final size, in which everything else is done with it."""
    photo = load_picture(frame)
    return resize_picture(photo, _last_stage(photo, settings).size, "The frame")


def _last_stage(photo: Image.Image, settings: StyleSettings) -> RemainingStage:
    return remaining_stages(photo.size, settings, None)[-1]


class SceneColours:
    """The maps of colours of a scene, fitted to its first frame: maps fitted to each frame would flicker.

    palette: of the paintings, and of_photo: from the photo's colours to it; both None where colours are not mapped.
    """

    def __init__(self, styles: Sequence[Style], settings: StyleSettings, device: torch.device):
        self._scene = -1
        self.palette = self.of_photo = self._of_canvas = None
        self._styles, self._settings = styles, settings
        if (settings.match_palette or settings.sketch) and not settings.preserve_colours:
            self.palette = Palette(styles, device, SKETCH_EXPONENT if settings.sketch else 1.0)

    def begin_scene(self, first: PaintedFrame) -> None:
        """Fit the maps to the first frame of a scene, unless it is the scene of the last call."""
        if self.palette and first.number != self._scene:
            self._scene = first.number
            self.of_photo = self.palette.fit(first.source)
            self._of_canvas = self.palette.fit(smooth_chroma(first.canvas)) if self._settings.match_palette else None

    def paint(self, photo: Tensor) -> Tensor:
        """Return a photo (1, 3, H, W) in the colours that it is painted in."""
        return self.of_photo.give_to(photo) if self.of_photo else photo

    def finish(self, painted: Tensor) -> Tensor:
        """Return a painted frame (1, 3, H, W) as `nst.finish.finish` does, with the colours of its scene."""
        return finish(painted, self._styles, self._settings, self._of_canvas)
