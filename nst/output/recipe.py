"""The recipe of a painted picture: which settings, pictures and weights made it. A result's file carries it as JSON.

A recipe holds settings, versions, and checksums of pixels and weights. It holds no file names, paths or times. So a
picture tells how it was painted and nothing about the computer or its folders, and the same run writes the same bytes.
"""

import hashlib
import json
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from PIL import ExifTags, Image

from nst import __version__
from nst.errors import StyleTransferError, quote
from nst.io.decoding import refuse_damage
from nst.io.reading import PictureLike, load_picture, open_picture
from nst.models.checkpoints import FILE_SUFFIXES, NAMES, load_backbone
from nst.models.hub import split_hub_id
from nst.pictures import Style, check_saved_styles, load_mask, load_painting
from nst.saved_style import SavedStyle
from nst.settings import StyleSettings

KEY = "nst-recipe"  # the name of the PNG text chunk, and the first key of the JSON, which holds the version
VERSION = 3
MAX_LENGTH = 64 * 1024  # characters; a recipe with ten styles has 3,000
LOCAL_FILE = "file"  # stands for a backbone in a local file: its path is private


@dataclass(frozen=True)
class RecipeStyle:
    """One style in a recipe.

    picture, mask, part: SHA-256 of the pixels of the painting and of its masks; of a saved style, of its file. Several
    paintings in one style have the SHA-256 of theirs, in hexadecimal, one after the other. weight: above 0.

    Raises StyleTransferError, naming the field, for a wrong value.
    """

    picture: str
    weight: float = 1.0
    mask: str | None = None
    part: str | None = None

    def __post_init__(self):
        _check_hash("picture", self.picture)
        for name in ("mask", "part"):
            if (value := getattr(self, name)) is not None:
                _check_hash(name, value)
        if type(self.weight) not in (int, float) or not 0 < self.weight < float("inf"):
            raise StyleTransferError(f"weight must be a number above 0, not {quote(self.weight)}.")


@dataclass(frozen=True)
class PaintingRecipe:
    """The recipe of a picture: the settings of its run, and checksums of the pictures and weights that it used.

    settings: their backbone is `file` if it was a local file.
    backbone_sha256: of the checkpoint file. content: SHA-256 of the photo's pixels.
    steps_done: less than `settings.steps` if the run was stopped.
    versions: of `nst`, `torch` and `python`.
    repeatable: False if the run was continued with other settings or styles than it began with. The recipe then has the
    last ones, and they paint another picture.

    Two recipes are equal if they paint the same picture on the same machine: the versions are not compared.

    Raises StyleTransferError, naming the field, for a wrong value.
    """

    settings: StyleSettings
    backbone_sha256: str
    content: str
    styles: tuple[RecipeStyle, ...]
    steps_done: int
    versions: dict[str, str] = field(compare=False)
    repeatable: bool = True

    def __post_init__(self):
        if (backbone := self.settings.backbone) != public_name(backbone):
            raise StyleTransferError(f"backbone must be a known name or a Hub id, not {quote(backbone)}.")
        _check_hash("backbone_sha256", self.backbone_sha256)
        _check_hash("content", self.content)
        if not self.styles:
            raise StyleTransferError("At least one style picture is needed.")
        if type(self.steps_done) is not int or not 1 <= self.steps_done <= self.settings.steps:
            raise StyleTransferError(f"steps_done must be from 1 to steps, not {quote(self.steps_done)}.")
        if type(self.repeatable) is not bool:
            raise StyleTransferError(f"repeatable must be true or false, not {quote(self.repeatable)}.")
        if not isinstance(self.versions, dict) or not all(type(text) is str for text in self.versions.values()):
            raise StyleTransferError(f"versions must be a table of texts, not {quote(self.versions)}.")

    def continued(self, before: "PaintingRecipe") -> "PaintingRecipe":
        """Return this recipe for a run that continued the run of the recipe `before`."""
        same = replace(self, steps_done=1) == replace(before, steps_done=1)
        return replace(self, repeatable=same and before.repeatable)

    def enlarging(self, before: "PaintingRecipe") -> "PaintingRecipe":
        """Return this recipe, with settings from `nst.enlarged`, for a run that enlarged the picture of `before`.

        It can be repeated if that run was done to its end.
        """
        same = replace(self, settings=before.settings, steps_done=before.steps_done) == before
        is_whole = before.steps_done == before.settings.steps
        return replace(self, repeatable=same and is_whole and before.repeatable)

    def to_json(self) -> str:
        """Return the recipe as one line of ASCII."""
        values = {name: getattr(self, name) for name in _field_names(type(self))}
        values |= {"settings": self.settings.to_dict(), "styles": [asdict(style) for style in self.styles]}
        return json.dumps({KEY: VERSION, **values})

    @classmethod
    def from_json(cls, text: str) -> "PaintingRecipe":
        """Return the recipe that `to_json` wrote.

        Raises StyleTransferError for any other text: a file may come from anywhere.
        """
        if len(text) > MAX_LENGTH:
            raise StyleTransferError(f"the recipe is over the limit of {MAX_LENGTH // 1024} KB.")
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise StyleTransferError("the recipe is damaged.") from error
        if isinstance(values, dict) and values.get(KEY) == 1:  # written before `repeatable` existed
            values |= {KEY: 2, "repeatable": True}
        if isinstance(values, dict) and values.get(KEY) == 2:  # written before `part` existed
            values |= {KEY: VERSION, "styles": _with_part(values.get("styles"))}
        values = _check_fields("The recipe", values, [KEY, *_field_names(cls)])
        if (version := values.pop(KEY)) != VERSION:
            raise StyleTransferError(f"the recipe has version {quote(version)}; this program reads {VERSION}.")
        settings = StyleSettings.from_dict(values.pop("settings"))
        styles = values.pop("styles")
        if not isinstance(styles, list):
            raise StyleTransferError(f"styles must be a list, not {quote(styles)}.")
        names = _field_names(RecipeStyle)
        styles = tuple(RecipeStyle(**_check_fields("A style", style, names)) for style in styles)
        return cls(settings=settings, styles=styles, **values)


