"""Train the VGG19 that the app paints with, on CIFAR-100 or any other labelled pictures, and export it.

    python train.py --data PATH                      # 20 epochs; PATH is described under --data in --help
    python train.py --data PATH --resume             # go on after Ctrl-C, a crash or a power cut
    python train.py --data PATH --download           # fetch the official CIFAR-100 archive into PATH first
    python train.py --evaluate checkpoints/vgg19-cifar100.safetensors --data PATH    # one JSON line: top1, top5

The network (nst/vgg.py) has batch norm while it trains: without it a 19-layer VGG with Adam and default initialisation
stays at chance. The export folds it into the convolutions, so the app loads a plain VGG19.

Everything random (order, augmentation, dropout) is a function of the seed and the step, so a resumed run equals an
uninterrupted one.
"""

import argparse
import json
import math
import signal
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from tqdm import tqdm

from nst.backbones import load_backbone, save_checkpoint
from nst.data import ImageDataset, augment, normalise, open_split
from nst.errors import StyleTransferError
from nst.files import write_atomically
from nst.hardware import Hardware, choose_hardware
from nst.images import IMAGENET_MEAN, IMAGENET_STD
from nst.vgg import POOLINGS, VGG19

STATE_EVERY = 180  # seconds between two saves of the training state: what a crash can cost


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", required=True, help="a folder with train.csv and test.csv (columns image,label), or with "
        "train/<class>/ and test/<class>/ pictures, or with the official cifar-100-python archive")
    add("--download", action="store_true", help="download the official CIFAR-100 archive into --data")
    add("--evaluate", metavar="CHECKPOINT", help="only measure this checkpoint on the test split")
    add("--epochs", type=int, default=20, help="passes over the training pictures (default 20)")
    # 128: measured no slower than 256 on two cores, and twice as many updates.
    add("--batch-size", type=int, default=128, help="pictures per step (default 128)")
    # 1e-3 is Adam's own default and stable here; the one-cycle schedule reaches it after 15 % of the run.
    add("--lr", type=float, default=1e-3, help="peak learning rate (default 1e-3)")
    # With lr 1e-3 this shrinks weights by 5e-5 a step, as the usual SGD recipe (lr 0.1, decay 5e-4) does.
    add("--weight-decay", type=float, default=0.05, help="decoupled, on convolution and linear weights (default 0.05)")
    add("--label-smoothing", type=float, default=0.1, help="of the cross entropy (default 0.1)")
    # Training that grows from small to large pictures sees larger structure at half the cost (Howard 2018).
    add("--size", type=int, default=64, help="side in px of the pictures in the last epochs and the test (default 64)")
    add("--start-size", type=int, default=32, help="side in px in the first epoch; grows to --size (default 32)")
    add("--pooling", choices=POOLINGS, default="average", help="default average: smoother pictures (Gatys et al. 2016)")
    add("--seed", type=int, default=0)
    add("--device", default="auto")
    add("--precision", default="auto", help="auto, float32 or bf16")
    add("--run", type=Path, default=Path("runs/vgg19"), help="folder of the training state and metrics.jsonl")
    add("--output", type=Path, default=Path("checkpoints/vgg19-cifar100.safetensors"), help="the exported checkpoint")
    add("--dataset-name", default="CIFAR-100", help="written into the checkpoint's metadata")
    add("--resume", action="store_true", help="continue from the state in --run")
    return parser.parse_args()


def learning_rate(step: int, steps: int, peak: float) -> float:
    """One cycle (Smith & Topin 2017): up linearly for 15 % of the run, then down to zero along a cosine."""
    warmup = max(1, round(0.15 * steps))
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def picture_size(epoch: int, epochs: int, start: int, end: int) -> int:
    """Grows linearly in multiples of 8 and stays at `end` for the last quarter of the epochs."""
    progress = min(1.0, epoch / max(1, 0.75 * epochs))
    return end if progress == 1 else max(32, round((start + (end - start) * progress) / 8) * 8)


def autocast(hardware: Hardware):
    return torch.autocast(hardware.device.type, torch.bfloat16, enabled=hardware.dtype is torch.bfloat16)


