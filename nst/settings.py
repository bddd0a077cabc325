"""The settings of a run: one frozen dataclass, its presets, and the stages that follow from it."""

from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from typing import Any

from nst.errors import StyleTransferError, quote
from nst.layers import LAYERS
from nst.stage_plan import Stage, plan_stages

VERSION = 6  # of the dictionary form; it is raised when an old form would be read with another meaning
# The settings that version 1 did not have, with the values that all runs used then.
SINCE_VERSION_2 = {"style_statistic": "gram", "canvas": "pixels", "laplacian_weight": 0.0, "start_noise": 0.0}
SINCE_VERSION_3 = {"match_palette": False}  # the same for versions 1 and 2
SINCE_VERSION_4 = {"sketch": False}  # the same for versions 1 to 3
LARGEST = 8192  # px
SINCE_VERSION_5 = {"detail_above": LARGEST, "canvas": "pyramid"}  # the same for versions 1 to 4
SINCE_VERSION_6 = {"sharpness": 0.0}  # the same for versions 1 to 5
INITS = ("content", "style", "noise")
CANVASES = ("pixels", "pyramid", "smooth-pyramid", "deep-pyramid")  # nst.canvas explains each
STRENGTHS = (0.0, 1.5)  # the range of `strength`


@dataclass(frozen=True)
class StyleSettings:
    """The settings of one run, without its pictures. A flag of the command line has the name of its setting.

    The defaults are those of the preset `balanced`.

    size: long side of the result in px, 32 to 8192; both sides if `keep_aspect` is off.
    keep_aspect: keep the shape of the photo; without it the result is a square.
    steps: optimization steps over all stages, 1 to 10,000; at least one of them is at the final size.
    scales: the number of stages, 1 to 6. Each stage is half the size of the next. The plain recipe has 1.
    detail_above: px, 16 to 8192: larger stages only add detail. Half the size, or half of that, is painted with all its
    stages, and the larger sizes keep its strokes (`nst.stage_plan`). The plain recipe does not do this.
    content_weight, laplacian_weight, style_weight, tv_weight: factors of the total loss, 0 to 1e9: of the content
    layers, the photo's outlines, the style, and the total variation.
    content_layers, style_layers: names of layers, `conv1_1` to `conv5_4`.
    sketch: begin with a sketch, the photo put together from patches of the painting, and keep the sketch's features
    instead of the photo's (`nst.sketch`). The plain recipe does not do this.
    match_palette: at the end smooth colour noise away, and give the result the painting's palette (`nst.finish`). The
    plain recipe does not do this, nor do runs that keep the photo's colours.
    sharpness: how much crisper the edges of strokes become at the end, 0 to 3 (`nst.sharpness`). The plain recipe does
    not do this, and videos do not, because they would flicker.
    seamless: laid side by side, copies of the result show no seam (`nst.seamless`). Its sides are multiples of 32 px.
    style_statistic: what is compared as style: each layer's `gram` matrix, or its channels' mean and `covariance`.
    style_levels: levels of the image pyramid on which the style is compared, 1 to 6, each half the size of the one
    before. With more levels, shallow layers see strokes as broad as the deepest layers would, and more exactly.
    style_scale: long side of the style picture relative to that of the result, 0.25 to 2: above 1 the strokes are
    broader, below 1 they are finer.
    preserve_colours: keep the photo's colours, and paint only its luminance.
    relative_losses: divide each layer's loss by the size of its target (for a style, by the photo's if that is larger).
    Every layer then counts alike, whatever the backbone. The plain recipe does not do this.
    canvas: what is optimized: `pixels`, or the coefficients of a Laplacian `pyramid`, which moves broad areas sooner
    and leaves less grain, but keeps less of the photo. A `smooth-pyramid` is one that leaves no grid of 2 px. A
    `deep-pyramid` reaches the lowest loss in the fewest steps.
    learning_rate: Adam's, in units of pixel value, above 0 and up to 1.
    init: what the run starts from: the `content`, the content in the colours of the first `style`, or `noise`.
    start_noise: standard deviation of the noise that is added at the start of every stage, in units of pixel value, 0
    to 1. Without a sketch, a flat area has nothing else that a stroke could grow from.
    pooling: `max`, `average`, or `backbone` for the pooling that the backbone was trained with.
    seed: of all noise, 0 to 2^31 - 1.
    backbone: `cifar100`, `imagenet`, a checkpoint file, or a Hub id.
    strength: 1 for the painting, 0 for the photo; between them is a lighter painting, and up to 1.5 a stronger one
    (`nst.strength`).
    device: `auto`, `cpu`, `cuda` or `mps`.
    precision: `auto`, `float32` or `bf16`.

    Raises StyleTransferError, naming the field, for a value of a wrong type or out of range.
    """

    size: int = 512
    keep_aspect: bool = True
    steps: int = 40
    scales: int = 2
    content_weight: float = 1.0
    laplacian_weight: float = 25.0
    style_weight: float = 15.0
    tv_weight: float = 40.0
    content_layers: tuple[str, ...] = ("conv1_2", "conv2_2")
    style_layers: tuple[str, ...] = ("conv1_1", "conv2_1", "conv3_1")
    style_statistic: str = "covariance"
    style_levels: int = 2
    style_scale: float = 1.0
    preserve_colours: bool = False
    relative_losses: bool = True
    canvas: str = "smooth-pyramid"
    learning_rate: float = 0.05
    init: str = "content"
    start_noise: float = 0.0
    pooling: str = "backbone"
    seed: int = 0
    backbone: str = "cifar100"
    device: str = "auto"
    precision: str = "auto"
    sketch: bool = True
    match_palette: bool = True
    sharpness: float = 1.0
    strength: float = 1.0
    detail_above: int = 768
    seamless: bool = False

    def __post_init__(self):
        integers = {"size": (32, LARGEST), "detail_above": (16, LARGEST), "steps": (1, 10_000), "seed": (0, 2**31 - 1)}
        integers |= {"scales": (1, 6), "style_levels": (1, 6)}
        floats = dict.fromkeys(("content_weight", "laplacian_weight", "style_weight", "tv_weight"), (0, 1e9))
        floats |= {"style_scale": (0.25, 2), "learning_rate": (0, 1), "start_noise": (0, 1), "strength": STRENGTHS}
        floats |= {"sharpness": (0, 3)}
        choices = {
            "style_statistic": ("gram", "covariance"),
            "canvas": CANVASES,
            "init": INITS,
            "pooling": ("backbone", "max", "average"),
            "device": ("auto", "cpu", "cuda", "mps"),
            "precision": ("auto", "float32", "bf16"),
        }
        for name, (low, high) in (integers | floats).items():
            value = _check_number(name, getattr(self, name), low, high, is_integer=name in integers)
            object.__setattr__(self, name, value)
        for name, allowed in choices.items():
            if not isinstance(value := getattr(self, name), str) or value not in allowed:
                raise StyleTransferError(f"{name} must be one of {', '.join(allowed)}, not {quote(value)}.")
        for name in ("content_layers", "style_layers"):
            layers = getattr(self, name)
            is_list = isinstance(layers, (list, tuple)) and 1 <= len(layers) <= len(LAYERS)
            if not is_list or not all(map(_is_layer, layers)):
                expected = f"1 to {len(LAYERS)} layer names, conv1_1 to conv5_4"
                raise StyleTransferError(f"{name} must be {expected}, not {quote(layers)}.")
            object.__setattr__(self, name, tuple(layers))
        for name in ("keep_aspect", "preserve_colours", "relative_losses", "sketch", "match_palette", "seamless"):
            if not isinstance(value := getattr(self, name), bool):
                raise StyleTransferError(f"{name} must be true or false, not {quote(value)}.")
        if not isinstance(self.backbone, str) or not self.backbone:
            raise StyleTransferError(f"backbone must be a name or a file, not {quote(self.backbone)}.")
        if self.content_weight == 0 and self.style_weight == 0:
            raise StyleTransferError("content_weight and style_weight cannot both be 0: nothing would be painted.")
        if self.learning_rate == 0:
            raise StyleTransferError("learning_rate must be above 0.")

    @classmethod
    def preset(cls, name: str, **changes: Any) -> "StyleSettings":
        """Return the preset called `name` with some fields changed. Raises StyleTransferError for an unknown preset."""
        if not isinstance(name, str) or name not in PRESETS:
            raise StyleTransferError(f"Unknown preset {quote(name)}: choose from {', '.join(PRESETS)}.")
        _check_names(changes)
        return replace(PRESETS[name], **changes)

    def to_dict(self) -> dict[str, Any]:
        """Return every field, and the version of this form, as values that JSON can hold."""
        return {"version": VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "StyleSettings":
        """Return the settings that `to_dict` gave; fields that are left out take their defaults.

        Raises StyleTransferError for unknown fields, wrong values, or a version that this program does not know.
        """
        if not isinstance(values, dict):
            raise StyleTransferError(f"Settings must be a table of names and values, not {quote(values)}.")
        values = dict(values)
        version = values.pop("version", VERSION)
        if type(version) is not int or not 1 <= version <= VERSION:
            known = f"this program reads 1 to {VERSION}"
            raise StyleTransferError(f"These settings have version {quote(version)}; {known}.")
        if version == 1:
            values = SINCE_VERSION_2 | values
        if version < 3:
            values = SINCE_VERSION_3 | values
        if version < 4:
            if values.pop("match_strokes", False):
                raise StyleTransferError("These settings match strokes, which this version cannot: choose a preset.")
            values = SINCE_VERSION_4 | values
        if version < 5:
            values = SINCE_VERSION_5 | values
        if version < 6:
            values = SINCE_VERSION_6 | values
        _check_names(values)
        return cls(**values)

    def stages(self, content_size: tuple[int, int] | None = None) -> tuple[Stage, ...]:
        """Return the stages of the run, coarse to fine: `nst.stage_plan` says how sizes and steps are chosen.

        content_size: (width, height) of the photo. With it, stages that would be too narrow are left out.
        """
        shape = content_size if content_size and self.keep_aspect else (1, 1)
        return plan_stages(self.size, self.steps, self.scales, self.detail_above, shape)


def _check_names(values: dict[str, Any]) -> None:
    names = [f.name for f in fields(StyleSettings)]
    if unknown := [str(name) for name in values if name not in names]:
        similar = get_close_matches(unknown[0], names, n=3, cutoff=0)
        raise StyleTransferError(f"Unknown setting {quote(unknown[0])}; similar settings are {', '.join(similar)}.")


def _check_number(name: str, value: Any, low: float, high: float, *, is_integer: bool) -> int | float:
    kind = "a whole number" if is_integer else "a number"
    is_in_range = isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high
    if not is_in_range or (is_integer and value != int(value)):
        raise StyleTransferError(f"{name} must be {kind} from {low:g} to {high:g}, not {quote(value)}.")
    return int(value) if is_integer else float(value)


def _is_layer(name: Any) -> bool:
    return isinstance(name, str) and name in LAYERS


# The plain recipe of the literature: 224x224, from the content image, Adam, 100 steps, one size, no total variation.
CLASSIC = StyleSettings(
    size=224,
    keep_aspect=False,
    steps=100,
    scales=1,
    content_weight=1.0,
    laplacian_weight=0.0,
    style_weight=1000.0,
    tv_weight=0.0,
    content_layers=("conv4_2",),
    style_layers=("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1"),
    style_statistic="gram",
    style_levels=1,
    relative_losses=False,
    sketch=False,
    match_palette=False,
    sharpness=0.0,
    detail_above=LARGEST,
    canvas="pixels",
    start_noise=0.0,
    learning_rate=0.02,
)
# Style as covariances alone, without a sketch. Four levels of the pyramid make strokes as broad as the painting's, and
# sometimes paste a piece of the painting where the photo has nothing.
COVARIANCE = StyleSettings(
    sketch=False,
    sharpness=0.0,
    steps=120,
    scales=3,
    style_weight=45.0,
    tv_weight=16.0,
    style_levels=4,
    start_noise=0.05,
    detail_above=LARGEST,
)
PRESETS = {
    "classic": CLASSIC,
    "quick": StyleSettings(size=384, steps=12),
    "balanced": StyleSettings(),
    "fine": StyleSettings(size=768, steps=60),
    "covariance": COVARIANCE,
}
DEFAULT_PRESET = "balanced"
