"""The figures of a training: totals of an epoch, and `metrics.jsonl` with a row for each epoch."""

import json
from pathlib import Path

import torch
from torch import Tensor

from nst.errors import StyleTransferError
from nst.io.files import write_atomically


class EpochTotals:
    """The loss and the correct answers of an epoch so far. They stay on the device until they are read."""

    def __init__(self, device: torch.device):
        self.pictures = 0
        self._loss, self._correct = torch.zeros((), device=device), torch.zeros((), device=device)

    def add(self, loss: Tensor, correct: Tensor, pictures: int) -> None:
        """Add the sums over a batch."""
        self._loss, self._correct = self._loss + loss, self._correct + correct
        self.pictures += pictures

    def mean_loss(self) -> float:
        """Return the mean loss. A GPU finishes its work first."""
        return self._loss.item() / self.pictures

    def top1(self) -> float:
        """Return the top-1 accuracy in percent. A GPU finishes its work first."""
        return 100 * self._correct.item() / self.pictures


def read_rows(path: Path) -> list[dict]:
    """Return the rows of a `metrics.jsonl` file; none if there is no file.

    Raises StyleTransferError for a file of another kind.
    """
    try:
        rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return sorted(rows, key=lambda row: row["epoch"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StyleTransferError(f"{path}: not the metrics of a training; choose another folder for --run.") from error


def write_row(path: Path, row: dict) -> None:
    """Append an epoch's row. An epoch that ran again after a crash replaces its row."""
    rows = [earlier for earlier in read_rows(path) if earlier["epoch"] < row["epoch"]] + [row]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    write_atomically(path, lambda temporary: Path(temporary).write_text(text))


def append_rows(earlier: list[dict], rows: list[dict]) -> list[dict]:
    """Return the rows of a run and of another that started from its network, with the epochs counted on."""
    return earlier + [row | {"epoch": len(earlier) + row["epoch"]} for row in rows]
