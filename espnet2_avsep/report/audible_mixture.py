"""Where the sounds of a mixture are, and which pictures prompted its sources."""

from fractions import Fraction
from pathlib import Path
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from espnet2_avsep.data.mixing.mixture_table import read_sources
from espnet2_avsep.data.mixing.real_mixtures import TABLE
from espnet2_avsep.data.records.made_from import check_tracks
from espnet2_avsep.data.segment_reader import strided_rows
from espnet2_avsep.data.tables.scp import PathLike, read_scp
from espnet2_avsep.data.tables.tsv import read_tsv
from espnet2_avsep.data.tables.yaml_file import read_yaml
from espnet2_avsep.errors import InputError


class Prompt(NamedTuple):
    """The pictures that a source was prompted by.

    Attributes:
        video: The clip's video, or folder of pictures; "": not known.
        times: When they are shown, in s on the clip's clock.
        seconds: Duration of the clip.
        region: The part of the pictures, a key of REGIONS.
        words: What they are, in words.
    """

    video: str
    times: Tuple[float, ...]
    seconds: float
    region: str
    words: str


class Source(NamedTuple):
    """One source of a mixture.

    Attributes:
        title: What it is, e.g. its instrument.
        clip: Id of its clip.
        reference: File of its sound; "": there is none.
        estimates: Files of the separated sound, one for each system.
        prompt: What prompted it.
    """

    title: str
    clip: str
    reference: str
    estimates: Tuple[str, ...]
    prompt: Prompt


class AudibleMixture(NamedTuple):
    """A mixture that can be listened to.

    Attributes:
        dset: Name of its set.
        mix_id: Its id.
        sound: Its file.
        sources: Its sources.
    """

    dset: str
    mix_id: str
    sound: str
    sources: Tuple[Source, ...]


class Folders(NamedTuple):
    """Where the stages left what belongs to one set.

    Attributes:
        data: Stage 1, data/<set>.
        dump: Stage 4, dump/raw/<set>.
        audio: Stage 3, dump/raw/org/<set>.
        separated: Stage 7, one for each system.
    """

    data: Path
    dump: Path
    audio: Path
    separated: Tuple[Path, ...]


def read_scored_mixtures(dset: str, folders: Folders) -> Dict[str, AudibleMixture]:
    """Read the fixed mixtures of a set: id -> mixture.

    Raises:
        InputError: a table is missing, or lacks a mixture of the list.
    """
    listed = read_sources(folders.dump / "mixtures.tsv")
    rows = _read_rows(folders.dump / "mixtures.tsv")
    number = len(next(iter(listed.values())))
    sounds, tracks = _sound_tables(folders, number)
    references = [read_scp(folders.dump / f"spk{n}.scp") for n in _numbers(number)]
    times = _PromptTimes(folders)
    found = {}
    for mix_id, clips in listed.items():
        sources = []
        for n, (clip, instrument) in enumerate(clips, 1):
            reference = _value(references[n - 1], mix_id, folders.dump / f"spk{n}.scp")
            estimates = tuple(_track(table, mix_id) for table in tracks[n - 1])
            prompt = times.prompt(clip, rows[mix_id].get(f"frame{n}"))
            sources.append(Source(instrument, clip, reference, estimates, prompt))
        sound = _value(sounds, mix_id, folders.dump / "wav.scp")
        found[mix_id] = AudibleMixture(dset, mix_id, sound, tuple(sources))
    return found


def read_real_mixtures(dset: str, folders: Folders) -> Dict[str, AudibleMixture]:
    """Read real mixtures, which have no references: id -> mixture.

    Raises:
        InputError: a table is missing, or lacks a mixture of the list.
    """
    rows = _read_rows(folders.dump / TABLE)
    real = read_yaml(folders.dump / "counts.yaml").get("real") or {}
    number = sum(name.startswith("prompt") for name in next(iter(rows.values()), {}))
    sounds, tracks = _sound_tables(folders, number)
    times = _PromptTimes(folders)
    half = real.get("segment_samples", 0) / 2
    found = {}
    for mix_id, row in rows.items():
        centre = (int(row["start"]) + half) / real["fs"] if real.get("fs") else 0.0
        sources = []
        for n in _numbers(number):
            region, words = "whole", row[f"prompt{n}"]
            if real.get("prompts") == "halves":
                region = words.partition(" ")[0]
                title = f"prompted by the {words}"
            else:
                title = row[f"spk{n}"]
                words = (
                    f"the recording; the prompt is the mean embedding of the training "
                    f"clips of {words}"
                )
            prompt = times.at(mix_id, (centre,), region, words)
            estimates = tuple(_track(table, mix_id) for table in tracks[n - 1])
            sources.append(Source(title, mix_id, "", estimates, prompt))
        sound = _value(sounds, mix_id, folders.dump / "wav.scp")
        found[mix_id] = AudibleMixture(dset, mix_id, sound, tuple(sources))
    return found


