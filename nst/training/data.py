"""Labelled pictures for training: from a CSV, from folders, or from the official CIFAR-100 archive."""

import csv
import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from nst.errors import StyleTransferError
from nst.io.reading import load_picture
from nst.io.tensors import image_processing
from nst.models.vgg import MAX_CLASSES

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm"}


class ImageDataset(Dataset):
    """Pictures and labels, for `torch.utils.data.DataLoader`.

    `ImageDataset("train.csv")` reads a CSV with the columns `image` (paths relative to the CSV) and `label` (class
    names, or integers). `from_folder` reads one folder for each class, `from_cifar100` the official python archive.

    An item is (tensor, label): (3, size, size) float32 from `image_processing`, and an int.
    classes: the class names in the order of their numbers; by default they are sorted.

    Raises StyleTransferError for a missing or malformed CSV, a label outside `classes`, and, with its row, a picture
    that is missing or cannot be decoded.
    """

    def __init__(
        self,
        csv_file: str | os.PathLike,
        size: int = 224,
        *,
        image_column: str = "image",
        label_column: str = "label",
        classes: Sequence[str] | None = None,
    ):
        path = Path(csv_file)
        try:
            with open(path, newline="", encoding="utf-8-sig") as file:
                reader = csv.DictReader(file)
                columns = reader.fieldnames or []
                if missing := [c for c in (image_column, label_column) if c not in columns]:
                    raise StyleTransferError(f"{path.name}: no column {missing[0]!r}; it has {', '.join(columns)}.")
                rows = [(row[image_column], row[label_column]) for row in reader]
        except FileNotFoundError as error:
            raise StyleTransferError(f"{path.name}: no such file.") from error
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise StyleTransferError(f"{path.name}: not a readable CSV file.") from error
        for number, (image, label) in enumerate(rows, 2):
            if not image or label in (None, ""):
                raise StyleTransferError(f"{path.name}, row {number}: the picture or its label is missing.")
        pictures = [path.parent / image for image, _ in rows]
        self._fill(path.name, pictures, [label for _, label in rows], size, classes, first_row=2)

    @classmethod
    def from_folder(
        cls, folder: str | os.PathLike, size: int = 224, *, classes: Sequence[str] | None = None
    ) -> "ImageDataset":
        """Read a folder with one sub-folder for each class, which has the class's name."""
        folder = Path(folder)
        if not folder.is_dir():
            raise StyleTransferError(f"{folder.name}: no such folder.")
        files = sorted(p for p in folder.glob("*/*") if p.suffix.lower() in SUFFIXES)
        dataset = cls.__new__(cls)
        dataset._fill(folder.name, files, [p.parent.name for p in files], size, classes)
        return dataset

    @classmethod
    def from_cifar100(
        cls, folder: str | os.PathLike, size: int = 224, *, train: bool, download: bool = False
    ) -> "ImageDataset":
        """Read the official python archive with torchvision's loader; `folder` holds `cifar-100-python`."""
        from torchvision.datasets import CIFAR100

        try:
            archive = CIFAR100(str(folder), train=train, download=download)
        except Exception as error:  # torchvision raises RuntimeError, URLError, errors of pickle, and more
            problem = "could not be downloaded" if download else "is missing or damaged"
            raise StyleTransferError(f"The CIFAR-100 archive {problem} ({type(error).__name__}).") from error
        dataset = cls.__new__(cls)
        dataset._fill("cifar-100-python", list(archive.data), [archive.classes[t] for t in archive.targets], size)
        return dataset

    def _fill(self, name, pictures, labels, size, classes=None, first_row=1):
        if not pictures:
            raise StyleTransferError(f"{name}: holds no pictures.")
        self.name, self.size, self.first_row = name, size, first_row
        self.pictures: list[Path | np.ndarray] = pictures
        self.classes = list(classes) if classes else _class_names(labels)
        number = {label: index for index, label in enumerate(self.classes)}
        self.labels = []
        for row, label in enumerate(labels, first_row):
            if label not in number:
                raise StyleTransferError(f"{name}, row {row}: label {label!r} is not among the classes.")
            self.labels.append(number[label])

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return image_processing(self._picture(index), (self.size, self.size))[0], self.labels[index]

    def _picture(self, index: int) -> Image.Image:
        picture = self.pictures[index]
        if isinstance(picture, np.ndarray):
            return Image.fromarray(picture)
        return load_picture(picture, f"{self.name}, row {index + self.first_row}: {picture.name}")

    def in_memory(self, progress: Callable = iter) -> tuple[Tensor, Tensor]:
        """Decode all pictures; return images (N, 3, S, S) uint8 and labels (N,) int64.

        S is the side of the first, the middle and the last picture if these are squares of one size, up to `size` px:
        batches are enlarged when they are used. Otherwise S is `size`. Other sizes are resized to S. progress: wraps
        the iterable of indices, to show a progress bar.
        """
        sizes = {self._picture(i).size for i in (0, len(self) // 2, len(self) - 1)}
        width, height = next(iter(sizes))
        side = width if len(sizes) == 1 and width == height <= self.size else self.size
        images = np.empty((len(self), 3, side, side), np.uint8)
        for index in progress(range(len(self))):
            picture = self._picture(index)
            if picture.size != (side, side):
                picture = picture.resize((side, side), Image.Resampling.LANCZOS)
            images[index] = np.asarray(picture).transpose(2, 0, 1)
        return torch.from_numpy(images), torch.tensor(self.labels)


def _class_names(labels: Sequence[str]) -> list[str]:
    names = set(labels)
    if all(name.isdecimal() for name in names):  # integers: 10 comes after 9
        if (highest := max(map(int, names))) >= MAX_CLASSES:
            raise StyleTransferError(f"The integer label {highest} is too high: number the classes from 0.")
        return [str(i) for i in range(highest + 1)]
    return sorted(names)


def open_split(folder: str | os.PathLike, split: str, size: int, classes: Sequence[str] | None = None) -> ImageDataset:
    """Return the `train` or `test` split of a data folder.

    The folder has one of three layouts: `train.csv` and `test.csv`; or `train` and `test` folders with one folder for
    each class; or the official `cifar-100-python` archive (the folder itself, or the one that holds it).

    Raises StyleTransferError if it has none of them.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise StyleTransferError(f"{folder}: no such data folder.")
    if (folder / f"{split}.csv").exists():
        return ImageDataset(folder / f"{split}.csv", size, classes=classes)
    for parent in (folder, folder.parent):
        if (parent / "cifar-100-python").is_dir() and (parent == folder or folder.name == "cifar-100-python"):
            return ImageDataset.from_cifar100(parent, size, train=split == "train")
    if (folder / split).is_dir():
        return ImageDataset.from_folder(folder / split, size, classes=classes)
    raise StyleTransferError(
        f"{folder}: found neither {split}.csv, nor {split}/<class>/ folders, nor the cifar-100-python archive."
    )


def load_into_memory(split: ImageDataset, show_progress: bool = True) -> tuple[Tensor, Tensor]:
    """Return all images and labels of a split, as `ImageDataset.in_memory`, with a progress bar on stderr."""

    def progress(indices: range) -> tqdm:
        is_disabled = None if show_progress else True  # None hides the bar where stderr is no terminal
        return tqdm(indices, f"decoding {split.name}", unit="pictures", leave=False, disable=is_disabled)

    return split.in_memory(progress)


def normalize(images: Tensor, mean: Sequence[float], std: Sequence[float], size: int) -> Tensor:
    """Return (N, 3, S, S) uint8 as (N, 3, size, size) float32, minus `mean` and divided by `std` in each channel."""
    x = images.float().div_(255)
    if x.shape[-1] != size:
        x = F.interpolate(x, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    return x.sub_(_channels(tuple(mean), x.device)).div_(_channels(tuple(std), x.device))


@functools.cache  # copied to a GPU once: a copy at every step would make the GPU wait
def _channels(values: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(values, device=device).view(1, 3, 1, 1)


def augment(images: Tensor, generator: torch.Generator, padding: float = 1 / 8) -> Tensor:
    """Shift each of (N, 3, S, S) by up to `padding` of the side, with mirrored edges, and flip half of them.

    generator: on the processor, wherever the images are, so that a GPU gets the same random numbers.
    """
    (n, _, _, side), device = images.shape, images.device
    pad = max(1, round(side * padding))
    highs = (2, 2 * pad + 1, 2 * pad + 1)
    integers = (torch.randint(0, high, (n,), generator=generator) for high in highs)
    flip, dy, dx = (x.to(device, non_blocking=True) for x in integers)
    position = torch.arange(side, device=device)
    rows = position + dy[:, None] - pad
    columns = torch.where(flip[:, None] == 1, side - 1 - position, position) + dx[:, None] - pad
    rows, columns = (side - 1 - (side - 1 - i.abs()).abs() for i in (rows, columns))  # mirror at both edges
    picture, channel = (torch.arange(count, device=device) for count in (n, 3))
    picture, channel = picture[:, None, None, None], channel[None, :, None, None]
    return images[picture, channel, rows[:, None, :, None], columns[:, None, None, :]]


def random_crops(images: Tensor, generator: torch.Generator, size: int, smallest: float) -> Tensor:
    """Cut a random square out of each of (N, 3, S, S) uint8, flip half of them, resize to (N, 3, size, size) uint8.

    smallest: the smallest side of a square relative to S, above 0 and at most 1; sides are uniform from there to 1.
    generator: as in `augment`.
    """
    n = len(images)
    side = smallest + (1 - smallest) * torch.rand(n, generator=generator)
    x, y = (torch.rand(2, n, generator=generator) * 2 - 1) * (1 - side)  # centres, in [-1, 1] from edge to edge
    flip = 1.0 - 2.0 * torch.randint(0, 2, (n,), generator=generator)
    zero = torch.zeros(n)
    windows = torch.stack([side * flip, zero, x, zero, side, y], 1).view(n, 2, 3)
    grid = F.affine_grid(windows.to(images.device, non_blocking=True), (n, 3, size, size), align_corners=False)
    crops = F.grid_sample(images.float(), grid, mode="bicubic", padding_mode="border", align_corners=False)
    return crops.round_().clamp_(0, 255).to(torch.uint8)
