"""The demo, started and asked over HTTP as its page does."""

import functools
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from PIL import Image

from espnet2_avsep import Chunking, SeparateAV
from espnet2_avsep.bin.separate.demo import app_of
from espnet2_avsep.demo.app import build_app, start
from espnet2_avsep.errors import InputError
from tests.support.chromium import ask as ask_browser
from tests.support.chromium import needs_chromium
from tests.support.media_fixtures import tone, write_clip, write_wav
from tests.support.tiny_corpus import DIM, FS
from tests.support.trained_model import make_trained_folder

pytest.importorskip("gradio", reason="the extra 'demo' is not installed")


class Encoder:
    """Embeddings that tell pictures by their mean, and words by their length."""

    def encode(self, given):
        means = [
            len(one) if isinstance(one, str) else float(np.mean(one)) for one in given
        ]
        return np.stack([np.full(DIM, mean / 255, np.float32) for mean in means])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = make_trained_folder(tmp_path_factory.mktemp("exp"))
    info = {"encoder": "open_clip", "model": "ViT-B-32", "pretrained": "openai"}
    (folder / "visual_info.yaml").write_text(yaml.safe_dump(info))
    return folder


@pytest.fixture(scope="module")
def separate(folder):
    return SeparateAV.from_pretrained(
        folder, image_encoder=Encoder(), text_encoder=Encoder()
    )


@pytest.fixture(scope="module")
def address(separate, folder):
    app = app_of(separate, str(folder), 5, None)
    yield start(app, "127.0.0.1", 0, wait=False)
    app.close()


@pytest.fixture(scope="module")
def client(address):
    from gradio_client import Client

    return Client(address, verbose=False)


def ask(client, video=None, sound=None, boxes="", names="", pictures=(), halves=False):
    files = [_handle(path) for path in pictures]
    video = None if video is None else _handle(video)
    sound = None if sound is None else _handle(sound)
    return client.predict(
        *(video, sound, 0.5, halves, boxes, False, names, files, False),
        api_name="/separate",
    )


def files(result, ending):
    """Files to download, by name."""
    return [Path(path).name for path in result[1] if path.endswith(ending)]


def test_page_asks_nobody_else(address):
    page = urllib.request.urlopen(address, timeout=120).read().decode()
    assert "fonts.googleapis" not in page and "gradio" in page


def test_a_sound_with_names_and_a_picture(client, separate, tmp_path):
    mixture = 0.3 * tone(1.5, FS, 300)
    sound = write_wav(tmp_path / "s.wav", mixture, FS)
    picture = tmp_path / "grey.png"
    Image.new("RGB", (12, 12), (100, 100, 100)).save(picture)
    result = ask(client, sound=sound, names="violin", pictures=[picture])
    assert result[0].startswith("3 tracks of 1.5 s")
    names = ["1_violin", "2_grey", "residual"]
    assert files(result, ".wav") == [f"{name}.wav" for name in names]
    assert files(result, ".png") == [f"{name}.png" for name in names]
    assert files(result, ".html") == ["index.html"] and not files(result, ".mp4")
    sounds = [path for path in result[1] if path.endswith(".wav")]
    tracks = [soundfile.read(path, dtype="float32")[0] for path in sounds]
    prompts = [np.full(DIM, len("a photo of violin") / 255, np.float32)]
    prompts.append(np.full(DIM, 100 / 255, np.float32))
    wav = mixture.astype(np.float32)
    expected = separate(wav, prompts, fs=FS, chunking=Chunking())
    np.testing.assert_allclose(tracks[:2], expected, atol=1e-4)
    np.testing.assert_allclose(np.sum(tracks, axis=0), mixture, atol=1e-4)


def test_names_of_files_are_only_text():
    name = "<img src=x onerror=alert(1)> & **b**"
    escaped = "&lt;img src=x onerror=alert(1)&gt; &amp; **b**"
    app = build_app(lambda *_: None, ["text"], [f"Model: {name}."])
    shown = [block.value for block in app.blocks.values() if hasattr(block, "value")]
    (head,) = [text for text in shown if isinstance(text, str) and "<h1>" in text]
    assert f"<p>Model: {escaped}.</p>" in head


def test_a_video_by_halves_and_regions(client, tmp_path):
    video = tmp_path / "v.mp4"
    write_clip(video, 2)
    result = ask(client, video=video, boxes="0.5 0 1 1", halves=True)
    names = ["1_left", "2_right", "3_box_0.5_0_1_1", "residual"]
    for ending in (".wav", ".mp4", ".png"):
        assert files(result, ending) == [name + ending for name in names]
    drawn = client.predict(_handle(video), 0.5, "0 0 1 1", api_name="/show")
    assert np.asarray(Image.open(drawn).convert("RGB"))[0, :, 2].mean() < 60  # yellow


