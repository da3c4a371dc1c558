"""Commands that read single clips say where they are if they get another folder."""

import pytest
import yaml

from espnet2_avsep.corpus.leaks.clip_set import ClipSet
from espnet2_avsep.data.mixing.mixtures import read_clips
from espnet2_avsep.data.mixing.real_mixtures import class_means
from espnet2_avsep.data.records.encoder_check import check_features
from espnet2_avsep.errors import InputError
from espnet2_avsep.scoring import instrument_axes

READERS = {
    "make-mixtures, linear-probe, modality-gap": lambda path: read_clips(path, 8000),
    "acoustic-axes": lambda path: instrument_axes.read_clips([str(path)]),
    "check-leaks": lambda path: ClipSet.read("test", path, path),
    "make-real-mixtures": lambda path: class_means(path, {"tuba"}),
}


@pytest.fixture
def raw(tmp_path):
    """<dumpdir>/raw of a prepared corpus, without the files that tables name."""
    folders = {
        "train": ["wav.scp", "visual_spk1.scp", "utt2spk"],
        "test": ["wav.scp", "spk1.scp", "visual_spk1.scp", "mixtures.tsv"],
        "test_3src": ["wav.scp", "mixtures.tsv"],
        "duet": ["wav.scp", "visual_spk1.scp", "real_mixtures.tsv"],
        "org/test": ["wav.scp", "utt2num_samples"],
        "org/train": ["wav.scp", "utt2num_samples"],
        "org/test_clips": ["wav.scp", "visual_spk1.scp", "utt2spk"],
    }
    for folder, tables in folders.items():
        (tmp_path / folder).mkdir(parents=True)
        for table in tables:
            (tmp_path / folder / table).write_text("tuba-1 tuba\n")
    (tmp_path / "test_3src" / "clips_of").write_text("test\n")
    return tmp_path


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("test", "{raw}/org/test_clips"),
        ("test_3src", "{raw}/org/test_clips"),
        ("org/test", "{raw}/org/test_clips"),
        ("org/train", "{raw}/train"),
        ("duet", "a real mixture are not known"),
    ],
)
def test_the_folder_of_the_clips_is_named(raw, reader, given, expected):
    with pytest.raises(InputError) as caught:
        READERS[reader](raw / given)
    message = str(caught.value)
    assert message.startswith(f"{raw / given}: has ") and "again" not in message
    assert message.endswith(f" {expected.format(raw=raw)}.")


def test_a_folder_of_clips_is_read(raw, monkeypatch):
    clips = instrument_axes.read_clips([str(raw / "org/test_clips")])
    assert clips == {"tuba-1": ("tuba", "tuba")}
    monkeypatch.chdir(raw / "test")
    with pytest.raises(InputError, match=f"in {raw}/org/test_clips"):
        instrument_axes.read_clips(["."])
    (raw / "org/test_clips/utt2spk").write_text("tuba-2 tuba\n")
    with pytest.raises(InputError, match="lacks 1 of the keys"):
        instrument_axes.read_clips([str(raw / "org/test_clips")])
    (raw / "org/test_clips/utt2spk").unlink()
    with pytest.raises(InputError, match="utt2spk: no such file"):
        instrument_axes.read_clips([str(raw / "org/test_clips")])


def test_features_of_another_encoder_are_noticed_in_the_folder_of_clips(raw, tmp_path):
    """Their description is in the folder of the mixtures, where stage 2 wrote it."""
    info = {"encoder": "open_clip", "model": "ViT-B-32", "weights": "a", "dim": 512}
    model = tmp_path / "exp"
    model.mkdir()
    (model / "visual_info.yaml").write_text(yaml.safe_dump(info))
    (raw / "test/visual_info.yaml").write_text(yaml.safe_dump(info))
    check_features(model, [raw / "org/test_clips", raw / "test"])
    other = yaml.safe_dump({**info, "weights": "b"})
    (raw / "test/visual_info.yaml").write_text(other)
    for folder in ("org/test_clips", "test"):
        with pytest.raises(InputError, match=r"test/visual_info\.yaml: these feat"):
            check_features(model, [raw / folder])
