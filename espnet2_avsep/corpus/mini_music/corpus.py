"""The embedded corpus on disk: a plan drawn from the seed, takes as mp4, MUSIC's lists.

Everything is drawn first (``plan``), and every take has random streams of its own, so
that takes can be made in any order, in any number of processes, and again after an
interruption, always with the same result.
"""

import base64
import contextlib
import functools
import hashlib
import json
import shutil
import zlib
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from espnet2_avsep.corpus.mini_music import pictures, synthesis
from espnet2_avsep.corpus.mini_music.drawing import frames
from espnet2_avsep.corpus.mini_music.melody import Note, Style, compose, repeated
from espnet2_avsep.data.processes import map_in_processes
from espnet2_avsep.data.tables.clip_id import check_id
from espnet2_avsep.data.tables.scp import PathLike, atomic_write, write_json
from espnet2_avsep.errors import InputError

VERSION = 1  # to be raised with every change of what is generated
BOW_SPEED_VERSION = 2  # the same with Parameters.bow_speed
MANIFEST = "corpus.json"
SETS = ("train", "valid", "test")
SAMPLING_RATES = (22050, 44100, 48000)
SIZES = ((160, 120), (192, 144), (240, 180), (320, 240))
H264_ENCODERS = ("libx264", "libopenh264")


@dataclass(frozen=True)
class Instrument:
    """An instrument: how it is played, how it sounds, what it looks like.

    Attributes:
        name: The category, as in MUSIC.
        style: Range and manner of playing.
        voice: Notes to sound.
        picture: Class of its ``drawing.Picture``.
    """

    name: str
    style: Style
    voice: synthesis.Voice
    picture: type


# The paper's two axes, transient to sustained and simple to rich: xylophone and guitar
# are transient (simple, rich), flute and clarinet sustained and simple, the others
# sustained and rich. The ranges overlap, so that pitch alone tells little.
INSTRUMENTS = (
    Instrument(
        "accordion",
        Style(53, 79, (80, 120), (0.5, 1.0, 1.0, 1.5), 0.95, 0.5, 0.06),
        synthesis.accordion,
        pictures.Accordion,
    ),
    Instrument(
        "acoustic_guitar",
        Style(45, 72, (80, 130), (0.5, 0.5, 1.0), 1.0, 0.3, 0.05),
        synthesis.acoustic_guitar,
        pictures.AcousticGuitar,
    ),
    Instrument(
        "cello",
        Style(43, 69, (60, 95), (0.5, 1.0, 1.0, 1.5), 0.98, 0.0, 0.08),
        synthesis.cello,
        pictures.Cello,
    ),
    Instrument(
        "clarinet",
        Style(52, 82, (80, 120), (0.5, 0.5, 1.0, 1.5), 0.95, 0.0, 0.1),
        synthesis.clarinet,
        pictures.Clarinet,
    ),
    Instrument(
        "flute",
        Style(60, 88, (80, 120), (0.5, 0.5, 1.0, 1.5), 0.95, 0.0, 0.1),
        synthesis.flute,
        pictures.Flute,
    ),
    Instrument(
        "trumpet",
        Style(55, 79, (80, 120), (0.5, 0.5, 1.0, 1.5), 0.9, 0.0, 0.1),
        synthesis.trumpet,
        pictures.Trumpet,
    ),
    Instrument(
        "tuba",
        Style(34, 58, (70, 110), (0.5, 1.0, 1.0, 1.5), 0.85, 0.0, 0.08),
        synthesis.tuba,
        pictures.Tuba,
    ),
    Instrument(
        "xylophone",
        Style(65, 89, (90, 150), (0.5, 0.5, 1.0), 1.0, 0.1, 0.1),
        synthesis.xylophone,
        pictures.Xylophone,
    ),
)


# With same_instrument: detached notes, silent while the bow stands still.
BOWED = "cello"
_DETACHED = Style(43, 69, (60, 100), (0.5, 1.0, 1.5, 2.0), 0.5, 0.0, 0.5)
# With bow_speed: notes of 0.9 s and more, so that one stroke of the bow is slower than
# a tremolo's, which takes 1/8 s.
_HELD = Style(43, 69, (60, 90), (1.5, 2.0, 3.0), 0.9, 0.0, 0.3)
_TREMOLO_HZ = 4.0  # of the bow; two short notes in a period


