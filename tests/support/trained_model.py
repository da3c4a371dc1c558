"""A trained folder without a training: the tiny model with random weights."""

from pathlib import Path

import torch
import yaml

from espnet2_avsep.inference.separate import load_config
from espnet2_avsep.tasks.choices import build_model
from tests.support.tiny_corpus import MODEL_OPTIONS


def make_trained_folder(folder: Path, **changes) -> Path:
    """Write config.yaml and valid.si_sdr_i.best.pth as a training does."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        **MODEL_OPTIONS,
        "encoder": "stft",
        "decoder": "stft",
        "visual_adapter": "mean",
        "visual_adapter_conf": {},
        "separator": "hfra",
        "teacher": None,
        "teacher_conf": {},
        **changes,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    torch.manual_seed(0)
    model = build_model(load_config(folder / "config.yaml"), with_teacher=False)
    torch.save(model.state_dict(), folder / "valid.si_sdr_i.best.pth")
    return folder
