"""open_clip is imported without what a model does not need."""

import json
import subprocess
import sys

PROGRAM = """
import json, sys
from espnet2_avsep.visual.encoders.clip_encoder import load_open_clip
from espnet2_avsep.visual.pretrained.open_clip_import import import_open_clip

def packages():
    return [name in sys.modules for name in ("transformers", "timm")]

found = {}
load_open_clip("ViT-S-32-alt", "random")
found["tower"] = [name in sys.modules for name in ("open_clip", "torchvision")]
clip = import_open_clip("ViT-B-32", text=False)
found["lean"] = packages()
found["compiler"] = "torch._dynamo" in sys.modules
import torch
from torchvision.ops import roi_align
boxes = [torch.tensor([[0.0, 0.0, 4.0, 4.0]])]
found["operator"] = roi_align(torch.ones(1, 1, 8, 8), boxes, 2).sum().item()
again = import_open_clip("ViT-B-32")
found["once"] = again is clip
words = import_open_clip("roberta-ViT-B-32", text=False)
found["image tower of a model with words of transformers"] = packages()
tower = import_open_clip("convnext_base", text=False)
found["timm"] = packages()
wrapper = sys.modules["open_clip.timm_model"]
found["timm is known to open_clip"] = wrapper.timm is not None
found["unknown"] = "ViT-B-32" in import_open_clip("no-such-model").list_models()
print(json.dumps(found))
"""


def test_packages_that_models_need():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "tower": [False, False],
        "lean": [False, False],
        "compiler": False,
        "operator": 4.0,
        "once": True,
        "image tower of a model with words of transformers": [False, False],
        "timm": [False, True],
        "timm is known to open_clip": True,
        "unknown": True,
    }
