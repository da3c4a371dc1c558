import pytest
import yaml

from espnet2_avsep.errors import InputError
from espnet2_avsep.inference.separate import SeparateAV
from espnet2_avsep.loss.ratio_mask_l1 import RatioMaskL1
from espnet2_avsep.separator.hfra_separator import HFRASeparator
from espnet2_avsep.separator.query_separator import QuerySeparator
from espnet2_avsep.tasks.conf_values import check_values, check_weights
from espnet2_avsep.tasks.parts import construct
from tests.support.trained_model import make_trained_folder


@pytest.mark.parametrize(
    "conf, message",
    [
        ({"layers": 10**9}, "separator_conf.layers: 1000000000 is no plausible size"),
        ({"channels": 10**9}, "separator_conf.channels: .* no plausible size"),
        ({"channels": 1 << 17}, "billion weights"),
        ({"layers": "7"}, "layers: '7' is of the wrong type; expected int"),
        ({"layers": True}, "of the wrong type"),
        ({"layers": 7.0}, "of the wrong type"),
        ({"fusion": ["late"]}, "of the wrong type"),
        ({"fusion": {"a": ["x" * 9999] * 9999}}, "of the wrong type"),
        ({"bn_sync": 1}, "expected bool"),
    ],
)
def test_values_that_no_network_can_have(conf, message):
    with pytest.raises(InputError, match=message) as caught:
        construct(HFRASeparator, conf, "separator_conf")
    assert len(str(caught.value)) < 500


def test_sequences_are_checked_too():
    for levels in (["x"], [1] * 1000, [10**9], 5):
        with pytest.raises(InputError, match="separator_conf.audio_attention"):
            check_values(QuerySeparator, {"audio_attention": levels}, "separator_conf")
    good = {"audio_attention": [6, 5], "initialisation": None}
    assert check_values(QuerySeparator, good, "separator_conf") == good


def test_numbers_that_yaml_reads_as_text_are_numbers():
    """PyYAML takes 1e-3 for a string, since it has no point."""
    conf = yaml.safe_load("{eps: 1e-3, max_ratio: 5}")
    assert conf["eps"] == "1e-3"
    assert construct(RatioMaskL1, conf, "criterions").eps == 1e-3


def test_large_networks_are_counted_without_being_built():
    check_weights(HFRASeparator, {}, "separator_conf")
    with pytest.raises(InputError, match="separator_conf: makes .* billion weights"):
        check_weights(HFRASeparator, {"channels": 1 << 16}, "separator_conf")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"classes": [["a", "b"]]}, "classes: .*expected a list of names"),
        ({"classes": {"a": 1}}, "classes: .*expected a list of names"),
        ({"dataset_conf": {"motion_steps": [1]}}, "motion_steps is \\[1\\]; expected"),
        ({"dataset_conf": {"motion_steps": 10**12}}, "motion_steps is 1000000000000"),
        ({"dataset_conf": {"motion_steps": True}}, "motion_steps is True"),
        ({"encoder_conf": {"hop_length": 0}}, "hop_length: 0 is no plausible size"),
        ({"decoder_conf": {"n_fft": -3}}, "n_fft: -3 is no .*; expected 1 to"),
        ({"separator": ["hfra"]}, "separator: \\['hfra'\\] is not known"),
        ({"separator_conf": [1]}, "expected a mapping"),
        ({"separator_conf": {1: 2, "x": 3}}, "unknown key\\(s\\) 1, x"),
        ({"criterions": [{"name": ["x"]}]}, "criterions: "),
        ({"criterions": [{"name": "wave_l1", "weight": "x"}]}, "criterions"),
        ({"criterions": [5]}, "criterions: 5 must be a mapping"),
    ],
)
def test_models_with_odd_configs_get_a_message(tmp_path, changes, message):
    folder = make_trained_folder(tmp_path)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump({**config, **changes}))
    with pytest.raises(InputError, match=message) as caught:
        SeparateAV(folder / "config.yaml")
    assert "config.yaml: " in str(caught.value) and len(str(caught.value)) < 1000


def test_segment_that_no_training_has(tmp_path):
    folder = make_trained_folder(tmp_path)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    for samples in (0, 10**12, "x", [1], 1.5):
        config["dataset_conf"] = {"segment_samples": samples}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        with pytest.raises(InputError, match="segment_samples is"):
            SeparateAV(folder / "config.yaml").segment  # noqa: B018
