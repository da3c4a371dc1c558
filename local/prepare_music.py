#!/usr/bin/env python3
"""Turn a folder of MUSIC videos, or of HFRA's wavs and frames, into data/<set>/.

Takes one of two layouts of --music_dir:

* videos/<category>/<id>.<any ending> and MUSIC_solo_videos.json, whose shape is
  {"videos": {category: [id, ...]}};
* HFRA's: CSV files (train.csv, val.csv, test.csv, here or in metadata/) with rows
  audio/<category>/<id>.wav,frames/<category>/<id>,n_frames and the files they name.

Which clip goes into which set is said by, in this order:

* --split_rule hash: SHA-256 of the video id, read as a number in [0, 1): below
  --test_ratio test, below --test_ratio + --valid_ratio valid, else train;
* --splits: a folder of lists <set>.txt with rows category/id;
* the lists in <music_dir>/splits, if it exists;
* the CSV files (second layout), or the rule (first layout).
"""

import argparse
import csv
import hashlib
import json
import logging
import os
import sys
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from espnet2_avsep.bin.cli import command, setup_logging
from espnet2_avsep.data.scp import Skipped, atomic_write, write_scp, write_skipped
from espnet2_avsep.errors import InputError

JSON_NAME = "MUSIC_solo_videos.json"
STAGE = "data"
# What lies beside videos and is none.
NOT_MEDIA = {".json", ".txt", ".csv", ".part", ".ytdl", ".tmp", ".vtt", ".srt"}
NOT_MEDIA |= {".description", ".jpg", ".jpeg", ".png", ".webp"}
IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}


class Clip(NamedTuple):
    """A clip, or why it is none.

    Attributes:
        sound: Where its sound is.
        picture: A video file or a folder of images.
        problem: Why it cannot be used; empty where it can.
    """

    sound: str = ""
    picture: str = ""
    problem: str = ""


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--music_dir", required=True, help="folder of the corpus")
    add("--splits", help="folder of lists <set>.txt, rows category/id")
    add("--split_rule", choices=("hash",), help="draw the sets by this rule instead")
    add("--valid_ratio", type=float, default=0.1, help="share of valid (default: 0.1)")
    add("--test_ratio", type=float, default=0.2, help="share of test (default: 0.2)")
    add("--train_set", default="train", help="name of the training set")
    add("--valid_set", default="valid", help="name of the validation set")
    add("--test_sets", default="test", help="names of the test sets")
    add("--data_dir", default="data", help="where the sets go (default: data)")
    add("--log_level", default="INFO")
    return parser


@command
def main(argv: Optional[Sequence[str]] = None) -> None:
    args = get_parser().parse_args(argv)
    setup_logging(args.log_level)
    music_dir = Path(os.path.abspath(args.music_dir))
    if not music_dir.is_dir():
        raise InputError(f"--music_dir {args.music_dir}: no such folder.")
    sets = [args.train_set, args.valid_set, *args.test_sets.split()]
    if not args.test_sets.split():
        raise InputError("--test_sets: at least one name was expected.")
    repeated = sorted({name for name in sets if sets.count(name) > 1})
    if args.train_set in repeated:
        raise InputError(f"--train_set {args.train_set}: is also valid or test.")
    if repeated:
        logging.warning("one set for validation and test: %s", ", ".join(repeated))
        sets = list(dict.fromkeys(sets))

    tables = find_csv_files(music_dir)
    if (music_dir / "videos").is_dir():
        clips, given = find_videos(music_dir), {}
    elif tables:
        clips, given = read_csv_files(music_dir, tables)
    else:
        raise InputError(
            f"--music_dir {music_dir}: neither the folder videos/ nor train.csv or "
            "metadata/train.csv is there; see --help for the two layouts."
        )
    logging.info(
        "%d clips are listed, %d of them can be used",
        len(clips),
        sum(not clip.problem for clip in clips.values()),
    )
    split, rule = choose_split(args, music_dir, sets, clips, given)
    check_disjoint(split)
    unused = set(clips) - {name for names in split.values() for name in names}
    if unused:
        logging.info("%d clips are in no set: %s", len(unused), shorten(sorted(unused)))
    for name in sets:
        write_set(Path(args.data_dir) / name, name, split[name], clips)
    with atomic_write(Path(args.data_dir) / "local" / "split_rule.txt") as f:
        f.write(rule + "\n")


