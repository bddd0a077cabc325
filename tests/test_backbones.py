"""Checkpoints: written, read, shared, refused; the network that is not there; whole files; the hardware chosen."""

import contextlib
import hashlib
import json
import os
import pickle
import socket
import struct
import subprocess
import sys
import urllib.request
from pathlib import Path

import httpx
import huggingface_hub
import numpy as np
import pytest
import torch
import torchvision
from conftest import ROOT
from huggingface_hub import constants
from safetensors import safe_open
from safetensors.numpy import load_file as load_numpy
from safetensors.torch import load_file, save_file

from nst import backbones, bundled, hub
from nst.backbones import load_backbone, save_checkpoint
from nst.errors import StyleTransferError
from nst.files import write_atomically
from nst.hardware import choose_hardware, computing, usable_cores
from nst.images import IMAGENET_MEAN, IMAGENET_STD
from nst.vgg import VGG19, fold_batch_norm

METADATA = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.3], "dataset": "dots", "epochs": 3, "top1": 61.5,
            "classes": ["ape", "Bär"], "recipe": {"lr": 0.001}}  # fmt: skip


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch):
    """Nothing loaded here is seen by other tests, nor the other way round."""
    monkeypatch.setattr(backbones, "_cache", {})


@pytest.fixture(scope="module")
def tensors(random_checkpoint) -> dict[str, torch.Tensor]:
    return load_file(random_checkpoint)


def write(path: Path, tensors: dict, **metadata) -> Path:
    """A checkpoint as another program would write it: metadata as text."""
    save_file(tensors, path, metadata={key: json.dumps(value) for key, value in metadata.items()} or None)
    return path


def refused(name, call=load_backbone) -> str:
    with pytest.raises(StyleTransferError) as caught:
        call(name)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 300
    return message


def features_only(tensors: dict) -> dict:
    return {key: value for key, value in tensors.items() if key.startswith("features.")}


# Written and read


@pytest.fixture(scope="module")
def trained() -> VGG19:
    """With batch norm, in a state far from the initial one."""
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


def test_checkpoint_is_a_plain_float16_safetensors_file_with_torchvisions_keys(checkpoint):
    """Opened without torch."""
    arrays = load_numpy(checkpoint)
    with torch.device("meta"):
        theirs = torchvision.models.vgg19().features.state_dict()
    convolutional = {key.removeprefix("features."): a.shape for key, a in arrays.items() if key.startswith("features.")}
    assert convolutional == {key: tuple(value.shape) for key, value in theirs.items()}
    assert {key for key in arrays if not key.startswith("features.")} == {
        "classifier.0.weight", "classifier.0.bias", "classifier.3.weight", "classifier.3.bias",
    }  # fmt: skip
    assert {a.dtype for a in arrays.values()} == {np.dtype(np.float16)}


def test_checkpoint_with_100_classes_is_under_45_megabytes(random_checkpoint):
    """Small enough to lie in a repository."""
    assert random_checkpoint.stat().st_size < 45e6


def test_metadata_is_json_inside_the_file(checkpoint):
    header = checkpoint.read_bytes()
    length = struct.unpack("<Q", header[:8])[0]
    text = json.loads(header[8 : 8 + length])["__metadata__"]
    assert text.pop("format") == "pt"  # which other programs look for
    assert {key: json.loads(value) for key, value in text.items()} == {**METADATA, "pooling": "average"}


def test_round_trip(trained, checkpoint):
    """What is loaded computes what was trained, to float16's precision, and knows what was said of it."""
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


def test_saving_a_loaded_backbone_again_loses_nothing(checkpoint, tmp_path):
    again = save_checkpoint(load_backbone(checkpoint).network, tmp_path / "again.safetensors", METADATA)
    first, second = load_numpy(checkpoint), load_numpy(again)
    assert all(np.array_equal(first[key], second[key]) for key in first)