@torch.no_grad()
def evaluate(network, images, labels, size, mean, std, hardware) -> dict[str, float]:
    """Top-1 and top-5 in percent and mean cross entropy; single crop, no test-time augmentation."""
    network.eval()
    correct1 = correct5 = loss = 0.0
    for start in range(0, len(images), 250):
        target = labels[start : start + 250].to(hardware.device)
        x = normalise(images[start : start + 250].to(hardware.device), mean, std, size)
        with autocast(hardware):
            logits = network(x.contiguous(memory_format=hardware.memory_format)).float()
        best = logits.topk(min(5, logits.shape[1])).indices == target[:, None]
        correct1 += best[:, 0].sum().item()
        correct5 += best.sum().item()
        loss += F.cross_entropy(logits, target, reduction="sum").item()
    n = len(images)
    return {"top1": round(100 * correct1 / n, 2), "top5": round(100 * correct5 / n, 2), "loss": round(loss / n, 4)}


def load(split: ImageDataset):
    progress = lambda items: tqdm(items, f"decoding {split.name}", unit="pictures", leave=False, disable=None)  # noqa: E731
    return split.in_memory(progress)


def evaluate_checkpoint(args: argparse.Namespace) -> None:
    backbone = load_backbone(args.evaluate)
    if backbone.network.classifier is None:
        raise StyleTransferError(f"{args.evaluate} holds no classifier, only features: there is nothing to measure.")
    size = int(backbone.metadata.get("image_size", args.size))
    test = open_split(args.data, "test", size, backbone.metadata.get("classes"))
    if len(test.classes) > (outputs := backbone.network.classifier[-1].out_features):
        raise StyleTransferError(f"{test.name} has {len(test.classes)} classes, the checkpoint {outputs}.")
    images, labels = load(test)
    hardware = choose_hardware(args.device, "float32")
    network = backbone.prepared(hardware.device, hardware.dtype, hardware.memory_format)
    result = evaluate(network, images, labels, size, backbone.mean, backbone.std, hardware)
    print(json.dumps({"checkpoint": Path(args.evaluate).name, "pictures": len(test), **result}))


def train(args: argparse.Namespace) -> None:
    if min(args.epochs, args.batch_size) < 1 or not args.lr > 0 or min(args.size, args.start_size) < 32:
        raise StyleTransferError("--epochs and --batch-size start at 1, --size and --start-size at 32, --lr above 0.")
    if not args.weight_decay >= 0 or not 0 <= args.label_smoothing < 1:
        raise StyleTransferError("--weight-decay starts at 0; --label-smoothing is from 0 to below 1.")
    hardware = choose_hardware(args.device, args.precision)
    if args.download:
        ImageDataset.from_cifar100(args.data, train=True, download=True)
    train_split = open_split(args.data, "train", args.size)
    test_split = open_split(args.data, "test", args.size, train_split.classes)
    images, labels = load(train_split)
    test_images, test_labels = load(test_split)
    mean, std = IMAGENET_MEAN, IMAGENET_STD  # the classic preprocessing; what matters is that the app uses the same

    torch.manual_seed(args.seed)
    network = VGG19(len(train_split.classes), batch_norm=True, pooling=args.pooling)
    network = network.to(hardware.device, memory_format=hardware.memory_format)
    decayed = [p for p in network.parameters() if p.dim() > 1]
    others = [p for p in network.parameters() if p.dim() == 1]  # biases and batch norm: decay would only fight them
    groups = [{"params": decayed, "weight_decay": args.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=args.lr)

    batch = min(args.batch_size, len(images))
    per_epoch = len(images) // batch  # the incomplete last batch is dropped: batch norm dislikes a batch of one
    steps = args.epochs * per_epoch
    step = 0
    not_recipe = ("resume", "run", "output", "evaluate", "download", "data")
    recipe = {key: value for key, value in vars(args).items() if key not in not_recipe}
    recipe["pictures"] = len(images)  # another data set would shift the schedule
    state_file, metrics_file = args.run / "state.pt", args.run / "metrics.jsonl"
    if args.resume:
        step = resume(state_file, network, optimizer, recipe)
    elif state_file.exists():
        raise StyleTransferError(f"{state_file} holds an earlier run: continue it with --resume, or delete it.")

    def save() -> None:
        state = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "recipe": recipe}
        write_atomically(state_file, lambda temporary: torch.save(state, temporary))

    def stop() -> None:
        print(f"Stopped after step {step} of {steps}; continue with --resume.", file=sys.stderr)
        sys.exit(130)

    stopping = []  # Ctrl-C asks for a stop between two steps, where the state is whole
    signal.signal(signal.SIGINT, lambda *_: stopping.append(True))
    saved = time.monotonic()
    while step < steps:
        epoch = step // per_epoch
        size = picture_size(epoch, args.epochs, args.start_size, args.size)
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(args.seed * 10_000 + epoch))
        network.train()
        seen = correct = total_loss = 0.0
        started = time.monotonic()
        bar = tqdm(total=per_epoch, initial=step % per_epoch, desc=f"epoch {epoch + 1}/{args.epochs} at {size} px",
                   unit="batch", disable=None)
        while True:
            position = (step % per_epoch) * batch
            chosen = order[position : position + batch]
            generator = torch.Generator().manual_seed(args.seed * 10_000_000 + step)
            torch.manual_seed(args.seed * 10_000_000 + step)  # dropout
            x = augment(images[chosen], generator).to(hardware.device)
            x = normalise(x, mean, std, size).contiguous(memory_format=hardware.memory_format)
            target = labels[chosen].to(hardware.device)
            with autocast(hardware):
                logits = network(x)
            loss = F.cross_entropy(logits.float(), target, label_smoothing=args.label_smoothing)
            value = loss.item()
            if not math.isfinite(value):
                raise StyleTransferError(f"The loss became {value} in epoch {epoch + 1}; the last saved state is kept. "
                                         "Try a smaller --lr.")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, steps, args.lr)
            optimizer.step()
            step += 1
            seen += len(chosen)
            correct += (logits.argmax(1) == target).sum().item()
            total_loss += value * len(chosen)
            bar.set_postfix_str(f"loss {total_loss / seen:.3f}, top-1 {100 * correct / seen:.1f} %, "
                                f"{seen / (time.monotonic() - started):.0f} images/s", refresh=False)
            bar.update()
            if step % per_epoch == 0:
                break  # saved below, after the epoch's row: a state that is past it would never write the row
            if stopping or time.monotonic() - saved > STATE_EVERY:
                save()
                saved = time.monotonic()
            if stopping:
                bar.close()
                stop()
        bar.close()
        seconds = time.monotonic() - started
        row = {"epoch": epoch + 1, "size": size, "train_loss": round(total_loss / max(1, seen), 4),
               "train_top1": round(100 * correct / max(1, seen), 2), "images_per_second": round(seen / seconds, 1)}
        test = evaluate(network, test_images, test_labels, size, mean, std, hardware)
        row |= {f"test_{k}": v for k, v in test.items()}
        write_row(metrics_file, row)
        print(json.dumps(row), file=sys.stderr)
        save()
        saved = time.monotonic()
        if stopping and step < steps:
            stop()

    metadata = {"dataset": args.dataset_name, "epochs": args.epochs, "image_size": args.size, "mean": mean, "std": std,
                "classes": train_split.classes, "recipe": recipe}
    save_checkpoint(network, args.output, metadata)
    exported = load_backbone(args.output)  # measured as exported: folded, in float16
    plain = exported.prepared(hardware.device, torch.float32, hardware.memory_format)
    full = Hardware(hardware.device, torch.float32, hardware.memory_format)
    result = evaluate(plain, test_images, test_labels, args.size, exported.mean, exported.std, full)
    save_checkpoint(exported.network, args.output, metadata | {"top1": result["top1"], "top5": result["top5"]})
    print(json.dumps({"checkpoint": str(args.output), **result}))


