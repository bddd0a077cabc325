"""Checkpoints: how they are written, read and shared, and which files are refused."""

import functools
import hashlib
import json
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from safetensors import safe_open
from safetensors.numpy import load_file as load_numpy
from safetensors.torch import load_file, save_file

from helpers.refusals import refusal
from nst.io.files import write_atomically
from nst.io.tensors import IMAGENET_MEAN, IMAGENET_STD
from nst.models import checkpoints
from nst.models.checkpoints import load_backbone, save_checkpoint
from nst.models.vgg import VGG19, fold_batch_norm

refused = functools.partial(refusal, load_backbone)
METADATA = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.3], "dataset": "dots", "epochs": 3, "top1": 61.5,
            "classes": ["ape", "Bär"], "recipe": {"lr": 0.001}}  # fmt: skip


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch):
    """These tests share no loaded backbone with other tests."""
    monkeypatch.setattr(checkpoints, "_cache", {})


@pytest.fixture(scope="module")
def tensors(random_checkpoint) -> dict[str, torch.Tensor]:
    return load_file(random_checkpoint)


def write(path: Path, tensors: dict, **metadata) -> Path:
    """Write a checkpoint as another program would write it, with metadata as text. Return its path."""
    save_file(tensors, path, metadata={key: json.dumps(value) for key, value in metadata.items()} or None)
    return path


def features_only(tensors: dict) -> dict:
    return {key: value for key, value in tensors.items() if key.startswith("features.")}


# Writing and reading


@pytest.fixture(scope="module")
def trained() -> VGG19:
    """A network with batch norm, in a state far from the initial one."""
    torch.manual_seed(11)
    network = VGG19(4, batch_norm=True, pooling="average", hidden=24)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.endswith(("running_mean", "bias")):
                value.normal_(std=0.1)
            if name.endswith("running_var"):
                value.uniform_(0.5, 2)
    return network.eval()


@pytest.fixture(scope="module")
def checkpoint(trained, tmp_path_factory) -> Path:
    return save_checkpoint(trained, tmp_path_factory.mktemp("trained") / "trained.safetensors", METADATA)


def test_a_checkpoint_is_a_plain_float16_safetensors_file_with_torchvisions_keys(checkpoint):
    """The test opens the file without torch."""
    arrays = load_numpy(checkpoint)
    with torch.device("meta"):
        theirs = torchvision.models.vgg19().features.state_dict()
    convolutional = {key.removeprefix("features."): a.shape for key, a in arrays.items() if key.startswith("features.")}
    assert convolutional == {key: tuple(value.shape) for key, value in theirs.items()}
    assert {key for key in arrays if not key.startswith("features.")} == {
        "classifier.0.weight", "classifier.0.bias", "classifier.3.weight", "classifier.3.bias",
    }  # fmt: skip
    assert {a.dtype for a in arrays.values()} == {np.dtype(np.float16)}


def test_a_checkpoint_with_100_classes_is_smaller_than_45_megabytes(random_checkpoint):
    """That is small enough for a Git repository."""
    assert random_checkpoint.stat().st_size < 45e6


def test_the_metadata_is_json_inside_the_file(checkpoint):
    header = checkpoint.read_bytes()
    length = struct.unpack("<Q", header[:8])[0]
    text = json.loads(header[8 : 8 + length])["__metadata__"]
    assert text.pop("format") == "pt"  # other programs look for this key
    assert {key: json.loads(value) for key, value in text.items()} == {**METADATA, "pooling": "average"}


def test_the_safetensors_library_can_read_the_metadata(checkpoint):
    with safe_open(checkpoint, "np") as file:
        assert json.loads(file.metadata()["top1"]) == 61.5


