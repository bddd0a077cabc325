"""The example photos and paintings, and the code that painted the paintings."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from helpers.refusals import refusal
from helpers.shell import ROOT
from nst.examples import PAINTINGS, PAIRS, PHOTOS, example_pairs, painting_path, photo_path

SOURCE = ROOT / "docs" / "paintings" / "source"


def test_every_example_exists_and_is_used():
    assert {photo for photo, _ in PAIRS} == set(PHOTOS) == {path.stem for path in photo_path("coffee").parent.iterdir()}
    assert set(PAINTINGS) == {path.stem for path in painting_path("oil").parent.iterdir()}
    for photo, painting in example_pairs():
        assert min(Image.open(photo).size) >= 300
        assert Image.open(painting).size == (640, 480)


def test_unknown_names_are_refused():
    assert "tesla" in refusal(photo_path, "tesla")
    assert "fresco" in refusal(painting_path, "fresco")


def test_examples_and_checkpoint_are_in_the_package():
    """pyproject.toml lists every file that the installed package reads."""
    text = (ROOT / "pyproject.toml").read_text()
    assert '"nst.examples" = ["photos/*.jpg", "paintings/*.jpg", "clips/*.mp4", "network/*"]' in text
    assert '"nst.checkpoints" = ["*.safetensors"]' in text


@pytest.mark.slow
def test_the_code_paints_the_paintings_of_the_package(tmp_path):
    """They may differ a little, because versions of a library round a stroke's edge differently."""
    subprocess.run([sys.executable, str(SOURCE), str(tmp_path)], check=True)
    for name in PAINTINGS:
        paths = (painting_path(name), tmp_path / f"{name}.jpg")
        pixels, painted = (np.asarray(Image.open(path), float) for path in paths)
        assert pixels.std() > 20  # it has light and dark parts
        assert np.abs(pixels - painted).mean() < 2, name


@pytest.fixture
def gallery(monkeypatch):
    monkeypatch.syspath_prepend(SOURCE)
    import gallery

    return gallery


@pytest.mark.parametrize("name", PAINTINGS)
@pytest.mark.slow
def test_a_painting_depends_on_its_name_size_and_seed_only(gallery, name):
    first, again, other = (gallery.paint(name, 97, 61, seed=seed) for seed in (3, 3, 4))
    assert first.size == (97, 61) and first.mode == "RGB"
    assert first.tobytes() == again.tobytes() != other.tobytes()


@pytest.mark.parametrize("size", [(48, 200), (300, 20)])
@pytest.mark.parametrize("name", PAINTINGS)
@pytest.mark.slow
def test_paintings_can_have_any_shape(gallery, name, size):
    assert gallery.paint(name, *size).size == size


@pytest.mark.parametrize("arguments", [("fresco",), ("oil", 5, 5), ("oil", 9000, 64)])
def test_the_gallery_refuses_unknown_names_and_sizes(gallery, arguments):
    with pytest.raises(ValueError):
        gallery.paint(*arguments)
