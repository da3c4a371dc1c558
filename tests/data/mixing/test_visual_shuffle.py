import pytest

from espnet2_avsep.data.mixing.mixture_table import sound_sha256
from espnet2_avsep.data.mixing.visual_shuffle import shuffle_visual
from espnet2_avsep.errors import InputError

PAIRS = [("flute", "tuba"), ("cello", "flute"), ("tuba", "cello"), ("harp", "tuba")]


@pytest.fixture
def mixtures(tmp_path):
    """Tables whose values are "<class>-<clip>", and the list of the set."""
    lines = ["mix_id\tclip1\tspk1\tstart1\tframe1\tclip2\tspk2\tstart2\tframe2"]
    tables = {"speech_mix": {}, "visual_ref1": {}, "visual_ref2": {}}
    for i, pair in enumerate(PAIRS):
        fields = [f"mix{i}"]
        for n, spk in enumerate(pair, 1):
            clip = f"{spk}-{i}{n}"
            fields += [clip, spk, "100", "3"]
            tables[f"visual_ref{n}"][f"mix{i}"] = clip
        tables["speech_mix"][f"mix{i}"] = f"mix{i}.wav"
        lines.append("\t".join(fields))
    path = tmp_path / "mixtures.tsv"
    path.write_text("\n".join(lines) + "\n")
    return tables, path


@pytest.mark.parametrize("mode", ["clip", "class"])
def test_every_source_gets_a_picture_that_is_not_of_its_mixture(mixtures, mode):
    tables, path = mixtures
    seen = set()
    for seed in range(20):
        shuffled = shuffle_visual(tables, path, mode, seed)
        assert shuffled["speech_mix"] == tables["speech_mix"]
        known = {*tables["visual_ref1"].values(), *tables["visual_ref2"].values()}
        for i, pair in enumerate(PAIRS):
            own = {tables[f"visual_ref{n}"][f"mix{i}"] for n in (1, 2)}
            for n in (1, 2):
                found = shuffled[f"visual_ref{n}"][f"mix{i}"]
                assert found in known - own
                assert shuffled[f"class_ref{n}"][f"mix{i}"] == found.split("-")[0]
                if mode == "class":
                    assert found.split("-")[0] not in pair
        assert shuffle_visual(tables, path, mode, seed) == shuffled
        seen.add(tuple(shuffled["visual_ref1"].values()))
    assert len(seen) > 10


def test_motion_goes_with_the_picture(mixtures):
    tables, path = mixtures
    plain = shuffle_visual(tables, path, "class", 0)
    for n in (1, 2):
        pictures = tables[f"visual_ref{n}"]
        tables[f"motion_ref{n}"] = {key: f"m-{v}" for key, v in pictures.items()}
    shuffled = shuffle_visual(tables, path, "class", 0)
    for n in (1, 2):
        assert shuffled[f"visual_ref{n}"] == plain[f"visual_ref{n}"]
        expected = {k: f"m-{v}" for k, v in shuffled[f"visual_ref{n}"].items()}
        assert shuffled[f"motion_ref{n}"] == expected


def test_classes_that_are_all_in_a_mixture(mixtures):
    tables, path = mixtures
    keys = ["mix0"]
    few = {name: {k: t[k] for k in keys} for name, t in tables.items()}
    with pytest.raises(InputError, match="shuffle_visual clip"):
        shuffle_visual(few, path, "class", 0)
    few["visual_ref1"]["other"] = few["visual_ref2"]["other"] = "x"
    with pytest.raises(InputError, match="other"):
        shuffle_visual(few, path, "class", 0)


def test_lists_that_differ_in_frames_alone_sound_the_same(mixtures, tmp_path):
    _, path = mixtures
    other = tmp_path / "other.tsv"
    other.write_text(path.read_text().replace("\t3", "\t17"))
    assert sound_sha256(path) == sound_sha256(other)
    other.write_text(path.read_text().replace("\t100", "\t101"))
    assert sound_sha256(path) != sound_sha256(other)