def test_metadata_is_obeyed_by_the_extractor(checkpoint):
    extractor = load_backbone(checkpoint).extractor(["conv1_1", "conv2_1"])
    assert isinstance(extractor.pool, torch.nn.AvgPool2d)
    weights = load_file(checkpoint)
    x = torch.rand(1, 3, 20, 24)
    normalised = (x - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) / torch.tensor([0.2, 0.25, 0.3]).view(3, 1, 1)
    weight, bias = weights["features.0.weight"].float(), weights["features.0.bias"].float()
    expected = torch.nn.functional.conv2d(normalised, weight, bias, padding=1).relu()
    torch.testing.assert_close(extractor(x)["conv1_1"], expected, rtol=1e-4, atol=1e-4)
    other = load_backbone(checkpoint).extractor(["conv2_1"], pooling="max")
    assert isinstance(other.pool, torch.nn.MaxPool2d)


def test_diverged_weights_are_not_exported(tmp_path):
    network = VGG19(2)
    with torch.no_grad():
        network.features[5].weight[0, 0, 0, 0] = 1e6  # beyond float16
    target = tmp_path / "a.safetensors"
    assert "features.5.weight" in refused(target, lambda path: save_checkpoint(network, path, METADATA))
    assert list(tmp_path.iterdir()) == []


def test_checkpoint_without_metadata_or_classifier_has_imagenets_normalisation(tensors, tmp_path):
    backbone = load_backbone(write(tmp_path / "plain.safetensors", features_only(tensors)))
    assert (backbone.mean, backbone.std) == (IMAGENET_MEAN, IMAGENET_STD)
    assert backbone.network.pooling == "max"


@pytest.mark.parametrize("suffix", ["pt", "pth"])
def test_torch_state_dict_is_accepted(tensors, tmp_path, suffix):
    torch.save(tensors, tmp_path / f"a.{suffix}")
    state = load_backbone(tmp_path / f"a.{suffix}").network.state_dict()
    assert all(torch.equal(state[key], value.float()) for key, value in tensors.items())


def test_torchvisions_own_state_dict_is_accepted_without_its_classifier(tensors, tmp_path):
    """Its fully connected layers (25088 inputs, 4096 hidden) do not fit and are not needed to paint."""
    data = features_only(tensors)
    for index, (rows, columns) in {0: (4096, 25088), 3: (4096, 4096), 6: (1000, 4096)}.items():
        data[f"classifier.{index}.weight"] = torch.zeros(1).expand(rows, columns)  # one number on disk
        data[f"classifier.{index}.bias"] = torch.zeros(rows)
    torch.save(data, tmp_path / "vgg19.pth")
    backbone = load_backbone(tmp_path / "vgg19.pth")
    assert torch.equal(backbone.network.features[0].weight, tensors["features.0.weight"].float())


# Shared


def test_the_same_file_is_loaded_once(random_checkpoint, monkeypatch):
    first = load_backbone(random_checkpoint)
    assert load_backbone(str(random_checkpoint)) is first
    monkeypatch.chdir(random_checkpoint.parent)
    assert load_backbone(random_checkpoint.name) is first


def test_a_file_written_anew_is_read_anew(tensors, tmp_path):
    path = write(tmp_path / "a.safetensors", features_only(tensors))
    first = load_backbone(path)
    changed = {key: -value for key, value in features_only(tensors).items()}
    write_atomically(path, lambda temporary: save_file(changed, temporary))
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))  # file systems with coarse clocks
    second = load_backbone(path)
    assert second is not first
    assert second.sha256 != first.sha256
    assert torch.equal(second.network.features[0].weight, -first.network.features[0].weight)


def test_prepared_is_made_once_per_kind_and_leaves_the_shared_network_alone(random_checkpoint):
    backbone = load_backbone(random_checkpoint)
    kind = {"dtype": torch.bfloat16, "memory_format": torch.channels_last}
    prepared = backbone.prepared(torch.device("cpu"), **kind)
    assert backbone.prepared("cpu", **kind) is prepared
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


# Refused


@pytest.mark.parametrize("suffix", ["safetensors", "pt", "pth"])
def test_missing_file_is_refused(tmp_path, suffix):
    message = refused(tmp_path / f"nowhere.{suffix}")
    assert f"nowhere.{suffix}" in message
    assert str(tmp_path) not in message


