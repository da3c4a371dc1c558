"""Packing: what is in the archive, and that it is the model and nothing else."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from packed_model import RESULTS, VISUAL, make_experiment

from espnet2_avsep import SeparateAV
from espnet2_avsep.bin import avsep_fetch_model, avsep_pack, avsep_upload
from espnet2_avsep.data.records.digest import file_sha256
from espnet2_avsep.errors import InputError
from espnet2_avsep.sharing.card import model_card
from espnet2_avsep.sharing.pack import pack, teacher_info, without_folders
from tests.support.tiny_corpus import DIM, SEGMENT

CHANGES = {
    "teacher": "clap",
    "teacher_conf": {"checkpoint": "/home/somebody/clap.pt"},
    "output_dir": "/home/somebody/exp/avsep_tiny",
    "train_data_path_and_name_and_type": [
        ["/home/somebody/spk1.scp", "speech_ref1", "sound"],
        "/home/somebody/visual.scp,visual_ref1,kaldi_ark",
    ],
    "system": "Tiny",
}


@pytest.fixture(scope="module")
def exp(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exp") / "avsep_tiny"
    make_experiment(folder, **CHANGES)
    (folder / "motion_info.yaml").write_text("encoder: /home/somebody/i3d.pt\n")
    return folder


@pytest.fixture(scope="module")
def packed(exp, tmp_path_factory):
    path = tmp_path_factory.mktemp("packed") / "avsep_tiny.zip"
    assert avsep_pack.main(["--avsep_exp", str(exp), "--outpath", str(path)]) == 0
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ESPNET2_AVSEP_CACHE", str(tmp_path / "cache"))


def read(packed, name):
    with zipfile.ZipFile(packed) as z:
        return z.read(name)


def test_contents(exp, packed):
    with zipfile.ZipFile(packed) as z:
        assert z.namelist() == [
            "meta.yaml",
            "RESULTS.md",
            "config.yaml",
            "motion_info.yaml",
            "pack_info.yaml",
            "valid.si_sdr_i.best.pth",
            "valid.si_sdr_i.best.safetensors",
            "visual_info.yaml",
        ]
    assert read(packed, "RESULTS.md").decode() == RESULTS
    weights = (exp / "valid.si_sdr_i.best.pth").read_bytes()
    assert read(packed, "valid.si_sdr_i.best.pth") == weights
    meta = yaml.safe_load(read(packed, "meta.yaml"))
    assert meta["files"] == {"model_file": "valid.si_sdr_i.best.pth"}
    assert meta["yaml_files"] == {"train_config": "config.yaml"}
    assert {"espnet", "python", "timestamp", "torch"} <= set(meta)


def test_what_is_not_in_it_is_named(exp, packed):
    info = yaml.safe_load(read(packed, "pack_info.yaml"))
    assert info["visual_encoder"] == {**VISUAL, "pretrained": "clip.pt"}
    assert info["teacher"]["checkpoint"] == "clap.pt"
    assert info["teacher"]["sha256"].startswith("not known")
    assert info["experiment"] == "tiny"
    state = torch.load(exp / "valid.si_sdr_i.best.pth", weights_only=True)
    assert info["parameters"] == sum(v.numel() for v in state.values())
    assert info["sha256"]["valid.si_sdr_i.best.pth"] == file_sha256(
        exp / "valid.si_sdr_i.best.pth"
    )
    assert len(info["sha256"]) == 6
    assert read(packed, "motion_info.yaml") == b"encoder: i3d.pt\n"


def test_folders_of_this_machine_are_not_told(packed):
    with zipfile.ZipFile(packed) as z:
        for name in z.namelist():
            assert b"/home/" not in z.read(name), name
    config = yaml.safe_load(read(packed, "config.yaml"))
    assert config["train_data_path_and_name_and_type"] == [
        ["spk1.scp", "speech_ref1", "sound"],
        "visual.scp,visual_ref1,kaldi_ark",
    ]
    assert without_folders({"a": ("/", "dump/x", "/a/b/"), "n": 3}) == {
        "a": ["/", "dump/x", "b"],
        "n": 3,
    }


def test_the_same_experiment_gives_the_same_bytes(exp, packed, tmp_path):
    copy = tmp_path / "elsewhere" / "avsep_tiny"
    shutil.copytree(exp, copy)  # keeps the times of files
    pack(copy, tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == packed.read_bytes()


def test_the_weights_are_not_overwritten(exp):
    weights = exp / "valid.si_sdr_i.best.pth"
    content = weights.read_bytes()
    with pytest.raises(InputError, match="would be overwritten"):
        pack(exp, weights)
    assert weights.read_bytes() == content


def test_it_is_the_same_model(exp, packed):
    rng = np.random.default_rng(0)
    prompts = list(rng.normal(size=(2, DIM)).astype(np.float32))
    mixture = rng.normal(size=SEGMENT).astype(np.float32) / 9
    separate = SeparateAV.from_pretrained(packed)
    np.testing.assert_array_equal(
        separate(mixture, prompts),
        SeparateAV.from_pretrained(exp)(mixture, prompts),
    )
    assert (separate.train_config.parent / "visual_info.yaml").is_file()


def test_espnet_unpacks_it(packed, tmp_path):
    from espnet2.main_funcs.pack_funcs import unpack

    found = unpack(packed, tmp_path)
    assert found == {
        "train_config": str(tmp_path / "config.yaml"),
        "model_file": str(tmp_path / "valid.si_sdr_i.best.pth"),
    }
    assert SeparateAV(**found).sample_rate == 2000


def test_teacher_checksums(tmp_path):
    assert teacher_info({}) == {"teacher": None}
    file = tmp_path / "cache" / "clap" / "clap.pt"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"clap")
    config = {"teacher": "clap", "teacher_conf": {"checkpoint": "clap.pt"}}
    assert teacher_info(config)["sha256"] == file_sha256(file)
    config["teacher_conf"]["checksum"] = "ABC"
    assert teacher_info(config)["sha256"] == "abc"
    random = {"teacher": "clap", "teacher_conf": {"checkpoint": "random"}}
    assert "sha256" not in teacher_info(random)
    (tmp_path / "teacher_info.yaml").write_text("teacher: CLAP x\n")
    scp = {"scp": str(tmp_path / "teacher.scp")}
    info = teacher_info({"teacher": "precomputed", "teacher_conf": scp})
    assert info["embeddings"] == {"teacher": "CLAP x"} and info["scp"] == "teacher.scp"


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda exp: (exp / "config.yaml").unlink(), "config.yaml: no such file"),
        (lambda exp: (exp / "visual_info.yaml").unlink(), "Stage 6 copies it"),
        (
            lambda exp: (exp / "valid.si_sdr_i.best.pth").unlink(),
            "no such file, and no valid.loss",
        ),
        (
            lambda exp: torch.save(
                {"teacher.x": torch.zeros(1)}, exp / "valid.si_sdr_i.best.pth"
            ),
            "holds weights of teacher; only the separator's",
        ),
        (
            lambda exp: (exp / "config.yaml").write_text("trained: false\n"),
            "without training",
        ),
        (
            lambda exp: (exp / "valid.si_sdr_i.best.pth").rename(exp / "best.bin"),
            r"best.bin: .*ends in \.pth, \.pt, \.safetensors",
        ),
    ],
)
def test_what_cannot_be_packed(exp, tmp_path, break_it, message):
    copy = tmp_path / "exp"
    shutil.copytree(exp, copy)
    break_it(copy)
    model = "best.bin" if (copy / "best.bin").exists() else None
    with pytest.raises(InputError, match=message):
        pack(copy, tmp_path / "a.zip", model)
    assert not (tmp_path / "a.zip").exists()


def upload(packed, folder, *more):
    words = ["--packed_model", str(packed), "--hf_repo", "me/tiny"]
    return avsep_upload.main([*words, "--output_dir", str(folder), *more])


def test_dry_run(packed, tmp_path, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: pytest.fail("uploaded"))
    folder = tmp_path / "repo"
    assert upload(packed, folder, "--dry_run", "true", "--license", "cc-by-4.0") == 0
    with zipfile.ZipFile(packed) as z:
        names = {*z.namelist(), "README.md"}
    assert {path.name for path in folder.iterdir()} == names
    card = (folder / "README.md").read_text()
    head = yaml.safe_load(card.split("---")[1])
    assert head["license"] == "cc-by-4.0" and head["library_name"] == "espnet"
    for words in (
        'SeparateAV.from_pretrained("me/tiny")',
        "--download_model me/tiny",
        "**Tones, not music.**",
        "| test |   8 | 1.23 |",
        "SHA-256 of mixtures.tsv: 00ff",
        "9 of 10 listed clips",
        "2000 Hz",
        "nothing above 1000 Hz",
        "compared with `sha256 0123`",
        "Of the weights: cc-by-4.0.",
        "System: Tiny",
    ):
        assert words in card, words
    assert "run.sh:" not in card and "Scores of a comment" not in card
    # Again, into the same folder; and not over anything else.
    assert upload(packed, folder, "--dry_run", "true") == 0
    card = (folder / "README.md").read_text()
    assert "not stated by their author" in card and "license: other" in card
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    assert upload(packed, tmp_path / "mine", "--dry_run", "true") == 2
    assert (tmp_path / "mine" / "thesis.tex").exists()


def test_a_page_that_the_user_has_changed_is_not_lost(packed, tmp_path, capsys):
    """A dry run, a better text, then the upload."""
    folder = tmp_path / "repo"
    assert upload(packed, folder, "--dry_run", "true") == 0
    page = folder / "README.md"
    page.write_text(page.read_text() + "\nPlayed on period instruments.\n")
    assert upload(packed, folder, "--dry_run", "true") == 0
    assert "period instruments" in page.read_text()
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(packed) as z, zipfile.ZipFile(other, "w") as new:
        for name in z.namelist():
            more = b"# once more\n" * (name == "pack_info.yaml")
            new.writestr(name, z.read(name).replace(b"1.23", b"4.56") + more)
    capsys.readouterr()
    assert upload(other, folder, "--dry_run", "true") == 2
    assert f"{page}: was changed, and is of another" in capsys.readouterr().err
    assert "period instruments" in page.read_text()
    page.rename(tmp_path / "mine.md")
    assert upload(other, folder, "--dry_run", "true") == 0
    assert "4.56" in page.read_text()


def test_an_upload_that_was_stopped_is_done_again(packed, tmp_path, monkeypatch):
    """At each of its steps, on a folder that an earlier run has written."""
    folder = tmp_path / "repo"
    words = ["--dry_run", "true", "--license"]
    assert upload(packed, folder, *words, "mit") == 0
    steps = {}

    def stop(number, *names):
        """Let the number-th of these calls stop the program."""
        calls = []

        def wrap(call):
            def wrapped(*args, **options):
                calls.append(call)
                if len(calls) == number:
                    raise KeyboardInterrupt
                return call(*args, **options)

            return wrapped

        for module, name in names:
            monkeypatch.setattr(module, name, wrap(getattr(module, name)))

    module = avsep_upload
    for number in range(1, 6):
        stop(number, (module, "write_file"), (module, "write_json"), (Path, "rename"))
        steps[number] = upload(packed, folder, *words, "cc0-1.0")
        monkeypatch.undo()
        assert upload(packed, folder, *words, "cc0-1.0") == 0
        assert "license: cc0-1.0" in (folder / "README.md").read_text()
        assert upload(packed, folder, *words, "mit") == 0
    assert list(steps.values()) == [130] * 4 + [0]  # page, record, two renames
    assert {path.name for path in tmp_path.iterdir()} == {"repo", "repo.written.json"}


def test_a_model_that_upload_did_not_write_is_not_deleted(packed, tmp_path):
    """avsep import-checkpoint leaves a meta.yaml, too."""
    model = tmp_path / "imported"
    model.mkdir()
    for name in ("meta.yaml", "pack_info.yaml", "imported.pth"):
        (model / name).write_text("layout: hfra\n")
    assert upload(packed, model, "--dry_run", "true") == 2
    assert (model / "imported.pth").exists()


def scored_card(**changes):
    """The card of a model with the results of a whole run."""
    info = {"parameters": 1400195, "packed_by": "espnet2_avsep 0.2.0", "sha256": {}}
    info.update(teacher={}, visual_encoder={"encoder": "open_clip", "pretrained": "x"})
    config = {"sample_rate": 11625, "separator": "hfra", "system": "HFRA small"}
    instruments = "| instrument | scored | SDR | SDRi |\n|---|---|---|---|\n"
    instruments += "| cello | 6 | 4.84 | 3.34 |\n| tuba | 6 | 6.23 | 8.75 |\n"
    results = (
        "# RESULTS\n\n## Scores\n\n"
        "| set | n | SDR | SIR | SDRi |\n|---|---|---|---|---|\n"
        "| valid | 8 | 9.08 | 10.88 | 8.98 |\n"
        "| test | 12 | 5.80 | - | 5.71 [4.14, 7.39] |\n\n"
        f"## test\n\n{instruments}\n"
        "## Command\n\n```sh\n./avsep.sh --corpus mini_music --note 'a b'\n```\n"
    )
    return model_card("me/tiny", info, {**config, **changes}, results)


def test_card_s_metadata_is_valid_and_holds_the_scores():
    """Read back by the hub's own classes, which raise for an invalid model index."""
    from huggingface_hub import ModelCard

    data = ModelCard(scored_card()).data
    assert data.license == "other" and data.license_name == "not-stated"
    assert data.pipeline_tag == "audio-to-audio" and data.metrics == ["sdr", "sir"]
    assert data.model_name == "tiny"
    found = {
        (one.dataset_split, one.metric_type): one.metric_value
        for one in data.eval_results
    }
    assert found == {
        ("valid", "sdr"): 9.08,
        ("valid", "sir"): 10.88,
        ("test", "sdr"): 5.80,  # the other cell holds no number
    }
    assert {one.dataset_name for one in data.eval_results} == {"mini_music"}
    unscored = model_card(
        "me/tiny",
        {"parameters": 1, "packed_by": "x", "sha256": {}, "teacher": {}}
        | {"visual_encoder": {}},
        {"sample_rate": 8000, "separator": "hfra"},
        None,
    )
    assert ModelCard(unscored).data.eval_results is None


