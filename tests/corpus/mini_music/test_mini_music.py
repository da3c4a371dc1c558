import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from espnet2_avsep.corpus.mini_music import corpus, drawing, melody, synthesis
from espnet2_avsep.corpus.mini_music.melody import LONGEST_REST, Note, compose
from espnet2_avsep.errors import InputError

ROOT = Path(__file__).resolve().parents[3]
COMMAND = ROOT / "local" / "prepare_mini_music.py"
INSTRUMENTS = {i.name: i for i in corpus.INSTRUMENTS}
TRANSIENT = ("acoustic_guitar", "xylophone")
SUSTAINED = sorted(set(INSTRUMENTS) - set(TRANSIENT))
SMALL = corpus.Parameters(
    seed=3,
    train_takes=2,
    valid_takes=1,
    test_takes=1,
    duration=1.0,
    instruments=("cello", "xylophone"),
)

SMALL_OPTIONS = [
    *("--seed", "3", "--duration", "1", "--instruments", "cello", "xylophone"),
    *("--train_takes", "2", "--valid_takes", "1", "--test_takes", "1"),
]


def one_note(name, frequency, fs=44100, velocity=0.7):
    """A single dry note of 1 s."""
    notes = [Note(0.0, 0.9, frequency, velocity)]
    return INSTRUMENTS[name].voice(notes, 1.0, fs, np.random.default_rng(5))


def spectrum(wave, fs):
    """Magnitudes and frequencies, zero-padded to a resolution of about 0.3 Hz."""
    size = 1 << 17
    magnitude = np.abs(np.fft.rfft(wave * np.hanning(len(wave)), size))
    return magnitude, np.fft.rfftfreq(size, 1.0 / fs)


def harmonic_level(wave, fs, frequency, number):
    magnitude, frequencies = spectrum(wave, fs)
    near = np.abs(frequencies / (number * frequency) - 1.0) < 0.03
    return magnitude[near].max()


def tree(folder):
    """Every file's bytes."""
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def decode(path):
    """Audio (channels, L), frames (n, height, width, 3), stream properties."""
    with av.open(str(path)) as container:
        audio, video = container.streams.audio[0], container.streams.video[0]
        properties = {
            "codecs": (video.codec_context.name, audio.codec_context.name),
            "rate": audio.rate,
            "channels": audio.codec_context.channels,
            "fps": float(video.average_rate),
            "seconds": float(video.duration * video.time_base),
        }
        sound, pictures = [], []
        for frame in container.decode(audio, video):
            if isinstance(frame, av.AudioFrame):
                sound.append(frame.to_ndarray())
            else:
                pictures.append(frame.to_ndarray(format="rgb24"))
    return np.concatenate(sound, axis=1), np.stack(pictures), properties


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mini") / "corpus"
    takes = corpus.generate(folder, SMALL, nj=1)
    return folder, takes


# --- sound -----------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(INSTRUMENTS))
@pytest.mark.parametrize("fs", [22050, 48000])
def test_notes_have_the_pitch_asked_for(name, fs):
    style = INSTRUMENTS[name].style
    for midi in np.linspace(style.lowest, style.highest, 4):
        wanted = 440.0 * 2.0 ** ((midi - 69.0) / 12.0)
        magnitude, frequencies = spectrum(one_note(name, wanted, fs), fs)
        near = (frequencies > 0.7 * wanted) & (frequencies < 1.4 * wanted)
        found = frequencies[near][np.argmax(magnitude[near])]
        assert found == pytest.approx(wanted, rel=0.02)
        if name != "xylophone":  # nothing but harmonics: the strongest one as well
            strongest = frequencies[np.argmax(magnitude)] / wanted
            assert strongest == pytest.approx(np.round(strongest), rel=0.02)


def test_damped_partials_equal_the_sum_of_sines():
    fs, samples = 8000, 1000
    f, a, d = np.array([440.0, 1234.5]), np.array([1.0, 0.3]), np.array([0.1, 0.02])
    t = np.arange(samples)[:, None] / fs
    expected = (a * np.exp(-t / d) * np.sin(2.0 * np.pi * f * t)).sum(axis=1)
    found = synthesis.damped_partials(f, a, d, samples, fs)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_wave_table_equals_the_sum_of_harmonics():
    amplitudes, phases = np.array([1.0, 0.5, 0.25]), np.array([0.0, 1.0, 2.0])
    cycles = np.linspace(0.0, 3.0, 500)
    k = np.arange(1, 4)
    angles = 2.0 * np.pi * cycles[:, None] * k + phases
    expected = (amplitudes * np.sin(angles)).sum(axis=1)
    table = synthesis.wave_table(amplitudes, phases)
    np.testing.assert_allclose(synthesis.read_table(table, cycles), expected, atol=1e-5)


