"""Checkpoints that are published to a stand-in for the Hub, and downloaded from it at a revision."""

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub
import pytest
import torch
from huggingface_hub import ModelCard, constants
from safetensors.torch import load_file

from helpers.refusals import refusal
from helpers.training import NARROW, SMALL_TRAINING, train_py_refusal
from nst.models import checkpoints
from nst.models.checkpoints import load_backbone, save_checkpoint
from nst.models.hub import publish
from nst.models.vgg import VGG19

COMMIT = r"/([^/]+/[^/]+)/commit/([0-9a-f]{40})"


class Hub(BaseHTTPRequestHandler):
    """The part of the Hub's interface that publishing and downloading use.

    Its server has two attributes. `repositories` holds for each name the files of its commits, oldest first, as
    {commit: {file: bytes}}. `refused_path` is a part of the paths that are answered with 403. Writing needs the token
    "key".
    """

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def fail(self, status: int, code: str) -> None:
        self.answer(status, json.dumps({"error": code}).encode(), X_Error_Code=code)

    def do_GET(self):
        match = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/([^?]+)", self.path)
        if not match:
            return self.fail(404, "EntryNotFound")
        name, revision, file = match.groups()
        commits = self.server.repositories.get(name)
        if not commits:
            return self.fail(404, "RepoNotFound")
        commit = list(commits)[-1] if revision == "main" else revision
        if commit not in commits:
            return self.fail(404, "RevisionNotFound")
        if file not in commits[commit]:
            return self.fail(404, "EntryNotFound")
        content = commits[commit][file]
        self.answer(200, content, ETag=f'"{hashlib.sha256(content).hexdigest()}"', X_Repo_Commit=commit)

    do_HEAD = do_GET

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def do_POST(self):
        body = self.body()
        if self.headers.get("Authorization") != "Bearer key":
            return self.fail(401, "Unauthorized")
        if self.server.refused_path in self.path:
            return self.fail(403, "Forbidden")
        repositories, address = self.server.repositories, f"http://{self.headers['Host']}"
        if self.path == "/api/repos/create":
            request = json.loads(body)
            name = f"{request.get('organization') or 'me'}/{request['name']}"
            created = json.dumps({"url": f"{address}/{name}", "name": name, "id": name}).encode()
            if name in repositories:
                return self.answer(409, created)
            repositories[name] = {}
            return self.answer(200, created)
        if self.path == "/api/validate-yaml":
            return self.answer(200, b'{"errors": [], "warnings": []}')
        name, action = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit)/main", self.path).groups()
        if action == "preupload":
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]
            ]
            return self.answer(200, json.dumps({"files": files}).encode())
        commits = repositories[name]
        files = dict(commits[list(commits)[-1]]) if commits else {}
        for entry in map(json.loads, body.splitlines()):
            if entry["key"] == "file":
                files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
        commit = hashlib.sha1(f"{name} {len(commits)}".encode()).hexdigest()
        commits[commit] = files
        url = f"{address}/{name}/commit/{commit}"
        result = {"success": True, "commitOid": commit, "commitUrl": url, "hookOutput": ""}
        self.answer(200, json.dumps(result).encode())


