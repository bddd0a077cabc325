"""How fast, how large, how soon: `python -m nst.bench` measures what the README claims on the machine it runs on.

    python -m nst.bench                # a table; about 20 minutes on two cores
    python -m nst.bench --json         # the same as one JSON object
    python -m nst.bench --full         # also the comparisons that take an hour
    python -m nst.bench --only step    # targets whose name contains a word

Every figure is a ratio within one run, or of a fresh process of its own: machines differ, and the same machine differs
from hour to hour. What is compared takes turns. The baseline is `nst.baseline.PlainLoop`.
"""

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from nst.baseline import PlainLoop
from nst.canvas import Canvas
from nst.engine.hardware import Hardware, choose_hardware, machine
from nst.engine.target_cache import TARGETS
from nst.engine.tiling import TILE_SIDE
from nst.io.reading import load_picture
from nst.io.sizes import resize_picture
from nst.io.tensors import to_tensor
from nst.layers import CHANNELS, LAYERS
from nst.models.checkpoints import load_backbone
from nst.objective import Objective, build_extractor
from nst.settings import PRESETS, StyleSettings
from nst.stylization import stylize
from nst.tools import benchmark_memory as bench_memory
from nst.tools.examples import painting_path, photo_path

ROOT = Path(__file__).resolve().parents[2]
CLASSIC_512 = StyleSettings.preset("classic", size=512, keep_aspect=True, steps=10_000)
MOST = 640  # steps on our own way to the loss of L-BFGS: it takes longer than L-BFGS then
# The classic losses on our own way to them.
CLASSIC_QUICKLY = StyleSettings.preset("classic", keep_aspect=True, canvas="deep-pyramid", learning_rate=0.012)


@dataclass(frozen=True)
class Target:
    """One line of the table. value: None where this machine cannot show it. goal: reached at `value` `sense` `goal`."""

    name: str
    value: float | None
    goal: float
    sense: str = ">="
    note: str = ""

    @property
    def met(self) -> bool | None:
        if self.value is None:
            return None
        return self.value >= self.goal if self.sense == ">=" else self.value <= self.goal


