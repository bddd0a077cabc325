"""Train the VGG19 that the app paints with, on CIFAR-100 or any other labelled pictures, and export it.

    python train.py --data PATH                      # 20 epochs; PATH is described under --data in --help
    python train.py --data PATH --resume             # go on after Ctrl-C, a crash or a power cut
    python train.py --data PATH --download           # fetch the official CIFAR-100 archive into PATH first
    python train.py --data PATH --recipe seed        # another recipe of nst/training/recipes.py; flags override it
    python train.py --data PATH --recipe painter --start-from runs/vgg19/state.pt --run runs/painter    # see there
    python train.py --data PATH --recipe cooldown --start-from runs/painter/state.pt --run runs/cooldown    # as well
    torchrun --nproc-per-node 4 train.py --data PATH # four GPUs, or processes; the batch is shared out among them
    torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint HOST:29500 train.py --data PATH
    python train.py --evaluate checkpoints/vgg19-cifar100.safetensors --data PATH    # one JSON line: top1, top5
    python train.py --benchmark                      # pictures a second, beside a plain float32 loop
    python train.py --push-to-hub OWNER/NAME         # publish the checkpoint --output with its card

The network (nst/models/vgg.py) has batch norm while it trains: without it a 19-layer VGG with Adam and default init
stays at chance. The export folds it into the convolutions, so the app loads a plain VGG19.
"""

import argparse
import dataclasses
import gc
import json
import math
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from tqdm import tqdm

from nst.engine.hardware import Hardware, choose_hardware, describe_machine, keep_freed_memory
from nst.errors import StyleTransferError
from nst.io.files import write_atomically
from nst.io.tensors import IMAGENET_MEAN, IMAGENET_STD
from nst.models.card import card_files, superclass_accuracy, write_curves
from nst.models.checkpoints import load_backbone, save_checkpoint
from nst.models.hub import FILE, publish
from nst.models.vgg import VGG19
from nst.training.data import ImageDataset, normalise, open_split
from nst.training.recipes import RECIPES, Recipe, choose_recipe, flag, picture_size
from nst.training.trainer import Trainer, evaluate

STATE_EVERY = 180  # seconds between two saves of the training state: what a crash can cost
MEAN, STD = IMAGENET_MEAN, IMAGENET_STD  # the classic preprocessing; what matters is that the app uses the same


def main(argv: Sequence[str] | None = None, *, width: float = 1.0) -> None:
    """Run the command line `argv`, by default the program's own. Exits with a status and one line if it fails.

    width: multiplies the channels of the network that is trained; the tests train narrow networks.
    """
    args = parse_arguments(argv)
    try:
        run(args, width)
    except StyleTransferError as error:
        first = os.environ.get("LOCAL_RANK", "0") == "0"  # one line a machine, not one a process
        sys.exit(f"train.py: {error}" if first else 1)
    except KeyboardInterrupt:
        sys.exit("train.py: stopped before the first step.")
    finally:
        if torch.distributed.is_initialized():
            gc.collect()  # DistributedDataParallel holds the group in a cycle: its threads must end before Python does
            torch.distributed.destroy_process_group()