def test_plucked_and_struck_sounds_peak_more_than_sustained_ones():
    parameters = replace(corpus.Parameters(), duration=6.0)
    ratios = {name: [] for name in INSTRUMENTS}
    for take in corpus.plan(parameters):
        if take.set == "test":
            x = corpus.sound(take, parameters)
            ratios[take.category].append(np.abs(x).max() / np.sqrt(np.mean(x**2)))
    means = {name: np.mean(values) for name, values in ratios.items()}
    assert min(means[n] for n in TRANSIENT) > max(means[n] for n in SUSTAINED), means


def test_transient_sounds_start_at_once_and_die_away():
    for name in TRANSIENT:
        x = np.abs(one_note(name, 350.0))
        assert np.argmax(x) < 0.03 * 44100
        assert x[22050:33075].max() < 0.5 * x.max()
    for name in SUSTAINED:
        x = np.abs(one_note(name, 200.0))
        assert x[22050:33075].max() > 0.6 * x.max()


def test_spectra_range_from_simple_to_rich():
    def partials(name):
        """Harmonics among the first 15 within 40 dB of the strongest one."""
        x = one_note(name, 300.0)
        levels = np.array([harmonic_level(x, 44100, 300.0, k) for k in range(1, 16)])
        return int(np.sum(levels > 0.01 * levels.max()))

    counts = {name: partials(name) for name in INSTRUMENTS}
    assert max(counts["flute"], counts["xylophone"]) <= 4, counts
    rich = ("accordion", "acoustic_guitar", "cello", "trumpet")
    assert min(counts[name] for name in rich) >= 8, counts


def test_clarinet_has_odd_harmonics():
    x = one_note("clarinet", 220.0)
    first, second, third = (harmonic_level(x, 44100, 220.0, k) for k in (1, 2, 3))
    assert first > 5.0 * second
    assert third > 3.0 * second


def test_trumpet_brightens_with_level():
    def centroid(velocity):
        magnitude, f = spectrum(one_note("trumpet", 300.0, velocity=velocity), 44100)
        return np.sum(f * magnitude**2) / np.sum(magnitude**2)

    assert centroid(1.0) > 1.2 * centroid(0.3)


@pytest.mark.parametrize("name", sorted(INSTRUMENTS))
def test_melodies_keep_to_range_and_leave_no_long_silence(name):
    style = INSTRUMENTS[name].style
    for seed in range(20):
        notes = compose(style, 8.0, np.random.default_rng(seed))
        pitches = [69.0 + 12.0 * np.log2(n.frequency / 440.0) for n in notes]
        assert style.lowest - 0.2 < min(pitches) <= max(pitches) < style.highest + 0.2
        assert [n.start for n in notes] == sorted(n.start for n in notes)
        assert all(n.start + n.duration <= 8.0 for n in notes)
        assert all(0.0 < n.velocity <= 1.0 and n.duration > 0.0 for n in notes)
        ends = np.maximum.accumulate([n.start + n.duration for n in notes])
        gaps = np.append([n.start for n in notes[1:]], 8.0) - ends
        assert notes[0].start < 0.3
        assert gaps.max() < LONGEST_REST + 0.4


@pytest.mark.parametrize("channels", [1, 2])
def test_room_sets_level_channels_and_headroom(channels):
    rng = np.random.default_rng(0)
    dry = np.sin(2.0 * np.pi * 300.0 * np.arange(22050) / 22050)
    audio = synthesis.room(dry, channels, -20.0, 22050, rng)
    assert audio.shape == (channels, 22050)
    assert audio.dtype == np.float32
    assert 10.0 * np.log10(np.mean(audio**2)) == pytest.approx(-20.0, abs=0.2)
    np.testing.assert_array_equal(audio * 32768.0, np.round(audio * 32768.0))
    click = np.zeros(22050)
    click[100] = 1.0
    assert np.abs(synthesis.room(click, channels, -16.0, 22050, rng)).max() <= 0.9


