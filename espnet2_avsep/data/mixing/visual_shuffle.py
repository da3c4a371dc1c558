"""Mixtures with the wrong pictures: how much does the visual input matter?"""

import random
from pathlib import Path
from typing import Dict, List, Mapping, Tuple, Union

from espnet2_avsep.data.conditions import WITH_ROWS
from espnet2_avsep.data.mixing import same_video
from espnet2_avsep.data.mixing.mixture_table import read_sources
from espnet2_avsep.errors import InputError


def shuffle_visual(
    tables: Mapping[str, Mapping[str, str]],
    list_file: Union[str, Path],
    mode: str,
    seed: int,
    required: bool = True,
) -> Dict[str, Dict[str, str]]:
    """Give each source of each mixture the visual input of another source of the set.

    Where there are motion features, they go with it, and so does the class, for the
    systems that are told the classes of the sources.

    What a source gets depends only on (seed, mixture, source) and the list, not on
    which mixtures are separated by which job.

    Args:
        tables: Name -> mixture -> value, the names visual_ref{n} among them, and
            motion_ref{n} if there are any.
        list_file: mixtures.tsv of the set; utt2video may lie beside it.
        mode: "clip": of any clip that is not in the mixture, whatever its class;
            "class": of a clip whose class is not in the mixture. In both cases it is
            of no video that is in the mixture.
        seed: Seed of the draw.
        required: Whether each mixture must leave something to draw from; otherwise
            those that do not are missing in the tables of the visual inputs.

    Returns:
        The tables, those of the visual inputs replaced, and class_ref{n}, the classes
        of what the sources got.

    Raises:
        InputError: the list does not fit the tables, or a mixture leaves nothing to
            draw from.
    """
    sources = read_sources(list_file)
    names = sorted(name for name in tables if name.startswith("visual_ref"))
    missing = sorted(set(tables[names[0]]) - set(sources))
    if missing:
        raise InputError(
            f"{list_file}: does not list {missing[0]} (and {len(missing) - 1} other "
            "mixtures); --mixtures must be the list that the set was made from."
        )
    column = {"clip": 0, "class": 1}[mode]
    # Source and its values: visual, and those of conditions that are there.
    numbers = [name.removeprefix("visual_ref") for name in names]
    stems = ["visual", *(condition.stem for condition in WITH_ROWS)]
    kinds = [f"{s}_ref" for s in stems if f"{s}_ref{numbers[0]}" in tables]
    pool: List[Tuple[Tuple[str, str], List[str]]] = [
        (sources[key][int(n) - 1], [tables[f"{kind}{n}"][key] for kind in kinds])
        for key in sorted(tables[names[0]])
        for n in numbers
    ]
    known = {clip for own in sources.values() for clip, _ in own}
    videos = same_video.read_videos(Path(list_file).parent, known)
    shuffled = {name: dict(table) for name, table in tables.items()}
    shuffled.update({f"class_ref{n}": {} for n in numbers})
    for key in tables[names[0]]:
        own = {source[column] for source in sources[key]}
        seen = {videos.get(clip) for clip, _ in sources[key]} - {None}
        choice = [
            entry
            for entry in pool
            if entry[0][column] not in own and videos.get(entry[0][0]) not in seen
        ]
        if not choice and not required:
            for name in (f"{kind}{n}" for kind in kinds for n in numbers):
                del shuffled[name][key]
            continue
        if not choice:
            raise InputError(
                f"--shuffle_visual {mode}: every {mode} of the set is in {key}, so "
                "there is no other visual input to draw. Use a larger set"
                + (", or --shuffle_visual clip." if mode == "class" else ".")
            )
        for name in names:
            rng = random.Random(f"{seed} {key} {name}")
            source, values = choice[int(rng.random() * len(choice))]
            shuffled[name.replace("visual_ref", "class_ref")][key] = source[1]
            for kind, value in zip(kinds, values, strict=True):
                shuffled[name.replace("visual_ref", kind)][key] = value
    return shuffled
