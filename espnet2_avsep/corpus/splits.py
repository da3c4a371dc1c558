"""Which clip goes into which set: lists where there are any, else a rule."""

import hashlib
import logging
import re
from pathlib import Path
from typing import Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from espnet2_avsep.corpus.clip import NOT_FOUND, Clip, Corpus, GivenList
from espnet2_avsep.corpus.leaks.clip_set import video_of
from espnet2_avsep.corpus.lists import is_pair_list, read_list
from espnet2_avsep.data.records.digest import file_sha256
from espnet2_avsep.data.tables.clip_id import ClipFinder
from espnet2_avsep.data.tables.key_check import shorten
from espnet2_avsep.errors import InputError


class SetNames(NamedTuple):
    """Names of the sets: training, validation, one or more for test."""

    train: str
    valid: str
    tests: Tuple[str, ...]

    @property
    def all(self) -> List[str]:
        """Each name once, training first."""
        return list(dict.fromkeys([self.train, self.valid, *self.tests]))


class Rule(NamedTuple):
    """How the sets are chosen.

    Attributes:
        folder: Folder of lists, or None.
        hashed: Whether the sets are drawn though there are lists.
        valid_ratio: Share of valid where it is drawn.
        test_ratio: Share of test where it is drawn.
        overlap: What happens to a clip of several sets: "error"; "train": it is taken
            out of the training (then the validation) set; "keep": as published. Test
            sets may share clips.
    """

    folder: Optional[Path] = None
    hashed: bool = False
    valid_ratio: float = 0.1
    test_ratio: float = 0.2
    overlap: str = "error"


class Split(NamedTuple):
    """The sets.

    Attributes:
        sets: Set -> category/stem of the clips that are listed for it, in order.
        rule: In words.
        lists: Set -> where its list comes from and the SHA-256 of that file.
        clips: Clips that only the lists know; they are missing.
    """

    sets: Dict[str, List[str]]
    rule: str
    lists: Dict[str, Tuple[str, str]]
    clips: Dict[str, Clip]


def choose_split(
    corpus: Corpus, names: SetNames, rule: Rule, candidates: Sequence[str]
) -> Split:
    """Say which clips each set holds.

    Lists in a folder come first, then the corpus' own, then the rule by hash. Where
    there are lists for training and test but none for validation, it is drawn out of
    the training list by hash.

    Args:
        corpus: What a reader found.
        names: Names of the sets.
        rule: How they are chosen.
        candidates: category/stem of the clips that the rule by hash draws from.

    Raises:
        InputError: a list is missing or cannot be read, senseless shares, a clip in two
            sets.
    """
    given, where = corpus.lists, "the corpus' lists"
    there = sorted(given)
    extra: Dict[str, Clip] = {}
    if rule.folder is not None:
        files = _files_of(rule.folder)
        there = sorted(files)
        if not files:
            raise InputError(f"{rule.folder}: there is no list <set>.txt or <set>.csv.")
        # Only what is asked for: other texts may lie there.
        stems = {_list_for(n, _role(n, names), files) for n in names.all} - {None}
        files = {stem: path for stem, path in files.items() if stem in stems}
        given, extra = _read_files(corpus, files)
        where = f"lists in {rule.folder}"
    if rule.hashed or not there:
        sets = _hash_all(names, rule, corpus.clips, candidates)
        split = Split(sets, _hash_rule(names, rule), {}, {})
    else:
        split = _take_lists(names, rule, corpus, given, (where, there), extra)
    logging.info("split: %s", split.rule)
    sets = _resolve_overlap(split.sets, names.tests, rule.overlap)
    return split._replace(sets=sets)


def place_of(video: str) -> float:
    """Return the number in [0, 1) that decides about a video: from its SHA-256."""
    digest = hashlib.sha256(video.encode()).hexdigest()
    return int(digest[:13], 16) / 16**13


