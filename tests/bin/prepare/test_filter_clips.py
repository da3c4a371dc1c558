import os
import subprocess
import sys
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile
import yaml

import espnet2_avsep
from espnet2_avsep.bin.prepare.filter_clips import main

ROOT = str(Path(espnet2_avsep.__file__).parents[1])


@pytest.fixture
def stages(tmp_path):
    """Stages 1 to 3 of three clips: a tone, a silent one, and one that is gone."""
    folders = {name: tmp_path / name for name in ("data", "org", "dump")}
    for folder in folders.values():
        folder.mkdir()
    tone = 0.1 * np.sin(np.arange(6000))
    for key, samples in (("a-1", tone), ("b-2", 0 * tone)):
        soundfile.write(tmp_path / f"{key}.wav", samples, 8000)
    (tmp_path / "data/utt2spk").write_text("a-1 a\nb-2 b\n")
    (tmp_path / "data/skipped.tsv").write_text("c-3\tdata\tno such file: c.mp4\n")
    (tmp_path / "org/wav.scp").write_text(
        f"a-1 {tmp_path}/a-1.wav\nb-2 {tmp_path}/b-2.wav\n"
    )
    (tmp_path / "org/utt2num_samples").write_text("a-1 6000\nb-2 6000\n")
    base = tmp_path / "dump" / "visual"
    with kaldiio.WriteHelper(f"ark,scp:{base}.ark,{base}.scp") as writer:
        for key in ("a-1", "b-2"):
            writer[key] = np.ones((2, 3), np.float32)
    return [
        f"--{name}_dir={folders[part]}"
        for name, part in zip(("data", "wav", "visual"), folders, strict=True)
    ]


def test_command(tmp_path, stages, capsys):
    output = tmp_path / "out"
    options = [f"--output_dir={output}", "--fs=8000", "--segment_samples=6000"]
    assert main([*stages, *options]) == 0
    assert (output / "utt2spk").read_text() == "a-1 a\n"
    assert yaml.safe_load((output / "counts.yaml").read_text()) == {
        "listed": 3,
        "kept": 1,
        "left_out": 2,
        "skipped": {"data": {"no such file": 1}, "filter": {"silent": 1}},
    }
    assert main([*stages, *options, "--silence_dbfs=-inf"]) == 0
    assert (output / "utt2spk").read_text() == "a-1 a\nb-2 b\n"


def test_bad_input_is_one_line_and_status_2(tmp_path, stages, capsys):
    options = [f"--output_dir={tmp_path / 'out'}", "--fs=8000"]
    assert main([*stages, *options]) == 2
    error = capsys.readouterr().err
    assert "none of the 3 clips" in error and "Traceback" not in error


def test_unknown_option(stages):
    with pytest.raises(SystemExit) as error:
        main([*stages, "--output_dir=x", "--fs=8000", "--min_duration=1"])
    assert error.value.code == 2


@pytest.mark.parametrize(
    "command", ["avsep_filter_clips", "avsep_make_mixtures", "avsep_collect_stats"]
)
def test_the_command_does_without_torch(command):
    code = (
        "import sys\n"
        f"from espnet2_avsep.bin.{command} import main\n"
        "assert 'numpy' not in sys.modules\n"
        "import espnet2_avsep.data.mixing.mixtures, espnet2_avsep.data.clip_filter\n"
        "assert not {'torch', 'espnet2', 'librosa', 'scipy'} & set(sys.modules)\n"
        "main.get_parser().format_help()\n"
    )
    environment = {**os.environ, "PYTHONPATH": ROOT}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