@pytest.mark.parametrize("suffix", ["safetensors", "pt", "pth"])
@pytest.mark.parametrize("content", ["empty", "random", "text", "truncated"])
def test_damaged_file_is_refused(random_checkpoint, tensors, tmp_path, suffix, content):
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


def test_folder_named_like_a_checkpoint_is_refused(tmp_path):
    (tmp_path / "a.safetensors").mkdir()
    assert "a.safetensors" in refused(tmp_path / "a.safetensors")


@pytest.mark.parametrize("lost", ["features.0.weight", "features.34.bias", "classifier.0.weight"])
def test_missing_key_is_named(tensors, tmp_path, lost):
    message = refused(write(tmp_path / "a.safetensors", {k: v for k, v in tensors.items() if k != lost}))
    assert lost in message
    assert "1 key" in message


def test_another_networks_checkpoint_is_refused(tmp_path):
    message = refused(write(tmp_path / "a.safetensors", {"conv1.weight": torch.zeros(3)}))
    assert "32 keys missing" in message


def test_batch_norm_state_is_refused(trained, tmp_path):
    """`vgg19_bn` numbers its convolutions otherwise; taking them for a plain VGG19's would paint noise."""
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
def test_wrong_shape_is_named(tensors, tmp_path, key, shape):
    message = refused(write(tmp_path / "a.safetensors", {**tensors, key: torch.zeros(shape, dtype=torch.float16)}))
    assert key.split(".")[0] in message
    if key.startswith("features"):
        assert key in message
        assert "x".join(map(str, tensors[key].shape)) in message
        assert "x".join(map(str, shape)) in message


def test_a_hostile_shape_reserves_no_memory(tensors, tmp_path):
    """A torch file can claim a trillion classes in one stored number."""
    torch.save({**tensors, "classifier.3.bias": torch.zeros(1).expand(10**12)}, tmp_path / "a.pt")
    assert "classifier.3" in refused(tmp_path / "a.pt")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tensors, tmp_path, value):
    weight = tensors["features.14.weight"].clone()
    weight[3, 2, 1, 0] = value
    assert "features.14.weight" in refused(write(tmp_path / "a.safetensors", {**tensors, "features.14.weight": weight}))


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
def test_weights_that_are_no_fractions_are_refused(tensors, tmp_path, dtype):
    data = {**tensors, "features.0.bias": torch.zeros(64, dtype=dtype)}
    assert "features.0.bias" in refused(write(tmp_path / "a.safetensors", data))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float8_e4m3fn])
def test_other_floating_types_are_accepted(tensors, tmp_path, dtype):
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
def test_bad_normalisation_is_refused(tensors, tmp_path, name, wrong):
    message = refused(write(tmp_path / "a.safetensors", features_only(tensors), **{name: wrong}))
    assert "a.safetensors" in message
    assert "mean and std" in message


@pytest.mark.parametrize("wrong", ["median", ["max"]])
def test_bad_pooling_is_refused(tensors, tmp_path, wrong):
    assert "pooling" in refused(write(tmp_path / "a.safetensors", features_only(tensors), pooling=wrong))


@pytest.mark.parametrize("text", ["not json", "[" * 100_000])
def test_other_metadata_that_is_no_json_is_kept_as_text(tensors, tmp_path, text):
    save_file(features_only(tensors), tmp_path / "a.safetensors", metadata={"author": text})
    assert load_backbone(tmp_path / "a.safetensors").metadata == {"author": text}


class Payload:
    """Writes a file when unpickled."""

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
        assert mark.exists()  # the payload works


@pytest.mark.parametrize("data", [[1, 2], {"state_dict": {}}, torch.zeros(3), {"epoch": 3}, {}])
def test_torch_file_that_is_no_table_of_weights_is_refused(tmp_path, data):
    torch.save(data, tmp_path / "a.pt")
    assert "a.pt" in refused(tmp_path / "a.pt")


