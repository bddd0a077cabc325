"""Labelled pictures: read in all three layouts, refused with their row, augmented, normalized."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from helpers.pictures import make_picture
from helpers.refusals import refusal
from helpers.training import CLASS_COLOURS, MEAN, STD, coloured, write_table
from nst.training.data import ImageDataset, augment, normalize, open_split, random_crops


@pytest.fixture
def archive(tmp_path, monkeypatch) -> Path:
    """The same pictures in the layout of CIFAR-100's archive. torchvision's loader does not check its md5 sums here."""
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    names = sorted(CLASS_COLOURS)
    for split, numbers in (("train", range(12)), ("test", range(100, 104))):
        data = [coloured(name, number).transpose(2, 0, 1).ravel() for number in numbers for name in names]
        labels = [index for _ in numbers for index in range(len(names))]
        content = {"data": np.stack(data), "fine_labels": labels, "coarse_labels": [0] * len(labels)}
        (folder / split).write_bytes(pickle.dumps(content))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": names, "coarse_label_names": ["everything"]}))
    loader = torchvision.datasets.CIFAR100
    monkeypatch.setattr(loader, "train_list", [["train", None]])
    monkeypatch.setattr(loader, "test_list", [["test", None]])
    monkeypatch.setattr(loader, "meta", {"filename": "meta", "key": "fine_label_names", "md5": None})
    return folder


# ImageDataset


def test_items_are_pictures_resized_and_normalized(tables):
    dataset = ImageDataset(tables / "train.csv", size=48)
    assert len(dataset) == 48 and dataset.classes == sorted(CLASS_COLOURS)
    for index in (0, 7, 47):
        name = list(CLASS_COLOURS)[index % 4]
        picture = Image.fromarray(coloured(name, index // 4)).resize((48, 48), Image.Resampling.LANCZOS)
        expected = (np.asarray(picture, np.float64) / 255 - MEAN) / STD
        tensor, label = dataset[index]
        assert (tensor.shape, tensor.dtype, type(label)) == ((3, 48, 48), torch.float32, int)
        np.testing.assert_allclose(tensor.permute(1, 2, 0), expected, atol=1e-5)
        assert dataset.classes[label] == name


@pytest.mark.parametrize("workers", [0, 2])
def test_a_data_loader_can_read_the_dataset(tables, workers):
    dataset = ImageDataset(tables / "train.csv", size=32)
    batches = list(torch.utils.data.DataLoader(dataset, batch_size=10, num_workers=workers))
    assert [tuple(x.shape) for x, _ in batches] == [(10, 3, 32, 32)] * 4 + [(8, 3, 32, 32)]
    assert torch.cat([y for _, y in batches]).bincount().tolist() == [12] * 4


def contents(dataset: ImageDataset) -> list:
    """Return the class and the values of every item, sorted."""
    items = [dataset[index] for index in range(len(dataset))]
    return sorted((dataset.classes[label], tensor.numpy().tobytes()) for tensor, label in items)


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_three_layouts_hold_the_same_pictures(tables, folders, archive, split):
    datasets = [open_split(folder, split, 32) for folder in (tables, folders, archive, archive.parent)]
    expected = contents(datasets[0])
    assert len(expected) == (48 if split == "train" else 16)
    for dataset in datasets[1:]:
        assert dataset.classes == datasets[0].classes == ["brick", "grass", "sky", "snow"]
        assert contents(dataset) == expected


def test_pictures_of_the_archive_have_the_right_labels(archive):
    dataset = ImageDataset.from_cifar100(archive.parent, 32, train=False)
    pictures, labels = dataset.in_memory()
    for picture, label in zip(pictures, labels, strict=True):
        middle = picture.float().mean((1, 2)).numpy()
        nearest = min(CLASS_COLOURS, key=lambda name: np.abs(middle - CLASS_COLOURS[name]).sum())
        assert dataset.classes[label] == nearest


def test_columns_and_classes_can_be_chosen(tables, tmp_path):
    path = tables / "train_pictures" / "sky, 0.png"
    table = write_table(tmp_path, ("kind", "file", "image"), ("b", path, "x"), ("a", path, "x"), name="any.csv")
    dataset = ImageDataset(table, 32, image_column="file", label_column="kind")
    assert (dataset.classes, dataset.labels) == (["a", "b"], [1, 0])
    dataset = ImageDataset(table, 32, image_column="file", label_column="kind", classes=["c", "b", "a"])
    assert (dataset.classes, dataset.labels) == (["c", "b", "a"], [1, 2])


def test_integer_labels_keep_their_numbers(tables, tmp_path):
    path = tables / "train_pictures" / "sky, 0.png"
    dataset = ImageDataset(write_table(tmp_path, ("image", "label"), (path, 10), (path, 2), (path, 9)), 32)
    assert dataset.labels == [10, 2, 9]
    assert dataset.classes == [str(number) for number in range(11)]


def test_tables_from_spreadsheets_are_read(tables, tmp_path):
    shutil.copy(tables / "train_pictures" / "sky, 0.png", tmp_path / "Größe, 1.png")
    text = '\ufeffimage,label\r\n"Größe, 1.png","sky, blue"\r\n'
    (tmp_path / "train.csv").write_bytes(text.encode())
    dataset = ImageDataset(tmp_path / "train.csv", 32)
    assert dataset.classes == ["sky, blue"] and dataset[0][0].shape == (3, 32, 32)


def test_in_memory_keeps_small_squares_and_scales_the_rest(tables, tmp_path):
    pixels, labels = ImageDataset(tables / "test.csv", size=64).in_memory()
    assert (pixels.shape, pixels.dtype, labels.dtype) == ((16, 3, 32, 32), torch.uint8, torch.int64)
    np.testing.assert_array_equal(pixels[5].permute(1, 2, 0), coloured("grass", 101))
    for number, size in enumerate([(40, 40), (60, 40), (40, 40)]):
        make_picture(*size, seed=number).save(tmp_path / f"{number}.png")
    table = write_table(tmp_path, ("image", "label"), ("0.png", "a"), ("1.png", "b"), ("2.png", "a"))
    pixels, labels = ImageDataset(table, size=36).in_memory()
    assert pixels.shape == (3, 3, 36, 36) and labels.tolist() == [0, 1, 0]
    expected = make_picture(60, 40, seed=1).resize((36, 36), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(pixels[1].permute(1, 2, 0), np.asarray(expected))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("image", "kind"), ("a.png", "x")], "train.csv: no column 'label'; it has image, kind"),
        ([("file", "label"), ("a.png", "x")], "train.csv: no column 'image'"),
        ([("image", "label")], "train.csv: holds no pictures"),
        ([], "train.csv: no column 'image'"),
        ([("image", "label"), ("a.png", "x"), ("b.png",)], "train.csv, row 3"),
        ([("image", "label"), ("", "x")], "train.csv, row 2"),
        ([("image", "label"), ("a.png", "")], "train.csv, row 2"),
    ],
)
def test_malformed_tables_are_refused(tmp_path, rows, message):
    assert refusal(ImageDataset, write_table(tmp_path, *rows)).startswith(message)


def test_files_that_are_no_tables_are_refused(tmp_path):
    assert refusal(ImageDataset, tmp_path / "no.csv") == "no.csv: no such file."
    (tmp_path / "train.csv").write_bytes(b"\x89PNG\r\n\xff\xfe\0")
    assert refusal(ImageDataset, tmp_path / "train.csv").startswith("train.csv: ")
    assert refusal(ImageDataset, tmp_path).endswith("not a readable CSV file.")


def test_unusable_pictures_are_refused_with_their_row(tables, tmp_path):
    good = tables / "train_pictures" / "sky, 0.png"
    (tmp_path / "broken.png").write_bytes(good.read_bytes()[:100])
    rows = [("image", "label"), (good, "a"), ("gone.png", "a"), ("broken.png", "b")]
    dataset = ImageDataset(write_table(tmp_path, *rows), 32)
    assert dataset[0][1] == 0
    assert refusal(dataset.__getitem__, 1).startswith("train.csv, row 3: gone.png: no such file")
    assert refusal(dataset.__getitem__, 2).startswith("train.csv, row 4: broken.png: ")
    assert "row" in refusal(dataset.in_memory)


def test_labels_outside_the_classes_are_refused_with_their_row(tmp_path):
    table = write_table(tmp_path, ("image", "label"), ("a.png", "x"), ("b.png", "y"))
    assert refusal(ImageDataset, table, classes=["x", "z"]).startswith("train.csv, row 3: label 'y'")


def test_wrong_folders_are_refused(tmp_path):
    assert "no such data folder" in refusal(open_split, tmp_path / "no", "train", 32)
    assert "found neither train.csv" in refusal(open_split, tmp_path, "train", 32)
    (tmp_path / "train").mkdir()
    make_picture(32, 32).save(tmp_path / "train" / "loose.png")
    assert refusal(open_split, tmp_path, "train", 32) == "train: holds no pictures."
    assert "no such folder" in refusal(ImageDataset.from_folder, tmp_path / "no")


def test_a_damaged_or_missing_archive_is_refused(archive, monkeypatch):
    (archive / "train").write_bytes((archive / "train").read_bytes()[:200])
    assert "missing or damaged" in refusal(open_split, archive, "train", 32)
    (archive / "train").unlink()
    assert "missing or damaged" in refusal(open_split, archive.parent, "train", 32)

    def offline(self):
        raise OSError("no route to host")

    monkeypatch.setattr(torchvision.datasets.CIFAR100, "download", offline)
    message = refusal(ImageDataset.from_cifar100, archive.parent, train=True, download=True)
    assert "could not be downloaded" in message


# Batches


@pytest.mark.parametrize(("side", "padding"), [(32, 4), (8, 1), (4, 1)])
def test_augment_draws_every_shift_with_mirrored_borders_and_every_flip(side, padding):
    picture = torch.arange(3 * side * side, dtype=torch.int32).view(3, side, side)
    padded = np.pad(picture.numpy(), ((0, 0), (padding, padding), (padding, padding)), mode="reflect")
    allowed = {}
    for dy in range(2 * padding + 1):
        for dx in range(2 * padding + 1):
            crop = padded[:, dy : dy + side, dx : dx + side]
            allowed[crop.tobytes()] = (dy, dx, False)
            allowed[crop[:, :, ::-1].tobytes()] = (dy, dx, True)
    augmented = augment(picture.expand(3000, -1, -1, -1), torch.Generator().manual_seed(3))
    drawn = [allowed[pixels.numpy().tobytes()] for pixels in augmented]
    assert len(set(drawn)) == len(allowed) == 2 * (2 * padding + 1) ** 2
    assert 0.45 < np.mean([flipped for _, _, flipped in drawn]) < 0.55


def test_random_crops_are_squares_of_all_sizes_within_the_picture_and_half_are_flipped():
    """The colours of the picture are its coordinates, so the crops tell where they come from."""
    x = torch.arange(32, dtype=torch.float32).expand(32, 32)
    picture = (8 * torch.stack([x, x.T, torch.zeros(32, 32)])).to(torch.uint8)
    crops = random_crops(picture.expand(2000, -1, -1, -1), torch.Generator().manual_seed(3), 64, 0.375) / 8 + 0.5
    assert crops.shape == (2000, 3, 64, 64) and not (crops[:, 2] - 0.5).any()
    inner = slice(16, 48)  # away from the borders, where bicubic interpolation uses pixels beyond the picture
    across = (crops[:, 0, 32, 47] - crops[:, 0, 32, 16]) / 31 * 64  # the crop's width in pixels of the picture
    down = (crops[:, 1, 47, 32] - crops[:, 1, 16, 32]) / 31 * 64
    flipped = across < 0
    assert 0.45 < flipped.float().mean() < 0.55 and (down > 0).all()
    torch.testing.assert_close(across.abs(), down, atol=1, rtol=0)
    sides = across.abs()
    assert 11 < sides.min() < 13 and 31 < sides.max() < 33 and 21 < sides.mean() < 23
    for centres in (crops[:, 0, inner, inner].mean((1, 2)), crops[:, 1, inner, inner].mean((1, 2))):
        assert (centres - sides / 2 > -1).all() and (centres + sides / 2 < 33).all()
        assert centres[sides < 16].std() > 3 and abs(centres.mean() - 16) < 0.4


@pytest.mark.parametrize("transform", [augment, lambda x, generator: random_crops(x, generator, 16, 0.5)])
def test_augmentation_depends_only_on_its_generator(transform):
    pictures = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8)
    before = pictures.clone()
    first, repeated, other = (transform(pictures, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, repeated) and not torch.equal(first, other)
    assert torch.equal(pictures, before) and first.dtype == torch.uint8


def test_normalize_equals_torchvisions_at_the_same_size():
    pictures = [make_picture(32, 32, seed=seed) for seed in (1, 2)]
    recipe = torchvision.transforms.Compose(
        [torchvision.transforms.ToTensor(), torchvision.transforms.Normalize(MEAN, STD)]
    )
    batch = torch.stack([torch.from_numpy(np.array(picture)).permute(2, 0, 1) for picture in pictures])
    expected = torch.stack([recipe(picture) for picture in pictures])
    torch.testing.assert_close(normalize(batch, MEAN, STD, 32), expected, rtol=1e-5, atol=1e-6)
    assert batch.dtype == torch.uint8


@pytest.mark.parametrize("size", [64, 20])
def test_normalize_scales_as_pillow_does(size):
    picture = make_picture(32, 32, seed=4)
    batch = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]
    expected = np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR), np.float64) / 255
    result = normalize(batch, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), size)[0].permute(1, 2, 0)
    np.testing.assert_allclose(result, expected, atol=1.01 / 255)  # Pillow rounds to 8 bits, twice