def run(args: argparse.Namespace, width: float) -> None:
    if not args.data and (args.evaluate or args.download or args.resume or not (args.benchmark or args.push_to_hub)):
        raise StyleTransferError("--data is needed: the folder of the labelled pictures.")
    if args.evaluate:
        return evaluate_checkpoint(args)
    if args.benchmark:
        return benchmark(args, width)
    if args.data:
        train(args, width)
    if args.push_to_hub and int(os.environ.get("RANK", 0)) == 0:
        checkpoint = load_backbone(args.output)
        print(publish(args.push_to_hub, {FILE: args.output, **card_files(checkpoint.metadata, args.output)}))


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", help="a folder with train.csv and test.csv (columns image,label), or with train/<class>/ and "
        "test/<class>/ pictures, or with the official cifar-100-python archive")
    add("--download", action="store_true", help="download the official CIFAR-100 archive into --data")
    add("--evaluate", metavar="CHECKPOINT", help="only measure this checkpoint on the test split")
    add("--benchmark", action="store_true", help="only time the training step, beside a plain float32 loop")
    add("--push-to-hub", metavar="OWNER/NAME", help="publish the checkpoint --output; alone, or after training")
    add("--recipe", choices=RECIPES, default="default")
    for field in dataclasses.fields(Recipe):  # nst/training/recipes.py says what each is for
        if isinstance(field.default, bool):
            add(flag(field.name), action=argparse.BooleanOptionalAction, help="(the recipe's)")
        else:
            add(flag(field.name), type=type(field.default), metavar=field.name.upper(), help="(the recipe's)")
    add("--device", default="auto")
    add("--precision", default="auto", help="auto, float32 or bf16")
    add("--run", type=Path, default=Path("runs/vgg19"), help="folder of the training state and metrics.jsonl")
    add("--output", type=Path, default=Path("checkpoints/vgg19-cifar100.safetensors"), help="the exported checkpoint")
    add("--dataset-name", default="CIFAR-100", help="written into the checkpoint's metadata")
    add("--resume", action="store_true", help="continue from the state in --run")
    add("--start-from", type=Path, metavar="STATE", help="another run's state.pt, whose network this one begins with")
    return parser.parse_args(argv)


def chosen_recipe(args: argparse.Namespace) -> Recipe:
    given = {f.name: getattr(args, f.name) for f in dataclasses.fields(Recipe)}
    return choose_recipe(args.recipe, **{name: value for name, value in given.items() if value is not None})


def load(split: ImageDataset, quiet: bool = False):
    bar = lambda items: tqdm(items, f"decoding {split.name}", unit="pictures", leave=False, disable=quiet or None)  # noqa: E731
    return split.in_memory(bar)


def train(args: argparse.Namespace, width: float) -> None:
    keep_freed_memory()
    recipe = chosen_recipe(args)
    hardware = choose_hardware(args.device, args.precision)
    rank = join_processes(hardware)
    if args.download and rank == 0:
        ImageDataset.from_cifar100(args.data, train=True, download=True)
    if args.download:
        wait_for_all()
    train_split = open_split(args.data, "train", recipe.size)
    test_split = open_split(args.data, "test", recipe.size, train_split.classes)
    images, labels = load(train_split, quiet=rank > 0)
    test_images, test_labels = load(test_split, quiet=rank > 0)

    trainer = Trainer(recipe, images, labels, len(train_split.classes), hardware, MEAN, STD, width=width)
    # What a continued run must agree on: another number of pictures or processes would shift what comes after.
    agreed = dataclasses.asdict(recipe) | {"pictures": len(images), "processes": trainer.processes}
    state_file, metrics_file = args.run / "state.pt", args.run / "metrics.jsonl"
    if args.resume:
        agreed = trainer.resume(state_file, agreed)
    elif state_file.exists():
        raise StyleTransferError(f"{state_file} holds an earlier run: continue it with --resume, or delete it.")
    elif args.start_from:
        earlier = trainer.start_from(args.start_from)
        curve = earlier.get("started_from", {}).pop("curve", [])  # of all that came before, kept once
        curve = joined(curve, read_rows(args.start_from.with_name("metrics.jsonl")))
        agreed["started_from"] = earlier | {"curve": curve}
    if rank == 0:
        for unfinished in args.run.glob(".state-*.pt"):  # of a process that was killed while it wrote
            unfinished.unlink()

    stopping = []  # Ctrl-C asks for a stop between two steps, where the state is whole
    signal.signal(signal.SIGINT, lambda *_: stopping.append(True))
    look_every = 1 if hardware.device.type == "cpu" else 20  # looking at the loss makes a GPU wait
    bar = tqdm(total=trainer.steps * trainer.batch, initial=trainer.step * trainer.batch, unit="images",
               unit_scale=True, smoothing=0.02, disable=True if rank else None)
    saved = time.monotonic()
    while trainer.step < trainer.steps:
        epoch, size = trainer.epoch, picture_size(trainer.epoch, recipe)
        trainer.network.train()
        seen, started = 0, time.monotonic()
        loss, right = torch.zeros((), device=hardware.device), torch.zeros((), device=hardware.device)
        while trainer.epoch == epoch:
            step_loss, step_right = trainer.train_step(size)
            loss, right, seen = loss + step_loss, right + step_right, seen + trainer.batch // trainer.processes
            bar.update(trainer.batch)
            if trainer.epoch == epoch and trainer.step % look_every:
                continue
            mean_loss = loss.item() / seen
            bar.set_postfix_str(f"epoch {epoch + 1}/{recipe.epochs} at {size} px, loss {mean_loss:.3f}, "
                                f"top-1 {100 * right.item() / seen:.1f} %", refresh=False)
            stop, due, diverged = asked(bool(stopping), time.monotonic() - saved > STATE_EVERY,
                                        not math.isfinite(mean_loss))
            if diverged:
                raise StyleTransferError(f"The loss is no finite number any more in epoch {epoch + 1}; the last saved "
                                         f"state is kept in {args.run}. Try a smaller --lr.")
            if trainer.epoch == epoch and (stop or due):  # an epoch's end is saved below, after its row is written
                if rank == 0:
                    trainer.save(state_file, agreed)
                saved = time.monotonic()
            if stop and trainer.epoch == epoch:
                stopped(bar, trainer)
        seconds = time.monotonic() - started
        if rank == 0:
            row = {"epoch": epoch + 1, "size": size, "train_loss": round(mean_loss, 4),
                   "train_top1": round(100 * right.item() / seen, 2),
                   "images_per_second": round(seen * trainer.processes / seconds, 1)}
            test = evaluate(trainer.network, test_images, test_labels, size=size, mean=MEAN, std=STD, hardware=hardware)
            row |= {f"test_{key}": value for key, value in test.items()}
            write_row(metrics_file, row)
            tqdm.write(json.dumps(row), file=sys.stderr)
            trainer.save(state_file, agreed)
        saved = time.monotonic()
        if trainer.step < trainer.steps and asked(bool(stopping), False)[0]:
            stopped(bar, trainer)
    bar.close()
    if rank == 0:
        before = dict(agreed.get("started_from", {}))
        curve = before.pop("curve", [])
        told = {"classes": train_split.classes, "epochs": len(curve) + recipe.epochs,
                "curve": joined(curve, read_rows(metrics_file)), **({"started_from": before} if before else {})}
        export(args, trainer, told, test_images, test_labels)
    wait_for_all()  # a process that leaves while another still works can take the group's threads down with it


