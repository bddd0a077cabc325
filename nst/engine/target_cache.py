"""A cache of the targets that the losses compare with.

A second run on the same pictures need not compute them again.
"""

import hashlib
import threading
from collections.abc import Callable, Hashable

from cachetools import LRUCache
from torch import Tensor

LIMIT_BYTES = 256_000_000

Table = dict[Hashable, Tensor]


class TargetCache:
    """Tables of tensors by key; the least recently used table is dropped first. All threads share the cache.

    Treat the tables as read-only. limit_bytes: the size of all tables together. A table larger than half of it is not
    stored. built: how many tables were computed, because they were not in the cache.
    """

    def __init__(self, limit_bytes: int = LIMIT_BYTES):
        self.limit_bytes = limit_bytes
        self.built = 0
        self._tables: LRUCache = LRUCache(limit_bytes, getsizeof=_bytes_of)
        self._lock = threading.Lock()

    @property
    def bytes(self) -> int:
        """The size of all stored tables together."""
        with self._lock:
            return int(self._tables.currsize)

    def get(self, key: Hashable, build: Callable[[], Table]) -> Table:
        """Return the table stored under `key`, or call `build`, store its table and return that."""
        with self._lock:
            if key in self._tables:
                return self._tables[key]
        table = build()  # without the lock: building takes long, and two runs may need different tables
        with self._lock:
            self.built += 1
            if _bytes_of(table) <= self.limit_bytes / 2:
                self._tables[key] = table
        return table

    def clear(self) -> None:
        """Drop all tables."""
        with self._lock:
            self._tables.clear()


def digest(pixels: Tensor) -> str:
    """Return a checksum of a picture's values and shape."""
    values = pixels.detach().cpu().contiguous().numpy()
    return hashlib.blake2b(values.data, digest_size=16, person=str(values.shape)[:16].encode()).hexdigest()


def _bytes_of(table: Table) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in table.values())


TARGETS = TargetCache()  # the cache of this process
