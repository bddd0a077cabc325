"""Backbones that need a download: without a network, and with the file in a cache."""

import contextlib
import functools
import hashlib
import socket
import subprocess
import sys
import urllib.request

import httpx
import huggingface_hub
import pytest
import torch
import torchvision
from huggingface_hub import constants
from safetensors.torch import load_file

from helpers.refusals import refusal
from nst.errors import StyleTransferError
from nst.io.tensors import IMAGENET_MEAN, IMAGENET_STD
from nst.models import checkpoints, hub
from nst.models.checkpoints import load_backbone

refused = functools.partial(refusal, load_backbone)


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch):
    """These tests share no loaded backbone with other tests."""
    monkeypatch.setattr(checkpoints, "_cache", {})


@contextlib.contextmanager
def listener(answer: bytes | None):
    """Yield the address of a host that accepts connections and sends only `answer`, or nothing if it is None."""
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
    """Every download goes to a host on this machine that refuses it, is silent, or sends nonsense."""
    monkeypatch.setattr(hub, "TIMEOUT", 0.5)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in ("no_proxy", "NO_PROXY", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with contextlib.ExitStack() as stack:
        if request.param == "refuses":
            with socket.create_server(("127.0.0.1", 0)) as server:
                address = f"http://127.0.0.1:{server.getsockname()[1]}"  # closed again, so that nobody listens there
        else:
            address = stack.enter_context(listener(b"nonsense\r\n\r\n" if "nonsense" in request.param else None))
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setenv("https_proxy", address)  # torchvision's address is fixed, so redirect it by a proxy
        monkeypatch.setattr(urllib.request, "_opener", None)  # urllib remembers the proxy of its first request
        yield


@pytest.mark.parametrize("name", ["imagenet", "owner/name", "owner/name@main", "owner/name@" + "0" * 40])
def test_without_a_network_the_error_is_one_clear_line_within_seconds(dead_host, monkeypatch, name):
    """The check ends within `TIMEOUT`. The libraries' downloads retry for half a minute, so none may begin."""
    download = huggingface_hub.hf_hub_download

    def download_from_cache(*arguments, local_files_only=False, **options):
        assert local_files_only, "began a download"
        return download(*arguments, local_files_only=True, **options)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download_from_cache)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *_, **__: pytest.fail("began a download"))
    message = refused(name)
    assert "no network" in message
    assert "cifar100" in message


def test_a_cached_commit_needs_no_network(monkeypatch, tmp_path, random_checkpoint):
    """The files of a full commit never change, so the cached file is right even with a network."""
    commit = "0123456789abcdef" * 2 + "01234567"
    snapshot = tmp_path / "models--owner--name" / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").symlink_to(random_checkpoint)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: pytest.fail("sent a request"))
    backbone = load_backbone(f"owner/name@{commit}")
    assert backbone.name == f"owner/name@{commit}"
    assert backbone.sha256 == hashlib.sha256(random_checkpoint.read_bytes()).hexdigest()


def test_a_cached_branch_is_used_without_a_network(monkeypatch, tmp_path, random_checkpoint):
    repository = tmp_path / "models--owner--name"
    (repository / "snapshots" / ("a" * 40)).mkdir(parents=True)
    (repository / "snapshots" / ("a" * 40) / "model.safetensors").symlink_to(random_checkpoint)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))

    def fail(*_):
        raise StyleTransferError("no network")

    monkeypatch.setattr(hub, "check_reachable", fail)
    assert load_backbone("owner/name").sha256 == hashlib.sha256(random_checkpoint.read_bytes()).hexdigest()
    assert "no network" in refused("owner/name@other-branch")


@pytest.mark.parametrize("error", [httpx.ReadError("cut off"), httpx.ConnectTimeout("slow"), OSError("disk full")])
def test_a_download_that_breaks_off_is_one_clear_error(monkeypatch, error):
    def break_off(**_):
        raise error

    monkeypatch.setattr(hub, "check_reachable", lambda *_: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", break_off)
    assert "owner/name" in refused("owner/name")


def test_imagenet_weights_in_torchs_cache_need_no_network(monkeypatch, tmp_path, random_checkpoint):
    """The cached file has the name of torchvision's download and torchvision's keys."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: pytest.fail("sent a request"))
    url = torchvision.models.VGG19_Weights.IMAGENET1K_V1.url
    path = tmp_path / "hub" / "checkpoints" / url.rsplit("/", 1)[-1]
    path.parent.mkdir(parents=True)
    features = {key: value for key, value in load_file(random_checkpoint).items() if key.startswith("features.")}
    torch.save({**features, "classifier.6.bias": torch.zeros(1000)}, path)
    backbone = load_backbone("imagenet")
    assert load_backbone("imagenet") is backbone
    assert (backbone.mean, backbone.std) == (IMAGENET_MEAN, IMAGENET_STD)
    assert backbone.network.pooling == "max"
    assert "ImageNet" in backbone.metadata["dataset"]
    assert torch.equal(backbone.network.features[0].weight, features["features.0.weight"].float())


def test_damaged_imagenet_weights_in_torchs_cache_are_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = tmp_path / "hub" / "checkpoints" / torchvision.models.VGG19_Weights.IMAGENET1K_V1.url.rsplit("/", 1)[-1]
    path.parent.mkdir(parents=True)
    path.write_bytes(b"cut short")
    assert "ImageNet" in refused("imagenet")
