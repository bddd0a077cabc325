"""Several processes that train together: torchrun starts them, and they meet through `torch.distributed`."""

import gc
import os

import torch

from nst.engine.hardware import Hardware


def join_processes(hardware: Hardware) -> int:
    """Join the other processes, if torchrun started several; return the rank of this one."""
    if "RANK" not in os.environ:
        return 0
    if hardware.device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("nccl" if hardware.device.type == "cuda" else "gloo")
    return torch.distributed.get_rank()


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
