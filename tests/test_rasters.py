"""PNG, BMP and TGA files of every kind show their picture."""

import pytest

from helpers.picture_files import laid_on_white
from tools.corpus.rasters import bmp_variants, png_variants, tga_variants

MOST = 4  # of 255: the mean error


@pytest.mark.parametrize("variants", [png_variants, bmp_variants, tga_variants])
def test_every_kind_shows_its_picture(tmp_path, variants):
    wrong = []
    for variant in variants():
        path = tmp_path / variant.name
        path.write_bytes(variant.data)
        result = laid_on_white(path)
        if result.shape != variant.shown.shape or abs(result - variant.shown).mean() >= MOST:
            wrong.append(variant.name)
    assert not wrong
