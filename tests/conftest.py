"""What the tests share: a random network on disk, small pictures, and the shell."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
ROOT = Path(__file__).resolve().parent.parent
# One thread: on a busy machine, threads that wait for each other make pictures as small as the tests' ten times slower.
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def make_picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth coloured blobs: structured enough for every layer to respond, different for each seed."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """In the tests' own process, as `ENVIRONMENT` does in the shell."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def random_checkpoint(tmp_path_factory) -> Path:
    """An exported VGG19 with random weights: for everything that does not depend on what was learnt."""
    import torch

    from nst.backbones import save_checkpoint
    from nst.images import IMAGENET_MEAN, IMAGENET_STD
    from nst.vgg import VGG19

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("checkpoint") / "random.safetensors"
    metadata = {"dataset": "none", "epochs": 0, "mean": IMAGENET_MEAN, "std": IMAGENET_STD}
    return save_checkpoint(VGG19(100, pooling="average"), path, metadata)


@pytest.fixture
def pictures(tmp_path) -> tuple[Path, Path]:
    """A photo of 96x72 and a painting of 80x80, as PNG files."""
    content, style = tmp_path / "photo.png", tmp_path / "painting.png"
    make_picture(96, 72, seed=1).save(content)
    make_picture(80, 80, seed=2).save(style)
    return content, style


def shell(*arguments: object, **options) -> subprocess.CompletedProcess:
    """Run `python ARGUMENTS` in the project's folder; text output, five minutes at most."""
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, **options)
