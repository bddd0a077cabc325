"""The corpus of hostile files, read in a process of its own: crashes, warnings and memory are seen from outside."""

import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TESTS), str(TESTS.parent)]

from tools.corpus import MARK, PICTURE, REFUSED, SECRETS, Case, largest, make_corpus  # noqa: E402

MINUTES = 6
MEMORY = 1500  # MB that reading any picture may take above what the library takes by itself
SECONDS = 120  # for any one file; generous, the machine may be busy
PNG_CHUNKS = {b"IHDR", b"IDAT", b"IEND"}


def read_all(cases: list[Case], every: int | None = 1) -> tuple[list[dict], float]:
    """What becomes of each file when read, and of every so many-th that is a picture when painted; MB taken at most.

    In a process that turns every warning into an error.
    """
    asked = json.dumps([[str(case.path), bool(every) and index % every == 0] for index, case in enumerate(cases)])
    command = [sys.executable, "-W", "error", str(Path(__file__).resolve()), "read"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, input=asked, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, f"ended with {done.returncode}: {done.stderr[-2000:]}"
    assert "Traceback" not in done.stderr and "Warning" not in done.stderr, done.stderr[-2000:]
    *outcomes, memory = map(json.loads, done.stdout.splitlines())
    return outcomes, memory


def check(cases: list[Case], outcomes: list[dict]) -> None:
    """Every file ended in a picture or in one clear line, as it must; nothing private was kept."""
    assert len(cases) == len(outcomes)
    for case, found in zip(cases, outcomes, strict=True):
        name, said = case.path.name, found["said"]
        assert found["outcome"] in ((case.expected,) if case.expected in (PICTURE, REFUSED) else (PICTURE, REFUSED)), (
            f"{name!r}: {found}"
        )
        assert found["outcome"] == PICTURE or one_line(said, case.path), f"{name!r}: {said!r}"
        assert not found["leaks"], f"{name!r}: {found['leaks']}"
        assert found["seconds"] < SECONDS, f"{name!r}: {found['seconds']} s"


def one_line(said: str, path: Path) -> bool:
    """One line of readable text, with neither a folder of this machine nor an exception's name in it."""
    return said.isprintable() and str(path.parent) not in said and not re.search(r"^$|Error|Traceback", said)


def leaks(data: bytes) -> list[str]:
    """Secrets of the corpus in a file's bytes, packed ones too; for PNG files, chunks that only metadata needs."""
    found = [secret for secret in (*SECRETS, "GPSLatitude") if secret.encode() in data]
    found += ["the place"] * (MARK in data) + ["EXIF"] * (b"Exif\0\0" in data)
    if data.startswith(b"\x89PNG"):
        for kind, content in png_chunks(data):
            if kind == b"tEXt" and content.startswith(b"nst-recipe\0"):
                continue
            found += [kind.decode()] * (kind not in PNG_CHUNKS)
    return found


def png_chunks(data: bytes):
    """(kind, content), checksums compared."""
    place = 8
    while place < len(data):
        length, kind = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        content = data[place + 8 : place + 8 + length]
        assert zlib.crc32(kind + content) == int.from_bytes(data[place + 8 + length : place + 12 + length], "big")
        yield kind, content
        place += 12 + length


def _read_here(path: str, paint: bool) -> dict:
    from nst import StyleSettings, StyleTransferError, load_picture, stylize

    started, said, found = time.monotonic(), "", []
    try:
        picture, outcome = load_picture(path), PICTURE
    except StyleTransferError as error:
        outcome, said = REFUSED, str(error)
    else:
        for kind in ("PNG", "JPEG", "WEBP", "TIFF") if max(picture.size) < 1000 else ():
            buffer = io.BytesIO()
            picture.save(buffer, kind)
            found += leaks(buffer.getvalue())
        if paint:
            try:
                *_, last = stylize(path, picture, StyleSettings(size=32, steps=2, style_levels=2))
                assert last.image.width and last.image.height
            except StyleTransferError as error:
                said = str(error)
                assert "short side" in said, said  # of a picture, the only thing to complain about
    return {"outcome": outcome, "said": said, "leaks": found, "seconds": round(time.monotonic() - started, 2)}


def _memory() -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run() -> None:
    with tempfile.TemporaryDirectory() as folder:
        cases = make_corpus(Path(folder))
        outcomes, memory = read_all(cases)
        check(cases, outcomes)
        pictures = sum(found["outcome"] == PICTURE for found in outcomes)
        slowest = max(found["seconds"] for found in outcomes)
        print(f"{len(cases)} files: {pictures} pictures, {len(cases) - pictures} refused in one line; the slowest "
              f"{slowest:.1f} s; {memory:.0f} MB at most")
    with tempfile.TemporaryDirectory() as folder:
        for case in largest(Path(folder)):
            (found,), memory = read_all([case], every=None)
            check([case], [found])
            assert memory < MEMORY, f"{case.path.name}: {memory:.0f} MB"
            size = case.path.stat().st_size >> 10
            print(f"{case.path.name}: 100 megapixels from {size} KB: {found['seconds']:.1f} s, {memory:.0f} MB")


if __name__ == "__main__" and sys.argv[1:] == ["read"]:
    import nst.stylization  # so that what it takes is not counted

    nst.stylization.load_backbone()
    before = _memory()
    for path, paint in json.load(sys.stdin):
        print(json.dumps(_read_here(path, paint)))
    print(round(_memory() - before))
elif __name__ == "__main__":
    run()
