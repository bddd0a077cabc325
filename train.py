"""Train the VGG19 that the app paints with, on CIFAR-100 or any other labelled pictures, and export it.

    python train.py --data PATH                      # 20 epochs; --help describes PATH under --data
    python train.py --data PATH --resume             # continue after Ctrl-C, SIGTERM, a crash or a power cut
    python train.py --data PATH --download           # download the official CIFAR-100 archive into PATH first
    python train.py --data PATH --recipe seed        # another recipe of nst/training/recipes.py; flags override it
    python train.py --data PATH --recipe painter --start-from runs/vgg19/state.pt --run runs/painter
    python train.py --data PATH --recipe cooldown --start-from runs/painter/state.pt --run runs/cooldown
    torchrun --nproc-per-node 4 train.py --data PATH # four GPUs, or four processes; they share each batch
    torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint HOST:29500 train.py --data PATH
    python train.py --evaluate checkpoints/vgg19-cifar100.safetensors --data PATH    # one JSON line: top1, top5
    python train.py --benchmark                      # pictures per second, beside a plain float32 loop
    python train.py --push-to-hub OWNER/NAME         # publish the checkpoint --output with its card

The network (nst/models/vgg.py) has batch norm while it trains: without it, a 19-layer VGG with Adam and default
initialization stays at chance. The export folds it into the convolutions, so that the app loads a plain VGG19.
"""

import argparse
import dataclasses
import json
import math
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from nst.cli.messages import ERRORS
from nst.engine.allocator import keep_freed_memory
from nst.engine.hardware import choose_hardware
from nst.engine.threads import limited_threads
from nst.errors import StyleTransferError
from nst.io.tensors import IMAGENET_MEAN, IMAGENET_STD
from nst.models.card import card_files
from nst.models.checkpoints import load_backbone
from nst.models.hub import FILE, publish
from nst.stop_signals import StopRequest, catch_stop_signals
from nst.training.benchmark import benchmark_step
from nst.training.data import ImageDataset, load_into_memory, open_split
from nst.training.export import check_outputs, evaluate_checkpoint, export_checkpoint
from nst.training.metrics import EpochTotals, append_rows, read_rows, write_row
from nst.training.processes import any_process, join_processes, leave_processes, wait_for_all
from nst.training.recipes import RECIPES, Recipe, choose_recipe, flag, picture_size
from nst.training.trainer import Trainer, evaluate

SAVE_SECONDS = 180  # between two saves of the training state: the most that a crash can cost
SECONDS_TO_SAY_WHY = 5  # for the first process, when all refuse the same input
MEAN, STD = IMAGENET_MEAN, IMAGENET_STD  # the usual preprocessing; the app reads it from the checkpoint


def main(argv: Sequence[str] | None = None, *, width: float = 1.0) -> None:
    """Run the command line. width: multiplies the channels of the network, for tests.

    Exits with status 1 and one line on stderr for input that cannot be used, 2 for wrong flags, and 130, 143 or 129
    after Ctrl-C, SIGTERM or SIGHUP (a closed terminal).
    """
    args = parse_arguments(argv)
    with catch_stop_signals() as stop:
        try:
            with limited_threads():
                run(args, width, stop)
        except StyleTransferError as error:
            if os.environ.get("LOCAL_RANK", "0") == "0":  # one line for each machine, not for each process
                sys.exit(f"train.py: {error}")
            leave_after_first(stop)
            sys.exit(1)
        except KeyboardInterrupt:
            print("train.py: stopped before the first step.", file=ERRORS)
            sys.exit(stop.status)
        finally:
            leave_processes()


def leave_after_first(stop: StopRequest) -> None:
    """Wait until torchrun ends this process, because the first one has said why, or for `SECONDS_TO_SAY_WHY`.

    torchrun ends all processes as soon as one exits: if this one were quicker, nobody would say why.
    """
    stop.hold()
    end = time.monotonic() + SECONDS_TO_SAY_WHY
    while not stop.is_set() and time.monotonic() < end:
        time.sleep(0.05)


