"""Two processes train one network: they take the steps of one process, write its files, and stop and resume together.

The networks are narrow: nothing here depends on their width.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from helpers.server import free_port
from helpers.shell import ENVIRONMENT, ROOT, shell
from helpers.training import (
    CLASS_COLOURS,
    NARROW,
    SMALL_TRAINING,
    assert_same_weights,
    coloured,
    metrics_rows,
    write_narrow_program,
    write_table,
)
from helpers.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes meet over Linux's loopback"),
]
LOOPBACK = ENVIRONMENT | {"GLOO_SOCKET_IFNAME": "lo"}  # not every machine can resolve its own name


def torchrun(program: Path, *arguments: object) -> list[str]:
    """Return the arguments with which Python runs `program` in two processes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    # Before the two dashes, torchrun would take --run for an abbreviation of --run-path.
    return ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1", "--master-port",
            str(port), "--", str(program), *map(str, arguments)]  # fmt: skip


# Steps

STEPS = f"""
import os, sys
import torch

sys.path.insert(0, {str(ROOT)!r})
from nst.engine.hardware import choose_hardware
from nst.training.recipes import choose_recipe
from nst.training.trainer import Trainer


class Descent(torch.optim.SGD):
    '''Gradient descent. Adam's steps would be the same for a sum of gradients as for their mean.'''

    def __init__(self, groups, lr, **_):
        super().__init__(groups, lr=lr)


torch.optim.AdamW = Descent
if "RANK" in os.environ:
    torch.distributed.init_process_group("gloo")
generator = torch.Generator().manual_seed(3)
images, labels = torch.randint(0, 256, (40, 3, 32, 32), dtype=torch.uint8, generator=generator), torch.arange(40) % 10
recipe = choose_recipe("default", optimizer="adamw", lr=5e-3, schedule="constant", batch_size=8, size=32, start_size=32)
trainer = Trainer(recipe, images, labels, 10, choose_hardware("cpu", "float32"), (0.5, 0.5, 0.5), (0.2, 0.2, 0.2),
                  width={NARROW})
trainer.network.train()
trainer.network.classifier[2].p = 0.0  # dropout
norms = [module for module in trainer.network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
for norm in norms:
    norm.momentum = None
with torch.no_grad():
    trainer.network(images / 64 - 2)
for norm in norms:
    norm.eval()  # its statistics differ between processes, so they stay as they are now
first = {{name: p.detach().clone() for name, p in trainer.network.named_parameters()}}
losses = [trainer.train_step(32)[0].item() for _ in range(5)]
last = dict(trainer.network.named_parameters())
name = f"{{sys.argv[1]}}-{{trainer.rank}}-of-{{trainer.processes}}"
torch.save({{"first": first, "last": last, "losses": losses}}, name)
"""


def test_two_processes_take_the_steps_of_one(tmp_path):
    """Batch norm's statistics and dropout differ between processes, so they are switched off."""
    script = tmp_path / "steps.py"
    script.write_text(STEPS)
    for command in ([script, tmp_path / "steps"], torchrun(script, tmp_path / "steps")):
        result = shell(*command, env=LOOPBACK)
        assert result.returncode == 0, result.stderr
    single, left, right = (torch.load(tmp_path / f"steps-{name}") for name in ("0-of-1", "0-of-2", "1-of-2"))
    for first, second in zip(left["losses"], right["losses"], strict=True):
        assert first != second  # the processes have different pictures
    assert [sum(pair) for pair in zip(left["losses"], right["losses"], strict=True)] == pytest.approx(single["losses"])
    largest_change = 0.0
    for name, weight in single["last"].items():
        assert torch.equal(left["first"][name], single["first"][name])
        assert torch.equal(left["last"][name], right["last"][name])
        torch.testing.assert_close(left["last"][name], weight, rtol=0, atol=1e-5, msg=name)
        largest_change = max(largest_change, (weight - single["first"][name]).abs().max().item())
    assert largest_change > 1e-2


# train.py


@pytest.fixture(scope="module")
def easy(tmp_path_factory) -> Path:
    """300 training and 20 test pictures of each of four colours; three labels in ten are of another colour.

    The lowest possible loss is -0.7 ln 0.7 - 0.3 ln 0.1 = 0.94, and each training here ends near it.
    """
    folder = tmp_path_factory.mktemp("easy")
    names = list(CLASS_COLOURS)
    for split, numbers in (("train", range(300)), ("test", range(400, 420))):
        rows = [("image", "label")]
        for number in numbers:
            for index, name in enumerate(names):
                rows.append((f"{name}, {number}.png", names[(index + max(0, number % 10 - 6)) % 4]))
                Image.fromarray(coloured(name, number)).save(folder / rows[-1][0])
        write_table(folder, *rows, name=f"{split}.csv")
    return folder


def settings(easy: Path, runs: Path, name: str) -> list:
    return ["--data", easy, "--run", runs / name, "--output", runs / f"{name}.safetensors", *SMALL_TRAINING,
            "--epochs", 2, "--batch-size", 40, "--label-smoothing", 0]  # fmt: skip


