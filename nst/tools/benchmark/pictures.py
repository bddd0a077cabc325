"""The pictures that the benchmark paints: a pair of the project's own examples, cut to 4:3."""

from PIL import Image

from nst.examples import painting_path, photo_path
from nst.io.reading import load_picture


def example_pair() -> tuple[Image.Image, Image.Image]:
    """Return a photo and a painting, each 2048x1536 px: all smaller sizes then have one shape."""
    return _cut_to_4_3(load_picture(photo_path("coffee"))), _cut_to_4_3(load_picture(painting_path("oil")))


def _cut_to_4_3(picture: Image.Image) -> Image.Image:
    """Return the largest 4:3 part in the middle of a picture, at 2048x1536 px."""
    width = min(picture.width, picture.height * 4 // 3)
    left, top = (picture.width - width) // 2, (picture.height - width * 3 // 4) // 2
    return picture.crop((left, top, left + width, top + width * 3 // 4)).resize((2048, 1536), Image.Resampling.BICUBIC)
