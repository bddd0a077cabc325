"""The benchmark's measurements: `Benchmark` has a method for each theme, which yields lines of the table.

Every figure is a ratio within one run, or of a fresh process: machines differ, and one machine differs from hour to
hour. Things that are compared are measured in turns. The plain loop to compare with is `nst.reference.Reference`.
"""

import gc
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from nst.canvas import Canvas
from nst.engine.hardware import Hardware, choose_hardware
from nst.engine.target_cache import TARGETS
from nst.engine.tiling import TILE_SIDE
from nst.io.sizes import resize_picture
from nst.io.tensors import to_tensor
from nst.models.checkpoints import load_backbone
from nst.objective import Objective, build_extractor
from nst.reference import Reference
from nst.settings import PRESETS, StyleSettings
from nst.stylization import stylize
from nst.tools.benchmark.forecasts import PRECISIONS, compare_forecasts, ratio_of
from nst.tools.benchmark.memory import measure_in_fresh_process
from nst.tools.benchmark.pictures import example_pair
from nst.tools.benchmark.target import Target
from nst.tools.benchmark.timing import (
    best_product_rate,
    count_convolution_operations,
    median_seconds,
    repeat,
    run_lbfgs,
    seconds_of,
    seconds_until_page_answers,
)
from nst.tools.benchmark.waiting import compare_ways_of_waiting

ROOT = Path(__file__).resolve().parents[3]
CLASSIC_512 = StyleSettings.preset("classic", size=512, keep_aspect=True, steps=10_000)
# The classic losses, with the settings that reach a low loss in the fewest steps.
CLASSIC_QUICKLY = StyleSettings.preset("classic", keep_aspect=True, canvas="deep-pyramid", learning_rate=0.012)
MAX_STEPS = 640  # towards the loss of L-BFGS: more steps take longer than L-BFGS itself