def video_of_clip(clip: Clip) -> str:
    """Return the id of the video that a clip is taken from."""
    return clip.video or video_of(clip.name)


def _files_of(folder: Path) -> Dict[str, Path]:
    """Return the files of a folder that may be lists of sets: stem -> file."""
    files: Dict[str, Path] = {}
    for path in [*sorted(folder.glob("[!.]*.txt")), *sorted(folder.glob("[!.]*.csv"))]:
        if path.suffix == ".txt" or not is_pair_list(path):
            files.setdefault(path.stem, path)
    return files


def _read_files(
    corpus: Corpus, files: Dict[str, Path]
) -> Tuple[Dict[str, GivenList], Dict[str, Clip]]:
    """Read lists; also return the clips that the corpus does not know."""
    keys = {clip.key: clip.category for clip in corpus.clips.values()}
    name_of = {clip.key: name for name, clip in corpus.clips.items()}
    folded = {name.casefold(): name for name in corpus.clips}
    finder = ClipFinder(keys)
    given: Dict[str, GivenList] = {}
    extra: Dict[str, Clip] = {}
    for stem, path in files.items():
        found: List[str] = []
        for row in read_list(path):
            name = f"{row.category}/{row.stem}"
            if row.category is not None and name in corpus.clips:
                found.append(name)
            elif row.category is None:
                clips = [name_of[key] for key in finder.find_all(row.stem)]
                found += clips or [_unknown(extra, "unknown", row.stem)]
            else:
                key = finder.find(f"{path}, line {row.number}", name)
                other = folded.get(name.casefold(), "")
                found.append(
                    name_of[key]
                    if key
                    else _unknown(extra, row.category, row.stem, other)
                )
        found = list(dict.fromkeys(found))
        given[stem] = GivenList(found, path.name, file_sha256(path))
    return given, extra


def _unknown(
    extra: Dict[str, Clip], category: str, stem: str, other_case: str = ""
) -> str:
    hint = f": the corpus has {other_case}, in other upper and lower case"
    clip = Clip(category, stem, problem=NOT_FOUND + hint * bool(other_case))
    extra[clip.name] = clip
    return clip.name


def _take_lists(
    names: SetNames,
    rule: Rule,
    corpus: Corpus,
    given: Dict[str, GivenList],
    place: Tuple[str, List[str]],
    extra: Dict[str, Clip],
) -> Split:
    """Take each set from the list of its name, or of a usual name for it."""
    where, there = place  # for messages: the names of all lists that are there
    chosen: Dict[str, GivenList] = {}
    drawn = False
    taken = set(names.all)
    for name in names.all:
        role = _role(name, names)
        stem = _list_for(name, role, given)
        if role == "test" and stem != name and stem in taken:
            stem = None  # each test set has a list of its own
        if stem is not None:
            taken.add(stem)
            chosen[name] = given[stem]
        elif role == "val" and _list_for(names.train, "train", given):
            drawn = True
        else:
            raise InputError(
                f"no list for the set {name}: neither {name}.txt or {name}.csv nor one "
                f"of a usual name is among {where} (there: {', '.join(there)}). Give "
                "--splits <folder>, --split_rule hash, or the name of a list that is "
                "there (for example --valid_set val --test_sets val)."
            )
    sets = {name: list(dict.fromkeys(g.names)) for name, g in chosen.items()}
    lists = {name: (g.source, g.sha256) for name, g in chosen.items()}
    words = ", ".join(f"{name}: {chosen[name].source}" for name in chosen)
    text = f"{where} ({words})"
    if drawn:
        _check_ratio(0.0, rule.valid_ratio)
        everything = {**corpus.clips, **extra}
        places = {n: place_of(video_of_clip(everything[n])) for n in sets[names.train]}
        sets[names.valid] = [n for n, x in places.items() if x < rule.valid_ratio]
        sets[names.train] = [n for n, x in places.items() if x >= rule.valid_ratio]
        source = f"{chosen[names.train].source}, part drawn by hash"
        lists[names.valid] = (source, chosen[names.train].sha256)
        text += (
            f"; {names.valid} is drawn from {names.train}: {_PLACE}; {names.valid} "
            f"where x < {rule.valid_ratio:g}"
        )
    return Split({n: sets[n] for n in names.all}, text, lists, extra)