def test_card_tells_a_stranger_what_the_model_does():
    card = scored_card()
    for words in (
        "* What it separates: cello, tuba",
        "* Score on the set test: SDR 5.80 dB, 5.71 [4.14, 7.39] better than the",
        "pip install -c constraints.txt .",
        "avsep separate duet.mp4 --query violin.jpg --query tuba.jpg --model me/tiny",
        "@inproceedings{hu2025hfra,",
    ):
        assert words in card, words
    assert card.index("| cello ") < card.index("## Limits")
    assert card.index("| test ") < card.index("| valid ")
    assert "hu2025hfra" not in scored_card(separator="query", system="iQuery")


def test_what_is_uploaded_can_be_used(packed, tmp_path):
    upload(packed, tmp_path / "repo", "--dry_run", "true")
    assert SeparateAV.from_pretrained(tmp_path / "repo").sample_rate == 2000


def test_cards_without_scores_and_with_other_encoders():
    info = {
        "parameters": 1,
        "packed_by": "x",
        "sha256": {},
        "teacher": {"teacher": "clap", "checkpoint": "c.pt", "sha256": "ff"},
    }
    config = {"sample_rate": 8000, "separator": "hfra", "dataset_conf": None}
    encoders = {
        "random": ({"encoder": "open_clip", "pretrained": "random"}, "randomly init"),
        "words": ({"encoder": "open_clip", "pretrained": "openai"}, "`Text('violin')`"),
        "frames": ({"encoder": "frames"}, "no embeddings and no words"),
        "given": ({"encoder": "precomputed", "dim": 7}, "embedding of 7 values"),
    }
    for encoder, words in encoders.values():
        card = model_card("a/b", {**info, "visual_encoder": encoder}, config, None)
        assert words in card and "None: the model was packed without" in card
        assert "c.pt, sha256: ff" in card
    with pytest.raises(InputError, match="--hf_license"):
        model_card("a/b", {**info, "visual_encoder": {}}, config, None, "my own: x")


