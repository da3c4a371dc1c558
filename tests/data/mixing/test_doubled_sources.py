import numpy as np
import pytest

from espnet2_avsep.data.mixing.mix_dataset import MixAndSeparateDataset
from espnet2_avsep.errors import InputError
from tests.data.clip_corpus import FS, write_sinusoids

SEGMENT = 4000


@pytest.fixture(scope="module")
def sinusoids(tmp_path_factory):
    return write_sinusoids(tmp_path_factory.mktemp("sinusoids"), 100)


def build(corpus, **options):
    options.setdefault("segment_samples", SEGMENT)
    return MixAndSeparateDataset(**corpus.tables(), **options)


def amplitudes(corpus, samples):
    """Clip -> amplitude of its sinusoid, where it is heard (each fills a bin)."""
    bins = np.abs(np.fft.rfft(samples)) / (len(samples) / 2)
    found = {}
    for n, key in enumerate(corpus.audio):
        place = (300 + 100 * n) * len(samples) // FS
        if bins[place] > 1e-3:
            found[key] = bins[place]
    return found


def test_a_source_is_two_clips_of_its_class(sinusoids):
    dataset = build(sinusoids, doubled_sources=0.5, different_class=True, repeat=8)
    plain = build(sinusoids, different_class=True, repeat=8)
    assert "doubled_sources=0.5" in repr(dataset)
    assert "doubled_sources" not in repr(plain)
    doubled, gains = 0, []
    for index in range(len(dataset)):
        clips, item = dataset[index]
        assert clips == plain[index][0]
        for n, clip in enumerate(clips.split("+"), 1):
            found = amplitudes(sinusoids, item[f"speech_ref{n}"])
            # A source is gain * segment / N: 0.25.
            assert found.pop(clip) == pytest.approx(0.25, abs=1e-3)
            np.testing.assert_array_equal(
                item[f"visual_ref{n}"], plain[index][1][f"visual_ref{n}"]
            )
            if found:
                ((mate, amplitude),) = found.items()
                assert sinusoids.category[mate] == sinusoids.category[clip]
                assert mate not in clips.split("+")
                gains.append(amplitude / 0.25)
                doubled += 1
    # 192 draws; the standard deviation is 7.
    assert 68 <= doubled <= 124
    assert 0.19 <= min(gains) < 0.35 and 0.85 < max(gains) <= 1.01
    again = build(sinusoids, doubled_sources=0.5, different_class=True, repeat=8)
    np.testing.assert_array_equal(
        dataset[3][1]["speech_ref2"], again[3][1]["speech_ref2"]
    )


def test_no_clip_twice_in_a_mixture_of_one_class(sinusoids):
    """Four clips a class: of three sources one is doubled, and no clip is repeated."""
    dataset = build(sinusoids, doubled_sources=1, pairs="same_class", num_sources=3)
    for index in range(len(dataset)):
        clips, item = dataset[index]
        heard = [
            clip
            for n in (1, 2, 3)
            for clip in amplitudes(sinusoids, item[f"speech_ref{n}"])
        ]
        assert len(heard) == len(set(heard)) == 4
        assert len({sinusoids.category[clip] for clip in heard}) == 1


def test_the_other_clip_is_of_another_video(sinusoids):
    videos = {key: key[:-1] + str(int(key[-1]) // 2) for key in sinusoids.audio}
    dataset = build(
        sinusoids, videos=videos, doubled_sources=1, different_class=True, repeat=4
    )
    for index in range(len(dataset)):
        for n in (1, 2):
            found = amplitudes(sinusoids, dataset[index][1][f"speech_ref{n}"])
            assert len(found) == 2 == len({videos[key] for key in found})


def test_an_absent_query_is_of_no_video_that_is_heard(sinusoids):
    """Clips number 0 of all classes are of one video, numbers 1 likewise, ..."""
    videos = {key: key[-1] for key in sinusoids.audio}
    dataset = build(
        sinusoids,
        videos=videos,
        doubled_sources=1,
        num_sources=1,
        absent_queries=1,
        repeat=4,
    )
    for index in range(len(dataset)):
        _, item = dataset[index]
        heard = amplitudes(sinusoids, item["speech_ref1"])
        absent = list(sinusoids.audio)[int(item["visual_ref2"][0, 0])]
        assert len(heard) == 2 and videos[absent] not in {videos[key] for key in heard}
    with pytest.raises(InputError, match="only 0 classes have 5 videos"):
        build(sinusoids, videos=videos, doubled_sources=1, absent_queries=1)


def test_where_no_clip_is_left_the_source_stays(sinusoids):
    """One clip a class: nothing can be added."""
    some = [key for key in sinusoids.audio if key.endswith("0")]
    tables = {
        name: {key: table[key] for key in some}
        for name, table in sinusoids.tables().items()
    }
    options = {"segment_samples": SEGMENT, "different_class": True}
    dataset = MixAndSeparateDataset(**tables, doubled_sources=1, **options)
    plain = MixAndSeparateDataset(**tables, **options)
    for index in range(3):
        for n in (1, 2):
            name = f"speech_ref{n}"
            np.testing.assert_array_equal(
                dataset[index][1][name], plain[index][1][name]
            )


@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
def test_a_probability_is_expected(sinusoids, value):
    with pytest.raises(InputError, match="doubled_sources is .*a probability"):
        build(sinusoids, doubled_sources=value)


def test_not_without_classes_with_motion_nor_with_parts_of_one_video(sinusoids):
    tables = {**sinusoids.tables(), "category": None}
    with pytest.raises(InputError, match="doubled_sources is 0.5, but the classes"):
        MixAndSeparateDataset(**tables, segment_samples=SEGMENT, doubled_sources=0.5)
    motion = {key: str(path) for key, path in sinusoids.visual.items()}
    with pytest.raises(InputError, match="doubled_sources.*not its motion"):
        build(sinusoids, doubled_sources=0.5, conditions={"motion": motion})
    with pytest.raises(InputError, match="doubled_sources.*same_video"):
        build(sinusoids, doubled_sources=0.5, pairs="same_video")
