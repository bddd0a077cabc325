"""Make the example of the tab "What the network sees": python tests/tools/network_views.py

It writes the feature maps of one example pair, and the pictures from noise at five layers, into nst/examples/network.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from nst.examples import FOLDER, VIEWED_LAYER, VIEWED_LAYERS, VIEWED_PAIR, painting_path, photo_path
from nst.tools.inspection import feature_maps, reconstruct, synthesize
from nst.web.network_tab import MAPS, STEPS, style_layers_up_to

TARGET = FOLDER / "network"


def write_maps(name: str, picture: Path) -> None:
    """Write the strongest feature maps of a picture, numbered by strength; a file's name ends with its channel."""
    for number, (channel, image) in enumerate(feature_maps(picture, VIEWED_LAYER, count=MAPS), 1):
        image.save(TARGET / f"{name}_map_{number}_channel_{channel}.png", optimize=True)


def write_last(steps, name: str) -> None:
    """Write the last picture of a run from noise."""
    *_, last = steps
    last.image.save(TARGET / f"{name}.jpg", quality=90)


if __name__ == "__main__":
    TARGET.mkdir(exist_ok=True)
    for old in TARGET.iterdir():
        old.unlink()
    photo, painting = photo_path(VIEWED_PAIR[0]), painting_path(VIEWED_PAIR[1])
    write_maps("photo", photo)
    write_maps("painting", painting)
    for layer in VIEWED_LAYERS:
        style_layers = style_layers_up_to(layer)
        write_last(reconstruct(photo, layer, steps=STEPS, preview_every=None), f"photo_{layer}")
        write_last(synthesize(painting, style_layers, steps=STEPS, preview_every=None), f"painting_{layer}")
