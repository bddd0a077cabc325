"""The example pictures that come with the package: four photos, and the project's own paintings.

`docs/paintings/source` holds the code that painted the paintings.
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


def photo_path(name: str) -> Path:
    """Return the path of an example photo. Raises StyleTransferError for an unknown name."""
    return _path("photo", name, tuple(PHOTOS))


def painting_path(name: str) -> Path:
    """Return the path of an example painting. Raises StyleTransferError for an unknown name."""
    return _path("painting", name, PAINTINGS)


def example_pairs() -> list[list[str]]:
    """Return the paths of photo and painting of every pair in `PAIRS`."""
    return [[str(photo_path(photo)), str(painting_path(painting))] for photo, painting in PAIRS]


def _path(kind: str, name: str, names: tuple[str, ...]) -> Path:
    if name not in names:
        raise StyleTransferError(f"Unknown {kind} {name!r}; choose from {', '.join(names)}.")
    return FOLDER / f"{kind}s" / f"{name}.jpg"