class _PromptTimes:
    """When the rows of a clip's visual features were taken."""

    def __init__(self, folders: Folders):
        dump = folders.dump
        self._videos = _optional(folders.data / "video.scp")
        self._shapes = _optional(dump / "visual_shape")
        self._samples = _optional(folders.audio / "utt2num_samples")
        info = read_yaml(dump / "visual_info.yaml")
        counts = read_yaml(dump / "counts.yaml")
        mixtures = counts.get("mixtures") or counts.get("real") or {}
        self._fs = mixtures.get("fs")
        self._count = mixtures.get("visual_frames", 1)
        self._stride = mixtures.get("visual_stride", 1)
        self._step: Optional[Fraction] = None
        # Rows of earlier versions: row i was taken at i * every / fps s.
        if info.get("fps") and info.get("every") and "row_time" not in info:
            self._step = Fraction(info["every"]) / Fraction(str(info["fps"]))

    def prompt(self, clip: str, row: Optional[str]) -> Prompt:
        """Return the prompt that the row of a mixture's list means."""
        shape = self._shapes.get(clip)
        if row is None or shape is None:
            return self.at(clip, (), "whole", "not known")
        num_rows = int(shape.split(",")[0])
        seconds = self._seconds(clip)
        rows = strided_rows(int(row), self._count, self._stride, num_rows)
        if self._step is not None:
            times = [float(number * self._step) for number in rows]
        else:
            times = [(number + 0.5) / num_rows * seconds for number in rows]
        words = f"{clip} at {', '.join(f'{time:.2f}' for time in times)} s"
        return self.at(clip, tuple(times), "whole", words)

    def at(
        self, clip: str, times: Tuple[float, ...], region: str, words: str
    ) -> Prompt:
        """Return a prompt of known times."""
        video = self._videos.get(clip, "")
        return Prompt(video, times, self._seconds(clip), region, words)

    def _seconds(self, clip: str) -> float:
        samples = self._samples.get(clip)
        return int(samples) / self._fs if samples and self._fs else 0.0


def _numbers(number: int) -> range:
    return range(1, number + 1)


def _sound_tables(
    folders: Folders, number: int
) -> Tuple[Dict[str, str], List[List[Tuple[Path, Dict[str, str]]]]]:
    """Read wav.scp, and of each source its table of each system."""
    for folder in folders.separated:
        check_tracks(folder)
    tracks = [
        [
            (folder / f"spk{n}.scp", read_scp(folder / f"spk{n}.scp"))
            for folder in folders.separated
        ]
        for n in _numbers(number)
    ]
    return read_scp(folders.dump / "wav.scp"), tracks


def _track(table: Tuple[Path, Mapping[str, str]], key: str) -> str:
    return _value(table[1], key, table[0])


def _value(table: Mapping[str, str], key: str, path: Path) -> str:
    if key not in table:
        raise InputError(
            f"{path}: {key} is missing, which the list of mixtures has. Run stage 7 "
            "again, or stage 4 if the list is newer."
        )
    return table[key]


def _optional(path: Path) -> Dict[str, str]:
    return read_scp(path, allow_empty=True) if path.is_file() else {}


def _read_rows(path: PathLike) -> Dict[str, Dict[str, str]]:
    """Read a list of mixtures: id -> column -> value."""
    fix = "stage 4 writes the list of mixtures; run it again."
    return {row["mix_id"]: row for row in read_tsv(path, ["mix_id"], fix)}


def choose_mixtures(scores: Mapping[str, float], most: int) -> List[str]:
    """Choose mixtures to listen to: the best, the worst, and others in between.

    A quarter each are the best and the worst ones; the rest is spread evenly over the
    ranks between them.

    Args:
        scores: Mixture -> score; the same scores give the same choice.
        most: How many at most.

    Returns:
        Their ids, the best first.
    """
    ranked = ranking(scores)
    if len(ranked) <= most:
        return ranked
    ends = most // 4
    middle = ranked[ends : len(ranked) - ends]
    between = evenly(middle, most - 2 * ends)
    return ranked[:ends] + between + ranked[len(ranked) - ends :]


def ranking(scores: Mapping[str, float]) -> List[str]:
    """Sort mixtures by score, the best first; equal ones by id."""
    return sorted(scores, key=lambda key: (-scores[key], key))


def evenly(keys: Sequence[str], most: int) -> List[str]:
    """Choose at most ``most`` keys, spread evenly over their order."""
    if len(keys) <= most:
        return list(keys)
    return [keys[int((n + 0.5) * len(keys) / most)] for n in range(most)]