class Bench:
    """The pictures, a 4:3 pair of the project's own examples, and one method for each target."""

    def __init__(self, full: bool):
        self.full = full
        self.photo = _four_by_three(load_picture(photo_path("coffee")))
        self.painting = _four_by_three(load_picture(painting_path("oil")))
        self.backbone = load_backbone("cifar100")
        self.auto = choose_hardware()
        self.float32 = choose_hardware(precision="float32")

    def tensors(self, long_side: int) -> tuple[Tensor, Tensor]:
        size = (long_side, long_side * 3 // 4)
        return to_tensor(resize_picture(self.photo, size)), to_tensor(resize_picture(self.painting, size))

    def plain(self, long_side: int, settings: StyleSettings = CLASSIC_512) -> tuple[PlainLoop, Tensor]:
        content, style = (x.to(self.auto.device) for x in self.tensors(long_side))
        return PlainLoop(self.backbone, settings, content, style), content

    def objective(self, long_side: int, settings: StyleSettings, hardware: Hardware, tile_side=None):
        content, style = (x.to(hardware.device) for x in self.tensors(long_side))
        extractor = build_extractor(self.backbone, settings, hardware)
        return Objective(extractor, settings, content, [(style, 1.0, None)], tile_side), content

    # --- the targets -------------------------------------------------------------------------------------------------

    def step(self) -> Iterator[Target]:
        """Whole steps of `stylize`, classic layers, in turns with the plain loop's evaluation."""
        on_gpu = self.auto.device.type == "cuda"
        best, auto = best_product_rate(self.auto), str(self.auto).rpartition(" ")[2]
        for side in (512, 1024, 2048) if on_gpu else (512,):
            loop, pixels = self.plain(side)
            runs = {}
            for name, hardware in (("auto", self.auto), ("float32", self.float32)):
                if name == "float32" and hardware == self.auto:
                    runs[name] = runs["auto"]
                    continue
                settings = replace(CLASSIC_512, size=side, precision=name)
                runs[name] = stylize(self.photo, self.painting, settings, preview_every=None)
            many = 20 if on_gpu else 1
            work = {"plain": partial(loop.evaluate, pixels)} | {name: run.__next__ for name, run in runs.items()}
            work = {name: lambda one=one: [one() for _ in range(many)] for name, one in work.items()}  # noqa: B023
            seconds = {name: took / many for name, took in in_turns(work, turns=5).items()}
            took = {name: f"{1000 * one:.3g} ms" if on_gpu else f"{one:.2f} s" for name, one in seconds.items()}
            note, ratio = f"plain {took['plain']}, ours {took['auto']}", seconds["plain"] / seconds["auto"]
            yield Target(f"step at {side} px, {auto}, plain over ours", ratio, 2.0 if on_gpu else 2.5, note=note)
            ratio = seconds["plain"] / seconds["float32"]
            yield Target(f"step at {side} px, forced to float32", ratio, 1.1, note=f"ours {took['float32']}")
            if on_gpu and side < 1024:
                continue  # too small to fill a GPU
            rate = _operations(side, side * 3 // 4, loop.layers) / seconds["auto"]
            note = f"{rate / 1e9:.0f} of {best / 1e9:.0f} GFLOP/s; operations as counted for direct convolutions"
            name = "arithmetic per second, of the best matrix product's" + f", {side} px" * on_gpu
            yield Target(name, rate / best, 0.6 if on_gpu else 0.75, note=note)

    def time_to_quality(self) -> Iterator[Target]:
        """The time to the loss that L-BFGS has after so many evaluations, over ours to the same loss."""
        side = 512 if self.full else 256
        settings = replace(CLASSIC_QUICKLY, size=side)
        loop, content = self.plain(side, settings)
        noise = torch.rand(content.shape, generator=torch.Generator().manual_seed(0)).to(content.device)
        goals = {100: 5.0, 300: 10.0} | ({1000: 25.0} if self.full else {})
        say(f"L-BFGS at {side} px from the photo and from noise")
        better, rows = "the photo", loop.lbfgs(content, max(goals))
        if loop.lbfgs(noise, 100)[-1]["loss"] < rows[99]["loss"]:
            better, rows = "noise", loop.lbfgs(noise, max(goals))
        for evaluations, goal in goals.items():
            row = rows[min(evaluations, len(rows)) - 1]
            seconds, steps, loss = self._until(row["loss"], settings, loop)
            note = f"{side} px, from {better}: {row['seconds']:.0f} s to a loss of {row['loss']:.4g}; ours "
            note += f"{seconds:.1f} s, {steps} steps" if seconds else f"only {loss:.4g} after {steps} steps"
            name = f"time to the loss of L-BFGS after {evaluations} evaluations"
            yield Target(name, row["seconds"] / seconds if seconds else 0.0, goal, note=note)

    def _until(self, loss: float, settings: StyleSettings, loop: PlainLoop) -> tuple[float | None, int, float]:
        """Seconds and steps until the loss at full size, in float32, is at most `loss`; None where `MOST` are too few.

        The run stops where its own arithmetic says so, and goes on for some steps if float32's does not.
        """
        settings, seconds, state = replace(settings, steps=MOST), 0.0, None
        while True:
            told = []  # a step later than it could be: the loss is that of the picture before the step
            run = stylize(
                self.photo, self.painting, settings, preview_every=None, resume=state,
                should_stop=lambda: bool(told) and told[-1] <= loss,  # noqa: B023 - used at once
            )  # fmt: skip
            for step in run:
                told.append(step.total_loss)
            seconds, state = seconds + step.seconds, step.state
            with torch.no_grad():
                reached = loop.loss(torch.from_numpy(state.arrays["pixels"]).to(self.auto.device)).item()
            if reached <= loss or step.step >= MOST:
                return seconds if reached <= loss else None, step.step, reached

    def presets(self) -> Iterator[Target]:
        """What a preset's run takes, in evaluations of the plain loop at 512 px; previews as in the app."""
        loop, pixels = self.plain(512)
        for preset, goal in (("balanced", 40), ("quick", 12)):
            before = seconds_of(lambda: loop.evaluate(pixels))
            *_, last = stylize(self.photo, self.painting, PRESETS[preset], preview_every=0.25)
            after = seconds_of(lambda: loop.evaluate(pixels))
            ratio, note = 2 * last.seconds / (before + after), f"{last.seconds:.1f} s; {self._scores(last.image)}"
            yield Target(f"preset {preset}, in plain evaluations", ratio, goal, "<=", note)

    def _scores(self, picture: Image.Image) -> str:
        """What the judge among the tests says, where it is installed."""
        judge = ROOT / "tests" / "judge.py"
        if not judge.exists():
            return "no judge at hand"
        with tempfile.TemporaryDirectory() as folder:
            names = [f"{folder}/{name}.png" for name in ("content", "style", "output")]
            for name, image in zip(names, (self.photo, self.painting, picture), strict=True):
                image.save(name)
            command = [sys.executable, judge, "--content", names[0], "--style", names[1], names[2]]
            found = subprocess.run(command, capture_output=True, text=True)
        return found.stdout.strip().splitlines()[-1].replace(names[2], "judge") if found.returncode == 0 else "no judge"

    def previews(self) -> Iterator[Target]:
        """The first preview of a warm process, and what previews and bookkeeping add to the bare arithmetic."""
        for side, goal in ((512, 1.0), (2048, 2.0)):
            settings = StyleSettings.preset("balanced", size=side)
            firsts = []
            for _ in range(2):
                started = time.perf_counter()
                with closing(stylize(self.photo, self.painting, settings, preview_every=0.25)) as steps:
                    next(step for step in steps if step.image is not None)
                firsts.append(time.perf_counter() - started)
            yield Target(f"first preview at {side} px, seconds", firsts[-1], goal, "<=")
        settings = StyleSettings.preset("balanced", scales=1, steps=16)
        objective, pixels = self.objective(512, settings, self.auto)
        canvas = Canvas(pixels, settings.canvas)

        def bare() -> None:
            for _ in range(settings.steps):
                losses, gradient = objective.evaluate(canvas.pixels())
                canvas.update(gradient, settings.learning_rate)
                losses.total.item()

        def whole() -> None:
            for _ in stylize(self.photo, self.painting, settings, preview_every=0.25):
                pass

        seconds = in_turns({"bare": bare, "whole": whole}, turns=3)
        yield Target("previews and bookkeeping, share of the run", 1 - seconds["bare"] / seconds["whole"], 0.05, "<=")

    def memory(self) -> Iterator[Target]:
        """The peak of a fresh process with the default preset and two steps at every size, in gigabytes."""
        for precision, hardware in (("float32", self.float32), ("bf16", self.auto)):
            if hardware.device.type != "cpu":
                continue  # of the machine's memory these are
            for side, goal in ((1024, 3), (2048, 6), (4096, 14)):
                name = f"memory at {side} px, {precision}, GB"
                if precision == "bf16" and hardware.dtype is not torch.bfloat16:
                    yield Target(name, None, goal, "<=", "this processor has no bf16")
                    continue
                say(name)
                found = bench_memory.in_a_fresh_process(side, precision)
                yield Target(name, found["peak_bytes"] / 1e9, goal, "<=", f"{found['seconds']:.0f} s")

    def growth(self) -> Iterator[Target]:
        """Seconds per pixel and step of the default preset at 2048 px over those at 512 px."""
        settings = PRESETS["balanced"]
        small, pixels = self.objective(512, settings, self.auto)
        for name, tile_side, goal in (("untiled", 4096, 1.2), ("tiled", TILE_SIDE, 2.0)):
            objective, large = self.objective(2048, settings, self.auto, tile_side)
            work = {"small": partial(small.evaluate, pixels), "large": partial(objective.evaluate, large)}
            seconds = in_turns(work, turns=2)
            del objective, work
            gc.collect()
            ratio = seconds["large"] / seconds["small"] / 16
            yield Target(f"cost of a pixel at 2048 px over 512 px, {name}", ratio, goal, "<=")

    def start(self) -> Iterator[Target]:
        """From the command to the page's answer, over importing torch and gradio."""
        if not (ROOT / "app.py").exists():
            return
        command = [sys.executable, "-c", "import torch, gradio"]
        imports = min(seconds_of(lambda: subprocess.run(command)) for _ in range(2))
        answers = min(_until_the_page_answers(7999 - n) for n in range(2))
        note = f"{answers:.1f} s and {imports:.1f} s"
        yield Target("start of the page, over importing torch and gradio", answers / imports, 2.5, "<=", note)

    def again(self) -> Iterator[Target]:
        """What a second run on the same pictures builds."""
        settings = StyleSettings(size=256, steps=3)
        for _ in range(2):
            before = TARGETS.built
            for _ in stylize(self.photo, self.painting, settings, preview_every=None):
                pass
        yield Target("targets built by a second run", float(TARGETS.built - before), 0, "<=")
        yield Target("targets kept, MB", TARGETS.bytes / 1e6, TARGETS.limit_bytes / 1e6, "<=")

    def numerics(self) -> Iterator[Target]:
        """How far bf16's picture is from float32's after a whole run, mean of the differences of 255."""
        name = "bf16 against float32, mean difference of 255"
        if self.auto.dtype is not torch.bfloat16:
            yield Target(name, None, 4.0, "<=", "this processor has no bf16")
            return
        pictures = []
        for precision in ("bf16", "float32"):
            settings = StyleSettings.preset("balanced", size=256, precision=precision)
            *_, last = stylize(self.photo, self.painting, settings, preview_every=None)
            pictures.append(to_tensor(last.image))
        yield Target(name, (pictures[0] - pictures[1]).abs().mean().item() * 255, 4.0, "<=")


THEMES = ("step", "time_to_quality", "presets", "previews", "memory", "growth", "start", "again", "numerics")


# --- measuring --------------------------------------------------------------------------------------------------------


def seconds_of(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()  # what is under way belongs to what launched it
    return time.perf_counter() - started


def in_turns(work: dict[str, Callable[[], object]], turns: int) -> dict[str, float]:
    """The median time of each, taken in turns after one that only warms up."""
    for one in work.values():
        one()
    rounds = [{name: seconds_of(one) for name, one in work.items()} for _ in range(turns)]
    return {name: statistics.median(turn[name] for turn in rounds) for name in work}


def best_product_rate(hardware: Hardware) -> float:
    """Operations per second of the fastest of some square matrix products, in the precision of `hardware`."""
    best, on_gpu = 0.0, hardware.device.type == "cuda"
    for n in (4096, 8192) if on_gpu else (1024, 2048, 3072):
        a, b = (torch.rand(n, n, device=hardware.device).to(hardware.dtype) for _ in range(2))
        many = 20 if on_gpu else 1
        for _ in range(6):
            best = max(best, many * 2 * n**3 / seconds_of(lambda: [a @ b for _ in range(many)]))  # noqa: B023
    return best


def _operations(width: int, height: int, layers: tuple[str, ...]) -> float:
    """Of the convolutions, forward and back to the pixels: two for each product of a direct convolution."""
    count, before = 0, 3
    for layer in layers:
        stride = 2 ** (int(layer[4]) - 1)
        count += 2 * 9 * before * CHANNELS[layer] * (width // stride) * (height // stride)
        before = CHANNELS[layer]
    assert layers == LAYERS[: len(layers)]
    return 2.0 * count


def _until_the_page_answers(port: int) -> float:
    started = time.perf_counter()
    environment = {**os.environ, "GRADIO_SERVER_PORT": str(port)}
    app = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    try:
        while time.perf_counter() - started < 120:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10).read()
                return time.perf_counter() - started
            except OSError:
                time.sleep(0.05)
        raise TimeoutError("the page did not answer")
    finally:
        app.terminate()
        app.wait(30)


def _four_by_three(picture: Image.Image) -> Image.Image:
    """The middle of a picture, as large as it can be: all sizes are then multiples of one shape."""
    width = min(picture.width, picture.height * 4 // 3)
    left, top = (picture.width - width) // 2, (picture.height - width * 3 // 4) // 2
    return picture.crop((left, top, left + width, top + width * 3 // 4)).resize((2048, 1536), Image.Resampling.BICUBIC)


# --- the report -------------------------------------------------------------------------------------------------------


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def row(target: Target) -> str:
    value = "not measured" if target.value is None else f"{target.value:.3g}"
    verdict = {True: "met", False: "MISSED", None: ""}[target.met]
    return f"{target.name:<58} {value:>12}  {target.sense} {target.goal:<5g} {verdict:<7} {target.note}".rstrip()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m nst.bench", description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--full", action="store_true", help="also the comparisons that take an hour")
    parser.add_argument("--only", metavar="WORD", default="", help=f"one of {', '.join(THEMES)}")
    args = parser.parse_args()
    bench = Bench(args.full)
    if not args.json:
        print(machine(bench.auto))
    found = []
    for theme in THEMES:
        if args.only not in theme:
            continue
        say(f"measuring: {theme}")
        for target in getattr(bench, theme)():
            found.append(target)
            if not args.json:
                print(row(target), flush=True)
        gc.collect()
    if args.json:
        targets = [{"met": target.met, **asdict(target)} for target in found]
        print(json.dumps({"machine": machine(bench.auto), "versions": versions(), "targets": targets}))


def versions() -> dict[str, str]:
    names = ("torch", "torchvision", "gradio", "numpy", "pillow", "triton")
    return {one.name.lower(): one.version for one in metadata.distributions() if one.name.lower() in names}


if __name__ == "__main__":
    main()
