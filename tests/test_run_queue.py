"""The queue of runs: who may paint, what ends a run, and which errors visitors read."""

import logging
import threading

import gradio as gr
import pytest

from helpers.pictures import make_picture
from helpers.refusals import refusal
from nst import StyleSettings, StyleTransferError
from nst.web import run_queue
from nst.web.api import StylizeEndpoint
from nst.web.errors import readable_errors
from nst.web.options import Options
from nst.web.run_queue import RunQueue

PHOTO, PAINTING = make_picture(64, 48, seed=1), make_picture(48, 48, seed=2)
WAITING = "Waiting: another visitor's run has to end first…"


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(run_queue, "NOTICE_SECONDS", 0.01)


def count_up(should_stop):
    """Count until stopped, in the place of a run."""
    number = 0
    while not should_stop():
        yield (number := number + 1)


def begin(queue: RunQueue, session: str):
    """Return a run that holds a slot."""
    run = queue.run_when_free(session, count_up)
    assert next(run) == 1
    return run


def is_free(queue: RunQueue) -> bool:
    """Whether a new run would begin at once."""
    run = queue.run_when_free("probe", count_up)
    first = next(run)
    run.close()
    return first == 1


def test_a_run_waits_while_others_hold_all_slots_and_says_so():
    queue = RunQueue(Options(concurrency=2))
    first, second = begin(queue, "a"), begin(queue, "b")
    third = queue.run_when_free("c", count_up)
    assert next(third) == WAITING
    first.close()
    assert next(third) == 1
    assert not is_free(queue)
    second.close()
    assert is_free(queue)


def test_a_run_that_fails_frees_its_slot():
    def fail(should_stop):
        yield 1
        raise RuntimeError("a bug")

    queue = RunQueue(Options())
    with pytest.raises(RuntimeError):
        list(queue.run_when_free("a", fail))
    assert is_free(queue)


def test_stop_ends_the_run_of_its_session_alone():
    queue = RunQueue(Options(concurrency=2))
    first, second = begin(queue, "a"), begin(queue, "b")
    assert queue.stop("a")
    assert list(first) == []
    assert next(second) == 2
    assert not queue.stop("a") and not queue.stop("nobody") and not queue.stop(None)


def test_stop_ends_a_run_that_is_waiting():
    queue = RunQueue(Options())
    begin_first = begin(queue, "a")
    waiting = queue.run_when_free("b", count_up)
    assert next(waiting) == WAITING
    assert queue.stop("b")
    assert list(waiting) == []
    assert next(begin_first) == 2


def test_the_end_of_an_older_run_leaves_the_sessions_new_run_stoppable():
    queue = RunQueue(Options(concurrency=2))
    older, newer = begin(queue, "a"), begin(queue, "a")
    older.close()
    assert queue.stop("a")
    assert list(newer) == []


def test_stop_all_ends_every_run_and_lets_none_begin():
    queue = RunQueue(Options())
    run = begin(queue, "a")
    reader = threading.Thread(target=list, args=(run,))
    reader.start()
    queue.stop_all(30)
    reader.join(30)
    assert not reader.is_alive()
    assert "being restarted" in refusal(list, queue.run_when_free("b", count_up))


def test_a_run_past_its_time_ends_with_the_picture_so_far(random_checkpoint):
    settings = StyleSettings(size=64, steps=10_000, scales=1, backbone=str(random_checkpoint))
    estimate, *_, last = RunQueue(Options(time_limit=1)).paint("a", PHOTO, PAINTING, settings)
    assert estimate.startswith("Starting: about ")
    assert last.step < 10_000 and last.seconds >= 1 and last.image.size == (64, 48) and last.state is not None


def test_a_size_from_the_preset_is_bounded_by_the_hosts_limit_and_a_larger_one_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    endpoint = StylizeEndpoint(Options(max_size=128), RunQueue(Options()))
    *_, (image, status, path) = endpoint.stylize(PHOTO, PAINTING, "quick", steps=1)
    assert image.size == (128, 96) and status.startswith("Done") and path.startswith(str(tmp_path))
    with pytest.raises(gr.Error, match="size must be at most 128 here, not 256"):
        next(endpoint.stylize(PHOTO, PAINTING, "quick", size=256))


def test_mendable_errors_keep_their_message_and_others_go_to_the_log(caplog):
    with pytest.raises(gr.Error, match="mend it"), readable_errors():
        raise StyleTransferError("mend it")
    assert not caplog.records
    with caplog.at_level(logging.ERROR), pytest.raises(gr.Error, match="try again"), readable_errors():
        raise RuntimeError("/a/path")
    assert "/a/path" in caplog.text
