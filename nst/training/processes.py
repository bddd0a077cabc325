"""Several processes that train together: torchrun starts them, and they meet through `torch.distributed`."""

import contextlib
import gc
import os
import signal
from collections.abc import Iterator

import torch

from nst.engine.hardware import Hardware
from nst.stop_signals import NUMBERS


def join_processes(hardware: Hardware) -> int:
    """Join the other processes, if torchrun started several; return the rank of this one."""
    if "RANK" not in os.environ:
        return 0
    if hardware.device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    with _signals_end_the_process():
        torch.distributed.init_process_group("nccl" if hardware.device.type == "cuda" else "gloo")
    return torch.distributed.get_rank()


@contextlib.contextmanager
def _signals_end_the_process() -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and SIGHUP end the process at once meanwhile, as if Python did not handle them.

    A process that waits for the others waits in C++, where Python handles no signal. If another one had left by then,
    it would wait until torchrun killed it after 30 s, and without torchrun for minutes.
    """
    handlers = {number: signal.getsignal(number) for number in NUMBERS}
    handled = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in handled:
        signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        for number, handler in handled.items():
            signal.signal(number, handler)


def wait_for_all() -> None:
    """Wait until every process has come here."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()


def any_process(*answers: bool) -> list[bool]:
    """Return, for each question, whether any process answers yes, so that all stop and save after the same step."""
    if not torch.distributed.is_initialized():
        return list(answers)
    all_answers = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(all_answers, answers)
    return [any(same_question) for same_question in zip(*all_answers, strict=True)]


def leave_processes() -> None:
    """Leave the group, if this process has joined one."""
    if torch.distributed.is_initialized():
        gc.collect()  # DistributedDataParallel keeps the group in a cycle: its threads must end before Python does
        torch.distributed.destroy_process_group()
