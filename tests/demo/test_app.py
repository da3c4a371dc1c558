"""The demo, started and asked over HTTP as its page does."""

import base64
import functools
import urllib.request

import numpy as np
import pytest
import soundfile
from PIL import Image

from espnet2_avsep import SeparateAV
from espnet2_avsep.errors import InputError
from tests.chromium import ask as ask_browser
from tests.chromium import needs_chromium
from tests.media_fixtures import tone, write_clip, write_wav
from tests.tiny_corpus import DIM, FS
from tests.trained_model import make_trained_folder

pytest.importorskip("gradio", reason="the extra 'demo' is not installed")


class Encoder:
    """Embeddings that tell pictures by their mean, and words by their length."""

    def encode(self, given):
        means = [
            len(one) if isinstance(one, str) else float(np.mean(one)) for one in given
        ]
        return np.stack([np.full(DIM, mean / 255, np.float32) for mean in means])


@pytest.fixture(scope="module")
def separate(tmp_path_factory):
    folder = make_trained_folder(tmp_path_factory.mktemp("exp"))
    return SeparateAV.from_pretrained(
        folder, image_encoder=Encoder(), text_encoder=Encoder()
    )


@pytest.fixture(scope="module")
def address(separate):
    from espnet2_avsep.demo.app import build_app, start

    app = build_app(separate, max_seconds=5)
    yield start(app, "127.0.0.1", 0, wait=False)
    app.close()


@pytest.fixture(scope="module")
def client(address):
    from gradio_client import Client

    return Client(address, verbose=False)


def ask(client, video=None, sound=None, boxes="", names="", pictures=None):
    from gradio_client import handle_file

    def upload(path):
        return None if path is None else handle_file(str(path))

    return client.predict(
        upload(video),
        upload(sound),
        0.5,
        boxes,
        names,
        [upload(path) for path in pictures or []],
        api_name="/separate",
    )


def paths(result):
    """Files of the players that are shown."""
    return [
        found["value"]
        for found in result[2:]
        if isinstance(found, dict) and found.get("value")
    ]


def test_page_asks_nobody_else(address):
    page = urllib.request.urlopen(address, timeout=20).read().decode()
    assert "fonts.googleapis" not in page and "gradio" in page


def test_a_sound_with_names_and_a_picture(client, separate, tmp_path):
    mixture = 0.3 * tone(1.5, FS, 300)
    sound = write_wav(tmp_path / "s.wav", mixture, FS)
    picture = tmp_path / "grey.png"
    Image.new("RGB", (12, 12), (100, 100, 100)).save(picture)
    result = ask(client, sound=sound, names="violin", pictures=[picture])
    assert result[0] == "3 tracks" and len(result[1]) == 3
    tracks = [soundfile.read(path, dtype="float32")[0] for path in result[1]]
    prompts = [np.full(DIM, len("a photo of violin") / 255, np.float32)]
    prompts.append(np.full(DIM, 100 / 255, np.float32))
    expected = separate(mixture.astype(np.float32), prompts, fs=FS)
    np.testing.assert_allclose(tracks[:2], expected, atol=1e-4)
    np.testing.assert_allclose(np.sum(tracks, axis=0), mixture, atol=1e-4)
    assert len(paths(result)) == 3


def test_a_video_with_regions(client, tmp_path):
    video = tmp_path / "v.mp4"
    write_clip(video, 2)
    result = ask(client, video=video, boxes="0 0 0.5 1\n0.5 0 1 1")
    assert result[0] == "3 tracks"
    drawn = client.predict(_handle(video), 0.5, "0 0 1 1", api_name="/show")
    assert np.asarray(Image.open(drawn).convert("RGB"))[0, :, 2].mean() < 60  # yellow


def _handle(path):
    from gradio_client import handle_file

    return handle_file(str(path))


@pytest.mark.parametrize(
    "given, words",
    [
        ({"names": "violin"}, "no recording yet"),
        ({"sound": "x"}, "nothing to separate"),
        ({"sound": "x", "boxes": "0 0 1 1"}, "give a video"),
        ({"sound": "long", "names": "violin"}, "5 s at most"),
        ({"sound": "x", "names": "\n".join("abcdefghi")}, "9 things"),
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


def test_a_port_that_is_taken(separate, address):
    from espnet2_avsep.demo.app import build_app, start

    port = int(address.rstrip("/").rpartition(":")[2])
    with pytest.raises(InputError, match="another --port"):
        start(build_app(separate, 5), "127.0.0.1", port, wait=False)


@needs_chromium
def test_clicked_through(separate, tmp_path, monkeypatch):
    """A visitor gives a video, marks a region, types a name, and hears tracks."""
    from espnet2_avsep.demo.app import build_app, start

    video = write_clip(tmp_path / "v.mp4", 2)
    app = build_app(separate, 5)
    script = """
    const bytes = Uint8Array.from(atob("VIDEO"), (c) => c.charCodeAt(0));
    const until = async (test) => {
      for (let n = 0; n < 600; n++) {
        const found = test();
        if (found) return found;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      throw new Error(`never: ${test} in ${document.body.innerText}`);
    };
    const get = (name) => document.querySelector(name);
    const input = await until(() => get("#video input[type=file]"));
    const files = new DataTransfer();
    files.items.add(new File([bytes], "v.mp4", {type: "video/mp4"}));
    input.files = files.files;
    input.dispatchEvent(new Event("change", {bubbles: true}));
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
    const says = (words) => until(() => document.body.innerText.includes(words));
    await click(0.75, 0.9);
    await says("Now click the opposite corner.");
    await click(0.25, 0.1);
    const boxes = await until(() => get("#boxes textarea").value);
    const names = get("#names textarea");
    names.value = "violin";
    names.dispatchEvent(new Event("input", {bubbles: true}));
    await new Promise((resolve) => setTimeout(resolve, 300));
    get("#separate").click();
    await until(() => get("#status")?.innerText.includes("tracks"));
    await says("the rest");
    const status = get("#status").innerText.trim();
    const foreign = performance.getEntriesByType("resource").map((e) => e.name)
      .filter((n) => !/^(https?:\\/\\/127\\.0\\.0\\.1|data:|blob:)/.test(n));
    return {status, boxes, foreign, text: document.body.innerText};
    """.replace("VIDEO", base64.b64encode(video.read_bytes()).decode())

    def prepare(tag):
        launch = functools.partial(app.launch, head=tag)
        monkeypatch.setattr(app, "launch", launch)
        return start(app, "127.0.0.1", 0, wait=False)

    try:
        found, _ = ask_browser(prepare, script, tmp_path / "profile", 1100)
    finally:
        app.close()
    assert isinstance(found, dict), found
    assert "3 tracks" in found["status"], found
    assert "violin" in found["text"] and "region 1" in found["text"]
    edges = [float(edge) for edge in found["boxes"].split(",")]
    assert edges == pytest.approx([0.25, 0.1, 0.75, 0.9], abs=0.02)
    assert not found["foreign"]
