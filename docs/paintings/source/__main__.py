"""Paint every example painting again: `python docs/paintings/source FOLDER`."""

import sys
from pathlib import Path

from gallery import PAINTINGS, paint

SIZE = (640, 480)  # px
JPEG = {"quality": 88, "optimize": True}


def main(folder: str) -> None:
    """Write every painting as a JPEG file into `folder`."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name in PAINTINGS:
        paint(name, *SIZE).save(Path(folder, f"{name}.jpg"), **JPEG)


if __name__ == "__main__":
    main(*sys.argv[1:])
