"""torch's allocator of a GPU's memory, as a model: what it reserves for what is allocated."""

import math
from bisect import bisect_left, insort
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

ROUNDED = 512
"""Bytes that each allocation is a multiple of. This and the next five: c10/cuda/
CUDACachingAllocator.cpp and c10/core/AllocatorConfig.h of PyTorch, its default settings."""
SMALL = 2**20
"""The largest allocation that is taken from segments of `SMALL_SEGMENT` bytes."""
SMALL_SEGMENT = 2 * 2**20
MIDDLE = 10 * 2**20
"""Allocations below it share segments of `LARGE_SEGMENT` bytes."""
LARGE_SEGMENT = 20 * 2**20
SEGMENT_ROUNDED = 2 * 2**20
"""Bytes that the segment of a larger allocation is a multiple of."""


@dataclass(eq=False, slots=True)
class _Block:
    """A part of a segment, between its neighbours."""

    address: int
    size: int
    small: bool
    stream: str
    before: "_Block | None" = None
    after: "_Block | None" = None
    free: bool = False


class Allocator:
    """Segments that are cut into blocks: the smallest free one that is large enough is taken, its
    rest stays free, and free neighbours grow together. A segment without blocks is given back only
    where `limit`, in bytes, would else be exceeded; where that does not help, it is. A stream has
    segments of its own."""

    def __init__(self, limit: float = math.inf, rounded: int = ROUNDED) -> None:
        self.allocated = self.peak_allocated = self.reserved = self.peak_reserved = 0
        self._limit, self._rounded = limit, rounded
        self._held: dict[Any, _Block] = {}
        self._free: dict[tuple[str, bool], list[tuple[int, int, _Block]]] = defaultdict(list)
        self._end = 0

    def take(self, key: Any, size: int, stream: str = "") -> None:
        """Allocate `size` bytes on a stream, which `key` then names; nothing of 0 bytes."""
        if size == 0:
            return
        size = -(-size // self._rounded) * self._rounded
        block = self._find(size, stream)
        rest = block.size - size
        if rest >= self._rounded if block.small else rest > SMALL:
            after = _Block(block.address + size, rest, block.small, stream, block, block.after)
            if block.after:
                block.after.before = after
            block.after, block.size = after, size
            self._release(after)
        self._held[key] = block
        self.allocated += block.size
        self.peak_allocated = max(self.peak_allocated, self.allocated)

    def give(self, key: Any) -> None:
        """Free what `key` names, if that is anything."""
        block = self._held.pop(key, None)
        if block is None:
            return
        self.allocated -= block.size
        for neighbour in (block.before, block.after):
            if neighbour is None or not neighbour.free:
                continue
            self._remove(neighbour)
            block.address = min(block.address, neighbour.address)
            block.size += neighbour.size
            if neighbour is block.before:
                block.before = neighbour.before
                if block.before:
                    block.before.after = block
            else:
                block.after = neighbour.after
                if block.after:
                    block.after.before = block
        self._release(block)

    def _find(self, size: int, stream: str) -> _Block:
        small = size <= SMALL
        free = self._free[stream, small]
        place = bisect_left(free, size, key=lambda entry: entry[0])
        if place < len(free):
            block = free.pop(place)[2]
            block.free = False
            return block
        segment = SMALL_SEGMENT if small else LARGE_SEGMENT
        if size >= MIDDLE:
            segment = -(-size // SEGMENT_ROUNDED) * SEGMENT_ROUNDED
        if self.reserved + segment > self._limit:
            self._empty()
        self.reserved += segment
        self.peak_reserved = max(self.peak_reserved, self.reserved)
        block = _Block(self._end, segment, small, stream)
        self._end += segment
        return block

    def _empty(self) -> None:
        for kind, free in self._free.items():
            whole = [entry for entry in free if not (entry[2].before or entry[2].after)]
            self.reserved -= sum(size for size, _, _ in whole)
            self._free[kind] = [entry for entry in free if entry not in whole]

    def _release(self, block: _Block) -> None:
        block.free = True
        insort(self._free[block.stream, block.small], (block.size, block.address, block))

    def _remove(self, block: _Block) -> None:
        free = self._free[block.stream, block.small]
        del free[bisect_left(free, (block.size, block.address), key=lambda entry: entry[:2])]
        block.free = False