def _role(name: str, names: SetNames) -> str:
    if name == names.train:
        return "train"
    return "test" if name in names.tests else "val"


def _list_for(name: str, role: str, given: Iterable[str]) -> Optional[str]:
    """Return the list of a set; "testmusic" and "testSet" are usual names of "test"."""
    usual = {"train": ("train",), "val": ("valid", "val"), "test": ("test",)}[role]
    for stem in (name, *usual):
        if stem in given:
            return stem
    begin = re.compile(f"(?:{'|'.join(usual)})(?!sep)")
    found = [stem for stem in given if begin.match(stem)]
    return found[0] if len(found) == 1 else None


_PLACE = "x = first 13 hexadecimal digits of the SHA-256 of the video id, over 16^13"


def _hash_rule(names: SetNames, rule: Rule) -> str:
    test, valid = rule.test_ratio, rule.valid_ratio
    return (
        f"{_PLACE}; {names.tests[0]} where x < {test:g}, {names.valid} where x < "
        f"{test:g} + {valid:g}, else {names.train}"
    )


def _check_ratio(test: float, valid: float, draws_test: bool = False) -> None:
    good = test >= 0 and valid > 0 and test + valid < 1
    if not good or (draws_test and test == 0):
        raise InputError(
            f"--valid_ratio {valid} --test_ratio {test}: expected shares above 0 whose "
            "sum is below 1."
        )


def _hash_all(
    names: SetNames, rule: Rule, clips: Dict[str, Clip], candidates: Sequence[str]
) -> Dict[str, List[str]]:
    """Draw the sets only from the video ids, whatever else is there."""
    if len(names.all) != 3:
        raise InputError(
            "the split rule fills train, valid and one test set, but the sets are "
            f"{' '.join(names.all)}; give --splits for these."
        )
    _check_ratio(rule.test_ratio, rule.valid_ratio, draws_test=True)
    sets: Dict[str, List[str]] = {name: [] for name in names.all}
    for name in sorted(candidates):
        x = place_of(video_of_clip(clips[name]))
        sets[
            names.tests[0]
            if x < rule.test_ratio
            else names.valid
            if x < rule.test_ratio + rule.valid_ratio
            else names.train
        ].append(name)
    return sets


def _resolve_overlap(
    sets: Dict[str, List[str]], tests: Sequence[str], overlap: str
) -> Dict[str, List[str]]:
    """Deal with clips that are in several sets; see Rule."""
    names = list(sets)
    kept = {name: list(clips) for name, clips in sets.items()}
    for n, name in enumerate(names):
        if name in tests:
            continue
        later: Iterable[str] = [c for other in names[n + 1 :] for c in sets[other]]
        both = sorted(set(kept[name]) & set(later))
        if not both:
            continue
        others = [o for o in names[n + 1 :] if set(both) & set(sets[o])]
        what = (
            f"{len(both)} clips of {name} are also in {', '.join(others)}: "
            f"{shorten(both)}"
        )
        if overlap == "error":
            raise InputError(
                f"{both[0]} is in {name} and in {others[0]} ({what}); a clip that is "
                "trained on cannot be tested on. Take it out of one of the lists, or "
                "give --overlap train (leaves it out of training) or --overlap keep "
                "(the lists as published; the scores then are of a leaking test)."
            )
        logging.warning("%s%s", what, "; kept" if overlap == "keep" else "; left out")
        if overlap == "train":
            kept[name] = [clip for clip in kept[name] if clip not in set(both)]
    return kept
