import re

import numpy as np
import pytest
import soundfile
from PIL import Image

from espnet2_avsep.figures import spectrogram
from espnet2_avsep.media.stream import measure
from espnet2_avsep.report.separation_page import Shown, separation_page
from espnet2_avsep.streaming.spectrogram import pooled_spectrogram
from tests.media.clock_files import write_clocked
from tests.report.page_reader import Page, browse, check_on_a_phone
from tests.support.chromium import needs_chromium
from tests.support.media_fixtures import tone, write_video

# Long enough that a busy browser is not at the end while it is asked.
RATE, SECONDS = 8000, 20
HOSTILE = '"><script>alert(1)</script>'
NAMES = ("1_left", "2_<b>", "residual")
KEYS = ("Solo", "Mute")


def halves(number):
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:, :32, 0] = picture[:, 32:, 2] = 255
    return picture


@pytest.fixture(scope="module")
def separated(tmp_path_factory):
    """A folder of tracks, what result.json says of it, queries, and the video."""
    folder = tmp_path_factory.mktemp("separated")
    tracks = {}
    for n, name in enumerate(NAMES):
        path = folder / f"{n}.wav"
        soundfile.write(path, tone(SECONDS, RATE, 200 * (n + 1), 0.2), RATE)
        tracks[name] = {"sound": path.name, "spectrogram": "s.png"}
    tracks["mixture"] = {"spectrogram": "s.png"}
    Image.new("L", (100, 50), 90).save(folder / "s.png")
    picture = folder / "query.png"
    Image.new("RGB", (400, 200), (0, 255, 0)).save(picture)
    sound = np.stack([tone(SECONDS, RATE, 300)] * 2)
    video = folder / "in.mp4"
    frames = 10 * SECONDS
    write_video(video, frames, 10, sound, RATE, paint=halves, pixels="yuv444p")
    tracks["1_left"]["video"] = video.name
    result = {
        "input": f"x{HOSTILE}.mp4",
        "model": "exp/model",
        "weights_sha256": "00ff",
        "fs": RATE,
        "model_fs": RATE // 2,
        "bandwidth": "model",
        "channels": 1,
        "seconds": SECONDS,
        "computing_seconds": 0.5,
        "clipped": {},
        "notes": ["a <note>"],
        "tracks": tracks,
    }
    queries = {
        "1_left": Shown("left", (0.0, 0.0, 0.5, 1.0)),
        "2_<b>": Shown(HOSTILE, pictures=[picture]),
    }
    return folder, result, queries, video


@pytest.fixture(scope="module")
def pages(separated):
    """The embedded page and the one that links its files."""
    folder, result, queries, video = separated
    paths = {}
    for name, embed in (("embedded", True), ("linked", False)):
        text = separation_page(result, queries, folder, embed, video, 0.25)
        paths[name] = folder / f"{name}.html"
        paths[name].write_text(text, encoding="utf-8")
    return paths


def read(path):
    return Page(path.read_text(encoding="utf-8"))


def pixels(attributes):
    """Mean colour of a picture in a data URL."""
    import base64
    import io

    content = base64.b64decode(attributes["src"].partition(",")[2])
    image = Image.open(io.BytesIO(content)).convert("RGB")
    assert image.size == (int(attributes["width"]), int(attributes["height"]))
    return np.asarray(image, float)


def test_the_video_of_a_broadcast_is_played_where_its_sound_is(separated, tmp_path):
    """The offset was that of the source's clock; the written videos begin at 0."""
    folder, result, *_ = separated
    source = write_clocked(tmp_path, "ts 2", "clock from 10 s")
    start = measure(source.path).audio_start
    assert start > 9.9
    page = Page(separation_page(result, {}, folder, False, source.path, start))
    (video,) = page.all("video")
    assert 0 <= float(video["data-offset"]) < 0.05


def test_regions_are_drawn_where_they_are(pages):
    page = read(pages["embedded"])
    (video,) = page.all("video")
    assert video["src"] == "in.mp4" and "muted" in video
    assert float(video["data-offset"]) == 0.25
    still = pixels({**video, "src": video["poster"]})
    assert still[:, :28, 0].mean() > 200 > 60 > still[:, -28:, 0].mean()
    (region,) = [a for a in page.all("span") if "region" in a.get("class", "")]
    assert region["style"] == "left: 0.0%; top: 0.0%; width: 50.0%; height: 100.0%"
    left, picture = [a for a in page.all("img") if a.get("class") == "query"]
    assert pixels(left)[:, 2:-2].mean(axis=(0, 1)) == pytest.approx([254, 0, 0], abs=9)
    green = pixels(picture)
    assert green.shape == (120, 240, 3)
    assert green.mean(axis=(0, 1)) == pytest.approx([0, 255, 0], abs=4)


def test_every_track_has_its_keys_and_a_band(pages):
    page = read(pages["embedded"])
    assert [a["title"] for a in page.all("audio")] == list(NAMES)
    labels = [a.get("aria-label") for a in page.all("button")]
    assert [x for x in labels if x] == [f"{k} {n}" for n in NAMES for k in KEYS]
    (slider,) = page.all("input")
    assert (slider["type"], slider["max"]) == ("range", str(SECONDS))
    bands = [a["style"] for a in page.all("i") if a.get("class") == "beyond"]
    half = 100 * np.log(1 + 20 / 2) / np.log(21)  # of a log-frequency axis
    assert bands == [f"bottom: {half:.2f}%"] * 4
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))


