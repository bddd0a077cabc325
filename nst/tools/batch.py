"""A folder of pictures in one style: resumable, and shared out among processes where torchrun starts several."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image

from nst.engine.hardware import choose_hardware
from nst.errors import StyleTransferError
from nst.io.reading import load_picture
from nst.output.film import Film, check_format
from nst.output.recipe import PaintingRecipe, describe, pixel_hash, read_recipe
from nst.output.results import save_result
from nst.settings import StyleSettings
from nst.stylization import Step, Style, stylize


@dataclass(frozen=True)
class Job:
    """A picture to paint and the PNG file that it becomes."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Outcome:
    """What became of a job. painted: False if it had been done before, or failed; error: one line if it failed."""

    job: Job
    painted: bool
    error: str | None = None


def plan(folder: str | os.PathLike, out: str | os.PathLike) -> list[Job]:
    """A job for every picture in `folder`, by name; no folders below it, no hidden files.

    A result is called `<stem>.png`. Where two would have that name (`a.jpg`, `a.png`), each is called by its source's
    whole name, `a.jpg.png` and `a.png.png`.

    Raises StyleTransferError if there is no such folder, no picture in it, or the results would go among them.
    """
    folder, out = Path(folder), Path(out)
    Image.init()
    # HEIC, which Pillow cannot open, is on the list: better refused by name than passed over in silence.
    suffixes = {suffix for suffix, kind in Image.EXTENSION.items() if kind in Image.OPEN} | {".heic", ".heif"}
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes and path.is_file())
    except OSError as error:
        raise StyleTransferError(f"{folder}: cannot be read ({error.strerror}).") from error
    files = [path for path in files if not path.name.startswith(".")]
    if not files:
        raise StyleTransferError(f"{folder}: there are no pictures in it.")
    if out.resolve() == folder.resolve():
        raise StyleTransferError(f"{out}: the results need a folder of their own, not that of the pictures.")
    names = {path: path.stem for path in files}
    while True:  # a whole name may be another's stem in turn: a.jpg, a.png and a.jpg.bmp
        count = Counter(name.casefold() for name in names.values())  # as file systems that ignore case see them
        taken = [path for path, name in names.items() if count[name.casefold()] > 1 and name != path.name]
        if not taken:
            return [Job(path, out / f"{name}.png") for path, name in names.items()]
        names |= {path: path.name for path in taken}


def paint_all(
    jobs: Sequence[Job],
    styles: Sequence[Style],
    settings: StyleSettings,
    *,
    film: str | None = None,
    on_step: Callable[[Job, Step], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Iterator[Outcome]:
    """Paint every job that is not done; yields what became of each, in order.

    film: `.webp` or `.mp4` also saves how each was painted, beside it.

    Done is what has a result with the very recipe that it would be painted by; its photo, styles, settings and backbone
    all count. A picture that fails is told and left out. `should_stop` is asked after every step; what is being painted
    then is dropped, and nothing more is yielded.

    Raises StyleTransferError, at once, for styles or settings that cannot be used.
    """
    styles = [
        replace(one, picture=load_picture(one.picture), mask=None if one.mask is None else load_picture(one.mask))
        for one in styles
    ]
    choose_hardware(settings.device, settings.precision)
    if film:
        check_format(f"film{film}")
    common = describe(Image.new("RGB", (1, 1)), styles, settings)  # in all but the photo

    def paint(job: Job) -> bool | None:
        photo = load_picture(job.source)
        recipe = replace(common, content=pixel_hash(photo))
        beside = job.target.with_suffix(film) if film else None
        if _is_done(job.target, recipe) and (beside is None or beside.exists()):
            return False
        frames, every = (Film(), Film.interval(settings.steps)) if beside else (None, None)
        for step in stylize(photo, styles, settings, preview_every=every, should_stop=should_stop):
            if frames:
                frames.add(step)
            if on_step:
                on_step(job, step)
        if step.step < step.steps:
            return None
        if frames:
            frames.save(beside)
        save_result(step.image, job.target, recipe)
        return True

    return _outcomes(jobs, paint)


def _outcomes(jobs: Sequence[Job], paint: Callable[[Job], bool | None]) -> Iterator[Outcome]:
    """`paint` says whether it had to, or None if it was stopped."""
    for job in jobs:
        try:
            painted = paint(job)
        except StyleTransferError as error:
            named = str(error).startswith(job.source.name)
            yield Outcome(job, painted=False, error=str(error) if named else f"{job.source.name}: {error}")
        except Exception as error:  # a picture too large for the memory, say, must not cost a night's work
            reason = (str(error).splitlines() or [""])[0]
            yield Outcome(job, painted=False, error=f"{job.source.name}: {type(error).__name__} ({reason}).")
        else:
            if painted is None:
                return
            yield Outcome(job, painted)


def _is_done(target: Path, recipe: PaintingRecipe) -> bool:
    try:
        return read_recipe(target) == recipe
    except StyleTransferError:  # none yet, or something else of that name
        return False


# Under torchrun


def own_share(jobs: Sequence[Job]) -> list[Job]:
    """This process's share of the jobs: all of them, unless it is one of several. It then takes a GPU of its own."""
    rank, processes = _place()
    if processes > 1 and torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", rank)) % torch.cuda.device_count())
    return list(jobs[rank::processes])


def all_failures(own: int) -> int:
    """How many failed in all processes, once all have ended.

    torchrun ends every process as soon as one exits with an error: the first to be ready has to wait for the last.
    """
    rank, processes = _place()
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":  # not torchrun: nothing to meet at, nobody to end us
        return own
    store = torch.distributed.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    keys = [f"nst-batch/{number}" for number in range(processes)]
    store.set(keys[rank], str(own))
    while not store.check(keys):  # not store.wait, which neither Ctrl-C ends nor a day's work may outlast
        time.sleep(0.2)
    return sum(int(store.get(key)) for key in keys)


def is_first() -> bool:
    """Whether this process is the one that speaks for all."""
    return _place()[0] == 0


def _place() -> tuple[int, int]:
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