def resume(state_file: Path, network, optimizer, recipe: dict) -> int:
    """Load the training state and return its step; refuse one that another recipe made."""
    try:
        state = torch.load(state_file, map_location="cpu", weights_only=True)
        step, earlier = int(state["step"]), dict(state["recipe"])
    except FileNotFoundError as error:
        raise StyleTransferError(f"{state_file}: nothing to resume; start without --resume.") from error
    except Exception as error:  # torch.load raises many types on a damaged file
        raise StyleTransferError(f"{state_file}: a damaged training state.") from error
    changed = [key for key, value in recipe.items() if earlier.get(key) != value]
    if changed := [key for key in changed if key not in ("device", "precision")]:
        raise StyleTransferError(f"{state_file} was trained with another --{changed[0].replace('_', '-')}: "
                                 f"{earlier.get(changed[0])}.")
    try:
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
    except Exception as error:  # missing keys, other shapes
        message = f"{state_file} does not fit: it is from a data set with other classes, or damaged."
        raise StyleTransferError(message) from error
    return step


def write_row(path: Path, row: dict) -> None:
    """One row per epoch; an epoch that was run again after a crash replaces its row."""
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    rows = [r for r in rows if r["epoch"] < row["epoch"]] + [row]
    text = "".join(json.dumps(r) + "\n" for r in rows)
    write_atomically(path, lambda temporary: Path(temporary).write_text(text))


if __name__ == "__main__":
    args = arguments()
    try:
        evaluate_checkpoint(args) if args.evaluate else train(args)
    except StyleTransferError as error:
        sys.exit(f"train.py: {error}")
    except KeyboardInterrupt:
        sys.exit("train.py: stopped before the first step.")