def _tremolo(
    notes: Sequence[Note], duration: float, fs: int, rng: np.random.Generator
) -> np.ndarray:
    notes = repeated(notes, 2.0 * _TREMOLO_HZ)
    return synthesis.acoustic_guitar(notes, duration, fs, rng)


# With bow_speed: looks like BOWED.
TREMOLO = Instrument("cello_tremolo", _HELD, _tremolo, pictures.Cello)
_ONE_MEDIUM = {"fps": 16, "width": 160, "height": 120}


@dataclass(frozen=True)
class Parameters:
    """What defines a corpus; two runs with equal parameters give the same corpus.

    Attributes:
        seed: Non-negative integer.
        train_takes: Takes of each instrument in train.
        valid_takes: Takes of each instrument in valid.
        test_takes: Takes of each instrument in test.
        duration: Seconds of every take.
        instruments: Categories, a subset of those of ``INSTRUMENTS``.
        same_instrument: Whether only motion tells takes apart: all have one timbre and
            one drawing of one player, whose bow moves while a note sounds and stands
            still otherwise; the left hand does not move.
        bow_speed: Whether only the kind of motion tells instruments apart: the same
            player bows slowly ("cello"), or fast, back and forth ("cello_tremolo"),
            with a sound of short plucked notes. One picture does not tell which.
    """

    seed: int = 0
    train_takes: int = 8
    valid_takes: int = 2
    test_takes: int = 3
    duration: float = 8.0
    instruments: Tuple[str, ...] = tuple(i.name for i in INSTRUMENTS)
    same_instrument: bool = False
    bow_speed: bool = False

    @property
    def one_player(self) -> bool:
        """Whether all takes show one player and only the bow moves."""
        return self.same_instrument or self.bow_speed

    def check(self) -> None:
        """Refuse values that make no corpus.

        Raises:
            InputError: a value is out of its range, an instrument is unknown.
        """
        if self.seed < 0:
            raise InputError(f"--seed {self.seed}: must be 0 or more.")
        for name in SETS:
            takes = getattr(self, f"{name}_takes")
            if takes < 1:
                raise InputError(
                    f"--{name}_takes {takes}: every set needs at least 1 take of each "
                    "instrument."
                )
        if not 1.0 <= self.duration <= 600.0:
            raise InputError(
                f"--duration {self.duration}: must be between 1 and 600 seconds (the "
                "recipe's segments need 5.7)."
            )
        if self.same_instrument and self.bow_speed:
            raise InputError("--same_instrument and --bow_speed: expected one of them.")
        if self.bow_speed:
            if sorted(self.instruments) != [BOWED, TREMOLO.name]:
                raise InputError(
                    f"--bow_speed true with --instruments {' '.join(self.instruments)}:"
                    f" expected {BOWED} {TREMOLO.name}."
                )
            return
        known = [instrument.name for instrument in INSTRUMENTS]
        unknown = sorted(set(self.instruments) - set(known))
        if unknown or not self.instruments:
            raise InputError(
                f"--instruments {' '.join(self.instruments)}: unknown or empty "
                f"({', '.join(unknown)}); choose from {', '.join(known)}."
            )
        if len(set(self.instruments)) != len(self.instruments):
            raise InputError(
                f"--instruments {' '.join(self.instruments)}: name each one once."
            )
        if self.same_instrument and self.instruments != (BOWED,):
            raise InputError(
                f"--same_instrument true with --instruments "
                f"{' '.join(self.instruments)}: expected {BOWED}, the one with a bow."
            )


@dataclass(frozen=True)
class Take:
    """One planned video.

    Attributes:
        category: The instrument.
        id: 11 characters, as YouTube's.
        set: train, valid or test.
        index: Number of the take within its set and instrument.
        sampling_rate: Hz.
        channels: 1 or 2.
        level_dbfs: RMS in dB below full scale.
        fps: Frames a second.
        width: Pixels.
        height: Pixels.
    """

    category: str
    id: str
    set: str
    index: int
    sampling_rate: int
    channels: int
    level_dbfs: float
    fps: int
    width: int
    height: int


