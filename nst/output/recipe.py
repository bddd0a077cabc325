"""Results that say how they were painted: the recipe rides in the file as JSON, and is read back from it.

It holds settings, versions and checksums of pixels and weights. No file names, paths or times: whoever is given a
picture learns how it was painted, nothing of the machine or the folders, and the same run gives the same bytes.
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
from nst.io.reading import PictureLike, load_picture, open_picture
from nst.models.checkpoints import NAMES, load_backbone
from nst.settings import StyleSettings
from nst.stages import Style

KEY = "nst-recipe"  # of a PNG's text chunk; and of the version, the first thing in the JSON
VERSION = 2
MAX_LENGTH = 64 * 1024  # characters; a recipe with ten styles has 3,000
FILE = "file"  # the backbone's name where it was a local file, whose path nobody else should learn


@dataclass(frozen=True)
class UsedStyle:
    """A style as a recipe knows it: SHA-256 of the picture's and the mask's pixels, and the weight."""

    picture: str
    weight: float = 1.0
    mask: str | None = None

    def __post_init__(self):
        _check_hash("picture", self.picture)
        if self.mask is not None:
            _check_hash("mask", self.mask)
        if type(self.weight) not in (int, float) or not 0 < self.weight < float("inf"):
            raise StyleTransferError(f"weight must be a number above 0, not {quote(self.weight)}.")


@dataclass(frozen=True)
class PaintingRecipe:
    """All that a run needs besides the pictures and the weights, and checksums to tell whether one has the right ones.

    settings: with `file` as the backbone where that was a local file. content: SHA-256 of the photo's pixels.
    steps_done: fewer than `settings.steps` where the run was stopped. repeatable: False where the run went on with
    other settings or styles than it began with: those of the recipe are the last, and paint another picture. versions:
    of `nst`, `torch` and `python`.

    Two recipes are equal if they paint the same picture on the same machine: the versions are not compared.

    Raises StyleTransferError, naming the field, for what cannot be.
    """

    settings: StyleSettings
    backbone_sha256: str
    content: str
    styles: tuple[UsedStyle, ...]
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
        """This recipe for a run that went on from one with the recipe `before`."""
        same = replace(self, steps_done=1) == replace(before, steps_done=1)
        return replace(self, repeatable=same and before.repeatable)

    def to_json(self) -> str:
        """One line of ASCII."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        values |= {"settings": self.settings.to_dict(), "styles": [asdict(style) for style in self.styles]}
        return json.dumps({KEY: VERSION, **values})

    @classmethod
    def from_json(cls, text: str) -> "PaintingRecipe":
        """The inverse of `to_json`. Raises StyleTransferError for anything else: the file may come from anywhere."""
        if len(text) > MAX_LENGTH:
            raise StyleTransferError(f"the recipe is over the limit of {MAX_LENGTH // 1024} KB.")
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise StyleTransferError("the recipe is damaged.") from error
        if isinstance(values, dict) and values.get(KEY) == 1:  # which knew of none that cannot be repeated
            values |= {KEY: VERSION, "repeatable": True}
        values = _table("The recipe", values, [KEY, *(one.name for one in fields(cls))])
        if (version := values.pop(KEY)) != VERSION:
            raise StyleTransferError(f"the recipe has version {quote(version)}; this program reads {VERSION}.")
        styles = values.pop("styles")
        if not isinstance(styles, list):
            raise StyleTransferError(f"styles must be a list, not {quote(styles)}.")
        names = [one.name for one in fields(UsedStyle)]
        used = tuple(UsedStyle(**_table("A style", style, names)) for style in styles)
        return cls(settings=StyleSettings.from_dict(values.pop("settings")), styles=used, **values)


def public_name(backbone: str) -> str:
    """The backbone's name if it is a known one or a Hub id; `file` for a file, whose path is nobody's business."""
    local = Path(backbone).suffix in (".safetensors", ".pt", ".pth") or ".." in backbone
    hub = re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", backbone) is not None
    return backbone if backbone in NAMES or (hub and not local) else FILE


def pixel_hash(picture: Image.Image) -> str:
    """SHA-256 of an RGB picture's size and pixels: metadata, format and name do not matter."""
    return hashlib.sha256(f"{picture.width}x{picture.height}:".encode() + picture.tobytes()).hexdigest()


def describe(
    content: PictureLike, style: PictureLike | Sequence[Style], settings: StyleSettings | None = None
) -> PaintingRecipe:
    """The recipe of `stylize(content, style, settings)`, run to its end without `resume`.

    Raises StyleTransferError for pictures or a backbone that cannot be loaded.
    """
    settings = StyleSettings() if settings is None else settings
    styles = list(style) if isinstance(style, (list, tuple)) else [style]
    return PaintingRecipe(
        settings=replace(settings, backbone=public_name(settings.backbone)),
        backbone_sha256=load_backbone(settings.backbone).sha256,
        content=pixel_hash(load_picture(content)),
        styles=tuple(_used(one if isinstance(one, Style) else Style(one)) for one in styles),
        steps_done=settings.steps,
        versions={"nst": __version__, "torch": str(torch.__version__), "python": platform.python_version()},
    )


def _used(style: Style) -> UsedStyle:
    mask = None if style.mask is None else pixel_hash(load_picture(style.mask))
    return UsedStyle(pixel_hash(load_picture(style.picture)), style.weight, mask)


def differences(wanted: PaintingRecipe, found: PaintingRecipe) -> list[str]:
    """In which of its inputs the run described by `found` is not `wanted`'s, in words."""
    differs = {
        "content picture": wanted.content != found.content,
        "style picture": wanted.styles != found.styles,
        "backbone": wanted.backbone_sha256 != found.backbone_sha256,
    }
    return [name for name, does in differs.items() if does]


def read_recipe(path: str | os.PathLike) -> PaintingRecipe:
    """The recipe in a PNG or TIFF file that `save_result` wrote.

    Raises StyleTransferError if it is no picture, or holds no recipe, or one that is damaged or cannot be used.
    """
    name = Path(path).name
    with open_picture(path) as image:
        try:
            text = image.info.get(KEY)
            if text is None:  # a TIFF file's description, where other programs write what they like
                text = getattr(image, "tag_v2", {}).get(ExifTags.Base.ImageDescription)
                text = text if isinstance(text, str) and text.startswith(f'{{"{KEY}":') else None
        except Exception as error:  # a damaged directory of tags fails in as many ways as Pillow has readers
            raise StyleTransferError(f"{name}: the file is damaged or cut short.") from error
    if not isinstance(text, str):
        raise StyleTransferError(f"{name}: there is no recipe in it.")
    try:
        return PaintingRecipe.from_json(text)
    except StyleTransferError as error:
        raise StyleTransferError(f"{name}: {error}") from error


def _table(what: str, values: Any, names: list[str]) -> dict[str, Any]:
    if not isinstance(values, dict) or set(values) != set(names):
        raise StyleTransferError(f"{what} must have exactly the fields {', '.join(names)}.")
    return dict(values)


def _check_hash(name: str, value: Any) -> None:
    if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{64}", value):
        raise StyleTransferError(f"{name} must be a SHA-256 in hexadecimal, not {quote(value)}.")
