"""Find what is in two sets, or in two classes."""

import logging
from collections import Counter
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

from espnet2_avsep.corpus.leaks.audio_search import search_all, without_hashes
from espnet2_avsep.corpus.leaks.clip_set import ClipSet
from espnet2_avsep.corpus.leaks.fingerprints import SHIFTS, make_fingerprints
from espnet2_avsep.corpus.leaks.table import (
    SAME_AUDIO,
    SAME_VIDEO,
    TWO_LABELS,
    Leak,
    leaking_clips,
    write_leaks,
)
from espnet2_avsep.data.records.lock import lock_folder
from espnet2_avsep.data.tables.key_check import shorten
from espnet2_avsep.data.tables.scp import PathLike
from espnet2_avsep.errors import InputError


def check_leaks(
    train: ClipSet,
    valid: Sequence[ClipSet],
    test: Sequence[ClipSet],
    output: PathLike,
    cache_dir: PathLike,
    audio: bool = True,
    strict: bool = False,
    nj: int = 1,
) -> List[Leak]:
    """Look for clips of valid and test that are trained on, and write leaks.tsv.

    Valid is held against train; test against train and valid. Test sets are not held
    against one another.

    Args:
        train: The training set.
        valid: The validation set, or none.
        test: The test sets; those that validate too are passed over.
        output: The table to write.
        cache_dir: Keeps the fingerprints.
        audio: Whether to compare sounds, not only names.
        strict: Whether a leak is an error.
        nj: Processes that compute fingerprints.

    Returns:
        What was found.

    Raises:
        InputError: a table is wrong; another run holds cache_dir; with ``strict``,
            after writing: something leaks.
    """
    names = {clip_set.name for clip_set in valid}
    test = [clip_set for clip_set in test if clip_set.name not in names]
    pairs = [(later, train) for later in [*valid, *test]]
    pairs += [(later, earlier) for later in test for earlier in valid]
    sets = [train, *valid, *test]
    leaks = same_videos(pairs) + two_labels(sets)
    if audio:
        # Until all are read: a run on other sets would remove or replace them.
        with lock_folder(cache_dir, "a leak check", "--cache_dir, or --dumpdir"):
            leaks += same_audio(sets, pairs, Path(cache_dir), nj)
    leaks = sorted(set(leaks))
    write_leaks(output, leaks)
    _log_summary(leaks, sets, output)
    leaking = [s.name for s in [*valid, *test] if leaking_clips(leaks, s.name)]
    if strict and leaking:
        raise InputError(
            f"{', '.join(leaking)}: hold clips that earlier sets hold too; {output} "
            "lists them. Take them out of the lists of one of the sets and run stages "
            "1 to 4 again, or let them be and report them: --leak_check true."
        )
    return leaks


def same_videos(pairs: Sequence[Tuple[ClipSet, ClipSet]]) -> List[Leak]:
    """Find clips whose video an earlier set has, under whatever class."""
    leaks = []
    for later, earlier in pairs:
        clips: Dict[str, List[str]] = {}
        for clip, video in earlier.video.items():
            clips.setdefault(video, []).append(clip)
        leaks += [
            Leak(SAME_VIDEO, later.name, clip, earlier.name, other, f"video {video}")
            for clip, video in later.video.items()
            for other in clips.get(video, ())
        ]
    return leaks


def two_labels(sets: Sequence[ClipSet]) -> List[Leak]:
    """Find videos that are in two classes, in one set or in two."""
    first: Dict[str, Dict[str, Tuple[str, str]]] = {}
    leaks = []
    for clip_set in sets:
        for clip, video in clip_set.video.items():
            label = clip_set.label[clip]
            known = first.setdefault(video, {})
            if label in known:
                continue
            for other_label, (name, other) in known.items():
                words = f"video {video}: {label}, {other_label}"
                leaks.append(Leak(TWO_LABELS, clip_set.name, clip, name, other, words))
            known[label] = (clip_set.name, clip)
    return leaks


def same_audio(
    sets: Sequence[ClipSet],
    pairs: Sequence[Tuple[ClipSet, ClipSet]],
    cache_dir: Path,
    nj: int,
) -> List[Leak]:
    """Find clips that sound nearly like one of an earlier set."""
    places, wanted = {}, {}
    for clip_set in sets:
        folder = cache_dir / clip_set.name
        wav = clip_set.wav
        if any(earlier.name == clip_set.name for _, earlier in pairs):
            places[clip_set.name] = make_fingerprints(wav, folder / "index", 1, nj)
        if any(later.name == clip_set.name for later, _ in pairs):
            wanted[clip_set.name] = make_fingerprints(wav, folder / "query", SHIFTS, nj)
    for name, paths in {**wanted, **places}.items():
        if few := without_hashes(paths):
            logging.warning(
                "%s: the sounds of %d clips have too few hashes to be compared: %s",
                name,
                len(few),
                shorten(few),
            )
    leaks = []
    for later, earlier in pairs:
        logging.info("%s among the sounds of %s", later.name, earlier.name)
        for match in search_all(wanted[later.name], places[earlier.name]):
            words = f"{match.count} hashes, {match.share:.2f} of the shorter clip's"
            pair = (later.name, match.clip, earlier.name, match.other)
            leaks.append(Leak(SAME_AUDIO, *pair, words))
    return leaks


def _log_summary(
    leaks: Sequence[Leak], sets: Sequence[ClipSet], output: PathLike
) -> None:
    counts = Counter((leak.kind, leak.set, leak.other_set) for leak in leaks)
    for (kind, name, other), number in sorted(counts.items()):
        logging.warning("%s: %d pairs of clips of %s and %s", kind, number, name, other)
    for clip_set in sets[1:]:
        logging.info(
            "%s: %d of %d clips leak (%s)",
            clip_set.name,
            len(leaking_clips(leaks, clip_set.name)),
            len(clip_set.wav),
            output,
        )