# --- pictures --------------------------------------------------------------


def test_motion_follows_the_notes():
    notes = [Note(0.0, 1.0, 200.0, 0.8), Note(1.0, 0.8, 400.0, 0.8)]
    first, middle, second = (drawing.motion_at(notes, t) for t in (0.0, 0.5, 1.0))
    assert (first.lift, second.lift) == (0.0, 0.0)
    assert middle.lift == pytest.approx(1.0)
    assert first.stroke == -second.stroke
    assert abs(first.stroke) == 1.0
    assert middle.stroke == pytest.approx(0.0, abs=1e-12)
    assert (first.pitch, second.pitch) == (0.0, 1.0)
    assert (first.count, second.count) == (1, 2)
    assert first.energy == pytest.approx(0.8)
    assert first.energy > middle.energy > 0.0
    assert drawing.motion_at(notes, 1.9).energy == 0.0


@pytest.mark.parametrize("name", sorted(INSTRUMENTS))
def test_every_instrument_moves(name):
    notes = [Note(0.0, 0.5, 300.0, 0.9), Note(0.5, 0.5, 400.0, 0.9)]
    film = list(
        drawing.frames(
            INSTRUMENTS[name].picture, notes, 1.0, 8, 160, 120, np.random.default_rng(1)
        )
    )
    assert len(film) == 8
    assert all(f.shape == (120, 160, 3) and f.dtype == np.uint8 for f in film)
    change = np.abs(film[0].astype(int) - film[4].astype(int)).max(axis=2)
    assert np.mean(change > 40) > 0.01


def test_only_the_bow_tells_takes_of_same_instrument_apart():
    """Two takes: one look and one timbre, other notes; a bow that rests in silence."""
    parameters = corpus.Parameters(
        train_takes=2, duration=4.0, instruments=("cello",), same_instrument=True
    )
    first, second = [t for t in corpus.plan(parameters) if t.set == "train"]
    assert (first.fps, first.width, first.height) == (second.fps, second.width, 120)
    notes = [corpus.score(take, parameters) for take in (first, second)]
    assert notes[0] != notes[1]
    films = [list(corpus.film(take, parameters)) for take in (first, second)]

    def bow(notes, time):
        return drawing.bow_at(notes, time).stroke

    # Where both bows are in one place, the pictures are the same but for the noise.
    times = np.arange(len(films[0])) / first.fps
    places = np.array([[bow(score, time) for time in times] for score in notes])
    same = np.abs(places[0] - places[1]) < 1e-3
    assert same.any() and not same.all()
    for number in range(len(times)):
        a, b = (film[number].astype(int) for film in films)
        different = np.mean(np.abs(a - b).max(axis=2) > 60)
        if same[number]:
            assert different < 1e-3
        elif abs(places[0, number] - places[1, number]) > 0.5:
            assert different > 0.01
    # The bow moves in each note, from one side to the other, and rests between notes.
    rests = []
    for note, after in zip(notes[0][:-1], notes[0][1:], strict=True):
        end = note.start + note.duration
        rests.append(after.start - end)
        assert bow(notes[0], note.start) == pytest.approx(-bow(notes[0], end), abs=1e-6)
        assert bow(notes[0], end) == bow(notes[0], (end + after.start) / 2)
    assert min(rests) > 0.1


def test_only_the_speed_of_the_bow_tells_instruments_of_bow_speed_apart():
    """One look, two timbres; a bow that goes once or many times across in a note."""
    parameters = corpus.Parameters(
        train_takes=1,
        duration=4.0,
        instruments=("cello", "cello_tremolo"),
        bow_speed=True,
    )
    slow, fast = [t for t in corpus.plan(parameters) if t.set == "train"]
    assert (slow.category, fast.category) == ("cello", "cello_tremolo")
    notes = [Note(0.5, 1.0, 220.0, 0.6), Note(2.0, 1.0, 330.0, 0.6)]
    times = np.arange(0, 4, 1 / 64)

    def strokes(tremolo):
        return np.array([drawing.bow_at(notes, t, tremolo).stroke for t in times])

    def turns(stroke):
        steps = np.sign(np.diff(stroke))
        steps = steps[steps != 0]
        return int(np.sum(steps[1:] != steps[:-1]))

    # 4 Hz for two notes of 1 s: 7 half periods a note turn the bow, the ends do not.
    assert turns(strokes(0.0)) == 1 and turns(strokes(4.0)) >= 12
    assert np.abs(strokes(4.0)).max() <= 1.0
    resting = np.diff(strokes(0.0)) == 0.0
    assert np.array_equal(resting, np.diff(strokes(4.0)) == 0.0)
    # The same picture where the bow is in the same place: before the first note.
    films = [next(iter(corpus.film(take, parameters))) for take in (slow, fast)]
    first = [drawing.bow_at(corpus.score(t, parameters), 0.0) for t in (slow, fast)]
    assert first[0].stroke == first[1].stroke
    assert np.mean(np.abs(films[0].astype(int) - films[1]).max(axis=2) > 60) < 1e-3