def test_only_prompts_that_the_model_takes(separate):
    def visible(takes):
        app = build_app(lambda *_: None, takes)
        parts = {
            part.label: part for part in app.blocks.values() if hasattr(part, "label")
        }
        return {label for label, part in parts.items() if label and part.visible}

    words, pictures = "Names, one a line (e.g. violin)", "Pictures"
    assert words in visible(["text", "picture"])
    assert words not in visible(["picture"]) and pictures in visible(["picture"])
    assert not {words, pictures} & visible(["embedding"])


def _handle(path):
    from gradio_client import handle_file

    return handle_file(str(path))


@pytest.mark.parametrize(
    "given, words",
    [
        ({"names": "violin"}, "no recording yet"),
        ({"sound": "x"}, "nothing to separate"),
        ({"sound": "x", "boxes": "0 0 1 1"}, "give a video"),
        ({"sound": "long", "names": "violin"}, "^s.wav: has more than 5 s"),
        ({"sound": "x", "names": "\n".join("abcdefghi")}, "9 things"),
        ({"sound": "x", "names": "a@3-4"}, "begins at 3 s"),
        ({"sound": "broken", "names": "violin"}, "broken"),
    ],
)
def test_what_is_wrong_is_said(client, tmp_path, given, words):
    if given.get("sound") == "broken":
        sound = tmp_path / "broken.wav"
        sound.write_bytes(b"RIFF no sound")
    else:
        seconds = 6 if given.get("sound") == "long" else 1
        sound = write_wav(tmp_path / "s.wav", tone(seconds, FS), FS)
    with pytest.raises(Exception, match=words) as caught:
        ask(client, **{**given, **({"sound": sound} if "sound" in given else {})})
    assert "Traceback" not in str(caught.value)


def test_a_port_that_is_taken(address):
    port = int(address.rstrip("/").rpartition(":")[2])
    with pytest.raises(InputError, match="another --port"):
        start(build_app(lambda *_: None, []), "127.0.0.1", port, wait=False)


@needs_chromium
def test_clicked_through(separate, folder, tmp_path, monkeypatch):
    """The example is there; a visitor marks a region, types a name, and hears tracks.

    Before, a wrong region is told, and the message stays.
    """
    video = write_clip(tmp_path / "v.mp4", 2)
    app = app_of(separate, str(folder), 5, video)
    script = """
    const until = async (test) => {
      for (let n = 0; n < 600; n++) {
        const found = test();
        if (found) return found;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      throw new Error(`never: ${test} in ${document.body.innerText}`);
    };
    const get = (name) => document.querySelector(name);
    const click = async (x, y) => {
      const image = await until(() => {
        const found = get("#picture img");
        return found?.naturalWidth && found;
      });
      const place = image.getBoundingClientRect();
      const clientX = place.left + x * place.width;
      const clientY = place.top + y * place.height;
      image.dispatchEvent(
        new MouseEvent("click", {bubbles: true, clientX, clientY}));
    };
    const type = async (name, text) => {
      const field = get(`${name} textarea`);
      field.value = text;
      field.dispatchEvent(new Event("input", {bubbles: true}));
      await new Promise((resolve) => setTimeout(resolve, 300));
    };
    const says = (words) => until(() => document.body.innerText.includes(words));
    await click(0.75, 0.9);
    await says("Now click the opposite corner.");
    await click(0.25, 0.1);
    const boxes = await until(() => get("#boxes textarea").value);
    await type("#names", "violin@8-9");
    get("#separate").click();
    await says("a time span begins at 8 s");
    // gradio shows a message for 10 s unless it is told otherwise.
    await new Promise((resolve) => setTimeout(resolve, 11000));
    const stays = document.body.innerText.includes("a time span begins at 8 s");
    await type("#names", "violin");
    get("#separate").click();
    await until(() => get("#status")?.innerText.includes("tracks"));
    await says("everything else");
    const status = get("#status").innerText.trim();
    const foreign = performance.getEntriesByType("resource").map((e) => e.name)
      .filter((n) => !/^(https?:\\/\\/127\\.0\\.0\\.1|data:|blob:)/.test(n));
    return {stays, status, boxes, foreign, text: document.body.innerText};
    """

    def prepare(tag):
        launch = functools.partial(app.launch, head=tag)
        monkeypatch.setattr(app, "launch", launch)
        return start(app, "127.0.0.1", 0, wait=False)

    try:
        found, _ = ask_browser(prepare, script, tmp_path / "profile", 1100)
    finally:
        app.close()
    assert isinstance(found, dict), found
    assert "5 tracks of 2" in found["status"], found  # two of them: the halves
    assert found["stays"]
    assert "violin" in found["text"] and "1_left" in found["text"]
    edges = [float(edge) for edge in found["boxes"].split(",")]
    assert edges == pytest.approx([0.25, 0.1, 0.75, 0.9], abs=0.02)
    assert not found["foreign"]
