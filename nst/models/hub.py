"""The Hugging Face Hub: download checkpoints, pinned to a revision where one is named, and publish them."""

import functools
import hashlib
import http.client
import re
import urllib.error
import urllib.request
from pathlib import Path

from nst.errors import StyleTransferError

FILE = "model.safetensors"  # the checkpoint's name in a repository
TIMEOUT = 5  # seconds after which a host that does not answer counts as unreachable
_HUB_ID = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def split_hub_id(name: str) -> tuple[str, str] | None:
    """Return repository and revision of `owner/name` or `owner/name@revision`; None if the name is no such id.

    The revision is empty where none is named.
    """
    match = _HUB_ID.fullmatch(name)
    return None if match is None or ".." in name else (match["repository"], match["revision"] or "")


def download(repository: str, revision: str = "") -> Path:
    """Return the path of `model.safetensors` of `owner/name` at a branch, tag or commit, in the Hub's own cache.

    revision: by default `main`.

    Raises StyleTransferError for a wrong name or revision and, within seconds, when there is neither a network nor a
    cached file.
    """
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    def fetch(**options) -> Path:
        path = hf_hub_download(repository, FILE, revision=revision or None, **options)
        return _verify(Path(path), repository, revision)

    try:
        if _COMMIT.fullmatch(revision):  # a commit never changes, so its cached file is the right one
            try:
                return fetch(local_files_only=True)
            except LocalEntryNotFoundError:
                pass
        try:
            check_reachable(constants.ENDPOINT, f"The Hub repository {repository}")
        except StyleTransferError:
            try:
                return fetch(local_files_only=True)
            except LocalEntryNotFoundError:
                pass
            raise
        return fetch()
    except StyleTransferError:
        raise
    except Exception as error:  # a wrong name, no such file, or any error of the HTTP library below
        name = f"{repository}@{revision}" if revision else repository
        raise StyleTransferError(
            f"{name}: {FILE} could not be fetched from the Hub ({type(error).__name__}); check name and revision."
        ) from error


def _verify(path: Path, repository: str, revision: str) -> Path:
    """Return `path` if it is of the requested commit and has the checksum that the Hub promised: its blob's name."""
    if _COMMIT.fullmatch(revision) and path.parent.name != revision:
        raise StyleTransferError(f"{repository}: the Hub sent another commit than {revision}; it was not used.")
    blob = path.resolve()
    status = blob.stat()
    if _SHA256.fullmatch(blob.name) and _sha256(blob, status.st_mtime_ns, status.st_size) != blob.name:
        blob.unlink()
        raise StyleTransferError(f"{repository}: what the Hub sent had a wrong checksum and was removed; try again.")
    return path


@functools.lru_cache(maxsize=16)
def _sha256(path: Path, mtime_ns: int, size: int) -> str:
    """Return a file's checksum. It is read once while it does not change: every run asks for its backbone again."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def publish(repository: str, files: dict[str, Path | bytes]) -> str:
    """Upload `files`, by their names there, in one commit to the model repository `owner/name`; create it if needed.

    Returns the commit's address. The token is the one that `hf auth login` stored, or HF_TOKEN.

    Raises StyleTransferError when the Hub refuses or cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, constants

    if split_hub_id(repository) != (repository, ""):
        raise StyleTransferError(f"{repository!r} is no repository's name: write owner/name.")
    check_reachable(constants.ENDPOINT, f"The Hub repository {repository}")
    api = HfApi()
    try:
        api.create_repo(repository, exist_ok=True)
        operations = [CommitOperationAdd(name, content) for name, content in files.items()]
        return api.create_commit(repository, operations, commit_message="Upload the checkpoint and its card").commit_url
    except Exception as error:  # not logged in, not allowed, or any error of the HTTP library below
        raise StyleTransferError(
            f"{repository}: the Hub did not take it ({type(error).__name__}); is `hf auth login` done?"
        ) from error


def check_reachable(url: str, name: str) -> None:
    """Raise StyleTransferError within `TIMEOUT` seconds if `url` does not answer.

    The download libraries would retry for half a minute first. name: what messages call the resource.
    """
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=TIMEOUT).close()
    except urllib.error.HTTPError:
        pass  # it answered
    except (OSError, http.client.HTTPException) as error:
        raise StyleTransferError(f"{name} cannot be reached: no network. The bundled cifar100 needs none.") from error