def test_a_tremolo_is_faster_than_a_slow_stroke_in_16_rows_a_second_not_in_8():
    """Fault: with notes of 0.2 s and 8 rows a second, 4 Hz were not to be seen."""
    parameters = corpus.Parameters(
        train_takes=24,
        duration=4.0,
        instruments=("cello", "cello_tremolo"),
        bow_speed=True,
    )

    def fastest(take, rate):
        notes = corpus.score(take, parameters)[:-1]  # the end cuts the last one
        tremolo = 4.0 if take.category == "cello_tremolo" else 0.0
        times = np.arange(0, 4 * rate) / rate
        strokes = [drawing.bow_at(notes, time, tremolo).stroke for time in times]
        return np.abs(np.diff(strokes)).max()

    takes = [take for take in corpus.plan(parameters) if take.set == "train"]
    for rate, apart in ((8, False), (16, True)):
        slow, quick = (
            [fastest(take, rate) for take in takes if take.category == name]
            for name in ("cello", "cello_tremolo")
        )
        assert (1.5 * max(slow) < min(quick)) == apart


def test_a_repeated_note_fills_its_own_time():
    """1 s at 8 Hz: eight notes of 1/8 s. 0.3 s: three, the last of 0.05 s."""
    notes = melody.repeated([Note(1.0, 1.0, 440.0, 0.5)], 8.0)
    assert [note.start for note in notes] == [1.0 + n / 8 for n in range(8)]
    assert {note.duration for note in notes} == {0.125}
    notes = melody.repeated([Note(0.0, 0.3, 440.0, 0.5)], 8.0)
    assert [note.duration for note in notes] == pytest.approx([0.125, 0.125, 0.05])


def test_the_corpus_without_this_option_is_not_generated_anew(small):
    """The parameter is in corpus.json only where it is true; its version is its own."""
    folder, _ = small
    content = json.loads((folder / "corpus.json").read_text())
    assert not {"same_instrument", "bow_speed"} & set(content["parameters"])
    assert content["version"] == corpus.VERSION == 1


def test_pictures_tell_the_instruments_apart():
    """Nearest class mean of 8 x 6 thumbnails, on takes never seen."""
    parameters = replace(corpus.Parameters(), train_takes=6, test_takes=2)

    def thumbnail(take):
        frame = next(corpus.film(take, parameters)).astype(float)
        height, width = frame.shape[0] // 6, frame.shape[1] // 8
        return frame.reshape(6, height, 8, width, 3).mean(axis=(1, 3)).ravel()

    seen, unseen = {}, []
    for take in corpus.plan(parameters):
        if take.set == "train":
            seen.setdefault(take.category, []).append(thumbnail(take))
        elif take.set == "test":
            unseen.append((take.category, thumbnail(take)))
    means = {name: np.mean(values, axis=0) for name, values in seen.items()}
    correct = [
        name == min(means, key=lambda m: np.linalg.norm(means[m] - picture))
        for name, picture in unseen
    ]
    assert np.mean(correct) >= 0.9


# --- files -----------------------------------------------------------------


