"""The corpus of hostile files, read in a process of its own: crashes, warnings and memory are measured from outside."""

import io
import json
import re
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

from helpers.shell import ENVIRONMENT
from tools.corpus import MARK, PICTURE, REFUSED, SECRETS, Case, largest, make_corpus
from tools.reliability import run_theme

MINUTES = 6
MAX_MEMORY = 1500  # MB that reading any picture may take above what the library takes by itself
MAX_SECONDS = 120  # for any one file; generous, the machine may be busy
PNG_CHUNKS = {b"IHDR", b"IDAT", b"IEND"}


def read_all(cases: list[Case], every: int | None = 1) -> tuple[list[dict], float]:
    """Read every file, and paint with every `every`-th that is a picture, in a process that turns warnings into errors.

    Return for each file its outcome (PICTURE or REFUSED), the error's message, leaks and seconds, and for all of them
    the MB of memory that they took at most.
    """
    jobs = [[str(case.path), bool(every) and index % every == 0] for index, case in enumerate(cases)]
    strict_python = (sys.executable, "-W", "error")
    done = run_theme("hostile_files", before=strict_python, environment=ENVIRONMENT, input=json.dumps(jobs))
    assert "Traceback" not in done.stderr and "Warning" not in done.stderr, done.stderr[-2000:]
    *outcomes, memory = map(json.loads, done.stdout.splitlines())
    return outcomes, memory


def check(cases: list[Case], outcomes: list[dict]) -> None:
    """Raise AssertionError unless every file ended as expected, in a picture or one clear line, and nothing leaked."""
    assert len(cases) == len(outcomes)
    for case, outcome in zip(cases, outcomes, strict=True):
        name, message = case.path.name, outcome["message"]
        expected = (case.expected,) if case.expected in (PICTURE, REFUSED) else (PICTURE, REFUSED)
        assert outcome["outcome"] in expected, f"{name!r}: {outcome}"
        assert outcome["outcome"] == PICTURE or is_one_line(message, case.path), f"{name!r}: {message!r}"
        assert not outcome["leaks"], f"{name!r}: {outcome['leaks']}"
        assert outcome["seconds"] < MAX_SECONDS, f"{name!r}: {outcome['seconds']} s"


def is_one_line(message: str, path: Path) -> bool:
    """Return whether a message is one readable line, with neither a folder of this machine nor an exception's name."""
    return message.isprintable() and str(path.parent) not in message and not re.search(r"^$|Error|Traceback", message)


def find_leaks(data: bytes) -> list[str]:
    """Return the corpus's secrets in a file's bytes, compressed ones too, and PNG chunks that only metadata needs."""
    leaks = [secret for secret in (*SECRETS, "GPSLatitude") if secret.encode() in data]
    leaks += ["the place"] * (MARK in data) + ["EXIF"] * (b"Exif\0\0" in data)
    if data.startswith(b"\x89PNG"):
        for kind, content in png_chunks(data):
            is_recipe = kind == b"tEXt" and content.startswith(b"nst-recipe\0")
            if kind not in PNG_CHUNKS and not is_recipe:
                leaks.append(kind.decode())
    return leaks


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (kind, content) of every chunk. Raises AssertionError for a wrong checksum."""
    start = 8
    while start < len(data):
        length, kind = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8]
        content = data[start + 8 : start + 8 + length]
        assert zlib.crc32(kind + content) == int.from_bytes(data[start + 8 + length : start + 12 + length], "big")
        yield kind, content
        start += 12 + length


def run() -> None:
    with tempfile.TemporaryDirectory() as folder:
        cases = make_corpus(Path(folder))
        outcomes, memory = read_all(cases)
        check(cases, outcomes)
        pictures = sum(outcome["outcome"] == PICTURE for outcome in outcomes)
        slowest = max(outcome["seconds"] for outcome in outcomes)
        print(f"{len(cases)} files: {pictures} pictures, {len(cases) - pictures} refused in one line; the slowest "
              f"{slowest:.1f} s; {memory:.0f} MB at most")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for case in largest(Path(folder)):
            (outcome,), memory = read_all([case], every=None)
            check([case], [outcome])
            assert memory < MAX_MEMORY, f"{case.path.name}: {memory:.0f} MB"
            size = case.path.stat().st_size >> 10
            print(f"{case.path.name}: 100 megapixels from {size} KB: {outcome['seconds']:.1f} s, {memory:.0f} MB")


def _main() -> None:
    """Read the files that stdin lists, in JSON. Print one line of JSON for each, then the MB of memory."""
    import nst.stylization

    nst.stylization.load_backbone()  # its memory is not counted
    memory_before = _peak_memory()
    for path, is_painted in json.load(sys.stdin):
        print(json.dumps(_read(path, is_painted)))
    print(round(_peak_memory() - memory_before))


def _read(path: str, is_painted: bool) -> dict:
    from nst import StyleSettings, StyleTransferError, load_picture, stylize

    started, message, leaks = time.monotonic(), "", []
    try:
        picture, outcome = load_picture(path), PICTURE
    except StyleTransferError as error:
        outcome, message = REFUSED, str(error)
    else:
        for kind in ("PNG", "JPEG", "WEBP", "TIFF") if max(picture.size) < 1000 else ():
            buffer = io.BytesIO()
            picture.save(buffer, kind)
            leaks += find_leaks(buffer.getvalue())
        if is_painted:
            try:
                *_, last = stylize(path, picture, StyleSettings(size=32, steps=2, style_levels=2))
                assert last.image.width and last.image.height
            except StyleTransferError as error:
                message = str(error)
                assert "short side" in message, message  # a picture can have no other problem
    return {"outcome": outcome, "message": message, "leaks": leaks, "seconds": round(time.monotonic() - started, 2)}


def _peak_memory() -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    _main()
