"""Copies of sounds are found, whatever was done to them; others are not."""

import numpy as np
import pytest

from espnet2_avsep.corpus.leaks import audio_search, fingerprints
from espnet2_avsep.corpus.leaks.audio_search import (
    LEAST_COUNT,
    LEAST_SHARE,
    Index,
    search_all,
    without_hashes,
)
from espnet2_avsep.corpus.leaks.fingerprints import (
    SHIFTS,
    Fingerprints,
    fingerprint,
    make_fingerprints,
    read_fingerprints,
)
from espnet2_avsep.dsp.peak_hashes import HOP
from espnet2_avsep.errors import InputError
from tests.support.media_fixtures import write_wav
from tests.support.melodies import RATE, coded, melody

CLIPS, SECONDS = 20, 6.0


@pytest.fixture(scope="module")
def sounds():
    return [melody(seed, SECONDS) for seed in range(CLIPS)]


@pytest.fixture(scope="module")
def others():
    """Fingerprints of melodies on the same scale that are no copies."""
    return [fingerprint(melody(100 + n, SECONDS), SHIFTS) for n in range(20)]


@pytest.fixture(scope="module")
def index(sounds):
    return Index([group({str(n): s for n, s in enumerate(sounds)})])


def group(sounds, shifts=1):
    found = [fingerprint(sound, shifts) for sound in sounds.values()]
    return Fingerprints(
        list(sounds),
        np.array([size for *_, size in found]),
        np.cumsum([0, *(len(hashes) for hashes, *_ in found)]),
        np.concatenate([hashes for hashes, *_ in found]),
        np.concatenate([frames for _, frames, _ in found]),
    )


