"""The tables and sounds of stages 1 to 8, small, of one or several systems."""

import hashlib
from pathlib import Path
from typing import Dict, Sequence

import numpy as np
import yaml

from espnet2_avsep.data.audio.wav_writer import write_float_wav
from espnet2_avsep.data.tables.scp import write_scp
from espnet2_avsep.metrics.score_table import METRICS, ScoreRow, finish, summarise
from espnet2_avsep.scoring.score_files import write_scores
from espnet2_avsep.scoring.set_scores import result_text
from tests.report.health_corpus import pictures_of, write_pictures

FS, SAMPLES = 8000, 6000
HOSTILE = '<img src=x onerror="alert(1)">'
INSTRUMENTS = ("cello", "tuba")
LOG = """\
2026-01-01 00:00:00,000 (trainer:394) INFO: 1epoch results: [train] \
iter_time=0.011, loss=0.162, grad_norm=0.4, train_time=3.6, time=8.72 seconds, \
total_count=10, [valid] loss=0.228, si_sdr=4.5, time=3.7 seconds, total_count=2
2026-01-01 00:00:00,000 (trainer:394) INFO: 2epoch results: [train] loss=1.000e-01, \
optim0_lr0=0.001, [valid] loss=0.2, si_sdr=nan, time=3.7 seconds
"""


def tone(hertz: float, level: float = 0.2) -> np.ndarray:
    """A tone (SAMPLES,)."""
    time = np.arange(SAMPLES) / FS
    return (level * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def clip_of(instrument: str, mixture: int) -> str:
    """Id of a clip; that of the cello in the first mixture is hostile."""
    if (instrument, mixture) == ("cello", 0):
        return f"cello-{HOSTILE.replace(' ', '')}"
    return f"{instrument}-{mixture % 3}"


class ScoredCorpus:
    """Mixtures of a set "test", and systems that separated and scored them.

    Args:
        root: Gets data/, dump/ and exp/.
        number: How many mixtures.
        sounds: Whether there are sounds, of each a file.
    """

    def __init__(self, root: Path, number: int = 6, sounds: bool = True):
        self.root, self.number, self.sounds = root, number, sounds
        self.dump = root / "dump" / "test"
        keys = [f"mix{n:05d}" for n in range(number)]
        self.keys = keys
        clips = sorted({clip_of(i, n) for n in range(number) for i in INSTRUMENTS})
        videos = {clip: root / "videos" / str(n) for n, clip in enumerate(clips)}
        for folder in videos.values():
            write_pictures(folder, pictures_of("ok"))
        # One clip's video is gone.
        videos["tuba-1"] = root / "videos" / "gone.mp4"
        write_scp(root / "data/test/video.scp", videos)
        samples = dict.fromkeys(clips, 4 * FS)
        write_scp(root / "dump/org/test/utt2num_samples", samples)
        write_scp(self.dump / "visual_shape", dict.fromkeys(clips, "4,512"))
        lines = ["mix_id\tclip1\tspk1\tstart1\tframe1\tclip2\tspk2\tstart2\tframe2"]
        for n, key in enumerate(keys):
            one, two = (clip_of(name, n) for name in INSTRUMENTS)
            lines.append(f"{key}\t{one}\tcello\t0\t1\t{two}\ttuba\t0\t2")
        text = "".join(f"{line}\n" for line in lines)
        (self.dump / "mixtures.tsv").write_text(text)
        self.digest = hashlib.sha256(text.encode()).hexdigest()
        (self.dump / "visual_info.yaml").write_text("fps: 8\nevery: 8\n")
        counts = f"mixtures: {{fs: {FS}, listed: {number}, made: {number}}}\n"
        (self.dump / "counts.yaml").write_text(counts)
        self._write(self.dump, "wav", [tone(300) + tone(900) for _ in keys])
        for n, hertz in enumerate((300, 900), 1):
            self._write(self.dump, f"spk{n}", [tone(hertz) for _ in keys])

    def _write(self, folder: Path, name: str, sounds: Sequence[np.ndarray]) -> None:
        table: Dict[str, Path] = {}
        for key, samples in zip(self.keys, sounds, strict=True):
            table[key] = folder / "data" / name / f"{key}.wav"
            if self.sounds:
                write_float_wav(table[key], samples, FS)
        write_scp(folder / f"{name}.scp", table)

    def add_system(self, name: str, offset: float = 0.0, **config) -> Path:
        """Add a scored system.

        Mixture n has the SDR n + offset for its first source, and 1.125 more for its
        second one, whose score in the last mixture is missing; the mixtures' own is 1.
        """
        folder = self.root / "exp" / name
        for n, hertz in enumerate((300, 900), 1):
            sounds = [tone(hertz) + tone(1200 - hertz, 0.02) for _ in self.keys]
            self._write(folder / "separated_test", f"spk{n}", sounds)
        rows = []
        for n, key in enumerate(self.keys):
            for source, instrument in enumerate(INSTRUMENTS, 1):
                lost = (
                    "silent estimate: x" if (n, source) == (self.number - 1, 2) else ""
                )
                clip = clip_of(instrument, n)
                row = ScoreRow(key, source, clip, instrument, reason=lost)
                for metric in METRICS:
                    setattr(row, metric, n + offset + 1.125 * (source - 1))
                    setattr(row, f"{metric}_mix", 1.0)
                finish(row)
                rows.append(row)
        write_scores(folder / "scored_test" / "scores.tsv", rows)
        head = {
            "backend": "fast",
            "list_sha256": self.digest,
            "sound_sha256": "s",
            "bootstrap": "10000 resamples of the mixtures, seed 0",
        }
        text = result_text(head, summarise(rows))
        (folder / "scored_test" / "result_test.txt").write_text(text)
        (folder / "config.yaml").write_text(yaml.safe_dump({"seed": 0, **config}))
        (folder / "valid.si_sdr_i.best.pth").write_bytes(b"weights")
        (folder / "train.log").write_text(LOG)
        (folder / "RESULTS.md").write_text("# RESULTS\n")
        return folder

    def add_duet(self, system: Path, prompts: str = "class_mean") -> None:
        """Add a real mixture, separated by a system."""
        folder = self.root / "dump" / "duet"
        keys, self.keys = self.keys, ["cello_tuba-x"]
        self._write(folder, "wav", [tone(300) + tone(900)])
        for n in (1, 2):
            self._write(system / "separated_duet", f"spk{n}", [tone(300 * n)])
        self.keys = keys
        words = ("left half", "right half") if prompts == "halves" else INSTRUMENTS
        (folder / "real_mixtures.tsv").write_text(
            "mix_id\tspk1\tspk2\tprompt1\tprompt2\tstart\n"
            f"cello_tuba-x\tcello\ttuba\t{words[0]}\t{words[1]}\t0\n"
        )
        (folder / "counts.yaml").write_text(
            f"real: {{prompts: {prompts}, fs: {FS}, segment_samples: {SAMPLES}}}\n"
        )
        video = self.root / "videos" / "0"
        write_scp(self.root / "data/duet/video.scp", {"cello_tuba-x": video})
        samples = {"cello_tuba-x": 4 * FS}
        write_scp(self.root / "dump/org/duet/utt2num_samples", samples)

    def options(self, *systems: Path, output: Path) -> list:
        """The command line of avsep_report."""
        words = ["--sets", "test", "--data_dir", str(self.root / "data")]
        words += ["--dump_dir", str(self.root / "dump"), "--output_dir", str(output)]
        for system in systems:
            words += ["--experiment", str(system)]
        return words