def test_upload(packed, tmp_path, monkeypatch, capsys):
    import huggingface_hub

    calls = []

    class HfApi:
        def create_repo(self, repo_id, private, exist_ok):
            calls.append((repo_id, private, exist_ok))
            return f"https://hub/{repo_id}"

        def upload_folder(self, repo_id, folder_path, commit_message):
            calls.append((repo_id, folder_path, commit_message))

    folder = tmp_path / "repo"
    monkeypatch.setattr(huggingface_hub, "HfApi", HfApi)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    assert upload(packed, folder) == 2
    assert "there is no token" in capsys.readouterr().err and not calls
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "secret")
    assert upload(packed, folder, "--private", "true") == 0
    assert calls == [
        ("me/tiny", True, True),
        ("me/tiny", str(folder), "Upload avsep_tiny.zip"),
    ]
    assert capsys.readouterr().out == "https://hub/me/tiny\n"

    def fail(*_, **__):
        raise type("ConnectError", (OSError,), {})("no route")

    HfApi.create_repo = fail
    assert upload(packed, folder) == 2
    shown = capsys.readouterr().err
    assert "there is no network" in shown and str(folder) in shown
    assert "secret" not in shown


def test_upload_of_nothing(tmp_path, capsys, packed):
    assert upload(tmp_path / "none.zip", tmp_path / "repo") == 2
    assert "stage 9 writes it" in capsys.readouterr().err
    words = ["--packed_model", str(packed), "--output_dir", str(tmp_path / "r")]
    assert avsep_upload.main([*words, "--hf_repo", "no repo"]) == 2
    assert "expected the name of a repository" in capsys.readouterr().err