@pytest.mark.parametrize("name", [
    "resnet", "", "CIFAR100", "..", "../x", "x/..", "../../etc/passwd", "a/../b", "owner/name@../../main",
    "a/b/c", "owner/", "/name", "owner/na me", "http://example.org/x", "weights.bin", "x" * 5000,
])  # fmt: skip
def test_unknown_name_is_refused_without_asking_the_network(name, monkeypatch):
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: pytest.fail("asked the network"))
    message = refused(name[:200])
    assert "Unknown backbone" in message
    assert "cifar100" in message


def test_missing_bundled_checkpoint_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(bundled, "REPOSITORY", tmp_path / "one" / "vgg19-cifar100.safetensors")
    monkeypatch.setattr(bundled, "PACKAGE", tmp_path / "two" / "vgg19-cifar100.safetensors")
    assert "missing" in refused("cifar100")


@pytest.mark.parametrize("place", ["REPOSITORY", "PACKAGE"])
def test_bundled_checkpoint_is_found_in_the_repository_or_the_package(monkeypatch, tmp_path, random_checkpoint, place):
    for name in ("REPOSITORY", "PACKAGE"):
        monkeypatch.setattr(bundled, name, random_checkpoint if name == place else tmp_path / "nowhere.safetensors")
    assert load_backbone().name == "cifar100"


# Without a network


@contextlib.contextmanager
def listener(answer: bytes | None):
    """A host that takes connections and says nothing, or only `answer`; yields its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        if answer is None:
            yield address
            return
        code = (
            "import socket, sys\n"
            "s = socket.socket(fileno=int(sys.argv[1]))\n"
            "while True:\n    c = s.accept()[0]; c.recv(9999); c.sendall(eval(sys.argv[2])); c.close()"
        )
        number = server.fileno()
        with subprocess.Popen([sys.executable, "-c", code, str(number), repr(answer)], pass_fds=[number]) as process:
            try:
                yield address
            finally:
                process.kill()


@pytest.fixture(params=["refuses", "is silent", "talks nonsense"])
def dead_host(request, monkeypatch, tmp_path):
    """Every download ends at a host of this machine that is no use."""
    monkeypatch.setattr(hub, "TIMEOUT", 0.5)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in ("no_proxy", "NO_PROXY", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with contextlib.ExitStack() as stack:
        if request.param == "refuses":
            with socket.create_server(("127.0.0.1", 0)) as server:
                address = f"http://127.0.0.1:{server.getsockname()[1]}"  # closed again: nobody listens there
        else:
            address = stack.enter_context(listener(b"nonsense\r\n\r\n" if "nonsense" in request.param else None))
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setenv("https_proxy", address)  # torchvision's address is fixed; the way there is not
        monkeypatch.setattr(urllib.request, "_opener", None)  # it remembers the proxy of the first request ever made
        yield


@pytest.mark.parametrize("name", ["imagenet", "owner/name", "owner/name@main", "owner/name@" + "0" * 40])
def test_no_network_is_one_clear_error_within_seconds(dead_host, monkeypatch, name):
    """Within `TIMEOUT`, that is: the libraries' downloads, which retry for half a minute, are not begun."""
    cached = huggingface_hub.hf_hub_download

    def only_cached(*names, local_files_only=False, **ask):
        assert local_files_only, "began a download"
        return cached(*names, local_files_only=True, **ask)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", only_cached)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *_, **__: pytest.fail("began a download"))
    message = refused(name)
    assert "no network" in message
    assert "cifar100" in message


def test_revision_in_the_cache_needs_no_network(monkeypatch, tmp_path, random_checkpoint):
    """A full commit never changes, so the cached file is right even where a host could be asked."""
    commit = "0123456789abcdef" * 2 + "01234567"
    snapshot = tmp_path / "models--owner--name" / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").symlink_to(random_checkpoint)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: pytest.fail("asked the network"))
    backbone = load_backbone(f"owner/name@{commit}")
    assert backbone.name == f"owner/name@{commit}"
    assert backbone.sha256 == hashlib.sha256(random_checkpoint.read_bytes()).hexdigest()


