"""Checkpoints on the Hugging Face Hub: fetched, pinned to a revision where one is named, and published."""

import functools
import hashlib
import http.client
import re
import urllib.error
import urllib.request
from pathlib import Path

from nst.errors import StyleTransferError

FILE = "model.safetensors"
TIMEOUT = 5  # seconds until a host that does not answer counts as unreachable


def download(repository: str, revision: str = "") -> Path:
    """`model.safetensors` of `owner/name` at a branch, tag or commit (by default `main`), in the Hub's own cache.

    Raises StyleTransferError for a wrong name or revision and, within seconds, when there is no network and no cached
    file.
    """
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    def fetch(**options) -> Path:
        path = hf_hub_download(repository, FILE, revision=revision or None, **options)
        return _verified(Path(path), repository, revision)

    try:
        if re.fullmatch(r"[0-9a-f]{40}", revision):  # a full commit never changes: the cached file is the right one
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
    except Exception as error:  # a bad name, no such file, or whatever the HTTP library under the Hub's own raises
        name = f"{repository}@{revision}" if revision else repository
        raise StyleTransferError(
            f"{name}: {FILE} could not be fetched from the Hub ({type(error).__name__}); check name and revision."
        ) from error


def _verified(path: Path, repository: str, revision: str) -> Path:
    """`path` if it is of the commit that was asked for and has the checksum that the Hub promised: its blob's name."""
    if re.fullmatch(r"[0-9a-f]{40}", revision) and path.parent.name != revision:
        raise StyleTransferError(f"{repository}: the Hub sent another commit than {revision}; it was not used.")
    blob = path.resolve()
    status = blob.stat()
    if re.fullmatch(r"[0-9a-f]{64}", blob.name) and _sha256(blob, status.st_mtime_ns, status.st_size) != blob.name:
        blob.unlink()
        raise StyleTransferError(f"{repository}: what the Hub sent had a wrong checksum and was removed; try again.")
    return path


@functools.lru_cache(maxsize=16)
def _sha256(path: Path, mtime_ns: int, size: int) -> str:
    """Of a file, read once while it stays as it is: every run asks for its backbone anew."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def publish(repository: str, files: dict[str, Path | bytes]) -> str:
    """Upload `files` (by their names there) in one commit to the model repository `owner/name`, made if need be.

    Returns the commit's address. The token is the one that `hf auth login` stored, or HF_TOKEN.

    Raises StyleTransferError when the Hub refuses or cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, constants

    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository) or ".." in repository:
        raise StyleTransferError(f"{repository!r} is no repository's name: write owner/name.")
    check_reachable(constants.ENDPOINT, f"The Hub repository {repository}")
    api = HfApi()
    try:
        api.create_repo(repository, exist_ok=True)
        operations = [CommitOperationAdd(name, content) for name, content in files.items()]
        return api.create_commit(repository, operations, commit_message="Upload the checkpoint and its card").commit_url
    except Exception as error:  # not logged in, not allowed, or whatever the HTTP library under the Hub's own raises
        raise StyleTransferError(
            f"{repository}: the Hub did not take it ({type(error).__name__}); is `hf auth login` done?"
        ) from error


def check_reachable(url: str, what: str) -> None:
    """Fail within `TIMEOUT` seconds; the download libraries would retry for half a minute first."""
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=TIMEOUT).close()
    except urllib.error.HTTPError:
        pass  # it answered
    except (OSError, http.client.HTTPException) as error:
        raise StyleTransferError(f"{what} cannot be reached: no network. The bundled cifar100 needs none.") from error