def fetch(model, folder, *infos):
    words = ["--model", str(model), "--output_dir", str(folder)]
    for info in infos:
        words += ["--made_by", str(info)]
    return avsep_fetch_model.main(words)


def test_fetch(packed, exp, tmp_path, capsys):
    features = tmp_path / "visual_info.yaml"
    features.write_text(yaml.safe_dump({**VISUAL, "fps": 3}))
    assert fetch(packed, tmp_path / "exp", features) == 0
    name = capsys.readouterr().out.splitlines()[-1]
    assert name == "valid.si_sdr_i.best.safetensors"
    assert {p.name for p in (tmp_path / "exp").iterdir()} == {
        *(name, "config.yaml", "visual_info.yaml", "motion_info.yaml", "fetched_from")
    }
    # The folder alone is a model, too: it has no .pth.
    found = SeparateAV.from_pretrained(tmp_path / "exp")
    packed_one = SeparateAV.from_pretrained(packed)
    assert found.weights_sha256 == packed_one.weights_sha256
    assert fetch(packed, tmp_path / "exp", features) == 0  # once more
    assert fetch(exp, tmp_path / "exp") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "valid.si_sdr_i.best.pth"


MODEL = {"config.yaml", "visual_info.yaml", "motion_info.yaml", "fetched_from"}