def test_a_loaded_checkpoint_computes_what_the_trained_network_does(trained, checkpoint):
    """The outputs agree to float16's precision, and the backbone has the metadata."""
    backbone = load_backbone(checkpoint)
    x = torch.randn(2, 3, 40, 40)
    with torch.no_grad():
        expected, actual = trained(x), backbone.network(x)
    torch.testing.assert_close(actual, expected, rtol=0.02, atol=0.02 * expected.abs().max().item())
    assert (backbone.mean, backbone.std) == ((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
    assert backbone.metadata == {**METADATA, "pooling": "average"}
    assert backbone.network.pooling == "average"
    assert backbone.sha256 == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert not any(p.requires_grad for p in backbone.network.parameters())
    assert not backbone.network.training
    folded = fold_batch_norm(trained).state_dict()
    for key, value in backbone.network.state_dict().items():
        assert torch.equal(value, folded[key].half().float()), key


def test_a_narrow_network_is_loaded_with_its_width(tmp_path):
    torch.manual_seed(5)
    network = VGG19(4, width=1 / 8, pooling="average").half().float().eval()  # as float16 stores it
    backbone = load_backbone(save_checkpoint(network, tmp_path / "narrow.safetensors", METADATA))
    features = backbone.extractor(["conv5_1"])(torch.rand(1, 3, 32, 32))
    assert features["conv5_1"].shape == (1, 64, 2, 2)
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in backbone.network.state_dict().items())


def test_saving_a_loaded_backbone_again_loses_nothing(checkpoint, tmp_path):
    again = save_checkpoint(load_backbone(checkpoint).network, tmp_path / "again.safetensors", METADATA)
    first, second = load_numpy(checkpoint), load_numpy(again)
    assert all(np.array_equal(first[key], second[key]) for key in first)


def test_the_extractor_normalizes_and_pools_as_the_metadata_says(checkpoint):
    extractor = load_backbone(checkpoint).extractor(["conv1_1", "conv2_1"])
    assert isinstance(extractor.pool, torch.nn.AvgPool2d)
    weights = load_file(checkpoint)
    x = torch.rand(1, 3, 20, 24)
    normalized = (x - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) / torch.tensor([0.2, 0.25, 0.3]).view(3, 1, 1)
    weight, bias = weights["features.0.weight"].float(), weights["features.0.bias"].float()
    expected = torch.nn.functional.conv2d(normalized, weight, bias, padding=1).relu()
    torch.testing.assert_close(extractor(x)["conv1_1"], expected, rtol=1e-4, atol=1e-4)
    other = load_backbone(checkpoint).extractor(["conv2_1"], pooling="max")
    assert isinstance(other.pool, torch.nn.MaxPool2d)


def test_diverged_weights_are_not_exported(tmp_path):
    network = VGG19(2)
    with torch.no_grad():
        network.features[5].weight[0, 0, 0, 0] = 1e6  # beyond float16
    target = tmp_path / "a.safetensors"
    assert "features.5.weight" in refusal(save_checkpoint, network, target, METADATA)
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_without_metadata_or_classifier_has_imagenets_normalization(tensors, tmp_path):
    backbone = load_backbone(write(tmp_path / "plain.safetensors", features_only(tensors)))
    assert (backbone.mean, backbone.std) == (IMAGENET_MEAN, IMAGENET_STD)
    assert backbone.network.pooling == "max"


@pytest.mark.parametrize("suffix", ["pt", "pth"])
def test_a_torch_state_dict_is_accepted(tensors, tmp_path, suffix):
    torch.save(tensors, tmp_path / f"a.{suffix}")
    state = load_backbone(tmp_path / f"a.{suffix}").network.state_dict()
    assert all(torch.equal(state[key], value.float()) for key, value in tensors.items())


def test_torchvisions_state_dict_is_accepted_without_its_classifier(tensors, tmp_path):
    """Its fully connected layers (25088 inputs, 4096 hidden units) do not fit, and painting does not need them."""
    data = features_only(tensors)
    for index, (rows, columns) in {0: (4096, 25088), 3: (4096, 4096), 6: (1000, 4096)}.items():
        data[f"classifier.{index}.weight"] = torch.zeros(1).expand(rows, columns)  # one number on disk
        data[f"classifier.{index}.bias"] = torch.zeros(rows)
    torch.save(data, tmp_path / "vgg19.pth")
    backbone = load_backbone(tmp_path / "vgg19.pth")
    assert torch.equal(backbone.network.features[0].weight, tensors["features.0.weight"].float())


# Sharing


def test_the_same_file_is_loaded_once(random_checkpoint, monkeypatch):
    first = load_backbone(random_checkpoint)
    assert load_backbone(str(random_checkpoint)) is first
    monkeypatch.chdir(random_checkpoint.parent)
    assert load_backbone(random_checkpoint.name) is first


def test_a_file_that_has_changed_is_loaded_again(tensors, tmp_path):
    path = write(tmp_path / "a.safetensors", features_only(tensors))
    first = load_backbone(path)
    changed = {key: -value for key, value in features_only(tensors).items()}
    write_atomically(path, lambda temporary: save_file(changed, temporary))
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))  # in case the clock of the file system is coarse
    second = load_backbone(path)
    assert second is not first
    assert second.sha256 != first.sha256
    assert torch.equal(second.network.features[0].weight, -first.network.features[0].weight)


