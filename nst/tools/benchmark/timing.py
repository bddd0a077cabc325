"""Measure times and rates, in turns where two things are compared: machines are noisy."""

import os
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from nst.engine.hardware import Hardware
from nst.reference import Reference


def seconds_of(work: Callable[[], object]) -> float:
    """Return the seconds that one call takes, including all that it launches on a GPU."""
    started = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def median_seconds(work: dict[str, Callable[[], object]], turns: int) -> dict[str, float]:
    """Return the median seconds of each piece of work. They take turns, after one call each to warm up."""
    for function in work.values():
        function()
    rounds = [{name: seconds_of(function) for name, function in work.items()} for _ in range(turns)]
    return {name: statistics.median(seconds[name] for seconds in rounds) for name in work}


def repeat(function: Callable[[], object], times: int) -> Callable[[], None]:
    """Return a function that calls `function` so many times."""

    def repeated() -> None:
        for _ in range(times):
            function()

    return repeated


def best_product_rate(hardware: Hardware) -> float:
    """Return the operations per second of the fastest of some square matrix products, in the hardware's precision."""
    is_gpu = hardware.device.type == "cuda"
    times, best = (20 if is_gpu else 1), 0.0
    for side in (4096, 8192) if is_gpu else (1024, 2048, 3072):
        a, b = (torch.rand(side, side, device=hardware.device).to(hardware.dtype) for _ in range(2))
        product = repeat(lambda a=a, b=b: a @ b, times)
        for _ in range(6):
            best = max(best, times * 2 * side**3 / seconds_of(product))
    return best


def count_convolution_operations(reference: Reference, pixels: Tensor) -> int:
    """Return the operations of the network's direct convolutions, forward and back to the pixels, as torch counts."""
    pixels = pixels.detach().requires_grad_()
    with FlopCounterMode(display=False) as counter:
        deepest = reference.features(pixels)[reference.layers[-1]]
        torch.autograd.grad(deepest.sum(), pixels)
    return counter.get_total_flops()


def run_lbfgs(
    reference: Reference, start: Tensor, evaluations: int, after_evaluation: Callable[[], None] = lambda: None
) -> list[dict]:
    """Run L-BFGS as neural-style-pt does (history 100, step 1, no line search); return a row for every evaluation.

    Rows hold `seconds` since the start and `loss`, the lowest so far, because only the best picture counts. Pictures
    are not clamped to [0, 1].
    """
    pixels = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [pixels], lr=1, max_iter=evaluations, max_eval=evaluations, tolerance_grad=-1, tolerance_change=-1,
        history_size=100,
    )  # fmt: skip
    rows: list[dict] = []
    started = time.perf_counter()

    def closure() -> Tensor:
        loss, pixels.grad = reference.evaluate(pixels)
        lowest = min([loss, *(row["loss"] for row in rows[-1:])])
        rows.append({"seconds": time.perf_counter() - started, "loss": lowest})
        after_evaluation()
        return torch.tensor(loss)

    optimizer.step(closure)
    return rows


def seconds_until_page_answers(root: Path, port: int) -> float:
    """Start `app.py` in the folder `root`; return the seconds until its page is served."""
    started = time.perf_counter()
    environment = {**os.environ, "GRADIO_SERVER_PORT": str(port)}
    app = subprocess.Popen([sys.executable, "app.py"], cwd=root, env=environment, stdout=subprocess.DEVNULL)
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
