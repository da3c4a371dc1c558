"""From a corpus that was read to data/<set>/: tables, what is missing, lists."""

import hashlib
import logging
import os
from collections import Counter
from pathlib import Path
from typing import Dict, Iterable, List, NamedTuple, Sequence, Set, Tuple

from espnet2_avsep.corpus.clip import NOT_FOUND, UNLISTED, Clip, Corpus
from espnet2_avsep.corpus.csv_tree import COUNT
from espnet2_avsep.corpus.splits import (
    Rule,
    SetNames,
    Split,
    choose_split,
    video_of_clip,
)
from espnet2_avsep.data.tables.clip_id import category_key, stem_key
from espnet2_avsep.data.tables.key_check import shorten
from espnet2_avsep.data.tables.scp import (
    Skipped,
    read_scp,
    value_problem,
    write_file,
    write_scp,
    write_skipped,
)
from espnet2_avsep.data.tables.yaml_file import write_yaml
from espnet2_avsep.errors import InputError

STAGE = "data"
# What a clip lists of a set are called in its folder, and where they come from.
LIST, SOURCE = "list.txt", "source.yaml"
_TABLES = ("wav.scp", "video.scp", "utt2spk", "utt2clip", "utt2video")
DEFAULT_MAX_MISSING = 0.5


class Plan(NamedTuple):
    """What is to be made of a corpus.

    Attributes:
        names: The sets.
        rule: How they are chosen.
        data_dir: Where their folders go.
        max_missing: Largest share of the listed clips that may be missing.
        real_set: A set for duets, real mixtures without references; "": none.
        videos: What the sets hold: "listed" (lists as they are, the rule draws from
            all that is no duet), "solo", "duet" or "all".
    """

    names: SetNames
    rule: Rule = Rule()
    data_dir: Path = Path("data")
    max_missing: float = DEFAULT_MAX_MISSING
    real_set: str = ""
    videos: str = "listed"


def prepare(corpus: Corpus, plan: Plan) -> None:
    """Write data/<set>/ for every set, and the rule of the split.

    Raises:
        InputError: more is missing than ``max_missing`` allows, a set is empty, a
            real set without duets, and what choose_split raises.
    """
    corpus = corpus._replace(
        clips={name: _checked(clip) for name, clip in corpus.clips.items()}
    )
    logging.info(
        "%s: %d clips are listed or found, %d of them can be used",
        corpus.layout,
        len(corpus.clips),
        sum(not clip.problem for clip in corpus.clips.values()),
    )
    candidates = [
        name
        for name, clip in corpus.clips.items()
        if _wanted(name, corpus, plan.videos) and not clip.problem.startswith(UNLISTED)
    ]
    split = choose_split(corpus, plan.names, plan.rule, candidates)
    if plan.videos != "listed":
        split = _filter(split, corpus, plan.videos)
    clips = {**split.clips, **corpus.clips}
    sets = dict(split.sets)
    if plan.real_set:
        sets[plan.real_set] = _real_set(corpus, split, plan)
    used = {name for names in sets.values() for name in names}
    unused = sorted(set(candidates) - used)
    if unused:
        logging.info("%d clips are in no set: %s", len(unused), shorten(unused))
    counts = _check_missing(sets, clips, plan.max_missing)
    _warn_of_case(category_key(clips[name].category) for name in used)
    # A run that ends between two sets leaves none: they must be of one split.
    for name in sets:
        for table in (*_TABLES, "spk2utt", "utt2pair"):
            (plan.data_dir / name / table).unlink(missing_ok=True)
    for name, listed in sets.items():
        folder = plan.data_dir / name
        _write_set(folder, name, listed, clips)
        real = name == plan.real_set
        source, sha256 = split.lists.get(name, ("", ""))
        write_yaml(
            folder / SOURCE,
            {
                "layout": corpus.layout,
                "split": "all duets that are listed" if real else split.rule,
                "list": source,
                "list_file_sha256": sha256,
                "list_sha256": _write_list(folder, listed),
                "listed": counts[name][0],
                "found": counts[name][0] - sum(counts[name][1].values()),
                "missing": dict(sorted(counts[name][1].items())),
            },
        )
        if real:
            pairs = {clips[n].key: " ".join(corpus.pairs[n]) for n in listed}
            there = read_scp(folder / "utt2spk")
            write_scp(
                folder / "utt2pair", {k: p for k, p in pairs.items() if k in there}
            )
    write_file(plan.data_dir / "local" / "split_rule.txt", split.rule + "\n")


def _checked(clip: Clip) -> Clip:
    """Return a clip, with a problem where a file is a dead link or has a bad name."""
    if clip.problem:
        return clip
    for name in (clip.sound, clip.picture, clip.name):
        problem = value_problem(name)
        if problem:
            problem = f"name of the file refused: {name!r} {problem}"
        elif os.path.islink(name) and not os.path.exists(name):
            problem = f"{NOT_FOUND}: {name} is a link to {os.readlink(name)!r:.200}"
        if problem:
            return clip._replace(sound="", picture="", problem=problem)
    return clip


def _wanted(name: str, corpus: Corpus, videos: str) -> bool:
    return videos == "all" or (name in corpus.pairs) == (videos == "duet")


def _filter(split: Split, corpus: Corpus, videos: str) -> Split:
    """Take the videos of the other kind out of all sets."""
    sets = {}
    for name, listed in split.sets.items():
        sets[name] = [clip for clip in listed if _wanted(clip, corpus, videos)]
        if len(sets[name]) < len(listed):
            number = len(listed) - len(sets[name])
            logging.info("%s: %d listed clips are no %ss", name, number, videos)
    return split._replace(sets=sets)