def random_stream(
    seed: int, category: str, set_name: str, index: int, purpose: str
) -> np.random.Generator:
    """The random stream of one purpose in one take, independent of all others."""
    words = [zlib.crc32(word.encode()) for word in (category, set_name, purpose)]
    return np.random.default_rng([seed, index, *words])


def plan(parameters: Parameters) -> List[Take]:
    """Draw what every take is to be; sorted by category, set, index."""
    takes = []
    for category in sorted(parameters.instruments):
        for set_name in SETS:
            for index in range(getattr(parameters, f"{set_name}_takes")):
                key = (parameters.seed, category, set_name, index)
                rng = random_stream(*key, "media")
                digest = hashlib.sha256(f"mini_music {key}".encode()).digest()
                width, height = SIZES[rng.integers(len(SIZES))]
                takes.append(
                    Take(
                        category=category,
                        id=base64.urlsafe_b64encode(digest).decode()[:11],
                        set=set_name,
                        index=index,
                        sampling_rate=int(rng.choice(SAMPLING_RATES)),
                        channels=int(rng.integers(1, 3)),
                        level_dbfs=round(float(rng.uniform(-26.0, -16.0)), 1),
                        **(
                            _ONE_MEDIUM
                            if parameters.one_player
                            else {
                                "fps": int(rng.integers(8, 16)),
                                "width": width,
                                "height": height,
                            }
                        ),
                    )
                )
    return takes


def _instrument(take: Take) -> Instrument:
    return next(i for i in (*INSTRUMENTS, TREMOLO) if i.name == take.category)


def score(take: Take, parameters: Parameters) -> List[Note]:
    """The notes of a take."""
    key = (parameters.seed, take.category, take.set, take.index)
    style = _instrument(take).style
    if parameters.one_player:
        style = _HELD if parameters.bow_speed else _DETACHED
    return compose(style, parameters.duration, random_stream(*key, "melody"))


def sound(take: Take, parameters: Parameters) -> np.ndarray:
    """The sound of a take, (channels, L) float32 at ``take.sampling_rate``."""
    rng = _looks_and_timbre(take, parameters, "sound")
    fs = take.sampling_rate
    voice = _instrument(take).voice
    dry = voice(score(take, parameters), parameters.duration, fs, rng)
    return synthesis.room(dry, take.channels, take.level_dbfs, fs, rng)


def film(take: Take, parameters: Parameters) -> Iterator[np.ndarray]:
    """The frames of a take, (height, width, 3) uint8 each."""
    return frames(
        _instrument(take).picture,
        score(take, parameters),
        parameters.duration,
        take.fps,
        take.width,
        take.height,
        _looks_and_timbre(take, parameters, "picture"),
        only_bow=parameters.one_player,
        tremolo=_TREMOLO_HZ if take.category == TREMOLO.name else 0.0,
    )


def _looks_and_timbre(
    take: Take, parameters: Parameters, purpose: str
) -> np.random.Generator:
    """Return the random stream of a take's "sound" or "picture"."""
    if parameters.one_player:
        category = BOWED if purpose == "picture" else take.category
        return random_stream(parameters.seed, category, "every set", 0, purpose)
    key = (parameters.seed, take.category, take.set, take.index)
    return random_stream(*key, purpose)


def video_path(corpus_dir: PathLike, take: Take) -> Path:
    """Where a take lies: ``videos/<category>/<id>.mp4``, as in MUSIC."""
    return Path(corpus_dir) / "videos" / take.category / f"{take.id}.mp4"