class Benchmark:
    """The pictures, the backbone and the hardware of a benchmark; one method for each theme.

    full: also measure what takes an hour.
    """

    def __init__(self, full: bool):
        self.full = full
        self.photo, self.painting = example_pair()
        self.backbone = load_backbone("cifar100")
        self.auto = choose_hardware()
        self.float32 = choose_hardware(precision="float32")

    def step(self) -> Iterator[Target]:
        """Measure whole steps of `stylize` with the classic layers, in turns with the plain loop's evaluation."""
        is_gpu = self.auto.device.type == "cuda"
        best_rate, precision = best_product_rate(self.auto), str(self.auto).rpartition(" ")[2]
        for side in (512, 1024, 2048) if is_gpu else (512,):
            reference, pixels = self._reference(side, CLASSIC_512)
            times = 20 if is_gpu else 1
            work = {"plain": repeat(partial(reference.evaluate, pixels), times)}
            for name in ("auto", "float32"):
                settings = replace(CLASSIC_512, size=side, precision=name)
                run = stylize(self.photo, self.painting, settings, preview_every=None)
                work[name] = repeat(run.__next__, times)
            seconds = {name: total / times for name, total in median_seconds(work, turns=5).items()}
            text = {name: f"{1000 * s:.3g} ms" if is_gpu else f"{s:.2f} s" for name, s in seconds.items()}
            note, ratio = f"plain {text['plain']}, ours {text['auto']}", seconds["plain"] / seconds["auto"]
            yield Target(f"step at {side} px, {precision}, plain over ours", ratio, 2.0 if is_gpu else 2.5, note=note)
            ratio = seconds["plain"] / seconds["float32"]
            yield Target(f"step at {side} px, forced to float32", ratio, 1.1, note=f"ours {text['float32']}")
            if is_gpu and side < 1024:
                continue  # too small to fill a GPU
            rate = count_convolution_operations(reference, pixels) / seconds["auto"]
            note = f"{rate / 1e9:.0f} of {best_rate / 1e9:.0f} GFLOP/s; operations as counted for direct convolutions"
            name = "arithmetic per second, of the best matrix product's" + f", {side} px" * is_gpu
            yield Target(name, rate / best_rate, 0.6 if is_gpu else 0.75, note=note)

    def time_to_quality(self) -> Iterator[Target]:
        """Measure how long L-BFGS takes for a number of evaluations, over how long we take to its loss."""
        side = 512 if self.full else 256
        settings = replace(CLASSIC_QUICKLY, size=side)
        reference, content = self._reference(side, settings)
        noise = torch.rand(content.shape, generator=torch.Generator().manual_seed(0)).to(content.device)
        goals = {100: 5.0, 300: 10.0} | ({1000: 25.0} if self.full else {})
        start, rows = "the photo", run_lbfgs(reference, content, max(goals))
        if run_lbfgs(reference, noise, 100)[-1]["loss"] < rows[99]["loss"]:
            start, rows = "noise", run_lbfgs(reference, noise, max(goals))
        for evaluations, goal in goals.items():
            row = rows[min(evaluations, len(rows)) - 1]
            seconds, steps, loss = self._paint_until(row["loss"], settings, reference)
            note = f"{side} px, from {start}: {row['seconds']:.0f} s to a loss of {row['loss']:.4g}; ours "
            note += f"{seconds:.1f} s, {steps} steps" if seconds else f"only {loss:.4g} after {steps} steps"
            name = f"time to the loss of L-BFGS after {evaluations} evaluations"
            yield Target(name, row["seconds"] / seconds if seconds else 0.0, goal, note=note)

    def presets(self) -> Iterator[Target]:
        """Measure a preset's run in evaluations of the plain loop at 512 px, with previews as in the app."""
        reference, pixels = self._reference(512, CLASSIC_512)
        evaluate = partial(reference.evaluate, pixels)
        for preset, goal in (("balanced", 11), ("quick", 3)):
            before = seconds_of(evaluate)
            *_, last = stylize(self.photo, self.painting, PRESETS[preset], preview_every=0.25)
            after = seconds_of(evaluate)
            ratio, note = 2 * last.seconds / (before + after), f"{last.seconds:.1f} s; {self._judge(last.image)}"
            yield Target(f"preset {preset}, in plain evaluations", ratio, goal, "<=", note)

    def forecasts(self) -> Iterator[Target]:
        """Compare predicted times with real ones, as the ratio of the larger to the smaller."""
        precisions = [name for name in PRECISIONS if name == "float32" or self.auto.dtype is torch.bfloat16]
        for run in compare_forecasts(self.photo, self.painting, precisions=precisions):
            name, real = f"{run.side} px, {run.precision}: time predicted", f"real {run.real:.1f} s"
            note = f"predicted {run.before:.1f} s, {real}"
            yield Target(f"{name} before the run", ratio_of(run.before, run.real), 2.0, "<=", note)
            note = f"predicted {run.early:.1f} s, {real}"
            yield Target(f"{name} after a tenth", ratio_of(run.early, run.real), 1.25, "<=", note)

    def previews(self) -> Iterator[Target]:
        """Measure the first preview of a warm process, a sketch, and what previews and bookkeeping add to a step."""
        for side, goal in ((512, 1.0), (2048, 2.0)):
            settings = StyleSettings.preset("balanced", size=side)
            seconds = []
            for _ in range(2):
                started = time.perf_counter()
                with closing(stylize(self.photo, self.painting, settings, preview_every=0.25)) as steps:
                    next(step for step in steps if step.image is not None)
                seconds.append(time.perf_counter() - started)
            yield Target(f"first preview at {side} px, seconds", seconds[-1], goal, "<=")
        settings = StyleSettings.preset("balanced", scales=1, steps=16, sketch=False)
        objective, pixels = self._objective(512, settings, self.auto)
        canvas = Canvas(pixels, settings.canvas)

        def bare() -> None:
            for _ in range(settings.steps):
                losses, gradient = objective.evaluate(canvas.pixels())
                canvas.update(gradient, settings.learning_rate)
                losses.total.item()

        def whole() -> None:
            for _ in stylize(self.photo, self.painting, settings, preview_every=0.25):
                pass

        seconds = median_seconds({"bare": bare, "whole": whole}, turns=3)
        yield Target("previews and bookkeeping, share of the run", 1 - seconds["bare"] / seconds["whole"], 0.05, "<=")

    def memory(self) -> Iterator[Target]:
        """Measure the peak of a fresh process with the default preset and two steps at every size, in gigabytes."""
        for precision, hardware in (("float32", self.float32), ("bf16", self.auto)):
            if hardware.device.type != "cpu":
                continue  # the goals are for the machine's own memory
            for side, goal in ((1024, 3), (2048, 6), (4096, 14)):
                name = f"memory at {side} px, {precision}, GB"
                if precision == "bf16" and hardware.dtype is not torch.bfloat16:
                    yield Target(name, None, goal, "<=", "this processor has no bf16")
                    continue
                result = measure_in_fresh_process(side, precision)
                yield Target(name, result["peak_bytes"] / 1e9, goal, "<=", f"{result['seconds']:.0f} s")

    def growth(self) -> Iterator[Target]:
        """Measure the seconds per pixel and step of the default preset at 2048 px over those at 512 px."""
        settings = PRESETS["balanced"]
        small, pixels = self._objective(512, settings, self.auto)
        for name, tile_side, goal in (("untiled", 4096, 1.2), ("tiled", TILE_SIDE, 2.0)):
            objective, large = self._objective(2048, settings, self.auto, tile_side)
            work = {"small": partial(small.evaluate, pixels), "large": partial(objective.evaluate, large)}
            seconds = median_seconds(work, turns=2)
            del objective, work
            gc.collect()
            ratio = seconds["large"] / seconds["small"] / 16
            yield Target(f"cost of a pixel at 2048 px over 512 px, {name}", ratio, goal, "<=")

    def start(self) -> Iterator[Target]:
        """Measure the time from the command to the page's answer, over importing torch and gradio."""
        if not (ROOT / "app.py").exists():
            return
        command = [sys.executable, "-c", "import torch, gradio"]
        imports = min(seconds_of(lambda: subprocess.run(command)) for _ in range(2))
        answer = min(seconds_until_page_answers(ROOT, port) for port in (7999, 7998))
        note = f"{answer:.1f} s and {imports:.1f} s"
        yield Target("start of the page, over importing torch and gradio", answer / imports, 2.5, "<=", note)

    def again(self) -> Iterator[Target]:
        """Count the targets that a second run on the same pictures builds."""
        settings = StyleSettings(size=256, steps=3)
        for _ in range(2):
            before = TARGETS.built
            for _ in stylize(self.photo, self.painting, settings, preview_every=None):
                pass
        yield Target("targets built by a second run", float(TARGETS.built - before), 0, "<=")
        yield Target("targets kept, MB", TARGETS.bytes / 1e6, TARGETS.limit_bytes / 1e6, "<=")

    def waiting(self) -> Iterator[Target]:
        """Measure brief waiting against the default of OpenMP, on a quiet machine and on one with six other tasks."""
        if self.auto.device.type != "cpu":
            return
        for busy, turns, goal in ((0, 4, 0.97), (6, 1, 1.0)):
            seconds = compare_ways_of_waiting(256, turns, busy)
            note = ", ".join(f"{name} {value:.2f} s" for name, value in seconds.items())
            name = f"OpenMP's default over brief waiting, {busy} busy processes"
            yield Target(name, seconds["default"] / seconds["brief"], goal, note=note)

    def numerics(self) -> Iterator[Target]:
        """Measure how far bf16's picture is from float32's after a whole run: the mean difference, of 255."""
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

    def _tensors(self, long_side: int) -> tuple[Tensor, Tensor]:
        size = (long_side, long_side * 3 // 4)
        return to_tensor(resize_picture(self.photo, size)), to_tensor(resize_picture(self.painting, size))

    def _reference(self, long_side: int, settings: StyleSettings) -> tuple[Reference, Tensor]:
        content, style = (x.to(self.auto.device) for x in self._tensors(long_side))
        weights = {"content_weight": settings.content_weight, "style_weight": settings.style_weight}
        return Reference(content, style, self.backbone, **weights), content

    def _objective(
        self, long_side: int, settings: StyleSettings, hardware: Hardware, tile_side: int | None = None
    ) -> tuple[Objective, Tensor]:
        content, style = (x.to(hardware.device) for x in self._tensors(long_side))
        extractor = build_extractor(self.backbone, settings, hardware)
        return Objective(extractor, settings, content, [(style, 1.0, None)], tile_side), content

    def _paint_until(
        self, loss: float, settings: StyleSettings, reference: Reference
    ) -> tuple[float | None, int, float]:
        """Return the seconds and steps until the loss in float32 is at most `loss`, and the loss that was reached.

        The seconds are None where `MAX_STEPS` are too few. The run stops when its own arithmetic says so, and continues
        if float32 disagrees.
        """
        settings, seconds, state = replace(settings, steps=MAX_STEPS), 0.0, None
        while True:
            totals: list[float] = []  # a step's losses are those of the picture before it: the stop is one step late
            run = stylize(
                self.photo, self.painting, settings, preview_every=None, resume=state,
                should_stop=lambda totals=totals: bool(totals) and totals[-1] <= loss,
            )  # fmt: skip
            for step in run:
                totals.append(step.total_loss)
            seconds, state = seconds + step.seconds, step.state
            with torch.no_grad():
                pixels = torch.from_numpy(state.arrays["pixels"]).to(self.auto.device)
                reached = reference.losses(pixels)[-1].item()
            if reached <= loss or step.step >= MAX_STEPS:
                return seconds if reached <= loss else None, step.step, reached

    def _judge(self, picture: Image.Image) -> str:
        """Return the scores of the tests' judge, where it is installed."""
        judge = ROOT / "tests" / "tools" / "judge.py"
        if not judge.exists():
            return "the judge is not installed"
        with tempfile.TemporaryDirectory() as folder:
            paths = [f"{folder}/{name}.png" for name in ("content", "style", "output")]
            for path, image in zip(paths, (self.photo, self.painting, picture), strict=True):
                image.save(path)
            command = [sys.executable, judge, "--content", paths[0], "--style", paths[1], paths[2]]
            result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode != 0:
            return "the judge failed"
        return result.stdout.strip().splitlines()[-1].replace(paths[2], "judge")
