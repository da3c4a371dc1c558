"""The benchmark's plain counterparts compute the tracks that the package computes."""

import copy

import pytest
import torch

from espnet2_avsep.tasks.choices import build_model
from tests.benchmarks.bench_systems import batch_of, load
from tests.benchmarks.plain_separation import make_plain_network, plain_separation

SYSTEMS = ("hfra", "clipsep_late", "sound_of_pixels")


@pytest.mark.parametrize("system", SYSTEMS)
def test_plain_separation_equals_ours_from_waveform_to_waveforms(system):
    config = load(f"{system}_released")
    config.separator_conf.update(channels=4, initialisation=None)
    config.dataset_conf.update(segment_samples=20000)
    if "size" in config.visual_adapter_conf:
        config.visual_adapter_conf.update(size=64)
    torch.manual_seed(0)
    model = build_model(config, with_teacher=False).eval()
    with torch.no_grad():
        for name, value in model.separator.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 1.5)
            elif "norm" in name and value.is_floating_point():
                value.add_(0.3 * torch.randn_like(value))
            elif name in ("scale", "late_scale"):
                value.normal_(std=5)  # masks that differ from place to place
    plain = copy.deepcopy(model)
    make_plain_network(plain)
    batch = batch_of(config, 1)
    visual, conditions = model.source_inputs(batch)
    mixture = batch["speech_ref1"] + batch["speech_ref2"]
    ours, mask = (x[0] for x in model.separate(mixture, visual, **conditions))
    theirs = plain_separation(plain, mixture, visual, conditions)()
    assert theirs.shape == ours.shape == (2, 20000)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    assert mask.std() > 0.05 and (mask[0] - mask[1]).abs().mean() > 1e-3
