"""Several paintings: their fields, how they are mixed, and the styles that follow from them and the regions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import gradio as gr
from PIL import Image

from nst import Style, StyleTransferError, load_picture
from nst.pictures import uncovered
from nst.web.inputs import WeightedPainting, weighted_paintings
from nst.web.regions import COLOUR_NAMES

MOST_OF_ONE_ARTIST = 8  # pictures besides the first painting


@dataclass(frozen=True)
class Mixing:
    """The components of several paintings."""

    more_paintings: dict[int, WeightedPainting]
    mix: gr.Slider
    artist: gr.File


def mixing() -> Mixing:
    """Lay out the fields of several paintings."""
    more_paintings = weighted_paintings()
    mix = gr.Slider(0, 1, 0.5, step=0.05, label="Mix", elem_id="mix",
                    info="0 is only the first painting, 1 only the others; at 0.5 they count by their weights. "
                         "Paintings that have a region are not mixed.")  # fmt: skip
    artist = gr.File(label="One artist: more pictures in the manner of the first painting", file_count="multiple",
                     file_types=["image"], height=140, elem_id="artist")  # fmt: skip
    return Mixing(more_paintings, mix, artist)


def load_artist(files: Sequence[str] | None) -> list[Image.Image]:
    """Return the pictures of one artist.

    Raises StyleTransferError if there are more than `MOST_OF_ONE_ARTIST`, or for one that cannot be used.
    """
    files = files or []
    if len(files) > MOST_OF_ONE_ARTIST:
        raise StyleTransferError(f"One artist: give at most {MOST_OF_ONE_ARTIST} pictures, not {len(files)}.")
    return [load_picture(file, name=f"One artist: {Path(file).name[-60:]}") for file in files]


def styles_of(
    first: Style,
    others: Sequence[tuple[Image.Image | None, float]],
    masks: dict[int, Image.Image],
    mix: float = 0.5,
    rest_stays: bool = False,
) -> list[Style]:
    """Return the styles of the first painting and the others, which are (picture, weight).

    masks: by the number of the painting, from 1: a painting with a mask is painted there. Those without one are mixed,
    and paint what no mask covers; with `rest_stays` nothing is painted there.

    Raises StyleTransferError for a mask without a painting.
    """
    pairs = {number: Style(picture, weight) for number, (picture, weight) in enumerate(others, 2) if picture}
    paintings = {1: first} | pairs
    for number in sorted(masks.keys() - paintings.keys()):
        colour = COLOUR_NAMES[number]
        raise StyleTransferError(f"Painting {number} is missing: add it, or erase what is brushed in {colour}.")
    styles = {number: replace(paintings[number], mask=mask) for number, mask in masks.items()}
    if not (masks and rest_stays):
        free = {number: style for number, style in paintings.items() if number not in masks}
        rest = uncovered([*masks.values()]) if masks else None
        styles |= {number: replace(style, mask=rest) for number, style in _mixed(free, mix).items()}
    return [styles[number] for number in sorted(styles)]


def _mixed(paintings: dict[int, Style], mix: float) -> dict[int, Style]:
    """Return the paintings with the weights that the mix gives them; those without a weight are left out."""
    if len(paintings) < 2 or 1 not in paintings:
        return paintings
    shares = {number: 2 * (1 - mix) if number == 1 else 2 * mix for number in paintings}
    return {n: replace(style, weight=style.weight * shares[n]) for n, style in paintings.items() if shares[n] > 0}