def describe(
    content: PictureLike, style: PictureLike | Sequence[Style], settings: StyleSettings | None = None
) -> PaintingRecipe:
    """Return the recipe of `stylize(content, style, settings)`, run to its end without `resume`.

    Raises StyleTransferError for pictures or a backbone that cannot be loaded.
    """
    settings = StyleSettings() if settings is None else settings
    styles = list(style) if isinstance(style, (list, tuple)) else [style]
    styles = [item if isinstance(item, Style) else Style(item) for item in styles]
    styles = [replace(item, picture=load_painting(item.picture)) for item in styles]
    backbone = load_backbone(settings.backbone)
    check_saved_styles(styles, settings, backbone)
    return PaintingRecipe(
        settings=replace(settings, backbone=public_name(settings.backbone)),
        backbone_sha256=backbone.sha256,
        content=pixel_hash(load_picture(content)),
        styles=tuple(map(_describe_style, styles)),
        steps_done=settings.steps,
        versions={"nst": __version__, "torch": str(torch.__version__), "python": platform.python_version()},
    )


def _describe_style(style: Style) -> RecipeStyle:
    hashes = [_painting_hash(painting) for painting in style.paintings]
    picture = hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
    mask, part = (None if mask is None else pixel_hash(load_mask(mask)) for mask in (style.mask, style.part))
    return RecipeStyle(picture, style.weight, mask, part)


def _painting_hash(painting: PictureLike | SavedStyle) -> str:
    painting = load_painting(painting)
    return painting.sha256 if isinstance(painting, SavedStyle) else pixel_hash(painting)


def _with_part(styles: Any) -> Any:
    """Return the styles of an older recipe in today's form."""
    is_list = isinstance(styles, list) and all(isinstance(style, dict) for style in styles)
    return [{"part": None, **style} for style in styles] if is_list else styles


def read_recipe(path: str | os.PathLike) -> PaintingRecipe:
    """Return the recipe in a PNG or TIFF file that `save_result` wrote.

    Raises StyleTransferError if the file is not a picture, has no recipe, or has one that is damaged or unusable.
    """
    name = Path(path).name
    with open_picture(path) as image, refuse_damage(name):
        text = _recipe_text(image)
    if text is None:
        raise StyleTransferError(f"{name}: there is no recipe in it.")
    try:
        return PaintingRecipe.from_json(text)
    except StyleTransferError as error:
        raise StyleTransferError(f"{name}: {error}") from error


def has_recipe(path: str | os.PathLike) -> bool:
    """Return whether the file is a picture with a recipe, even one that this version cannot use."""
    try:
        with open_picture(path) as image:
            return _recipe_text(image) is not None
    except StyleTransferError:
        return False


def _recipe_text(image: Image.Image) -> str | None:
    text = image.info.get(KEY)
    if text is None:  # a TIFF file's description, where other programs write other things
        text = getattr(image, "tag_v2", {}).get(ExifTags.Base.ImageDescription)
        text = text if isinstance(text, str) and text.startswith(f'{{"{KEY}":') else None
    return text if isinstance(text, str) else None


def find_differences(expected: PaintingRecipe, actual: PaintingRecipe) -> list[str]:
    """Return the names of the inputs in which the two recipes differ, as messages show them."""
    is_different = {
        "content picture": expected.content != actual.content,
        "style picture": expected.styles != actual.styles,
        "backbone": expected.backbone_sha256 != actual.backbone_sha256,
    }
    return [name for name in is_different if is_different[name]]


def public_name(backbone: str) -> str:
    """Return the backbone's name if it is a known name or a Hub id, and `file` for a file, whose path is private."""
    is_local = Path(backbone).suffix in FILE_SUFFIXES
    is_hub_id = split_hub_id(backbone) is not None
    return backbone if backbone in NAMES or (is_hub_id and not is_local) else LOCAL_FILE


def pixel_hash(picture: Image.Image) -> str:
    """Return the SHA-256 of an RGB picture's size and pixels: metadata, format and name do not matter."""
    return hashlib.sha256(f"{picture.width}x{picture.height}:".encode() + picture.tobytes()).hexdigest()


def _field_names(kind: type) -> list[str]:
    return [field.name for field in fields(kind)]


def _check_fields(subject: str, values: Any, names: list[str]) -> dict[str, Any]:
    """Return a copy of `values` if it is a dictionary with exactly the keys `names`."""
    if not isinstance(values, dict) or set(values) != set(names):
        raise StyleTransferError(f"{subject} must have exactly the fields {', '.join(names)}.")
    return dict(values)


def _check_hash(name: str, value: Any) -> None:
    if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{64}", value):
        raise StyleTransferError(f"{name} must be a SHA-256 in hexadecimal, not {quote(value)}.")