def run(args: argparse.Namespace, width: float, stop: StopRequest) -> None:
    """Do what the flags ask for."""
    if not args.data and (args.evaluate or args.download or args.resume or not (args.benchmark or args.push_to_hub)):
        raise StyleTransferError("--data is missing: name the folder with the labelled pictures.")
    if args.evaluate:
        print(json.dumps(evaluate_checkpoint(args.evaluate, args.data, args.size, args.device)))
        return
    if args.benchmark:
        print(json.dumps(benchmark_step(read_recipe(args), choose_hardware(args.device, args.precision), width)))
        return
    if args.data:
        train(args, width, stop)
    if args.push_to_hub and int(os.environ.get("RANK", 0)) == 0:
        checkpoint = load_backbone(args.output)
        print(publish(args.push_to_hub, {FILE: args.output, **card_files(checkpoint.metadata, args.output)}))


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the flags. Every field of `Recipe` has a flag, which is None if it was not given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", help="a folder with train.csv and test.csv (columns image,label), or with train/<class>/ and "
        "test/<class>/ pictures, or with the official cifar-100-python archive")
    add("--download", action="store_true", help="download the official CIFAR-100 archive into --data")
    add("--evaluate", metavar="CHECKPOINT", help="only measure this checkpoint on the test split")
    add("--benchmark", action="store_true", help="only time the training step, beside a plain float32 loop")
    add("--push-to-hub", metavar="OWNER/NAME", help="publish the checkpoint --output; alone, or after training")
    add("--recipe", choices=RECIPES, default="default")
    for field in dataclasses.fields(Recipe):  # nst/training/recipes.py has the reason for each
        if isinstance(field.default, bool):
            add(flag(field.name), action=argparse.BooleanOptionalAction, help="by default the recipe's")
        else:
            add(flag(field.name), type=type(field.default), metavar=field.name.upper(), help="by default the recipe's")
    add("--device", default="auto")
    add("--precision", default="auto", help="auto, float32 or bf16")
    add("--run", type=Path, default=Path("runs/vgg19"), help="folder of the training state and metrics.jsonl")
    add("--output", type=Path, default=Path("checkpoints/vgg19-cifar100.safetensors"), help="the exported checkpoint")
    add("--dataset-name", default="CIFAR-100", help="written into the checkpoint's metadata")
    add("--resume", action="store_true", help="continue from the state in --run")
    add("--start-from", type=Path, metavar="STATE", help="state.pt of another run: start with the network of that run")
    return parser.parse_args(argv)


def read_recipe(args: argparse.Namespace) -> Recipe:
    """Return the recipe with the settings that flags change."""
    values = {field.name: getattr(args, field.name) for field in dataclasses.fields(Recipe)}
    return choose_recipe(args.recipe, **{name: value for name, value in values.items() if value is not None})


def train(args: argparse.Namespace, width: float, stop: StopRequest) -> None:
    """Train from the beginning, from another run's network, or from a saved state; then export the checkpoint."""
    keep_freed_memory()
    tables = [Path(args.data, f"{split}.csv") for split in ("train", "test")]
    check_outputs(args.output, args.run, [*tables, args.start_from or ""])
    recipe = read_recipe(args)
    hardware = choose_hardware(args.device, args.precision)
    rank = join_processes(hardware)
    if args.download:
        if rank == 0:
            ImageDataset.from_cifar100(args.data, train=True, download=True)
        wait_for_all()
    train_split = open_split(args.data, "train", recipe.size)
    test_split = open_split(args.data, "test", recipe.size, train_split.classes)
    images, labels = load_into_memory(train_split, show_progress=rank == 0)
    test = load_into_memory(test_split, show_progress=rank == 0)
    trainer = Trainer(recipe, images, labels, len(train_split.classes), hardware, MEAN, STD, width=width)
    run_record = start_or_resume(trainer, args)
    train_epochs(trainer, args.run, run_record, test, stop)
    if rank == 0:
        started_from = dict(run_record.get("started_from", {}))
        curve = append_rows(started_from.pop("curve", []), read_rows(args.run / "metrics.jsonl"))
        result = export_checkpoint(
            trainer, args.output, args.dataset_name, train_split.classes, curve, started_from, test
        )
        print(json.dumps({"checkpoint": str(args.output), **result}))
    wait_for_all()  # if one process ends earlier, the communication of the others can fail


