"""Files that are not pictures, and things in a folder that are not files."""

import gzip
import io
import os
import pickle
import socket
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tools.corpus.case import PICTURE, REFUSED, Case, Entry
from tools.corpus.formats import picture, saved


def other_files() -> Iterator[Entry]:
    """Yield files that are not pictures, and one picture with other data behind it."""
    yield "empty.png", b"", REFUSED
    yield "one-byte.jpg", b"\xff", REFUSED
    yield "text.png", b"Dear diary,\nno picture here.\n" * 40, REFUSED
    yield "page.jpg", b"<!doctype html><script>alert(1)</script>", REFUSED
    yield "drawing.svg", b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>', REFUSED
    entity = b'<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg>&x;</svg>'
    yield "drawing.png", entity, REFUSED
    for brand in (b"heic", b"heix", b"hevc", b"heim", b"mif1", b"msf1"):
        yield f"{brand.decode()}.heic", b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1heic" + bytes(200), REFUSED
    yield "broken.avif", b"\0\0\0\x1cftypavif\0\0\0\0mif1avif" + bytes(200), REFUSED
    yield "film.mp4", b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + bytes(200), REFUSED
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("../../escape.png"), saved(picture(), "PNG"))
        archive.writestr(zipfile.ZipInfo("bomb"), bytes(1 << 16))
    yield "archive.zip", packed.getvalue(), REFUSED
    yield "archive.png", packed.getvalue(), REFUSED
    yield "packed.png", gzip.compress(saved(picture(), "PNG"), mtime=0), REFUSED
    yield "pickled.png", pickle.dumps({"a": [1] * 50}), REFUSED
    yield "program.jpg", b"\x7fELF\2\1\1" + bytes(300), REFUSED
    yield "noise.png", np.random.default_rng(5).bytes(5000), REFUSED
    yield "noise-after-magic.png", b"\x89PNG\r\n\x1a\n" + np.random.default_rng(6).bytes(5000), REFUSED
    yield "picture-then-zip.png", saved(picture(), "PNG") + packed.getvalue(), PICTURE
    yield "zeros.tif", bytes(5000), REFUSED
    yield "two\nlines \x1b[31m.png", b"not a picture", REFUSED
    yield "bidi\u202egnp.exe.png", b"not a picture", REFUSED
    yield "Ä" * 100 + ".png", b"not a picture", REFUSED
    yield "%s{0}<b>$(id)`id`.png", b"not a picture", REFUSED


def special_files(folder: Path) -> Iterator[Case]:
    """Make links, folders, pipes and the like in `folder`, if the system has them."""
    (folder / "target.png").write_bytes(saved(picture(), "PNG"))
    yield Case(folder / "target.png", PICTURE)
    yield Case(folder / "nowhere.png", REFUSED)
    (folder / "folder.png").mkdir()
    yield Case(folder / "folder.png", REFUSED)
    sparse = folder / "sparse.png"
    with open(sparse, "wb") as file:
        file.write(saved(picture(), "PNG")[:40])
        file.truncate(20 << 30)
    yield Case(sparse, REFUSED)
    if os.name != "posix":
        return
    for name, target, expected in (("link.png", "target.png", PICTURE), ("dangling.png", "nowhere", REFUSED),
                                   ("circle.png", "circle.png", REFUSED), ("endless.png", "/dev/zero", REFUSED),
                                   ("null.png", "/dev/null", REFUSED)):  # fmt: skip
        (folder / name).symlink_to(target)
        yield Case(folder / name, expected)
    os.mkfifo(folder / "pipe.png")
    yield Case(folder / "pipe.png", REFUSED)
    listener = socket.socket(socket.AF_UNIX)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        listener.bind(f"/proc/self/fd/{descriptor}/socket.png")  # an address may have 108 characters at most
        yield Case(folder / "socket.png", REFUSED)
    except OSError:
        pass
    finally:
        os.close(descriptor)
        listener.close()
