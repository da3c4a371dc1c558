"""Which clips sound nearly the same: a search by fingerprints in an inverted index.

Memory is bounded: the clips that are searched in are indexed a block at a time, and
those searched for pass by file after file.
"""

import logging
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Sequence

import numpy as np

from espnet2_avsep.corpus.leaks.fingerprints import Fingerprints, read_fingerprints

# Two clips sound nearly the same if this many hashes of one are in the other at one
# distance in time, and if these are so large a share of the shorter one's. Copies (AAC
# 64 kb/s, MP3 32 kb/s, any gain and offset) have shares of 0.23 and more, halves of
# clips 0.16 and more; different recordings, of the same instrument too, have at most 18
# hashes that agree, and where they are 15 or more, a share below 0.04. See the tests.
LEAST_COUNT = 15
LEAST_SHARE = 0.1
# Entries of the index at a time; 12 bytes each, and as much again while it is sorted.
_BLOCK_ENTRIES = 10_000_000
# A hash in more places of a block than this says nothing; it is passed over.
_MOST_PLACES = 2_000


class Match(NamedTuple):
    """Two clips that sound nearly the same.

    Attributes:
        clip: The one searched for.
        other: The one found.
        count: Hashes at one distance in time.
        share: Of the hashes of the clip that has fewer.
        frames: Frames by which ``clip`` begins later within ``other``.
    """

    clip: str
    other: str
    count: int
    share: float
    frames: int


class Index:
    """An inverted index: hash -> clips and frames.

    Args:
        parts: Fingerprints (of one shift) of the clips to search in.
    """

    def __init__(self, parts: Sequence[Fingerprints]):
        self.keys = [key for part in parts for key in part.keys]
        sizes = np.concatenate([part.sizes for part in parts])
        hashes = np.concatenate([part.hashes for part in parts])
        frames = np.concatenate([part.frames for part in parts])
        owners = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
        order = np.argsort(hashes, kind="stable")
        self.sizes = sizes
        self._hashes = hashes[order]
        self._frames = frames[order]
        self._owners = owners[order]

    def search(
        self, clip: str, hashes: np.ndarray, frames: np.ndarray, size: int
    ) -> List[Match]:
        """Find the clips that sound nearly like a given one.

        Args:
            clip: Its name.
            hashes: Its hashes, of all shifts, (n,).
            frames: Where they begin, (n,).
            size: How many hashes it has of one shift.

        Returns:
            The matches, best first.
        """
        begin = np.searchsorted(self._hashes, hashes, "left")
        places = np.searchsorted(self._hashes, hashes, "right") - begin
        places[places > _MOST_PLACES] = 0
        total = int(places.sum())
        if total < LEAST_COUNT:
            return []
        entries = np.arange(total) - np.repeat(np.cumsum(places) - places, places)
        entries += np.repeat(begin, places)
        owners = self._owners[entries]
        # Most clips share too little with this one, at whatever distance in time.
        promising = np.bincount(owners, minlength=len(self.keys)) >= LEAST_COUNT
        kept = promising[owners]
        entries, owners = entries[kept], owners[kept]
        shift = self._frames[entries] - np.repeat(frames, places)[kept]
        return self._aligned(clip, size, entries, owners, shift)

    def _aligned(
        self,
        clip: str,
        size: int,
        entries: np.ndarray,
        owners: np.ndarray,
        shift: np.ndarray,
    ) -> List[Match]:
        """Of the common hashes, count those at one distance, or at the next one too."""
        best: Dict[int, Match] = {}
        codes = (owners.astype(np.int64) << 32) + shift + (1 << 31)
        order = np.argsort(codes, kind="stable")
        codes, entries = codes[order], entries[order]
        values, first, counts = np.unique(codes, return_index=True, return_counts=True)
        follows = np.append(np.diff(values) == 1, False)
        pairs = counts + np.where(follows, np.append(counts[1:], 0), 0)
        for i in np.flatnonzero(pairs >= LEAST_COUNT):
            end = first[i] + pairs[i]
            # A hash of the other clip counts once, whatever number of shifts has it.
            count = len(np.unique(entries[first[i] : end]))
            owner = int(values[i] >> 32)
            share = min(count / max(min(size, int(self.sizes[owner])), 1), 1.0)
            if count < LEAST_COUNT or share < LEAST_SHARE:
                continue
            frames = int((values[i] & 0xFFFFFFFF) - (1 << 31))
            match = Match(clip, self.keys[owner], count, share, frames)
            if owner not in best or best[owner].count < count:
                best[owner] = match
        return sorted(best.values(), key=lambda m: (-m.count, m.other))


def search_all(wanted: Sequence[Path], places: Sequence[Path]) -> Iterator[Match]:
    """Search for clips among others.

    Args:
        wanted: Files of fingerprints, of several shifts, of the clips to search for.
        places: Files of fingerprints, of one shift, of the clips to search in.
    """
    for parts in _blocks(places):
        index = Index(parts)
        logging.info("%d clips are searched in", len(index.keys))
        for path in wanted:
            group = read_fingerprints(path)
            for i, key in enumerate(group.keys):
                own = slice(group.bounds[i], group.bounds[i + 1])
                yield from index.search(
                    key, group.hashes[own], group.frames[own], int(group.sizes[i])
                )


def without_hashes(paths: Sequence[Path]) -> List[str]:
    """Return the clips that have too few hashes to be found."""
    few = []
    for path in paths:
        group = read_fingerprints(path)
        few += [group.keys[i] for i in np.flatnonzero(group.sizes < LEAST_COUNT)]
    return sorted(few)


def _blocks(paths: Sequence[Path]) -> Iterator[List[Fingerprints]]:
    parts: List[Fingerprints] = []
    for path in paths:
        parts.append(read_fingerprints(path))
        if sum(len(part.hashes) for part in parts) >= _BLOCK_ENTRIES:
            yield parts
            parts = []
    if parts:
        yield parts