def export(args: argparse.Namespace, trainer: Trainer, told: dict, test_images, test_labels) -> None:
    """Write the checkpoint with its metadata, measured as exported: folded and in float16; and its curves.

    told: what only the run knows of the metadata, at least its `classes`, `epochs` and the rows of its `curve`.
    """
    recipe, hardware = trainer.recipe, trainer.hardware
    metadata = {"dataset": args.dataset_name, "image_size": recipe.size, "mean": MEAN,
                "std": STD, "pictures": len(trainer.images), "recipe": dataclasses.asdict(recipe),
                "made_on": describe_machine(hardware), **told}
    save_checkpoint(trainer.network, args.output, metadata)
    exported = load_backbone(args.output)
    full = Hardware(hardware.device, torch.float32, hardware.memory_format)
    plain = exported.prepared(full.device, full.dtype, full.memory_format)
    result = evaluate(plain, test_images, test_labels, size=recipe.size, mean=MEAN, std=STD, hardware=full,
                      classes=told["classes"])
    by_class = result.pop("top1_by_class")
    metadata |= {"top1": result["top1"], "top5": result["top5"], "top1_by_class": by_class}
    save_checkpoint(exported.network, args.output, metadata)
    write_curves(told["curve"], args.output.with_suffix(".svg"))
    print(json.dumps({"checkpoint": str(args.output), **result}))