def test_a_prepared_copy_is_made_once_for_each_dtype_and_format_and_leaves_the_shared_network_alone(random_checkpoint):
    backbone = load_backbone(random_checkpoint)
    options = {"dtype": torch.bfloat16, "memory_format": torch.channels_last}
    prepared = backbone.prepared(torch.device("cpu"), **options)
    assert backbone.prepared("cpu", **options) is prepared
    assert backbone.prepared("cpu", dtype=torch.bfloat16) is not prepared
    weight = prepared.features[2].weight
    assert weight.dtype == torch.bfloat16
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not weight.requires_grad
    shared = backbone.network.features[2].weight
    assert shared.dtype == torch.float32
    assert shared.is_contiguous()
    assert backbone.prepared() is not backbone.network
    with torch.no_grad():
        backbone.prepared().features[2].weight.zero_()
    assert shared.abs().max() > 0


def test_extractors_share_one_prepared_copy(random_checkpoint):
    backbone = load_backbone(random_checkpoint)
    first, second = backbone.extractor(["conv1_1"]), backbone.extractor(["conv2_1"])
    assert first.convolutions["conv1_1"] is second.convolutions["conv1_1"]


# Refusals


@pytest.mark.parametrize("suffix", ["safetensors", "pt", "pth"])
def test_a_missing_file_is_refused(tmp_path, suffix):
    message = refused(tmp_path / f"nowhere.{suffix}")
    assert f"nowhere.{suffix}" in message
    assert str(tmp_path) not in message


@pytest.mark.parametrize("suffix", ["safetensors", "pt", "pth"])
@pytest.mark.parametrize("content", ["empty", "random", "text", "truncated"])
def test_a_damaged_file_is_refused(random_checkpoint, tensors, tmp_path, suffix, content):
    path = tmp_path / f"bad.{suffix}"
    if content == "truncated":
        whole = random_checkpoint
        if suffix != "safetensors":
            whole = tmp_path / "whole"
            torch.save({"features.0.weight": tensors["features.0.weight"]}, whole)
        data = whole.read_bytes()
        path.write_bytes(data[: len(data) * 2 // 3])
    else:
        random = np.random.default_rng(0).bytes(5000)
        path.write_bytes({"empty": b"", "random": random, "text": b"Not a checkpoint.\n" * 99}[content])
    assert f"bad.{suffix}" in refused(path)


def test_a_folder_with_the_name_of_a_checkpoint_is_refused(tmp_path):
    (tmp_path / "a.safetensors").mkdir()
    assert "a.safetensors" in refused(tmp_path / "a.safetensors")


@pytest.mark.parametrize("missing", ["features.0.weight", "features.34.bias", "classifier.0.weight"])
def test_the_message_names_a_missing_key(tensors, tmp_path, missing):
    message = refused(write(tmp_path / "a.safetensors", {k: v for k, v in tensors.items() if k != missing}))
    assert missing in message
    assert "1 key" in message


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path):
    message = refused(write(tmp_path / "a.safetensors", {"conv1.weight": torch.zeros(3)}))
    assert "32 keys missing" in message


def test_a_state_with_batch_norm_is_refused(trained, tmp_path):
    """`vgg19_bn` numbers its convolutions differently. Loaded as a plain VGG19, they would paint noise."""
    message = refused(write(tmp_path / "a.safetensors", trained.state_dict()))
    assert "features." in message


@pytest.mark.parametrize(
    "key, shape",
    [
        ("features.10.weight", (7, 5)),
        ("features.34.bias", ()),
        ("features.0.weight", (0,)),
        ("classifier.0.bias", ()),
        ("classifier.0.weight", (7, 5)),
        ("classifier.3.bias", (2, 2, 2, 2, 2)),
    ],
)
def test_the_message_names_the_tensor_with_a_wrong_shape(tensors, tmp_path, key, shape):
    message = refused(write(tmp_path / "a.safetensors", {**tensors, key: torch.zeros(shape, dtype=torch.float16)}))
    assert key.split(".")[0] in message
    if key.startswith("features"):
        assert key in message
        assert "x".join(map(str, tensors[key].shape)) in message
        assert "x".join(map(str, shape)) in message


def test_a_hostile_shape_allocates_no_memory(tensors, tmp_path):
    """A torch file can claim a trillion classes and store a single number."""
    torch.save({**tensors, "classifier.3.bias": torch.zeros(1).expand(10**12)}, tmp_path / "a.pt")
    assert "classifier.3" in refused(tmp_path / "a.pt")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tensors, tmp_path, value):
    weight = tensors["features.14.weight"].clone()
    weight[3, 2, 1, 0] = value
    assert "features.14.weight" in refused(write(tmp_path / "a.safetensors", {**tensors, "features.14.weight": weight}))


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
def test_weights_of_a_type_that_is_not_floating_point_are_refused(tensors, tmp_path, dtype):
    data = {**tensors, "features.0.bias": torch.zeros(64, dtype=dtype)}
    assert "features.0.bias" in refused(write(tmp_path / "a.safetensors", data))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float8_e4m3fn])