def find_videos(music_dir: Path) -> Dict[str, Clip]:
    """Find the videos of the JSON file; category/id -> clip."""
    files: Dict[str, str] = {}
    for folder in sorted((music_dir / "videos").iterdir()):
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            if path.name.startswith(".") or path.suffix.lower() in NOT_MEDIA:
                continue
            name = f"{folder.name}/{path.stem}"
            if name in files:
                logging.warning("%s: not used, %s is there", path, files[name])
            files.setdefault(name, str(path))
    path = music_dir / JSON_NAME
    if not path.is_file():
        raise InputError(
            f'{path}: no such file; a list {{"videos": {{category: [id, ...]}}}} was '
            "expected beside the folder videos/."
        )
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))["videos"]
        names = [f"{category}/{i}" for category, ids in listed.items() for i in ids]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: cannot be read ({type(error).__name__}: {error}); expected "
            '{"videos": {category: [id, ...]}}.'
        ) from error
    extra = sorted(set(files) - set(names))
    if extra:
        logging.warning(
            "%d files are not in %s and are left out: %s",
            len(extra),
            JSON_NAME,
            shorten(extra),
        )
    clips = {name: Clip(problem=f"not in {JSON_NAME}") for name in extra}
    for name in dict.fromkeys(names):
        if name in files:
            clips[name] = Clip(files[name], files[name])
        else:
            clips[name] = Clip(problem="video not found")
    lost = [name for name, clip in clips.items() if clip.problem == "video not found"]
    if lost:
        logging.warning(
            "%d of the %d videos of %s are not there: %s",
            len(lost),
            len(set(names)),
            JSON_NAME,
            shorten(lost),
        )
    return clips


def find_csv_files(music_dir: Path) -> Dict[str, Path]:
    """Find HFRA's CSV files; stem -> file."""
    for folder in (music_dir / "metadata", music_dir):
        found = {p.stem: p for p in sorted(folder.glob("*.csv"))}
        if "train" in found:
            return found
    return {}


def read_csv_files(
    music_dir: Path, tables: Dict[str, Path]
) -> Tuple[Dict[str, Clip], Dict[str, List[str]]]:
    """Read HFRA's CSV files.

    Returns:
        category/id -> clip, and for each file's stem the clips it lists.
    """
    clips: Dict[str, Clip] = {}
    given: Dict[str, List[str]] = {}
    for stem, path in tables.items():
        with path.open(encoding="utf-8", newline="") as f:
            rows = [row for row in enumerate(csv.reader(f), 1) if any(row[1])]
        names = []
        for number, row in rows:
            cells = [cell.strip() for cell in row]
            if number == 1 and len(cells) == 3 and not cells[2].isdigit():
                continue  # a header
            if len(cells) != 3 or not cells[2].isdigit():
                raise InputError(
                    f"{path}, line {number}: {','.join(row)!r}; expected "
                    "audio/<category>/<id>.wav,frames/<category>/<id>,<n_frames>."
                )
            sound = Path(cells[0])
            name = f"{sound.parent.name}/{sound.stem}"
            names.append(name)
            clip = find_frames(music_dir, cells[0], cells[1], int(cells[2]))
            if clips.setdefault(name, clip) != clip:
                raise InputError(
                    f"{path}, line {number}: {name} stands for other files than "
                    "before; a category/id must name one clip."
                )
        given[stem] = names
    return clips, given


def find_frames(music_dir: Path, sound: str, frames: str, n_frames: int) -> Clip:
    """Look for a clip of HFRA's layout and count its images."""
    found = []
    for value in (sound, frames):
        places = (Path(value), music_dir / value, music_dir.parent / value)
        there = [place for place in places if place.exists()]
        if not there:
            return Clip(problem=f"{value} not found")
        found.append(Path(os.path.abspath(there[0])))
    if not found[1].is_dir():
        return Clip(problem=f"{frames} is not a folder of images")
    count = sum(path.suffix.lower() in IMAGES for path in found[1].iterdir())
    if count != n_frames:
        return Clip(
            problem=f"{frames} holds {count} images, the list states {n_frames}"
        )
    return Clip(str(found[0]), str(found[1]))


def choose_split(
    args: argparse.Namespace,
    music_dir: Path,
    sets: List[str],
    clips: Dict[str, Clip],
    given: Dict[str, List[str]],
) -> Tuple[Dict[str, List[str]], str]:
    """Say which clips each set holds.

    Returns:
        set -> category/id ..., and the rule in words.
    """
    if args.splits and args.split_rule:
        raise InputError("--splits and --split_rule: give one of them.")
    folder = args.splits
    if folder is None and args.split_rule is None and (music_dir / "splits").is_dir():
        folder = music_dir / "splits"
    if folder is not None:
        split = {name: read_list(Path(folder), name) for name in sets}
        rule = f"lists in {folder}: {', '.join(f'{name}.txt' for name in sets)}"
    elif given and args.split_rule is None:
        split, rule = split_by_csv(args, sets, given)
    else:
        split, rule = split_by_hash(args, sets, clips)
    logging.info("split: %s", rule)
    return split, rule


