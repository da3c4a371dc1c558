import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile

import espnet2_avsep
from espnet2_avsep.bin.prepare.make_mixtures import main
from espnet2_avsep.data.tables.scp import read_scp

ROOT = str(Path(espnet2_avsep.__file__).parents[1])
OPTIONS = ["--fs=8000", "--segment_samples=4000"]
COMMAND = [sys.executable, "-m", "espnet2_avsep.bin.avsep_make_mixtures"]
# Is killed in the sixth mixture, of whose three wavs one is there.
KILLED = """
import os, signal, sys
from espnet2_avsep.bin.prepare.make_mixtures import main
from espnet2_avsep.data.mixing import mixtures

write, left = mixtures.write_float_wav, list(range(16))

def write_or_die(*args):
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    left.pop()
    write(*args)

mixtures.write_float_wav = write_or_die
sys.exit(main())
"""


@pytest.fixture
def clips_dir(tmp_path):
    """Eight clips of noise of two classes."""
    folder = tmp_path / "clips"
    folder.mkdir()
    rng = np.random.default_rng(0)
    keys = [f"{c}-{i}" for c in "ab" for i in range(4)]
    base = folder / "visual_spk1"
    with kaldiio.WriteHelper(f"ark,scp:{base}.ark,{base}.scp") as writer:
        for key in keys:
            samples = rng.normal(0, 0.1, 5000)
            soundfile.write(folder / f"{key}.wav", samples, 8000)
            writer[key] = rng.normal(size=(3, 4)).astype(np.float32)
    (folder / "wav.scp").write_text("".join(f"{k} {folder}/{k}.wav\n" for k in keys))
    (folder / "utt2spk").write_text("".join(f"{k} {k[0]}\n" for k in keys))
    return folder


def start(clips_dir, output_dir, *options, command=COMMAND, **environment):
    command = [
        *command,
        f"--clips_dir={clips_dir}",
        f"--output_dir={output_dir}",
        *OPTIONS,
    ]
    environment = {**os.environ, "PYTHONPATH": ROOT, **environment}
    return subprocess.Popen(
        [*command, *options], env=environment, stderr=subprocess.PIPE, text=True
    )


def digests(folder):
    """Hash of each file; scp files are freed of the folder's name."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(
            path.read_bytes().replace(str(folder).encode(), b"")
        ).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_command(tmp_path, clips_dir):
    output = tmp_path / "out"
    options = ["--num_mixtures=5", "--different_class=true", "--seed=3"]
    assert (
        main([f"--clips_dir={clips_dir}", f"--output_dir={output}", *OPTIONS, *options])
        == 0
    )
    lines = (output / "mixtures.tsv").read_text().splitlines()
    assert len(lines) == 6
    assert lines[0] == (
        "mix_id\tclip1\tspk1\tstart1\tframe1\tclip2\tspk2\tstart2\tframe2"
    )
    assert all(
        {line.split("\t")[2], line.split("\t")[6]} == set("ab") for line in lines[1:]
    )
    for name in ("wav", "spk1", "spk2", "visual_spk1", "visual_spk2"):
        assert len(read_scp(output / f"{name}.scp")) == 5


def test_list_option(tmp_path, clips_dir):
    path = tmp_path / "pairs.csv"
    path.write_text("a-0,b-3\n")
    output = tmp_path / "out"
    options = [f"--output_dir={output}", f"--list={path}"]
    assert main([f"--clips_dir={clips_dir}", *OPTIONS, *options]) == 0
    assert (
        "mix00000\ta-0\ta\t500\t1\tb-3\tb\t500\t1\n"
        in (output / "mixtures.tsv").read_text()
    )


def test_bad_input_is_one_line_and_status_2(tmp_path, clips_dir, capsys):
    (clips_dir / "wav.scp").write_text("")
    options = [f"--clips_dir={clips_dir}", f"--output_dir={tmp_path}", *OPTIONS]
    assert main(options) == 2
    assert "wav.scp: is empty" in capsys.readouterr().err


def test_boolean_other_than_true_and_false(tmp_path, clips_dir):
    with pytest.raises(SystemExit) as error:
        main(["--clips_dir=a", "--output_dir=b", "--fs=1", "--different_class=yes"])
    assert error.value.code == 2


def test_hash_seed_does_not_matter(tmp_path, clips_dir):
    found = []
    for seed in ("1", "2"):
        output = tmp_path / seed
        process = start(clips_dir, output, PYTHONHASHSEED=seed)
        process.communicate()
        assert process.returncode == 0
        found.append(digests(output))
    assert found[0] == found[1]


def test_killed_and_run_again(tmp_path, clips_dir):
    """kill -9 in the middle; the second run ends as one without a break does."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    options = ["--num_mixtures=20"]
    killed = [sys.executable, "-c", KILLED]
    process = start(clips_dir, broken, *options, command=killed)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    wavs = broken / "data" / "wav"
    finished = {p.name: p.stat().st_mtime_ns for p in wavs.glob("mix*.wav")}
    assert len(finished) == 6
    assert not list(broken.glob("*.scp")) and not (broken / "counts.yaml").exists()

    for output in (broken, whole):
        process = start(clips_dir, output, *options)
        process.communicate()
        assert process.returncode == 0
    assert digests(broken) == digests(whole)
    kept = sum(
        (wavs / name).stat().st_mtime_ns == stamp for name, stamp in finished.items()
    )
    # The mixture that was under way is written again.
    assert kept == 5