@pytest.fixture
def stand_in(monkeypatch, tmp_path):
    """The server of an empty Hub on this machine, which huggingface_hub uses instead of the real one."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.repositories, server.refused_path = {}, "no path"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(checkpoints, "_cache", {})
    monkeypatch.setenv("HF_TOKEN", "key")
    for name in ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    huggingface_hub.close_session()  # the session remembers proxies
    yield server
    huggingface_hub.close_session()
    server.shutdown()
    server.server_close()


@pytest.fixture
def checkpoint(tmp_path):
    """A function that writes a narrow checkpoint with random weights, to the same path for every seed."""

    def write(seed: int):
        torch.manual_seed(seed)
        metadata = {"mean": [0.5] * 3, "std": [0.2] * 3, "dataset": "dots", "top1": 10.0 + seed, "top5": 50.0}
        return save_checkpoint(VGG19(4, width=NARROW), tmp_path / "mine.safetensors", metadata)

    return write


def published_commit(result) -> tuple[str, str]:
    """Return repository and commit of the address in the last line that train.py printed."""
    assert result.code == 0, result.stderr
    return re.fullmatch(r"http://[^/]+" + COMMIT, result.stdout.splitlines()[-1]).groups()


@pytest.mark.slow
def test_a_trained_checkpoint_is_published_with_its_card_and_curves(stand_in, tables, tmp_path, train_narrow):
    output = tmp_path / "mine.safetensors"
    result = train_narrow("--data", tables, "--run", tmp_path / "run", "--output", output, *SMALL_TRAINING,
                          "--epochs", 1, "--push-to-hub", "owner/name")  # fmt: skip
    name, commit = published_commit(result)
    assert name == "owner/name" and result.stdout.count("\n") == 2  # the figures of the training, and the address
    files = stand_in.repositories["owner/name"][commit]
    assert set(files) == {"model.safetensors", "README.md", "mine.svg"}
    assert files["model.safetensors"] == output.read_bytes()
    assert files["mine.svg"] == output.with_suffix(".svg").read_bytes()
    card = ModelCard(files["README.md"].decode()).text
    measured = json.loads(result.stdout.splitlines()[0])
    assert f"{measured['top1']} % / {measured['top5']} %" in card and "](mine.svg)" in card and "colours" in card


def test_every_published_revision_can_be_loaded(stand_in, checkpoint, train_py, tmp_path):
    commits, weights = [], []
    for seed in (1, 2):
        path = checkpoint(seed)
        result = train_py("--push-to-hub", "owner/name", "--output", path)
        assert result.stdout.count("\n") == 1
        commits.append(published_commit(result)[1])
        weights.append(load_file(path))
        card = stand_in.repositories["owner/name"][commits[-1]]["README.md"].decode()
        assert f"| top-1 / top-5 | {10.0 + seed} % " in card
    assert len(set(commits)) == 2
    key = "features.0.weight"
    assert not torch.equal(weights[0][key], weights[1][key])
    for name, number in ((f"owner/name@{commits[0]}", 0), ("owner/name", 1), (f"owner/name@{commits[1]}", 1),
                         ("owner/name@main", 1)):  # fmt: skip
        backbone = load_backbone(name)
        assert backbone.metadata["top1"] == 11.0 + number
        for key, value in weights[number].items():
            assert torch.equal(backbone.network.state_dict()[key], value.float()), (name, key)


def test_a_new_commit_of_a_branch_is_downloaded(stand_in, checkpoint):
    for seed in (1, 2):
        publish("owner/name", {"model.safetensors": checkpoint(seed)})
        assert load_backbone("owner/name").metadata["top1"] == 10.0 + seed


@pytest.mark.parametrize("path", ["/api/repos/create", "/preupload/", "/commit/"])
def test_a_refused_upload_is_one_line(stand_in, checkpoint, train_py, path):
    stand_in.refused_path = path
    message = train_py_refusal(train_py("--push-to-hub", "owner/name", "--output", checkpoint(1)))
    assert "owner/name" in message and "hf auth login" in message
    assert not stand_in.repositories.get("owner/name")


def test_an_upload_without_a_token_is_one_line(stand_in, checkpoint, train_py, monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
    assert "hf auth login" in train_py_refusal(train_py("--push-to-hub", "owner/name", "--output", checkpoint(1)))


@pytest.mark.parametrize("name", ["name", "owner/name/more", "../name", "owner/na me", ""])
def test_a_name_that_is_no_repository_is_refused_without_a_request(stand_in, checkpoint, name):
    assert "owner/name" in refusal(publish, name, {"model.safetensors": checkpoint(1)})
    assert stand_in.repositories == {}


def test_publishing_a_missing_checkpoint_is_refused_in_one_line(stand_in, tmp_path, train_py):
    result = train_py("--push-to-hub", "o/n", "--output", tmp_path / "no.safetensors")
    assert "no such checkpoint" in train_py_refusal(result)
    assert stand_in.repositories == {}


@pytest.mark.parametrize("name", ["owner/name@" + "0" * 40, "owner/name@no-such-branch", "owner/nothing"])
def test_an_unknown_revision_or_repository_is_one_line(stand_in, checkpoint, name):
    publish("owner/name", {"model.safetensors": checkpoint(1)})
    message = refusal(load_backbone, name)
    assert name in message and "check name and revision" in message


def test_a_repository_without_a_checkpoint_is_one_line(stand_in):
    publish("owner/name", {"README.md": b"# Nothing yet\n"})
    assert "model.safetensors could not be fetched" in refusal(load_backbone, "owner/name")


# A Hub or a connection that cannot be trusted


def repository_with_commit(stand_in, checkpoint) -> tuple[str, str]:
    """Create a repository with one commit. Return its name and the commit."""
    commit = hashlib.sha1(b"one").hexdigest()
    stand_in.repositories["owner/name"] = {commit: {"model.safetensors": checkpoint(1).read_bytes()}}
    return "owner/name", commit


def test_a_download_that_breaks_off_leaves_no_partial_file(stand_in, checkpoint, tmp_path, monkeypatch):
    name, commit = repository_with_commit(stand_in, checkpoint)
    whole = stand_in.repositories[name][commit]["model.safetensors"]
    answer = Hub.answer

    def answer_half(self, status, content=b"", **headers):
        if self.command == "HEAD" or len(content) < 1000:
            return answer(self, status, content, **headers)
        self.send_response(200)
        for key, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content[: len(content) // 2])
        self.close_connection = True

    monkeypatch.setattr(Hub, "answer", answer_half)
    monkeypatch.setattr("time.sleep", lambda _: None)  # huggingface_hub waits before it tries again
    assert "owner/name" in refusal(load_backbone, f"{name}@{commit}")
    assert not list((tmp_path / "cache").rglob("*.safetensors"))
    monkeypatch.setattr(Hub, "answer", answer)
    assert load_backbone(f"{name}@{commit}").sha256 == hashlib.sha256(whole).hexdigest()


def test_a_file_that_differs_from_its_checksum_is_not_used(stand_in, checkpoint, tmp_path, monkeypatch):
    name, commit = repository_with_commit(stand_in, checkpoint)
    answer = Hub.answer

    def answer_changed(self, status, content=b"", **headers):
        if len(content) > 1000:
            content = content[:-2] + b"\0\0" if content[-2:] != b"\0\0" else content[:-2] + b"\1\1"
        answer(self, status, content, **headers)

    with monkeypatch.context() as patch:
        patch.setattr(Hub, "answer", answer_changed)
        assert "checksum" in refusal(load_backbone, f"{name}@{commit}")
    assert load_backbone(f"{name}@{commit}").metadata["dataset"] == "dots"


def test_a_commit_other_than_the_pinned_commit_is_not_used(stand_in, checkpoint, monkeypatch):
    name, commit = repository_with_commit(stand_in, checkpoint)
    answer = Hub.answer

    def answer_other_commit(self, status, content=b"", **headers):
        answer(self, status, content, **headers | ({"X_Repo_Commit": "b" * 40} if "X_Repo_Commit" in headers else {}))

    monkeypatch.setattr(Hub, "answer", answer_other_commit)
    assert "another commit" in refusal(load_backbone, f"{name}@{commit}")


def test_a_name_from_the_hub_cannot_lead_out_of_the_cache(stand_in, checkpoint, tmp_path, monkeypatch):
    """The Hub answers with a commit of the name `../../../..`. No file outside the cache may be written."""
    name, commit = repository_with_commit(stand_in, checkpoint)
    answer = Hub.answer

    def answer_with_path(self, status, content=b"", **headers):
        lie = {"X_Repo_Commit": "../../../.."} if "X_Repo_Commit" in headers else {}
        answer(self, status, content, **headers | lie)

    monkeypatch.setattr(Hub, "answer", answer_with_path)
    before = {path for path in tmp_path.rglob("*") if "cache" not in path.parts}
    assert "owner/name" in refusal(load_backbone, f"{name}@{commit}")
    assert {path for path in tmp_path.rglob("*") if "cache" not in path.parts} == before