def read_list(folder: Path, name: str) -> List[str]:
    """Read a list of a split, rows category/id."""
    path = folder / f"{name}.txt"
    if not path.is_file():
        there = ", ".join(sorted(p.name for p in folder.glob("*.txt"))) or "no lists"
        raise InputError(
            f"{path}: no such file; one list <set>.txt per set was expected (there: "
            f"{there}). Name the sets after the lists, or give --split_rule hash."
        )
    rows = [row.strip() for row in path.read_text(encoding="utf-8").splitlines()]
    for number, row in enumerate(rows, 1):
        if row and (row.count("/") != 1 or row.startswith("/") or row.endswith("/")):
            raise InputError(f"{path}, line {number}: {row!r}; expected category/id.")
    return list(dict.fromkeys(row for row in rows if row))


def split_by_csv(
    args: argparse.Namespace, sets: List[str], given: Dict[str, List[str]]
) -> Tuple[Dict[str, List[str]], str]:
    """Take each set from the CSV file of its name, or of HFRA's name for it."""
    other = {args.train_set: ("train",), args.valid_set: ("valid", "val")}
    split, files = {}, []
    for name in sets:
        stems = (name, *other.get(name, ("test",)))
        stem = next((stem for stem in stems if stem in given), None)
        if stem is None:
            raise InputError(
                f"no CSV file for the set {name}: expected {name}.csv, there are "
                f"{', '.join(f'{s}.csv' for s in given)}. Give --splits, --split_rule "
                "hash, or the name of a set that is there (for example --valid_set "
                "val --test_sets val)."
            )
        split[name] = list(dict.fromkeys(given[stem]))
        files.append(f"{name}: {stem}.csv")
    return split, f"CSV files ({', '.join(files)})"


def split_by_hash(
    args: argparse.Namespace, sets: List[str], clips: Dict[str, Clip]
) -> Tuple[Dict[str, List[str]], str]:
    """Draw the sets from the video ids alone, whatever else is there."""
    test, valid = args.test_ratio, args.valid_ratio
    if len(sets) != 3:
        raise InputError(
            f"the split rule fills train, valid and one test set, but the sets are "
            f"{' '.join(sets)}; give --splits for these."
        )
    if not (0 < test < 1 and 0 < valid < 1 and test + valid < 1):
        raise InputError(
            f"--valid_ratio {valid} --test_ratio {test}: expected shares above 0 whose "
            "sum is below 1."
        )
    split: Dict[str, List[str]] = {name: [] for name in sets}
    for clip in sorted(clips):
        digest = hashlib.sha256(clip.partition("/")[2].encode()).hexdigest()
        place = int(digest[:13], 16) / 16**13
        number = 2 if place < test else 1 if place < test + valid else 0
        split[sets[number]].append(clip)
    rule = (
        "x = first 13 hexadecimal digits of the SHA-256 of the video id, over 16^13; "
        f"{sets[2]} where x < {test:g}, {sets[1]} where x < {test:g} + {valid:g}, else "
        f"{sets[0]}"
    )
    return split, rule


def check_disjoint(split: Dict[str, List[str]]) -> None:
    """Raise where a clip is in two sets."""
    where: Dict[str, str] = {}
    for name, clips in split.items():
        for clip in clips:
            if where.setdefault(clip, name) != name:
                raise InputError(
                    f"{clip} is in {where[clip]} and in {name}; a clip that is trained "
                    "on cannot be tested on. Take it out of one of the lists."
                )


def write_set(
    folder: Path, name: str, chosen: List[str], clips: Dict[str, Clip]
) -> None:
    """Write the tables of a set."""
    skipped: List[Skipped] = []
    tables: Dict[str, Dict[str, str]] = {
        table: {} for table in ("wav.scp", "video.scp", "utt2spk", "utt2clip")
    }
    for clip in chosen:
        category, _, video_id = clip.partition("/")
        spk = "_".join(category.replace("-", " ").split())
        utt = f"{spk}-{'_'.join(video_id.split())}"
        found = clips.get(clip, Clip(problem="video not found"))
        if found.problem:
            skipped.append(Skipped(utt, STAGE, found.problem))
            continue
        if utt in tables["utt2clip"]:
            raise InputError(
                f"{clip} and {tables['utt2clip'][utt]} both become {utt}; rename one "
                "of the categories."
            )
        tables["wav.scp"][utt] = found.sound
        tables["video.scp"][utt] = found.picture
        tables["utt2spk"][utt] = spk
        tables["utt2clip"][utt] = clip
    write_skipped(folder / "skipped.tsv", skipped)
    if not tables["utt2spk"]:
        raise InputError(
            f"the set {name} is empty: {len(chosen)} clips are listed for it and none "
            f"can be used (reasons: {folder / 'skipped.tsv'})."
        )
    spk2utt: Dict[str, List[str]] = {}
    for utt, spk in tables["utt2spk"].items():
        spk2utt.setdefault(spk, []).append(utt)
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


def shorten(names: Sequence[str], most: int = 10) -> str:
    """List some names and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


if __name__ == "__main__":
    sys.exit(main())