def start_or_resume(trainer: Trainer, args: argparse.Namespace) -> dict:
    """Prepare the trainer; return the record of the run, which is saved with its state.

    The record holds the recipe and whatever else a resumed run must have in common with this one: another number of
    pictures or processes would change all later batches. `started_from` is the record of the run whose network this
    one started with, and its curve.
    """
    record = dataclasses.asdict(trainer.recipe) | {"pictures": len(trainer.images), "processes": trainer.processes}
    state_file = args.run / "state.pt"
    if args.resume:
        record = trainer.resume(state_file, record)
    elif state_file.exists():
        raise StyleTransferError(f"{state_file} holds an earlier run: continue it with --resume, or delete it.")
    elif args.start_from:
        earlier = trainer.start_from(args.start_from)
        curve = earlier.get("started_from", {}).pop("curve", [])  # the whole curve is stored once, in the last record
        curve = append_rows(curve, read_rows(args.start_from.with_name("metrics.jsonl")))
        record["started_from"] = earlier | {"curve": curve}
    if trainer.rank == 0:
        for unfinished in args.run.glob(".state-*.pt"):  # left by a process that was killed while it wrote
            unfinished.unlink()
    return record


def train_epochs(trainer: Trainer, folder: Path, run_record: dict, test: tuple, stop_request: StopRequest) -> None:
    """Train until the last step; write the state and a row of metrics after every epoch.

    A request to stop saves the state after the current step, and exits with the request's status.
    """
    recipe, is_first = trainer.recipe, trainer.rank == 0
    stop_request.hold()  # signals stop between two steps, where the state is complete
    read_every = 1 if trainer.hardware.device.type == "cpu" else 20  # steps: reading the loss makes a GPU wait
    bar = tqdm(total=trainer.steps * trainer.batch, initial=trainer.step * trainer.batch, unit="images",
               unit_scale=True, smoothing=0.02, disable=None if is_first else True, file=ERRORS)  # fmt: skip
    last_save = time.monotonic()
    while trainer.step < trainer.steps:
        epoch, size = trainer.epoch, picture_size(trainer.epoch, recipe)
        totals, started = EpochTotals(trainer.hardware.device), time.monotonic()
        trainer.network.train()
        while trainer.epoch == epoch:
            totals.add(*trainer.train_step(size), trainer.batch // trainer.processes)
            bar.update(trainer.batch)
            is_last_step = trainer.epoch != epoch
            if trainer.step % read_every and not is_last_step:
                continue
            loss = totals.mean_loss()
            bar.set_postfix_str(f"epoch {epoch + 1}/{recipe.epochs} at {size} px, loss {loss:.3f}, "
                                f"top-1 {totals.top1():.1f} %", refresh=False)  # fmt: skip
            is_due = time.monotonic() - last_save > SAVE_SECONDS
            stop, save, diverged = any_process(stop_request.is_set(), is_due, not math.isfinite(loss))
            if diverged:
                raise StyleTransferError(f"The loss is no longer a finite number in epoch {epoch + 1}; the last saved "
                                         f"state is in {folder}. Try a smaller --lr.")  # fmt: skip
            if (stop or save) and not is_last_step:  # the end of an epoch is saved below, after its row is written
                if is_first:
                    trainer.save(folder / "state.pt", run_record)
                last_save = time.monotonic()
            if stop and not is_last_step:
                exit_early(bar, trainer, stop_request.status)
        if is_first:
            write_epoch(trainer, folder / "metrics.jsonl", epoch, size, totals, time.monotonic() - started, test)
            trainer.save(folder / "state.pt", run_record)
        last_save = time.monotonic()
        if trainer.step < trainer.steps and any_process(stop_request.is_set())[0]:
            exit_early(bar, trainer, stop_request.status)
    bar.close()


def write_epoch(
    trainer: Trainer, path: Path, epoch: int, size: int, totals: EpochTotals, seconds: float, test: tuple
) -> None:
    """Measure the network on the test pictures, and write the epoch's row of metrics."""
    row = {
        "epoch": epoch + 1,
        "size": size,
        "train_loss": round(totals.mean_loss(), 4),
        "train_top1": round(totals.top1(), 2),
        "images_per_second": round(totals.pictures * trainer.processes / seconds, 1),
    }
    result = evaluate(trainer.network, *test, size=size, mean=MEAN, std=STD, hardware=trainer.hardware)
    row |= {f"test_{name}": value for name, value in result.items()}
    write_row(path, row)
    tqdm.write(json.dumps(row), file=ERRORS)


def exit_early(bar: tqdm, trainer: Trainer, status: int) -> None:
    """Say how to continue, and exit with the status."""
    bar.close()
    if trainer.rank == 0:
        print(f"Stopped after step {trainer.step} of {trainer.steps}; continue with --resume.", file=ERRORS)
    sys.exit(status)


if __name__ == "__main__":
    main()