def test_lists_have_musics_layout(small):
    folder, takes = small
    videos = json.loads((folder / "MUSIC_solo_videos.json").read_text())["videos"]
    assert {name: len(ids) for name, ids in videos.items()} == {
        "cello": 4,
        "xylophone": 4,
    }
    listed = []
    for name, count in (("train", 4), ("valid", 2), ("test", 2)):
        rows = (folder / "splits" / f"{name}.txt").read_text().split()
        assert len(rows) == count
        listed += rows
    assert len(set(listed)) == 8
    assert set(listed) == {f"{c}/{i}" for c, ids in videos.items() for i in ids}
    on_disk = {p.relative_to(folder / "videos") for p in folder.rglob("*.mp4")}
    assert {str(p.with_suffix("")) for p in on_disk} == set(listed)
    assert all(len(take.id) == 11 for take in takes)
    assert "NOT the MUSIC dataset" in (folder / "README.txt").read_text()


def test_videos_hold_what_was_planned(small):
    folder, takes = small
    for take in takes:
        path = corpus.video_path(folder, take)
        audio, pictures, properties = decode(path)
        assert properties["codecs"] == ("h264", "aac")
        assert properties["rate"] == take.sampling_rate
        assert properties["channels"] == take.channels
        assert properties["fps"] == pytest.approx(take.fps)
        assert properties["seconds"] == pytest.approx(SMALL.duration, abs=0.07)
        assert pictures.shape == (take.fps, take.height, take.width, 3)
        sound = corpus.sound(take, SMALL)
        assert sound.shape == (take.channels, take.sampling_rate)
        assert abs(audio.shape[1] - sound.shape[1]) < 2 * 1024
        length = min(audio.shape[1], sound.shape[1])
        likeness = np.corrcoef(audio[0, :length], sound[0, :length])[0, 1]
        assert likeness > 0.97  # and so no shift by the encoder's delay
        drawn = np.stack(list(corpus.film(take, SMALL)))
        assert np.corrcoef(pictures.ravel(), drawn.ravel())[0, 1] > 0.97


def test_levels_and_rates_vary_within_bounds():
    takes = corpus.plan(corpus.Parameters())
    assert len(takes) == 8 * 13
    assert len({take.id for take in takes}) == len(takes)
    assert {take.sampling_rate for take in takes} == {22050, 44100, 48000}
    assert {take.channels for take in takes} == {1, 2}
    assert {take.fps for take in takes} == set(range(8, 16))
    assert {(take.width, take.height) for take in takes} == set(corpus.SIZES)
    assert all(-26.0 <= take.level_dbfs <= -16.0 for take in takes)


def test_same_seed_same_corpus_in_any_number_of_processes(small, tmp_path):
    corpus.generate(tmp_path / "again", SMALL, nj=2)
    assert tree(tmp_path / "again") == tree(small[0])


def test_other_seeds_and_sets_differ():
    takes = corpus.plan(SMALL)
    others = corpus.plan(replace(SMALL, seed=4))
    assert not {t.id for t in takes} & {t.id for t in others}
    cello = [t for t in takes if t.category == "cello"]
    scores = [corpus.score(t, SMALL) for t in cello]
    scores.append(corpus.score(others[0], replace(SMALL, seed=4)))
    assert all(a != b for i, a in enumerate(scores) for b in scores[:i])


def test_a_take_does_not_depend_on_the_others():
    alone = corpus.plan(replace(SMALL, instruments=("xylophone",), train_takes=1))
    assert set(alone) < set(corpus.plan(SMALL))


def test_a_second_run_mends_what_is_missing_and_keeps_the_rest(small, tmp_path):
    folder, takes = tmp_path / "corpus", small[1]
    corpus.generate(folder, SMALL, nj=1)
    expected = tree(folder)
    lost = corpus.video_path(folder, takes[1])
    lost.rename(lost.with_name(f".{lost.name}.abcdefgh.tmp"))
    with lost.with_name(f".{lost.name}.abcdefgh.tmp").open("r+b") as half:
        half.truncate(1000)
    (folder / "splits" / "test.txt").unlink()
    (folder / "MUSIC_solo_videos.json").unlink()
    kept = {p: p.stat().st_mtime_ns for p in folder.rglob("*.mp4")}
    lines = []
    corpus.generate(folder, SMALL, nj=1, report=lines.append)
    assert tree(folder) == expected
    assert {p: p.stat().st_mtime_ns for p in kept if p != lost} == kept
    assert "7 already there" in lines[0]


