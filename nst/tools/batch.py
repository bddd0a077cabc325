"""Paint a folder of pictures in one style. A batch can be continued, and torchrun can share it among processes."""

import functools
import os
import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from nst.engine.hardware import choose_hardware
from nst.errors import StyleTransferError
from nst.io.addresses import refuse_address
from nst.io.reading import load_photo
from nst.output.film import Film, check_format
from nst.output.protection import check_replaceable, refuse_inputs
from nst.output.recipe import PaintingRecipe, describe, pixel_hash, read_recipe
from nst.output.results import save_result
from nst.pictures import Style, load_style_files
from nst.settings import StyleSettings
from nst.stylization import Step, stylize
from nst.tools.picture_files import find_files


@dataclass(frozen=True)
class Job:
    """A picture to paint, and the PNG file that the result is written to."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Outcome:
    """The outcome of a job.

    painted: False if the job was done before, or failed. error: one line if it failed.
    """

    job: Job
    painted: bool
    error: str | None = None


def plan(folder: str | os.PathLike, out: str | os.PathLike) -> list[Job]:
    """Return a job for every picture in `folder`, in the order of names. `find_files` tells what is a picture.

    A result is called `<stem>.png`. Where two results would have the same name (`a.jpg`, `a.png`), each takes the whole
    name of its source: `a.jpg.png` and `a.png.png`.

    Raises StyleTransferError if there is no such folder, no picture in it, or the results would go into it.
    """
    files = find_pictures(folder, out)
    names = choose_names([path.relative_to(folder) for path in files])
    return [Job(path, Path(out) / f"{name}.png") for path, name in zip(files, names.values(), strict=True)]


def find_pictures(folder: str | os.PathLike, out: str | os.PathLike) -> list[Path]:
    """Return the pictures in `folder`, in the order of names. Raises StyleTransferError as `plan` does."""
    refuse_address(folder, "download the photos first, and give the path of their folder")
    folder = Path(folder)
    if folder.is_file():
        advice = f"to paint one photo: nst {shlex.quote(str(folder))} STYLE -o OUT.png"
        raise StyleTransferError(f"{folder}: cannot be read as a folder, because it is a file; {advice}")
    files, _ = find_files(folder)
    if not files:
        raise StyleTransferError(f"{folder}: there are no pictures in it.")
    if Path(out).resolve() == folder.resolve():
        raise StyleTransferError(f"{out}: the results need another folder than the pictures.")
    return files


def choose_names(files: Sequence[Path]) -> dict[Path, str]:
    """Return a name for each file, no two of them the same: without its suffix, or the whole name, as in `plan`.

    files: paths relative to one folder.
    """
    names = {path: str(path.parent / path.stem) for path in files}
    while True:  # repeated, because a whole name may be the stem of another file: a.jpg, a.png and a.jpg.bmp
        count = Counter(name.casefold() for name in names.values())  # many file systems ignore case
        clashing = [path for path, name in names.items() if count[name.casefold()] > 1 and name != str(path)]
        if not clashing:
            return names
        names |= {path: str(path) for path in clashing}


def paint_all(
    jobs: Sequence[Job],
    styles: Sequence[Style],
    settings: StyleSettings,
    *,
    film: str | None = None,
    overwrite: bool = False,
    on_step: Callable[[Job, Step], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Iterator[Outcome]:
    """Paint every job that is not done, and yield the outcome of each, in order.

    film: `.webp` or `.mp4` also saves how each picture was painted, beside the result.

    overwrite: replace files with the names of results and films even if this program did not write them.

    A job is done if its target holds the recipe that it would be painted by: photo, styles, settings and backbone all
    count. A picture that fails is reported and left out. `should_stop` is called after every step; if it returns True,
    the current picture is dropped and nothing more is yielded.

    Raises StyleTransferError, at once, for styles or settings that cannot be used, and for a result or film that would
    replace an input.
    """
    files = [x for style in styles for x in (*style.paintings, style.mask, style.part)]
    paths = [x for x in files if isinstance(x, (str, os.PathLike))]
    outputs = [path for job in jobs for path in (job.target, *([job.target.with_suffix(film)] if film else []))]
    refuse_inputs(outputs, [*paths, *(job.source for job in jobs), settings.backbone])
    styles = [load_style_files(style) for style in styles]
    choose_hardware(settings.device, settings.precision)
    if film:
        check_format(f"film{film}")
    common_recipe = describe(Image.new("RGB", (1, 1)), styles, settings)  # complete except for the photo

    def paint(job: Job) -> bool | None:
        """Return True after painting, False if the job was done before, None if it was stopped."""
        version = _version(job.source)
        recipe = replace(common_recipe, content=_photo_hash(job.source, version))
        film_path = job.target.with_suffix(film) if film else None
        if _is_done(job.target, recipe) and (film_path is None or film_path.exists()):
            return False
        for path in (job.target, film_path):
            if path:
                check_replaceable(path, overwrite)
        photo = _load_photo(job.source, version)
        frames, preview_every = (Film(), Film.interval(settings.steps)) if film_path else (None, None)
        for step in stylize(photo, styles, settings, preview_every=preview_every, should_stop=should_stop):
            if frames:
                frames.add(step)
            if on_step:
                on_step(job, step)
        if step.step < step.steps:
            return None
        if frames:
            frames.save(film_path)
        save_result(step.image, job.target, recipe)
        return True

    return _outcomes(jobs, paint)


def _outcomes(jobs: Sequence[Job], paint: Callable[[Job], bool | None]) -> Iterator[Outcome]:
    for job in jobs:
        try:
            painted = paint(job)
        except StyleTransferError as error:
            names_the_file = str(error).startswith(job.source.name)
            yield Outcome(job, painted=False, error=str(error) if names_the_file else f"{job.source.name}: {error}")
        except Exception as error:  # one picture, for example too large for the memory, must not end a long batch
            reason = (str(error).splitlines() or [""])[0]
            yield Outcome(job, painted=False, error=f"{job.source.name}: {type(error).__name__} ({reason}).")
        else:
            if painted is None:
                return
            yield Outcome(job, painted)


def _version(path: Path) -> tuple[int, int] | None:
    """Return what changes with a file: its time and its size; None if it is missing."""
    return (path.stat().st_mtime_ns, path.stat().st_size) if path.exists() else None


@functools.lru_cache(maxsize=1)
def _load_photo(path: Path, _: tuple[int, int] | None) -> Image.Image:
    return load_photo(path)


@functools.cache  # with many paintings each photo is asked for many times
def _photo_hash(path: Path, version: tuple[int, int] | None) -> str:
    return pixel_hash(_load_photo(path, version))


def _is_done(target: Path, recipe: PaintingRecipe) -> bool:
    try:
        return read_recipe(target) == recipe
    except StyleTransferError:  # there is no such file yet, or another file has that name
        return False


# --- several processes, under torchrun --------------------------------------------------------------------------------


def jobs_of_this_process(jobs: Sequence[Any]) -> list[Any]:
    """Return this process's share of the jobs, which is all of them unless there are several processes.

    With several processes and GPUs, this process also selects a GPU of its own.
    """
    rank, processes = _rank_and_processes()
    if processes > 1 and torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", rank)) % torch.cuda.device_count())
    return list(jobs[rank::processes])


def count_failures(failures: int, stage: str = "painting", should_stop: Callable[[], bool] = lambda: False) -> int:
    """Return the failures of all processes together, once all have ended. failures: those of this process.

    stage: of the work; processes meet once in each.

    torchrun ends every process as soon as one of them exits with an error. So the first to finish must wait for the
    last. If `should_stop` returns True, it waits no longer, and returns its own failures.
    """
    rank, processes = _rank_and_processes()
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":  # started without torchrun: there is no store
        return failures
    store = torch.distributed.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    keys = [f"nst-batch/{stage}/{number}" for number in range(processes)]
    store.set(keys[rank], str(failures))
    while not store.check(keys):  # store.wait would ignore signals, and would time out during a long batch
        if should_stop():
            return failures
        time.sleep(0.2)
    return sum(int(store.get(key)) for key in keys)


def is_first_process() -> bool:
    """Return whether this process prints the messages for all."""
    return _rank_and_processes()[0] == 0


def process_count() -> int:
    """Return the number of processes that share the work."""
    return _rank_and_processes()[1]


def _rank_and_processes() -> tuple[int, int]:
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