def evaluate_checkpoint(args: argparse.Namespace) -> None:
    backbone = load_backbone(args.evaluate)
    if backbone.network.classifier is None:
        raise StyleTransferError(f"{args.evaluate} holds no classifier, only features: there is nothing to measure.")
    size = Recipe(size=backbone.metadata.get("image_size", 32) if args.size is None else args.size).size
    test = open_split(args.data, "test", size, backbone.metadata.get("classes"))
    if len(test.classes) > (outputs := backbone.network.classifier[-1].out_features):
        raise StyleTransferError(f"{test.name} has {len(test.classes)} classes, the checkpoint {outputs}.")
    images, labels = load(test)
    hardware = choose_hardware(args.device, "float32")
    network = backbone.prepared(hardware.device, hardware.dtype, hardware.memory_format)
    result = evaluate(network, images, labels, size=size, mean=backbone.mean, std=backbone.std, hardware=hardware,
                      classes=test.classes)
    groups = superclass_accuracy(result.pop("top1_by_class"))
    result |= {"top1_by_superclass": groups} if groups else {}
    print(json.dumps({"checkpoint": Path(args.evaluate).name, "pictures": len(test), **result}))


def benchmark(args: argparse.Namespace, width: float) -> None:
    """The step of `Trainer` and that of a plain float32 contiguous loop, same network and batch, taking turns.

    One JSON line: pictures a second of each (the medians of five turns) and their ratio.
    """
    keep_freed_memory()  # to the plain loop's good too
    recipe, hardware = chosen_recipe(args), choose_hardware(args.device, args.precision)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (recipe.batch_size * 8, 3, 32, 32), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 100, (len(images),), generator=generator)
    trainer = Trainer(recipe, images, labels, 100, hardware, MEAN, STD, width=width)
    trainer.network.train()
    plain = VGG19(100, width=width, batch_norm=True, pooling=recipe.pooling).to(hardware.device)
    optimizer = torch.optim.AdamW(plain.parameters(), lr=recipe.lr)

    def plain_step() -> None:
        x = normalise(images[: trainer.batch].to(hardware.device), MEAN, STD, recipe.size)
        loss = F.cross_entropy(plain(x), labels[: trainer.batch].to(hardware.device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()

    def seconds(step) -> float:
        start = time.perf_counter()
        for _ in range(2):
            step()
        return (time.perf_counter() - start) / 2

    def our_step() -> None:
        trainer.train_step(recipe.size)[0].item()

    plain_step(), our_step()  # the first ones also choose kernels
    turns = [(seconds(plain_step), seconds(our_step)) for _ in range(5)]
    slow, fast = (sorted(turn[i] for turn in turns)[2] for i in (0, 1))
    print(json.dumps({"size": recipe.size, "batch": trainer.batch, "plain_float32": round(trainer.batch / slow, 1),
                      "ours": round(trainer.batch / fast, 1), "ratio": round(slow / fast, 2),
                      "made_on": describe_machine(hardware)}))


def join_processes(hardware: Hardware) -> int:
    """Meet the other processes that torchrun started, if it did; this one's rank."""
    if "RANK" not in os.environ:
        return 0
    if hardware.device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("nccl" if hardware.device.type == "cuda" else "gloo")
    return torch.distributed.get_rank()


def wait_for_all() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.barrier()


def asked(*mine: bool) -> list[bool]:
    """Whether any process says yes: all must stop, and save, after the same step."""
    if not torch.distributed.is_initialized():
        return list(mine)
    said = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(said, mine)
    return [any(answers) for answers in zip(*said, strict=True)]


def stopped(bar: tqdm, trainer: Trainer) -> None:
    bar.close()
    if trainer.rank == 0:
        print(f"Stopped after step {trainer.step} of {trainer.steps}; continue with --resume.", file=sys.stderr)
    sys.exit(130)


def read_rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def joined(before: list[dict], after: list[dict]) -> list[dict]:
    """The rows of a run and of one that began with its network; epochs are counted on."""
    return before + [row | {"epoch": len(before) + row["epoch"]} for row in after]


def write_row(path: Path, row: dict) -> None:
    """One row per epoch; an epoch that was run again after a crash replaces its row."""
    rows = [r for r in read_rows(path) if r["epoch"] < row["epoch"]] + [row]
    text = "".join(json.dumps(r) + "\n" for r in rows)
    write_atomically(path, lambda temporary: Path(temporary).write_text(text))


if __name__ == "__main__":
    main()
