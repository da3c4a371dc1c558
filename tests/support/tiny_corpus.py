"""Tones of a second, told apart by their embeddings, in the recipe's tables."""

from pathlib import Path

import kaldiio
import numpy as np
import soundfile

FS, N_FFT, HOP, SEGMENT, DIM = 2000, 128, 32, 31 * 32, 4
TONES = {"low": 180.0, "mid": 330.0, "high": 560.0, "top": 850.0}

MODEL_OPTIONS = {
    "sample_rate": FS,
    "encoder_conf": {"n_fft": N_FFT, "hop_length": HOP},
    "decoder_conf": {"n_fft": N_FFT, "hop_length": HOP},
    "separator_conf": {"visual_dim": DIM, "channels": 8, "layers": 4, "width": 8},
    "model_conf": {"num_log_bins": 48},
    "criterions": [{"name": "spectrogram_l1"}],
    "dataset_conf": {"segment_samples": SEGMENT, "different_class": True},
    "optim_conf": {"lr": 5e-3, "fused": True},
    "batch_size": 4,
    "num_iters_per_epoch": 8,
    "max_epoch": 2,
    "num_workers": 0,
    # Drawing takes longer than the training: test_avsep_task.py has the pictures.
    "num_att_plot": 0,
    "use_matplotlib": False,
    "use_tensorboard": False,
    "picture_interval": 1,
    "best_model_criterion": [["valid", "si_sdr_i", "max"]],
    "keep_nbest_models": 1,
    "seed": 0,
}


def _scp(path: Path, table: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{k} {v}\n" for k, v in sorted(table.items())))


def embedding(name: str) -> np.ndarray:
    return 2 * np.eye(DIM, dtype=np.float32)[list(TONES).index(name)][None]


def tone(name: str, samples: int, phase: float = 0.0) -> np.ndarray:
    time = np.arange(samples) / FS
    wave = np.sin(2 * np.pi * TONES[name] * time + phase)
    return (0.5 * wave).astype(np.float32)


def make_tiny_corpus(root: Path) -> Path:
    """Write <root>/train (single clips) and <root>/valid (two-source mixtures)."""
    train, valid = root / "train", root / "valid"
    wavs = root / "wavs"
    wavs.mkdir(parents=True)
    spk1, category, rows = {}, {}, {}
    for name in TONES:
        for take in range(2):
            key = f"{name}-{take}"
            path = wavs / f"{key}.wav"
            soundfile.write(path, tone(name, 3 * SEGMENT, take), FS, subtype="FLOAT")
            spk1[key], category[key] = path, name
            rows[key] = np.repeat(embedding(name), 3, axis=0)
    train.mkdir(parents=True)
    _scp(train / "spk1.scp", spk1)
    _scp(train / "utt2spk", category)
    kaldiio.save_ark(
        str(train / "visual.ark"), rows, scp=str(train / "visual_spk1.scp")
    )
    shapes = root / "stats" / "train"
    _scp(shapes / "speech_ref1_shape", dict.fromkeys(spk1, 3 * SEGMENT))
    _scp(shapes / "visual_ref1_shape", dict.fromkeys(spk1, f"3,{DIM}"))

    pairs = [("low", "high"), ("mid", "top"), ("top", "low"), ("high", "mid")]
    tables = {"wav": {}, "spk1": {}, "spk2": {}}
    visual = {1: {}, 2: {}}
    for index, pair in enumerate(pairs):
        key = f"mix{index:05d}"
        sources = [tone(name, SEGMENT, 0.3) / 2 for name in pair]
        for n, (name, source) in enumerate(zip(pair, sources, strict=True), 1):
            path = wavs / f"{key}_spk{n}.wav"
            soundfile.write(path, source, FS, subtype="FLOAT")
            tables[f"spk{n}"][key] = path
            visual[n][key] = embedding(name)
        path = wavs / f"{key}.wav"
        soundfile.write(path, sum(sources), FS, subtype="FLOAT")
        tables["wav"][key] = path
    for name, table in tables.items():
        _scp(valid / f"{name}.scp", table)
    for n, matrices in visual.items():
        kaldiio.save_ark(
            str(valid / f"visual{n}.ark"),
            matrices,
            scp=str(valid / f"visual_spk{n}.scp"),
        )
    return root


def train_command(root: Path, config: Path, output_dir: Path, *more: str) -> list:
    """Command line of avsep_train on the tiny corpus."""
    train, valid = root / "train", root / "valid"
    argv = ["--config", str(config), "--output_dir", str(output_dir)]
    for path, name, kind in [
        (train / "spk1.scp", "speech_ref1", "sound"),
        (train / "visual_spk1.scp", "visual_ref1", "kaldi_ark"),
    ]:
        argv += ["--train_data_path_and_name_and_type", f"{path},{name},{kind}"]
    for path, name, kind in [
        (valid / "wav.scp", "speech_mix", "sound"),
        (valid / "spk1.scp", "speech_ref1", "sound"),
        (valid / "spk2.scp", "speech_ref2", "sound"),
        (valid / "visual_spk1.scp", "visual_ref1", "kaldi_ark"),
        (valid / "visual_spk2.scp", "visual_ref2", "kaldi_ark"),
    ]:
        argv += ["--valid_data_path_and_name_and_type", f"{path},{name},{kind}"]
    for name in ("speech_ref1", "visual_ref1"):
        argv += ["--train_shape_file", str(root / "stats" / "train" / f"{name}_shape")]
    return [*argv, *more]