# Is killed when the first video is there.
KILLED = """
import os, runpy, signal, sys
from espnet2_avsep.corpus.mini_music import corpus

make_all = corpus._make_all

def make_one(*args):
    for _ in make_all(*args):
        os.kill(os.getpid(), signal.SIGKILL)

corpus._make_all = make_one
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_killed_in_the_middle_and_run_again(small, tmp_path):
    folder = tmp_path / "corpus"
    arguments = [str(COMMAND), "--corpus_dir", str(folder), "--nj", "2", *SMALL_OPTIONS]
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, *arguments],
        env=environment,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.wait() == -signal.SIGKILL
    assert list(folder.rglob("*.mp4"))
    assert not (folder / "MUSIC_solo_videos.json").exists()
    # The workers go with their parent: nobody writes any more.
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.05)
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        check=True,
        stderr=subprocess.DEVNULL,
    )
    assert tree(folder) == tree(small[0])


def test_other_parameters_generate_anew(tmp_path):
    folder = tmp_path / "corpus"
    first = replace(SMALL, train_takes=1, instruments=("xylophone",))
    corpus.generate(folder, replace(first, seed=9, instruments=("cello",)), nj=1)
    (folder / "my_notes.txt").write_text("mine")
    lines = []
    corpus.generate(folder, first, nj=1, report=lines.append)
    assert "generating it anew" in lines[0]
    assert (folder / "my_notes.txt").read_text() == "mine"
    (folder / "my_notes.txt").unlink()
    corpus.generate(tmp_path / "fresh", first, nj=1)
    assert tree(folder) == tree(tmp_path / "fresh")
    assert not (folder / "videos" / "cello").exists()


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "videos").mkdir()
    with pytest.raises(InputError, match="not empty and has no corpus.json"):
        corpus.generate(tmp_path, SMALL, nj=1)
    assert [p.name for p in tmp_path.iterdir()] == ["videos"]
    (tmp_path / "corpus.json").write_text("{}")
    with pytest.raises(InputError, match="not the description"):
        corpus.generate(tmp_path, SMALL, nj=1)
    with pytest.raises(InputError, match="is a file"):
        corpus.generate(tmp_path / "corpus.json", SMALL, nj=1)


@pytest.mark.parametrize("category", ["../../other", 3])
def test_a_description_names_no_files_outside_of_the_folder(tmp_path, category):
    """With other parameters, what an earlier run is said to have made is removed."""
    folder, other = tmp_path / "corpus", tmp_path / "other/x.mp4"
    for path in (other, folder / "corpus.json"):
        path.parent.mkdir()
    other.write_text("a video")
    content = {"corpus": "mini_music", "takes": [{"category": category, "id": "x"}]}
    (folder / "corpus.json").write_text(json.dumps(content))
    (folder / "videos").mkdir()
    with pytest.raises(InputError, match=f"the id {category!r} (has a|is of type)"):
        corpus.generate(folder, SMALL, nj=1)
    assert other.exists()


def test_a_refusing_disk_is_reported(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(corpus, "write_video", full)
    with pytest.raises(InputError, match="No space left.*finished files are kept"):
        corpus.generate(tmp_path / "corpus", SMALL, nj=1)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"seed": -1}, "--seed -1"),
        ({"test_takes": 0}, "--test_takes 0"),
        ({"duration": 0.5}, "--duration 0.5"),
        ({"duration": float("nan")}, "--duration nan"),
        ({"instruments": ("kazoo",)}, "kazoo"),
        ({"instruments": ("cello", "cello")}, "once"),
        ({"same_instrument": True, "instruments": ("tuba",)}, "expected cello"),
        (
            {"bow_speed": True, "instruments": ("cello",)},
            "expected cello cello_tremolo",
        ),
        ({"bow_speed": True, "same_instrument": True}, "expected one of them"),
    ],
)
def test_values_out_of_range_are_refused(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        corpus.generate(tmp_path / "corpus", replace(SMALL, **change))
    assert not (tmp_path / "corpus").exists()


def test_command(small, tmp_path, capsys):
    spec = importlib.util.spec_from_file_location("prepare_mini_music", COMMAND)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.main(["--corpus_dir", str(tmp_path / "corpus"), *SMALL_OPTIONS]) == 0
    assert tree(tmp_path / "corpus") == tree(small[0])
    assert module.main(["--corpus_dir", str(tmp_path / "none"), "--nj", "0"]) == 2
    assert "--nj 0" in capsys.readouterr().err
