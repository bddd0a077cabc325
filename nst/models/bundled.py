"""Where the checkpoint that comes with the project lies: in the repository, or in the installed package."""

from pathlib import Path

from nst.errors import StyleTransferError

NAME = "vgg19-cifar100.safetensors"
REPOSITORY = Path(__file__).resolve().parents[2] / "checkpoints" / NAME
PACKAGE = Path(__file__).resolve().parents[1] / "checkpoints" / NAME


def bundled_checkpoint() -> Path:
    """The checkpoint's path. Raises StyleTransferError if it is in neither place."""
    for path in (REPOSITORY, PACKAGE):
        if path.exists():
            return path
    raise StyleTransferError(f"checkpoints/{NAME} is missing: fetch it from the project's repository, or train it.")
