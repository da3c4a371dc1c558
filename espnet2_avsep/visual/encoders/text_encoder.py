"""Text tower of an open_clip model: words in, embeddings like those of pictures out."""

from typing import Sequence

import numpy as np
import torch

from espnet2_avsep.visual.pretrained.open_clip_import import import_open_clip


class TextEncoder:
    """Frozen text tower.

    The embedding is what the tower puts out, without normalisation to unit length, as
    FrameEncoder has it for pictures.

    Args:
        network: A whole open_clip model; its image tower is not used.
        model: Its name, which decides on the tokenizer.
        device: Where it computes.
    """

    def __init__(self, network: torch.nn.Module, model: str, device: str = "cpu"):
        open_clip = import_open_clip(model)
        self.device = torch.device(device)
        self.network = network.eval().requires_grad_(False).to(self.device)
        self.tokenizer = open_clip.get_tokenizer(model)

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts: (n, D), float32."""
        tokens = self.tokenizer(list(texts)).to(self.device)
        return self.network.encode_text(tokens).float().cpu().numpy()