def test_other_floating_point_types_are_accepted(tensors, tmp_path, dtype):
    data = {**features_only(tensors), "features.0.bias": torch.full((64,), 0.5).to(dtype)}
    backbone = load_backbone(write(tmp_path / "a.safetensors", data))
    assert (backbone.network.features[0].bias == 0.5).all()


@pytest.mark.parametrize(
    "name, wrong",
    [
        ("mean", None),
        ("std", "abc"),
        ("std", 0.5),
        ("mean", [1, 2, 3, 4]),
        ("std", ["0.5", "0.5", "0.5"]),
        ("mean", [0.5, 0.5, True]),
        ("mean", [0.5, 0.5, float("nan")]),
        ("std", [0.5, float("inf"), 0.5]),
        ("std", [0.5, 0.5, 10**400]),
        ("std", [0.2, 0.2, 0]),
        ("std", [0.2, -0.2, 0.2]),
    ],
)
def test_wrong_mean_and_std_are_refused(tensors, tmp_path, name, wrong):
    message = refused(write(tmp_path / "a.safetensors", features_only(tensors), **{name: wrong}))
    assert "a.safetensors" in message
    assert "mean and std" in message


@pytest.mark.parametrize("wrong", ["median", ["max"]])
def test_a_wrong_pooling_is_refused(tensors, tmp_path, wrong):
    assert "pooling" in refused(write(tmp_path / "a.safetensors", features_only(tensors), pooling=wrong))


@pytest.mark.parametrize("text", ["not json", "[" * 100_000])
def test_other_metadata_that_is_not_json_stays_text(tensors, tmp_path, text):
    save_file(features_only(tensors), tmp_path / "a.safetensors", metadata={"author": text})
    assert load_backbone(tmp_path / "a.safetensors").metadata == {"author": text}


class Payload:
    """An object that creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


@pytest.mark.parametrize("kind", ["torch", "torch, among weights", "legacy torch", "pickle"])
def test_code_in_a_torch_file_is_not_executed(tmp_path, kind):
    path, mark = tmp_path / "evil.pt", tmp_path / "executed"
    data = {"features.0.bias": torch.zeros(64), "x": Payload(mark)} if "weights" in kind else Payload(mark)
    if kind == "pickle":
        path.write_bytes(pickle.dumps(data, protocol=2))
    else:
        torch.save(data, path, _use_new_zipfile_serialization="legacy" not in kind)
    assert path.name in refused(path)
    assert not mark.exists()
    if kind == "pickle":
        pickle.loads(path.read_bytes())
        assert mark.exists()  # so the payload works


@pytest.mark.parametrize("data", [[1, 2], {"state_dict": {}}, torch.zeros(3), {"epoch": 3}, {}])
def test_a_torch_file_that_is_not_a_table_of_weights_is_refused(tmp_path, data):
    torch.save(data, tmp_path / "a.pt")
    assert "a.pt" in refused(tmp_path / "a.pt")


@pytest.mark.parametrize("name", [
    "resnet", "", "CIFAR100", "..", "../x", "x/..", "../../etc/passwd", "a/../b", "owner/name@../../main",
    "a/b/c", "owner/", "/name", "owner/na me", "http://example.org/x", "weights.bin", "x" * 5000,
])  # fmt: skip
def test_an_unknown_name_is_refused_without_a_request_to_the_network(name, monkeypatch):
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: pytest.fail("sent a request"))
    message = refused(name[:200])
    assert "Unknown backbone" in message
    assert "cifar100" in message


def test_the_message_names_a_missing_bundled_checkpoint(monkeypatch, tmp_path):
    monkeypatch.setattr(checkpoints, "BUNDLED_PATHS", (tmp_path / "a.safetensors", tmp_path / "b.safetensors"))
    assert "missing" in refused("cifar100")


@pytest.mark.parametrize("index", [0, 1])
def test_the_bundled_checkpoint_is_found_in_both_places(monkeypatch, tmp_path, random_checkpoint, index):
    paths = [tmp_path / "nowhere.safetensors"] * 2
    paths[index] = random_checkpoint
    monkeypatch.setattr(checkpoints, "BUNDLED_PATHS", tuple(paths))
    assert load_backbone().name == "cifar100"
