"""A download that breaks off is an InputError with the remedy, and leaves no file."""

import http.server
import threading

import pytest

from espnet2_avsep.corpus.download import metadata
from espnet2_avsep.corpus.download.catalogue import CORPORA
from espnet2_avsep.errors import InputError


class _CutsOff(http.server.BaseHTTPRequestHandler):
    """Promises a million bytes and sends a thousand."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.send_header("ETag", '"abc"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.end_headers()

    def do_GET(self):
        self.do_HEAD()
        self.wfile.write(b"x" * 1000)
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def url():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _CutsOff) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_lists_of_a_corpus(url, tmp_path, monkeypatch):
    corpus = CORPORA["music21"]
    files = {name: f"{url}/{name}" for name in corpus.files}
    monkeypatch.setitem(CORPORA, "music21", corpus._replace(files=files))
    with pytest.raises(InputError, match="cannot be fetched.*--metadata_dir"):
        metadata.get_metadata("music21", tmp_path)
    assert not list(tmp_path.iterdir())


def test_weights_of_torchvision(url, tmp_path, monkeypatch):
    import torchvision

    from espnet2_avsep.visual.encoders.resnet_encoder import load_resnet18

    weights = torchvision.models.ResNet18_Weights.IMAGENET1K_V1
    cut = type("Weights", (), {"url": f"{url}/resnet18-f37072fd.pth"})
    known = type("Known", (), {"__members__": {weights.name: cut}})
    monkeypatch.setattr(torchvision.models, "get_model_weights", lambda _: known)
    with pytest.raises(InputError, match=r"IMAGENET1K_V1.*cannot be fetched"):
        load_resnet18("IMAGENET1K_V1", cache_dir=str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_weights_of_open_clip_by_address(url, tmp_path, monkeypatch):
    """open_clip 3.3.0 keeps the part that came as the file."""
    import open_clip
    from huggingface_hub import constants

    from espnet2_avsep.visual.encoders.clip_encoder import load_open_clip

    tag = {"url": f"{url}/ViT-B-32.pt"}
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda *_: tag)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(InputError, match=r"ViT-B-32.*broke after.*/path/to.pt"):
        load_open_clip("ViT-B-32", "openai", cache_dir=str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_weights_of_open_clip_from_the_hub(url, tmp_path, monkeypatch):
    """The errors of huggingface_hub 2 are those of httpx2: no OSError."""
    import huggingface_hub
    from huggingface_hub import constants

    from espnet2_avsep.visual.encoders.clip_encoder import load_open_clip

    class RemoteProtocolError(Exception):
        pass

    def cut(*_, **__):
        raise RemoteProtocolError("peer closed connection")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", cut)
    with pytest.raises(InputError, match=r"peer closed connection.*/path/to.pt"):
        load_open_clip("ViT-B-32", "openai", cache_dir=str(tmp_path))
