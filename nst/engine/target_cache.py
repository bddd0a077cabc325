"""What losses compare with, kept from run to run: the same pictures at the same size need no second look."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

from torch import Tensor

LIMIT_BYTES = 256_000_000

Tensors = dict[Hashable, Tensor]


class TargetCache:
    """Tables of tensors by key, the least recently used dropped first. Shared between threads; values are read-only.

    limit_bytes: of all tables together; one of more than half of it is not kept. built: how often one was made.
    """

    def __init__(self, limit_bytes: int = LIMIT_BYTES):
        self.limit_bytes = limit_bytes
        self.built = 0
        self._tables: OrderedDict[Hashable, Tensors] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def bytes(self) -> int:
        with self._lock:
            return sum(map(_size, self._tables.values()))

    def get(self, key: Hashable, build: Callable[[], Tensors]) -> Tensors:
        """The table of that key, made by `build` where there is none."""
        with self._lock:
            if key in self._tables:
                self._tables.move_to_end(key)
                return self._tables[key]
        table = build()  # not under the lock: it takes long, and two runs may need different ones
        with self._lock:
            self.built += 1
            if _size(table) <= self.limit_bytes / 2:
                self._tables[key] = table
                self._tables.move_to_end(key)
                while sum(map(_size, self._tables.values())) > self.limit_bytes:
                    self._tables.popitem(last=False)
        return table

    def clear(self) -> None:
        with self._lock:
            self._tables.clear()


TARGETS = TargetCache()  # of this process


def digest(pixels: Tensor) -> str:
    """Of a picture's values and shape: the same only for the same picture."""
    values = pixels.detach().cpu().contiguous().numpy()
    return hashlib.blake2b(values.data, digest_size=16, person=str(values.shape)[:16].encode()).hexdigest()


def _size(table: Tensors) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in table.values())