COPIES = {
    "gain and another first sample": lambda x: 0.1 * x[int(0.37 * RATE) + 101 :],
    "AAC, 64 kb/s, 44.1 kHz": lambda x: coded(x, "aac", 64000, 44100)[77:],
    "MP3, 32 kb/s, 22.05 kHz": lambda x: coded(x, "libmp3lame", 32000, 22050)[500:],
    "16 bits": lambda x: np.round(x[50:] * 32768).astype("f") / 32768,
    "noise at 20 dB": lambda x: (
        x + 0.1 * x.std() * np.random.default_rng(9).standard_normal(len(x)).astype("f")
    ),
    "second half": lambda x: coded(x, "aac", 96000, 44100)[len(x) // 2 :],
    "before silence": lambda x: np.append(np.zeros(3 * RATE, "f"), x)[33:],
}


@pytest.mark.parametrize("what", COPIES)
def test_copies_are_found_and_nothing_else(index, sounds, what):
    for n, sound in enumerate(sounds[:3]):
        matches = index.search("copy", *fingerprint(COPIES[what](sound), SHIFTS))
        assert [match.other for match in matches] == [str(n)]
        assert matches[0].share > 1.3 * LEAST_SHARE


def test_the_distance_in_time_is_found(index, sounds):
    (match,) = index.search("x", *fingerprint(sounds[3][60 * HOP :], SHIFTS))
    assert abs(match.frames - 60) <= 1


def test_others_are_not_found(index, others):
    """False positives: none among 20 x 20 pairs of melodies on the same scale."""
    assert [index.search("other", *other) for other in others] == [[]] * 20


def test_chance_stays_far_below_the_threshold(index, others, monkeypatch):
    """The best count and share that different melodies of one scale come to."""
    monkeypatch.setattr(audio_search, "LEAST_COUNT", 2)
    monkeypatch.setattr(audio_search, "LEAST_SHARE", 0.0)
    matches = [m for other in others for m in index.search("other", *other)]
    assert len(matches) > 50
    assert max(match.share for match in matches) < LEAST_SHARE / 2
    assert max(match.count for match in matches) < LEAST_COUNT


def test_a_search_is_what_counting_one_by_one_gives(index, sounds):
    """The oracle: every common hash of two clips, by its distance in time."""
    query = np.concatenate([sounds[5][30 * HOP + 17 :], sounds[7][: 3 * RATE]])
    hashes, frames, size = fingerprint(query, SHIFTS)
    expected = {}
    for n, sound in enumerate(sounds):
        own, at, _ = fingerprint(sound)
        places = {}
        for i, value in enumerate(own.tolist()):
            for t in frames[hashes == value].tolist():
                places.setdefault(int(at[i]) - t, set()).add(i)
        best = max(
            (len(v | places.get(k + 1, set())) for k, v in places.items()), default=0
        )
        if best >= LEAST_COUNT and best >= LEAST_SHARE * min(size, len(own)):
            expected[str(n)] = best
    assert set(expected) == {"5", "7"}
    found = index.search("x", hashes, frames, size)
    assert {match.other: match.count for match in found} == expected


def write_all(folder, sounds):
    return {
        f"c{n:03d}": str(write_wav(folder / f"{n}.wav", s, RATE, "PCM_16"))
        for n, s in enumerate(sounds)
    }


def content(paths):
    return {path.name: path.read_bytes() for path in paths}


def test_files_are_kept_and_parallel_is_serial(tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprints, "_CLIPS_OF_FILE", 3)
    wav = write_all(tmp_path / "wav", [melody(n, 2.0) for n in range(9)])
    one = make_fingerprints(wav, tmp_path / "one", 1)
    two = make_fingerprints(wav, tmp_path / "two", 1, nj=2)
    assert content(one) == content(two)
    assert 2 <= len(one) <= 4
    assert sorted(k for p in one for k in read_fingerprints(p).keys) == sorted(wav)
    # Again: nothing is written. A cut file, a changed clip: one is.
    times = {path: path.stat().st_mtime_ns for path in one}
    make_fingerprints(wav, tmp_path / "one", 1)
    assert {path: path.stat().st_mtime_ns for path in one} == times
    one[0].write_bytes(one[0].read_bytes()[:50])
    make_fingerprints(wav, tmp_path / "one", 1)
    assert content(one) == content(two)
    write_wav(tmp_path / "wav" / "4.wav", melody(50, 2.0), RATE, "PCM_16")
    times = {path: path.stat().st_mtime_ns for path in one}
    make_fingerprints(wav, tmp_path / "one", 1)
    changed = [path for path in one if path.stat().st_mtime_ns != times[path]]
    assert len(changed) == 1
    # Clips that are gone, and other shifts.
    few = make_fingerprints(dict(list(wav.items())[:3]), tmp_path / "one", SHIFTS)
    assert sorted((tmp_path / "one").iterdir()) == few


def test_search_of_files_in_blocks(tmp_path, sounds, monkeypatch):
    wav = write_all(tmp_path / "wav", sounds[:8])
    copies = {"x": sounds[2][99:], "y": sounds[6] * 0.2, "silent": np.zeros(RATE, "f")}
    query = {
        key: str(write_wav(tmp_path / f"{key}.wav", sound, RATE))
        for key, sound in copies.items()
    }
    wanted = make_fingerprints(query, tmp_path / "query", SHIFTS)
    results = []
    for entries, clips in ((10**7, 256), (1, 2)):
        monkeypatch.setattr(audio_search, "_BLOCK_ENTRIES", entries)
        monkeypatch.setattr(fingerprints, "_CLIPS_OF_FILE", clips)
        places = make_fingerprints(wav, tmp_path / f"index{clips}", 1)
        results.append(sorted(search_all(wanted, places)))
    assert results[0] == results[1]
    assert [(m.clip, m.other) for m in results[0]] == [("x", "c002"), ("y", "c006")]
    assert without_hashes(wanted) == ["silent"]


def test_lost_audio_is_an_error(tmp_path):
    with pytest.raises(InputError, match="no.wav: file not found"):
        make_fingerprints({"a": str(tmp_path / "no.wav")}, tmp_path / "x")