def test_what_lies_above_the_band_is_said(separated):
    folder, result, _, _ = separated
    for bandwidth, words in (("full", "shared among"), ("model", "in the residual")):
        result = {**result, "bandwidth": bandwidth}
        page = Page(separation_page(result, {}, folder, False))
        text = " ".join(" ".join(page.text).split())
        assert f"what lies above is {words}" in text


def test_sounds_are_in_the_page_or_beside_it(pages, separated):
    embedded, linked = read(pages["embedded"]), read(pages["linked"])
    sources = [a["src"] for a in embedded.all("audio")]
    assert all(s.startswith("data:audio/flac;base64,") for s in sources)
    assert [a["src"] for a in linked.all("audio")] == ["0.wav", "1.wav", "2.wav"]
    for page in (embedded, linked):
        for _, attributes in page.tags:
            link = attributes.get("src", attributes.get("href", "#"))
            if not link.startswith(("#", "data:")):
                assert (separated[0] / link).is_file(), link


def test_hostile_names_are_text(pages):
    page = read(pages["embedded"])
    assert len(page.all("script")) == 1
    text = " ".join(page.text)
    assert HOSTILE in text and "2_<b>" in text and "a <note>" in text
    assert not any(key.startswith("on") for _, a in page.tags for key in a)


def test_a_recording_without_a_picture(separated):
    folder, result, queries, _ = separated
    queries = {name: shown._replace(box=None) for name, shown in queries.items()}
    page = Page(separation_page({**result, "fs": RATE // 2}, queries, folder, False))
    assert not [a for a in page.all("span") if "region" in a.get("class", "")]
    assert not page.all("video") and "dashed line" not in " ".join(page.text)


def test_a_video_that_cannot_be_read_is_said(separated, tmp_path):
    folder, result, queries, _ = separated
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    video = tmp_path / "broken.mp4"
    page = Page(separation_page(result, queries, folder, False, video))
    assert "no picture on this page" in " ".join(page.text)


def test_ticks_of_the_log_frequency_axis():
    marks = spectrogram.ticks(22050)
    assert list(marks) == ["1 kHz", "2 kHz", "5 kHz", "10 kHz", "22.1 kHz"]
    assert list(spectrogram.ticks(96000))[-2:] == ["50 kHz", "96 kHz"]
    # Where LogFrequencyWarp puts a tone.
    fs, hertz = 11625, 1000
    time = np.arange(fs) / fs
    rows = spectrogram.magnitudes(np.sin(2 * np.pi * hertz * time))
    place = rows.mean(axis=1).argmax() / (spectrogram.ROWS - 1)
    marks = spectrogram.ticks(fs / 2)
    assert marks["1 kHz"] == pytest.approx(place, abs=0.01)
    # A tone that lasts, in the spectrograms of avsep separate.
    tone_at_8_khz = tone(1, 44100, 8000)[None]
    rows = spectrogram.log_rows(pooled_spectrogram([tone_at_8_khz], 44100), 512)
    place = rows[:, 10:-10].mean(axis=1).argmax() / 511
    assert place == pytest.approx(spectrogram.log_share(8000 / 22050), abs=0.01)


# Solo: only these are heard; several add up; without any, all that is not muted.
MIXES = [[1, 1, 1], [0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 1, 1], [0, 1, 1]]
DRIVE = f"const mixes = [], expected = {MIXES};"
DRIVE += """
const all = (name) => [...document.querySelectorAll(name)];
const wait = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));
const gains = [], starts = [];
const createGain = AudioContext.prototype.createGain;
AudioContext.prototype.createGain = function () {
  gains.push(createGain.call(this));
  return gains.at(-1);
};
const start = AudioBufferSourceNode.prototype.start;
AudioBufferSourceNode.prototype.start = function (when, at) {
  starts.push(at);
  return start.call(this, when, at);
};
// A busy machine is late.
const until = async (come_true) => {
  for (let n = 0; n < 200 && !come_true(); n++) await wait(0.05);
};
const audios = all("audio"), slider = all(".transport input")[0];
const [play] = all(".play"), video = all("video")[0];
const hear = async () => {
  const now = () => gains.length ? gains.map((g) => Math.round(g.gain.value))
    : audios.map((a) => Number(!a.muted));
  await until(() => String(now()) === String(expected[mixes.length]));
  mixes.push(now());
};
const seek = (to) => {
  slider.value = to;
  slider.dispatchEvent(new Event("input"));
};
const hidden = [all(".transport")[0].hidden, audios.every((a) => a.hidden)];
const began = performance.now();
play.click();
await until(() => slider.value > 0.3);
const first = [Number(slider.value), play.textContent, !video.paused];
const elapsed = (performance.now() - began) / 1000;
const drift = () => {
  const times = audios.map((a) => a.currentTime);
  return Math.max(...times) - Math.min(...times);
};
await until(() => drift() < 0.1);
const apart = drift();
await hear();
const solos = all(".solo"), mutes = all(".mute");
for (const key of [solos[1], solos[2], solos[1], solos[2], mutes[0]]) {
  key.click();
  await hear();
}
const silent = all(".track.silent").map((s) => s.id);
seek(0.5);
await until(() => slider.value >= 0.6);
const second = Number(slider.value);
play.click();
await wait(0.2);
const rest = Number(slider.value);
const box = all(".spectrogram")[0].getBoundingClientRect();
all(".spectrogram")[0].dispatchEvent(new MouseEvent("click", {
  bubbles: true, clientX: box.left + box.width / 2, clientY: box.top + 5}));
const third = [Number(slider.value), play.textContent, video.paused,
  getComputedStyle(all(".mixer")[0]).getPropertyValue("--at")];
await until(() => Math.abs(video.currentTime - slider.max / 2 - 0.25) < 0.11);
const shown = video.currentTime;
seek(slider.max - 0.2);
document.body.dispatchEvent(new KeyboardEvent("keydown", {key: " ", bubbles: true}));
await until(() => play.textContent === "Pause");
await until(() => play.textContent === "Play");
const end = [Number(slider.value), play.textContent];
return {hidden, first, elapsed, apart, mixes, silent, second,
  moved: rest - second, third, shown, end, starts};
"""


@needs_chromium
@pytest.mark.parametrize("kind", ["embedded", "linked"])
def test_all_tracks_have_one_position(pages, tmp_path, kind):
    found, console = browse(pages[kind], DRIVE, tmp_path / "profile")
    assert not console, console
    assert found["hidden"] == [False, True]
    position, word, playing = found["first"]
    assert 0.3 < position <= found["elapsed"] and word == "Pause" and playing
    assert found["mixes"] == MIXES and found["silent"] == ["1_left"]
    assert 0.6 <= found["second"] < SECONDS / 2 and found["moved"] == 0
    position, word, paused, at = found["third"]
    assert position == pytest.approx(SECONDS / 2, abs=0.02)
    assert float(at) == pytest.approx(0.5, abs=0.01)
    assert (word, paused) == ("Play", True)
    assert found["shown"] == pytest.approx(SECONDS / 2 + 0.25, abs=0.11)
    assert found["end"] == [0, "Play"]  # at its end it goes back to the start
    if kind == "embedded":  # all of them start at one and the same time
        starts = np.array(found["starts"]).reshape(-1, len(NAMES))
        assert len(starts) == 3 and np.ptp(starts, axis=1).max() == 0
        assert starts[:2, 0].tolist() == [0, 0.5]
    else:
        assert found["apart"] < 0.1


@needs_chromium
def test_a_pause_before_the_sounds_are_loaded_is_no_error(pages, tmp_path):
    """The page said that the sounds cannot be played."""
    script = """
    const [play] = document.querySelectorAll(".play");
    const begin = HTMLMediaElement.prototype.play, asked = [];
    HTMLMediaElement.prototype.play = function () {
      asked.push(begin.call(this));
      return asked.at(-1);
    };
    play.click();
    for (let n = 0; n < 100 && asked.length < 4; n++) await null;
    play.click();
    const ends = await Promise.allSettled(asked);
    await new Promise((done) => setTimeout(done));
    const output = document.querySelector(".transport output").textContent;
    return [ends.some((end) => end.reason?.name === "AbortError"), output];
    """
    found, console = browse(pages["linked"], script, tmp_path / "profile")
    assert found == [True, f"0:00 / 0:{SECONDS}"] and not console, console


@needs_chromium
def test_on_a_phone(pages, tmp_path):
    check_on_a_phone(pages["embedded"], tmp_path / "profile")


def test_no_address_of_others(pages):
    for path in pages.values():
        assert not re.search(r"https?:|url\(|@import", path.read_text())


@pytest.mark.parametrize(
    "channels, fs", [(3, 8000), (6, 8000), (9, 8000), (1, 700_000)]
)
def test_a_page_holds_the_sound_of_any_number_of_channels_and_rate(
    separated, tmp_path, channels, fs
):
    """FLAC has eight channels and 655,350 Hz at most: a traceback after all tracks."""
    import base64
    import io

    track = np.zeros((fs // 10, channels), np.float32)
    track[:, -1] = tone(0.1, fs, 300, 0.9)
    soundfile.write(tmp_path / "t.wav", track, fs, "FLOAT")
    result = {**separated[1], "channels": channels, "fs": fs}
    result["tracks"] = {"residual": {"sound": "t.wav"}}
    page = Page(separation_page(result, {}, tmp_path, True))
    (audio,) = page.all("audio")
    content = base64.b64decode(audio["src"].partition(",")[2])
    found, rate = soundfile.read(io.BytesIO(content), always_2d=True)
    expected = track if channels in (1, 6) else track.mean(axis=1, keepdims=True)
    assert rate == fs
    np.testing.assert_allclose(found, expected, atol=1 / 30_000)
    said = "plays the mean" in " ".join(page.text)
    assert said == (channels in (3, 9))