def without_gloo_lines(stdout: str) -> str:
    """Return `stdout` without the lines that gloo prints when it connects, in older versions of torch."""
    return "".join(line for line in stdout.splitlines(keepends=True) if not line.startswith("[Gloo]"))


@pytest.fixture(scope="module")
def together(easy, runs):
    """Train for two epochs with two processes."""
    program = write_narrow_program(runs / "narrow.py")
    result = shell(*torchrun(program, *settings(easy, runs, "together")), env=LOOPBACK)
    assert result.returncode == 0, result.stderr
    return result


def test_two_processes_learn_as_much_as_one(together, easy, runs):
    """Batch norm sees half of each batch in a process, so the weights differ, but they are as good."""
    alone = shell(runs / "narrow.py", *settings(easy, runs, "alone"))
    assert alone.returncode == 0, alone.stderr
    shared, expected = json.loads(without_gloo_lines(together.stdout)), json.loads(alone.stdout)
    assert 0.93 < expected["loss"] < 1 and shared["loss"] == pytest.approx(expected["loss"], rel=0.03)
    assert shared["top1"] == expected["top1"] == 70


def test_only_one_process_writes_files_and_output(together, runs):
    assert without_gloo_lines(together.stdout).count("\n") == 1 and "Traceback" not in together.stderr
    assert sorted(path.name for path in (runs / "together").iterdir()) == ["metrics.jsonl", "state.pt"]
    rows = metrics_rows(runs / "together")
    assert [row["epoch"] for row in rows] == [1, 2]
    assert [json.loads(line)["epoch"] for line in together.stderr.splitlines() if line.startswith("{")] == [1, 2]
    assert all(0 <= row["train_top1"] <= 100 and row["images_per_second"] > 0 for row in rows)
    assert sorted(path.name for path in runs.glob("together*")) == ["together", "together.safetensors", "together.svg"]


CTRL_C = """
import os, signal, time
import nst.training.trainer

step = nst.training.trainer.Trainer.train_step

def slow(trainer, size):
    if trainer.step == 40 and trainer.rank == 0:
        os.killpg(os.getpgid(os.getppid()), signal.SIGINT)  # as a shell does: torchrun passes it on
    if trainer.step >= 40:
        time.sleep(0.5)
    return step(trainer, size)

nst.training.trainer.Trainer.train_step = slow
"""


def test_ctrl_c_stops_both_processes_and_the_run_can_be_resumed(together, easy, runs):
    arguments = settings(easy, runs, "stopped")
    command = [sys.executable, *torchrun(write_narrow_program(runs / "ctrl_c.py", CTRL_C), *arguments)]
    process = subprocess.Popen(command, cwd=ROOT, env=LOOPBACK, text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, start_new_session=True)  # fmt: skip
    try:
        stdout, stderr = process.communicate(timeout=300)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    messages = [line for line in stderr.splitlines() if line.startswith("Stopped after step")]
    assert process.returncode != 0 and without_gloo_lines(stdout) == "" and len(messages) == 1, stderr
    state = torch.load(runs / "stopped" / "state.pt", weights_only=True)
    assert 40 < state["step"] < 60 and messages[0].startswith(f"Stopped after step {state['step']} of 60")
    assert not (runs / "stopped.safetensors").exists()
    result = shell(*torchrun(runs / "narrow.py", *arguments, "--resume"), env=LOOPBACK)
    assert result.returncode == 0, result.stderr
    assert_same_weights(runs / "stopped.safetensors", runs / "together.safetensors")
    assert [row["epoch"] for row in metrics_rows(runs / "stopped")] == [1, 2]


WAIT_FOR_OTHERS = f"""
import sys

sys.path.insert(0, {str(ROOT)!r})
from nst.engine.hardware import choose_hardware
from nst.training.processes import join_processes

join_processes(choose_hardware("cpu", "float32"))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_process_that_waits_for_others_can_be_stopped(number):
    """It waits in C++, where Python handles no signal: torchrun had to kill it after 30 s if another one had left."""
    port = free_port()
    group = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    process = subprocess.Popen([sys.executable, "-c", WAIT_FOR_OTHERS], env=LOOPBACK | group, stderr=subprocess.DEVNULL)

    def is_waiting() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return True
        return False

    try:
        wait_until(is_waiting, 60, "the first process does not listen")
        process.send_signal(number)
        assert process.wait(20) == -number
    finally:
        process.kill()


def test_a_batch_size_that_cannot_be_divided_is_refused_in_one_line(easy, runs):
    program = write_narrow_program(runs / "odd.py")
    result = shell(*torchrun(program, *settings(easy, runs, "odd"), "--batch-size", 35), env=LOOPBACK)
    messages = [line for line in result.stderr.splitlines() if line.startswith("train.py: ")]
    assert result.returncode != 0 and without_gloo_lines(result.stdout) == ""
    assert len(messages) == 1 and "--batch-size must be a multiple of the 2 processes" in messages[0], result.stderr
    assert not (runs / "odd").exists()