def write_video(
    path: PathLike,
    audio: np.ndarray,
    sampling_rate: int,
    pictures_rgb: Iterator[np.ndarray],
    fps: int,
) -> None:
    """Write an mp4 file with H.264 and AAC streams; it appears only when complete.

    Args:
        path: The file.
        audio: (channels, L) float32 in [-1, 1], 1 or 2 channels.
        sampling_rate: Hz.
        pictures_rgb: (height, width, 3) uint8 each, all of one even size.
        fps: Frames a second.

    Raises:
        InputError: this build of PyAV has no H.264 encoder.
    """
    import av

    encoder = next((e for e in H264_ENCODERS if e in av.codecs_available), None)
    if encoder is None:
        raise InputError(
            f"PyAV {av.__version__} has no H.264 encoder ({' or '.join(H264_ENCODERS)})"
            "; install PyAV's own wheel: pip install --force-reinstall av"
        )
    layout = "mono" if len(audio) == 1 else "stereo"
    with (
        atomic_write(path, "wb") as file,
        av.open(
            file, "w", format="mp4", container_options={"fflags": "+bitexact"}
        ) as container,
    ):
        first = next(pictures_rgb)
        video = container.add_stream(encoder, rate=fps)
        video.height, video.width = first.shape[:2]
        video.pix_fmt = "yuv420p"
        # One thread: the bytes do not depend on the number of processors.
        video.codec_context.thread_count = 1
        video.options = {"preset": "superfast", "crf": "24", "g": str(2 * fps)}
        voice = container.add_stream("aac", rate=sampling_rate, layout=layout)
        voice.bit_rate = 64000 * len(audio)
        voice.options = {"aac_coder": "fast"}

        def add_sound(begin: int, end: int) -> None:
            if begin >= end:
                return
            block = np.ascontiguousarray(audio[:, begin:end])
            chunk = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
            chunk.sample_rate = sampling_rate
            chunk.time_base = Fraction(1, sampling_rate)
            chunk.pts = begin
            container.mux(voice.encode(chunk))

        sent = 0
        picture: Optional[np.ndarray] = first
        index = 0
        while picture is not None:
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.time_base = Fraction(1, fps)
            frame.pts = index
            container.mux(video.encode(frame))
            index += 1
            due = min(audio.shape[1], index * sampling_rate // fps)
            add_sound(sent, due)
            sent = max(sent, due)
            picture = next(pictures_rgb, None)
        add_sound(sent, audio.shape[1])
        container.mux(video.encode(None))
        container.mux(voice.encode(None))


@contextlib.contextmanager
def _writing(path: PathLike) -> Iterator[None]:
    """Turn an error of the disk into a message that says how to fix it."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error}). Make room or correct the "
            "permissions and run the command again; finished files are kept."
        ) from None


def make_take(corpus_dir: PathLike, take: Take, parameters: Parameters) -> None:
    """Make one video file.

    Raises:
        InputError: the file cannot be written (disk full, permissions, no encoder).
    """
    path = video_path(corpus_dir, take)
    audio = sound(take, parameters)
    with _writing(path):
        write_video(path, audio, take.sampling_rate, film(take, parameters), take.fps)


def _version(parameters: Parameters) -> int:
    return BOW_SPEED_VERSION if parameters.bow_speed else VERSION


def _manifest(parameters: Parameters, takes: Sequence[Take]) -> Dict:
    values = asdict(parameters)
    for name in ("same_instrument", "bow_speed"):
        if not values[name]:
            del values[name]  # as before there was this parameter
    return {
        "corpus": "mini_music",
        "version": _version(parameters),
        "parameters": json.loads(json.dumps(values)),
        "takes": [asdict(take) for take in takes],
    }


def _read_manifest(corpus_dir: Path) -> Optional[Dict]:
    path = corpus_dir / MANIFEST
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["corpus"] != "mini_music":
            raise ValueError("it describes another corpus")
        for take in content["takes"]:  # files of these names may be removed
            check_id(path, take["category"]), check_id(path, take["id"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: is not the description of a generated corpus ({error}); remove "
            "the folder or choose another --corpus_dir."
        ) from error
    return content


def _lists(corpus_dir: Path) -> List[Path]:
    """The tables that are written last: where they are, the corpus is complete."""
    splits = [corpus_dir / "splits" / f"{name}.txt" for name in SETS]
    return [corpus_dir / "MUSIC_solo_videos.json", *splits, corpus_dir / "README.txt"]


def _prepare_folder(corpus_dir: Path, wanted: Dict) -> bool:
    """Clear what an earlier run with other parameters left; True if it did so.

    Raises:
        InputError: the folder holds something that was not generated.
    """
    found = _read_manifest(corpus_dir)
    if found is None:
        if corpus_dir.exists() and not corpus_dir.is_dir():
            raise InputError(f"{corpus_dir}: is a file; --corpus_dir must be a folder.")
        if corpus_dir.is_dir() and any(
            not path.name.startswith(f".{MANIFEST}.") for path in corpus_dir.iterdir()
        ):
            raise InputError(
                f"{corpus_dir}: is not empty and has no {MANIFEST}, so its files were "
                "not generated here; choose an empty or a new --corpus_dir."
            )
    elif found != wanted:
        for path in _lists(corpus_dir):
            path.unlink(missing_ok=True)
        for take in found["takes"]:
            category = corpus_dir / "videos" / take["category"]
            (category / f"{take['id']}.mp4").unlink(missing_ok=True)
            if category.is_dir() and not any(category.iterdir()):
                shutil.rmtree(category)
    for half_written in corpus_dir.rglob(".*.tmp"):
        half_written.unlink(missing_ok=True)
    if found != wanted:
        write_json(corpus_dir / MANIFEST, wanted)
    return found is not None and found != wanted


def _write_lists(corpus_dir: Path, parameters: Parameters, takes: List[Take]) -> None:
    videos: Dict[str, List[str]] = {}
    for take in takes:
        videos.setdefault(take.category, []).append(take.id)
    music, *splits, readme = _lists(corpus_dir)
    for name, path in zip(SETS, splits, strict=True):
        with atomic_write(path) as f:
            for take in takes:
                if take.set == name:
                    f.write(f"{take.category}/{take.id}\n")
    counts = ", ".join(
        f"{sum(take.set == name for take in takes)} {name}" for name in SETS
    )
    with atomic_write(readme) as f:
        f.write(
            "A generated mini corpus. This is NOT the MUSIC dataset: it only has "
            "MUSIC's layout.\n\n"
            "Every sound is synthesised and every picture drawn by\n"
            f"local/prepare_mini_music.py, generator version "
            f"{_version(parameters)}, seed {parameters.seed}.\n"
            f"{len(takes)} videos of {parameters.duration:g} s ({counts}) of "
            f"{len(videos)} instruments:\n{', '.join(videos)}.\n"
            + "All takes have one timbre and one drawing; only the bow's motion tells "
            "them apart.\n"
            * parameters.same_instrument
            + "All takes have one drawing; only the bow's speed tells the instruments "
            "apart.\n" * parameters.bow_speed + "\n"
            "videos/<category>/<id>.mp4   H.264 and AAC\n"
            "MUSIC_solo_videos.json       category -> ids\n"
            "splits/<set>.txt             rows category/id; no take is in two sets\n"
            f"{MANIFEST}                  parameters and every take's properties\n\n"
            "Scores on it show that the recipe works, and nothing about real music.\n"
        )
    write_json(music, {"videos": videos})


def generate(
    corpus_dir: PathLike,
    parameters: Parameters,
    nj: int = 2,
    report: Callable[[str], None] = lambda message: None,
) -> List[Take]:
    """Generate the corpus, or what is missing of it.

    Files of an earlier run with the same parameters and generator version are kept;
    files of a run with others are removed first. A file that is there is complete.

    Args:
        corpus_dir: Where the corpus goes.
        parameters: What it is to be.
        nj: Processes.
        report: Receives lines that say how far the work is.

    Returns:
        All takes of the corpus.

    Raises:
        InputError: unusable parameters, a folder with foreign files, a full disk.
    """
    parameters.check()
    if nj < 1:
        raise InputError(f"--nj {nj}: must be 1 or more.")
    corpus_dir = Path(corpus_dir)
    takes = plan(parameters)
    with _writing(corpus_dir):
        renewed = _prepare_folder(corpus_dir, _manifest(parameters, takes))
    if renewed:
        report(f"{corpus_dir}: made with other parameters before; generating it anew")
    missing = [take for take in takes if not video_path(corpus_dir, take).exists()]
    report(
        f"{corpus_dir}: {len(takes)} videos, {len(takes) - len(missing)} already there"
    )
    done = len(takes) - len(missing)
    for _ in _make_all(corpus_dir, missing, parameters, nj):
        done += 1
        if done % max(1, len(takes) // 10) == 0 or done == len(takes):
            report(f"{done} of {len(takes)} videos")
    with _writing(corpus_dir):
        _write_lists(corpus_dir, parameters, takes)
    return takes


def _make_all(
    corpus_dir: Path, takes: List[Take], parameters: Parameters, nj: int
) -> Iterator[None]:
    """Make takes in ``nj`` processes, yielding after each that is finished."""
    work = functools.partial(make_take, corpus_dir, parameters=parameters)
    yield from map_in_processes(work, takes, nj, "spawn")
