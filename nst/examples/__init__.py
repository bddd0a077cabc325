"""The examples that come with the package: photos, a clip, the project's own paintings, and what the network sees.

`docs/paintings/source` holds the code that painted the paintings, `tests/tools/example_clip.py` the code that made the
clip, and `tests/tools/network_views.py` the code that made the network's views of one pair.
"""

from pathlib import Path

from nst.errors import StyleTransferError

FOLDER = Path(__file__).resolve().parent
PHOTOS: dict[str, str] = {  # the credit of each; all four come from scikit-image's collection
    "astronaut": "Astronaut Eileen Collins. NASA Great Images database; public domain.",
    "chelsea": "Chelsea the cat. Stefan van der Walt; CC0.",
    "coffee": "Coffee cup. Rachel Michetti, courtesy of Pikolo Espresso Bar; CC0.",
    "rocket": "DSCOVR launch on a Falcon 9. SpaceX Photos; public domain.",
}
CLIPS = ("chelsea",)  # each is a camera that moves over the photo of the same name
PAIRS = (  # photo and painting, chosen to show what each painting does
    ("chelsea", "oil"),
    ("coffee", "geometric"),
    ("rocket", "waves"),
    ("astronaut", "stained_glass"),
    ("chelsea", "mosaic"),
    ("coffee", "watercolour"),
    ("rocket", "expressionist"),
    ("astronaut", "ink"),
    ("coffee", "pointillism"),
)
PAINTINGS = tuple(painting for _, painting in PAIRS)
VIEWED_PAIR = ("chelsea", "oil")  # whose views by the network are files
VIEWED_LAYER = "conv3_1"  # of the feature maps
VIEWED_LAYERS = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")  # of the pictures from noise


def photo_path(name: str) -> Path:
    """Return the path of an example photo. Raises StyleTransferError for an unknown name."""
    return _path("photo", name, tuple(PHOTOS))


def painting_path(name: str) -> Path:
    """Return the path of an example painting. Raises StyleTransferError for an unknown name."""
    return _path("painting", name, PAINTINGS)


def clip_path(name: str) -> Path:
    """Return the path of an example clip. Raises StyleTransferError for an unknown name."""
    return _path("clip", name, CLIPS, ".mp4")


def map_paths(name: str) -> list[Path]:
    """Return the paths of the feature maps of `photo` or `painting`, the strongest first.

    Each is the map of one channel, whose number ends the file's name.
    """
    return sorted((FOLDER / "network").glob(f"{name}_map_*.png"))


def from_noise_path(name: str, layer: str) -> Path:
    """Return the path of the picture from noise that has the content of `photo`, or the style of `painting`."""
    return FOLDER / "network" / f"{name}_{layer}.jpg"


def example_pairs() -> list[list[str]]:
    """Return the paths of photo and painting of every pair in `PAIRS`."""
    return [[str(photo_path(photo)), str(painting_path(painting))] for photo, painting in PAIRS]


def _path(kind: str, name: str, names: tuple[str, ...], suffix: str = ".jpg") -> Path:
    if name not in names:
        raise StyleTransferError(f"Unknown {kind} {name!r}; choose from {', '.join(names)}.")
    return FOLDER / f"{kind}s" / f"{name}{suffix}"