def test_cached_branch_is_used_when_the_network_is_away(monkeypatch, tmp_path, random_checkpoint):
    repository = tmp_path / "models--owner--name"
    (repository / "snapshots" / ("a" * 40)).mkdir(parents=True)
    (repository / "snapshots" / ("a" * 40) / "model.safetensors").symlink_to(random_checkpoint)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))

    def unreachable(*_):
        raise StyleTransferError("no network")

    monkeypatch.setattr(hub, "check_reachable", unreachable)
    assert load_backbone("owner/name").sha256 == hashlib.sha256(random_checkpoint.read_bytes()).hexdigest()
    assert "no network" in refused("owner/name@other-branch")


@pytest.mark.parametrize("error", [httpx.ReadError("cut off"), httpx.ConnectTimeout("slow"), OSError("disk full")])
def test_download_that_breaks_off_is_one_clear_error(monkeypatch, error):
    def breaks_off(**_):
        raise error

    monkeypatch.setattr(hub, "check_reachable", lambda *_: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", breaks_off)
    assert "owner/name" in refused("owner/name")


def test_imagenet_weights_in_torchs_cache_need_no_network(monkeypatch, tmp_path, tensors):
    """The file that torchvision would download, with torchvision's full set of keys."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: pytest.fail("asked the network"))
    url = torchvision.models.VGG19_Weights.IMAGENET1K_V1.url
    path = tmp_path / "hub" / "checkpoints" / url.rsplit("/", 1)[-1]
    path.parent.mkdir(parents=True)
    torch.save({**features_only(tensors), "classifier.6.bias": torch.zeros(1000)}, path)
    backbone = load_backbone("imagenet")
    assert load_backbone("imagenet") is backbone
    assert (backbone.mean, backbone.std) == (IMAGENET_MEAN, IMAGENET_STD)
    assert backbone.network.pooling == "max"
    assert "ImageNet" in backbone.metadata["dataset"]
    assert torch.equal(backbone.network.features[0].weight, tensors["features.0.weight"].float())


def test_damaged_imagenet_weights_in_torchs_cache_are_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = tmp_path / "hub" / "checkpoints" / torchvision.models.VGG19_Weights.IMAGENET1K_V1.url.rsplit("/", 1)[-1]
    path.parent.mkdir(parents=True)
    path.write_bytes(b"cut short")
    assert "ImageNet" in refused("imagenet")


# Whole files


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_finished_file_replaces_the_old_one(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    names = []

    def write_new(temporary):
        names.append(Path(temporary))
        Path(temporary).write_text("new")
        assert path.read_text() == "old"

    assert write_atomically(path, write_new) == path
    assert contents(tmp_path) == {"a.txt": "new"}
    assert names[0].suffix == ".txt"
    assert names[0].parent == tmp_path


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), RuntimeError("a\nb"), KeyError("x"), KeyboardInterrupt()]
)
def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, error):
    (tmp_path / "a.txt").write_text("old")

    def fail(temporary):
        Path(temporary).write_text("half")
        raise error

    with pytest.raises((StyleTransferError, type(error))) as caught:
        write_atomically(tmp_path / "a.txt", fail)
    assert contents(tmp_path) == {"a.txt": "old"}
    if isinstance(error, OSError):
        assert type(caught.value) is StyleTransferError
        assert "No space left" in str(caught.value)
    assert type(error) is KeyError or "\n" not in str(caught.value)


FULL_DISK = """
import resource, sys, torch
from pathlib import Path
from safetensors.torch import save_file
from nst.errors import StyleTransferError
from nst.files import write_atomically

resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # fails in the same place as a full disk
for name, write in {
    "a.safetensors": lambda path: save_file({"x": torch.zeros(10**6)}, path),
    "a.pt": lambda path: torch.save(torch.zeros(10**6), path),
    "a.txt": lambda path: Path(path).write_bytes(bytes(10**6)),
}.items():
    try:
        write_atomically(Path(sys.argv[1]) / name, write)
    except StyleTransferError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no file size limit to set")
def test_full_disk_is_one_line_whichever_library_writes(tmp_path):
    """safetensors and torch report it by errors of their own, not by OSError."""
    run = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    result = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    assert [line.split(":")[0] for line in result.stdout.splitlines()] == ["a.safetensors", "a.pt", "a.txt"]
    assert contents(tmp_path) == {}


def test_missing_folders_are_made(tmp_path):
    write_atomically(tmp_path / "a" / "b" / "c.txt", lambda temporary: Path(temporary).write_text("x"))
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "x"


def test_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("in the way")
    message = refused(
        tmp_path / "file" / "a.txt", lambda path: write_atomically(path, lambda _: pytest.fail("written"))
    )
    assert message.startswith("a.txt: cannot be written")


def test_read_only_folder_is_refused(tmp_path):
    tmp_path.chmod(0o555)
    try:
        if os.access(tmp_path, os.W_OK):
            pytest.skip("this user may write everywhere")
        refused(tmp_path / "a.txt", lambda path: write_atomically(path, lambda _: pytest.fail("written")))
    finally:
        tmp_path.chmod(0o755)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
@pytest.mark.parametrize("mask, mode", [(0o022, 0o644), (0o077, 0o600)])
def test_permissions_follow_the_umask(tmp_path, mask, mode):
    """As if `open` had made the file: readable by others where the user's files are."""
    before = os.umask(mask)
    try:
        write_atomically(tmp_path / "a.txt", lambda temporary: Path(temporary).write_text("x"))
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == mode


# Hardware


def test_processor_with_float32_is_channels_last():
    hardware = choose_hardware("cpu", "float32")
    assert (hardware.device.type, hardware.dtype) == ("cpu", torch.float32)
    assert hardware.memory_format == torch.channels_last


def test_threads_follow_what_a_container_may_use(tmp_path, monkeypatch):
    limit = tmp_path / "cpu.max"
    monkeypatch.setattr("nst.hardware.CPU_LIMIT", limit)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    for text, cores in (("max 100000", 16), ("200000 100000", 2), ("50000 100000", 1), ("9900000 100000", 16)):
        limit.write_text(text)
        assert usable_cores() == cores
    limit.unlink()
    assert usable_cores() == 16


def test_no_more_threads_than_cores_unless_told(tmp_path, monkeypatch):
    (tmp_path / "cpu.max").write_text("100000 100000")
    monkeypatch.setattr("nst.hardware.CPU_LIMIT", tmp_path / "cpu.max")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        choose_hardware("cpu")
        assert torch.get_num_threads() == 2
        monkeypatch.delenv("OMP_NUM_THREADS")
        choose_hardware("cpu")
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_how_it_computes_is_told_in_words(monkeypatch):
    monkeypatch.setattr("nst.hardware.usable_cores", lambda: 4)  # more threads than cores are not taken
    before = torch.get_num_threads()
    try:
        for threads, said in ((1, "1 thread"), (3, "3 threads")):
            torch.set_num_threads(threads)
            assert computing("cpu", "float32") == f"cpu, float32, {said}, channels last"
    finally:
        torch.set_num_threads(before)


def test_bf16_is_channels_last():
    hardware = choose_hardware("cpu", "bf16")
    assert (hardware.dtype, hardware.memory_format) == (torch.bfloat16, torch.channels_last)
    assert str(hardware) == "cpu, bf16"


@pytest.mark.parametrize(
    "cuda, mps, chosen", [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_auto_takes_the_first_accelerator_there_is(monkeypatch, cuda, mps, chosen):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert choose_hardware("auto", "float32").device.type == chosen


@pytest.mark.parametrize("native, dtype", [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_precision_is_bf16_only_where_it_is_native(monkeypatch, native, dtype):
    """Emulated, it is slower than float32."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert choose_hardware("cpu", "auto").dtype == dtype


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_absent_device_is_refused(monkeypatch, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert device in refused(device, choose_hardware)


@pytest.mark.parametrize("arguments", [("tpu", "auto"), ("auto", "float16"), ("", "auto")])
def test_unknown_device_or_precision_is_refused(arguments):
    refused(arguments, lambda both: choose_hardware(*both))


def test_safetensors_metadata_stays_readable_by_the_official_library(checkpoint):
    with safe_open(checkpoint, "np") as file:
        assert json.loads(file.metadata()["top1"]) == 61.5