def _real_set(corpus: Corpus, split: Split, plan: Plan) -> List[str]:
    """Return the duets, of which none may be trained or tested on as a source."""
    if plan.real_set in split.sets:
        raise InputError(f"--real_sets {plan.real_set}: is also another set's name.")
    if not corpus.pairs:
        raise InputError(
            f"--real_sets {plan.real_set}: the corpus has no duets; expected the list "
            "of duets beside that of solos, or folders named after two instruments."
        )
    sources = {name for names in split.sets.values() for name in names}
    both = sorted(sources & set(corpus.pairs))
    if both:
        raise InputError(
            f"--real_sets {plan.real_set}: {len(both)} duets are in other sets too: "
            f"{shorten(both)}. Give --videos solo, or no real set."
        )
    return sorted(corpus.pairs)


def _check_missing(
    sets: Dict[str, List[str]], clips: Dict[str, Clip], max_missing: float
) -> Dict[str, Tuple[int, Counter]]:
    """Count what is missing of each set: (listed, kind of problem -> number).

    Raises:
        InputError: too much is.
    """
    if not 0 <= max_missing <= 1:
        raise InputError(f"--max_missing {max_missing}: expected a share from 0 to 1.")
    counts = {}
    for name, listed in sets.items():
        problems = Counter(
            _kind(clips[clip].problem) for clip in listed if clips[clip].problem
        )
        counts[name] = (len(listed), problems)
        logging.info(
            "%s: %d of %d listed clips are there",
            name,
            len(listed) - sum(problems.values()),
            len(listed),
        )
    listed = sum(number for number, _ in counts.values())
    problems = sum((problems for _, problems in counts.values()), Counter())
    missing = sum(problems.values())
    if listed and missing > max_missing * listed:
        kinds = ", ".join(f"{kind}: {n}" for kind, n in problems.most_common(5))
        lost = [c for names in sets.values() for c in names if clips[c].problem]
        hint = ""
        if COUNT in problems:
            hint = " Folders of frames are taken as they are with --frame_count ignore."
        raise InputError(
            f"{missing} of {listed} listed clips are missing ({kinds}), for instance "
            f"{shorten(lost)}; that is more than --max_missing {max_missing:g}. Is the "
            f"folder the right one? To go on with {listed - missing} clips, give "
            f"--max_missing {min(1.0, int(100 * missing / listed + 1) / 100):g} among "
            f"the options of local/data.sh.{hint}"
        )
    return counts


def _warn_of_case(categories: Iterable[str]) -> None:
    """Warn of classes that differ only in the case of their names."""
    spelt: Dict[str, Set[str]] = {}
    for category in categories:
        spelt.setdefault(category.casefold(), set()).add(category)
    for names in spelt.values():
        if len(names) > 1:
            logging.warning(
                "%s are %d classes, whose names differ only in upper and lower case; "
                "rename the folders if they are one",
                ", ".join(sorted(names)),
                len(names),
            )


def _kind(problem: str) -> str:
    return problem.split(": ", 1)[0]


def _write_set(
    folder: Path, name: str, listed: Sequence[str], clips: Dict[str, Clip]
) -> None:
    """Write the tables of a set."""
    skipped: List[Skipped] = []
    tables: Dict[str, Dict[str, str]] = {table: {} for table in _TABLES}
    known: Dict[str, str] = {}
    for clip_name in listed:
        clip = clips[clip_name]
        if known.setdefault(clip.key, clip_name) != clip_name:
            raise InputError(
                f"{clip_name} and {known[clip.key]} both become {clip.key}; rename one "
                "of the two files or of their categories."
            )
        if clip.problem:
            skipped.append(Skipped(clip.key, STAGE, clip.problem))
            continue
        tables["wav.scp"][clip.key] = clip.sound
        tables["video.scp"][clip.key] = clip.picture
        tables["utt2spk"][clip.key] = clip.key.split("-", 1)[0]
        tables["utt2clip"][clip.key] = clip_name
        tables["utt2video"][clip.key] = stem_key(video_of_clip(clip))
    write_skipped(folder / "skipped.tsv", skipped)
    if not listed:
        raise InputError(
            f"the set {name} is empty: no clip was drawn or is listed for it. Give it "
            "a larger share (--valid_ratio, --test_ratio), or lists of the sets "
            "(--splits <folder>): options of local/data.sh, in run.sh's "
            "--local_data_opts."
        )
    if not tables["utt2spk"]:
        raise InputError(
            f"the set {name} is empty: {len(listed)} clips are listed for it and none "
            f"can be used (reasons: {folder / 'skipped.tsv'})."
        )
    spk2utt: Dict[str, List[str]] = {}
    for key, category in tables["utt2spk"].items():
        spk2utt.setdefault(category, []).append(key)
    write_scp(folder / "spk2utt", {s: " ".join(sorted(u)) for s, u in spk2utt.items()})
    for table, content in tables.items():
        write_scp(folder / table, content)
    logging.info(
        "%s: %d clips of %d categories, %d left out (%s)",
        folder,
        len(tables["utt2spk"]),
        len(spk2utt),
        len(skipped),
        folder / "skipped.tsv",
    )


def _write_list(folder: Path, listed: Sequence[str]) -> str:
    """Write category/stem of all clips that are listed; return the SHA-256.

    The file can be given with --splits again, and does not depend on the layout.
    """
    content = "".join(f"{name}\n" for name in sorted(listed))
    write_file(folder / LIST, content)
    return hashlib.sha256(content.encode()).hexdigest()