def test_of_a_model_that_was_fetched_before_nothing_is_left(packed, exp, tmp_path):
    """Its weights, under another name, would be taken for those of the new one."""
    folder = tmp_path / "exp"
    assert fetch(packed, folder) == 0
    other = shutil.copytree(exp, tmp_path / "other")
    (other / "motion_info.yaml").unlink()
    assert fetch(other, folder) == 0
    names = MODEL - {"motion_info.yaml"} | {"valid.si_sdr_i.best.pth"}
    assert {path.name for path in folder.iterdir()} == names
    (folder / "my_notes.txt").write_text("mine")
    written = (folder / "valid.si_sdr_i.best.pth").stat().st_ino
    assert fetch(other, folder) == 0
    assert (folder / "my_notes.txt").exists()
    assert (folder / "valid.si_sdr_i.best.pth").stat().st_ino == written
    (folder / "checkpoint.pth").touch()
    assert fetch(packed, folder) == 2
    assert (folder / "valid.si_sdr_i.best.pth").stat().st_ino == written


def test_a_fetch_that_was_stopped_leaves_no_model_of_two(
    packed, exp, tmp_path, monkeypatch
):
    folder = tmp_path / "exp"
    assert fetch(packed, folder) == 0
    copied, copy = [], shutil.copyfileobj

    def stop(source, target):
        if copied:
            raise KeyboardInterrupt
        copied.append(source.name)
        copy(source, target)

    monkeypatch.setattr(avsep_fetch_model.shutil, "copyfileobj", stop)
    assert fetch(exp, folder) == 130 and copied
    with pytest.raises(InputError, match=r"config\.yaml: no such file"):
        SeparateAV.from_pretrained(folder)
    monkeypatch.undo()
    assert fetch(exp, folder) == 0
    expected = MODEL | {"valid.si_sdr_i.best.pth"}
    assert {path.name for path in folder.iterdir()} == expected


def test_fetch_refuses_other_features(packed, exp, tmp_path, capsys):
    features = tmp_path / "visual_info.yaml"
    for key, value in (("weights", "sha256 4567"), ("encoder", "resnet18")):
        features.write_text(yaml.safe_dump({**VISUAL, key: value}))
        assert fetch(packed, tmp_path / "exp", features) == 2
        assert f"another encoder than those that {packed}" in capsys.readouterr().err
        assert not (tmp_path / "exp").exists()
    motion = tmp_path / "motion_info.yaml"
    for encoder, status in (("i3d.pt", 0), ("r3d.pt", 2)):
        motion.write_text(yaml.safe_dump({"encoder": encoder}))
        assert fetch(packed, tmp_path / "exp", motion) == status
    assert "encoder: 'r3d.pt', the model has 'i3d.pt'" in capsys.readouterr().err
    features.write_text(yaml.safe_dump({"encoder": "precomputed", "dim": DIM}))
    assert fetch(packed, tmp_path / "exp", features) == 0
    features.write_text(yaml.safe_dump({"encoder": "precomputed", "dim": 512}))
    assert fetch(packed, tmp_path / "exp", features) == 2
    assert fetch(packed, exp) == 2
    assert "trained here" in capsys.readouterr().err
