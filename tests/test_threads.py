"""Torch's number of threads: limited while this package computes, as before for its callers, and in forked children."""

import os
import subprocess
import sys
import threading

import pytest
import torch

from nst.engine import threads
from nst.engine.threads import limit_threads_of, limited_threads


@pytest.fixture(autouse=True)
def two_threads(monkeypatch):
    """Begin with two threads on a machine that seems to have one core."""
    monkeypatch.setattr(threads, "usable_cores", lambda: 1)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_threads_are_limited_to_the_cores_meanwhile():
    with limited_threads() as count:
        assert count == torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


def test_the_number_is_put_back_after_an_error():
    with pytest.raises(KeyError), limited_threads():
        raise KeyError
    assert torch.get_num_threads() == 2


def test_the_environment_sets_the_number_of_threads(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with limited_threads() as count:
        assert count == 2


def test_fewer_threads_than_cores_stay(monkeypatch):
    monkeypatch.setattr(threads, "usable_cores", lambda: 4)
    with limited_threads() as count:
        assert count == 2


def test_the_number_is_put_back_by_the_last_of_several_calls_at_once():
    """The first call ends before the second: the second must not put back the number that the first had set."""
    first, second = limited_threads(), limited_threads()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert torch.get_num_threads() == 1
    second.__exit__(None, None, None)
    assert torch.get_num_threads() == 2


def test_the_caller_of_a_generator_has_its_own_number_between_two_items():
    @limit_threads_of
    def items():
        yield torch.get_num_threads()
        yield torch.get_num_threads()

    seen = [(inside, torch.get_num_threads()) for inside in items()]
    assert seen == [(1, 2), (1, 2)]


def test_a_generator_that_is_left_early_is_closed():
    closed = threading.Event()

    @limit_threads_of
    def items():
        try:
            yield 1
            yield 2
        finally:
            closed.set()

    generator = items()
    next(generator)
    generator.close()
    assert closed.is_set() and torch.get_num_threads() == 2


CHILD = """
import multiprocessing, sys, torch
from PIL import Image
from nst import StyleSettings, load_backbone, stylize
torch.set_num_threads(2)
backbone, before = sys.argv[1:]
settings = StyleSettings(size=128, steps=2, device="cpu", backbone=backbone)

def paint():
    *_, last = stylize(Image.new("RGB", (128, 96), "teal"), Image.new("RGB", (128, 96), "red"), settings)
    print(last.step, torch.get_num_threads(), flush=True)

if __name__ == "__main__":
    {"paint": paint, "load": lambda: load_backbone(backbone), "nothing": lambda: None}[before]()
    children = [multiprocessing.get_context("fork").Process(target=paint) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
        child.kill()
    paint()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere processes are not forked")
@pytest.mark.parametrize("before", ["paint", "load", "nothing"])
def test_forked_children_paint_with_all_threads_and_so_does_their_parent(random_checkpoint, before):
    """OpenMP's threads exist only in the process that has started them: a child would wait for them for ever."""
    # Short waiting: on a busy machine the default makes small pictures take a hundred times as long.
    environment = os.environ | {"OMP_NUM_THREADS": "2", "GOMP_SPINCOUNT": "1000"}
    arguments = [sys.executable, "-c", CHILD, str(random_checkpoint), before]
    result = subprocess.run(arguments, capture_output=True, text=True, env=environment)
    assert result.stdout.splitlines() == ["2 2"] * (4 if before == "paint" else 3), result.stderr
