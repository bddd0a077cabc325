"""The app's example pictures: photos that scikit-image ships, and the project's own paintings.

The photos are read from the installed scikit-image package, so nothing is downloaded. The paintings are kept as files
in `docs/paintings`; `python -m nst.tools.examples` paints them anew.
"""

import importlib.util
from pathlib import Path

from nst.errors import StyleTransferError

PHOTOS: dict[str, str] = {
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
SIZE = (640, 480)  # px
JPEG = {"quality": 88, "optimize": True}
PAINTED = Path(__file__).resolve().parents[2] / "docs" / "paintings"


def photo_path(name: str) -> Path:
    """Where the photograph lies inside the installed scikit-image package."""
    if name not in PHOTOS:
        raise StyleTransferError(f"Unknown photo {name!r}; choose from {', '.join(PHOTOS)}.")
    spec = importlib.util.find_spec("skimage")
    for folder in (spec and spec.submodule_search_locations) or ():
        for path in sorted(Path(folder, "data").glob(f"{name}.*")):
            if path.suffix in {".png", ".jpg"}:
                return path
    raise StyleTransferError(f"The photo {name!r} is not in the installed scikit-image package.")


def painting_path(name: str) -> Path:
    """Where the painting's file lies in the project's folder."""
    return PAINTED / f"{name}.jpg"


def example_pairs() -> list[list[str]]:
    """(photo, painting) paths of every pair in `PAIRS`."""
    return [[str(photo_path(photo)), str(painting_path(painting))] for photo, painting in PAIRS]


def main() -> None:
    """Paint every example painting into `docs/paintings`."""
    from nst.paintings import PAINTINGS, paint

    PAINTED.mkdir(parents=True, exist_ok=True)
    for name in PAINTINGS:
        paint(name, *SIZE).save(painting_path(name), **JPEG)


if __name__ == "__main__":
    main()
