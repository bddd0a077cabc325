"""One file of the corpus and what must become of it, and the private words that some files hold."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

PICTURE, REFUSED, EITHER = "picture", "refused", "either"
SECRETS = ("SECRETCAMERA", "SECRETOWNER", "SECRETPLACE", "SECRETNOTE")
LATITUDE = 52.123456  # as three fractions in EXIF: 52, 7, and 24.4416, which is 244416/10000
MARK = (244416).to_bytes(4, "big")  # this number in a big-endian file
Entry = tuple[str, bytes, str]  # a file's name, its bytes, and what must become of it


@dataclass(frozen=True)
class Case:
    """A file, or something else at `path`, and what must become of it: PICTURE, REFUSED or EITHER."""

    path: Path
    expected: str

    @property
    def is_uploadable(self) -> bool:
        """A file can be uploaded; a link, a folder or a pipe cannot."""
        return self.path.is_file() and not self.path.is_symlink()


@dataclass(frozen=True)
class Variant:
    """A file, and the picture that it shows on white, (H, W, 3) in [0, 255], or None if it must be refused."""

    name: str
    data: bytes
    shown: np.ndarray | None
