"""Separation in chunks converges to one pass, of a separator with a bounded context."""

import math

import numpy as np
import torch
from espnet2.enh.decoder.stft_decoder import STFTDecoder
from espnet2.enh.encoder.stft_encoder import STFTEncoder

from espnet2_avsep.model.espnet_model import ESPnetAVSeparationModel
from espnet2_avsep.separator.tfc_tdf_separator import TFCTDFSeparator
from espnet2_avsep.streaming.chunked import ChunkedProcess, ChunkPlan
from espnet2_avsep.visual.adapter import MeanAdapter

FS, N_FFT, HOP, DIM = 2000, 128, 64, 4


def test_the_error_falls_with_the_context_and_vanishes():
    torch.manual_seed(0)
    separator = TFCTDFSeparator(
        DIM, N_FFT // 2, channels=(4, 8), blocks=1, convs=1, patch=2, width=6
    )
    torch.nn.init.normal_(separator.unpatch.weight)  # masks that vary
    stft = {"n_fft": N_FFT, "hop_length": HOP, "default_fs": FS}
    model = ESPnetAVSeparationModel(
        *(STFTEncoder(**stft), STFTDecoder(**stft), MeanAdapter(), separator),
        sample_rate=FS,
        num_log_bins=None,
        compression="power",
        stft_padding="zeros",
    )
    wav = torch.randn(1, 200 * HOP)
    visual = torch.randn(1, 2, 1, DIM)
    for _ in range(3):
        model._masks(wav, visual, {})  # statistics of BatchNorm
    model.eval()
    whole = model.separate(wav, visual)[0][0].numpy()

    def process(chunk: np.ndarray, start: int) -> np.ndarray:
        return model.separate(torch.from_numpy(chunk), visual)[0][0].numpy()

    grid = HOP << separator.layers
    errors = []
    # Context of the frames, and of the samples that one frame holds.
    enough = (separator.context_frames + 1) * HOP + N_FFT
    for context in (0, 4 * HOP, enough):
        fade = 2 * grid
        overlap = -(-(2 * context + fade) // grid) * grid
        plan = ChunkPlan(2 * overlap + 4 * grid, overlap, fade, grid)
        chunked = ChunkedProcess(process, plan)
        pieces = [*chunked.feed(wav.numpy()), *chunked.finish()]
        found = np.concatenate(pieces, axis=-1)
        assert len(pieces) > 3 and found.shape == whole.shape
        error = np.square(found - whole).sum() / np.square(whole).sum()
        errors.append(10 * math.log10(error + 1e-30))
    assert errors[0] > errors[1] > errors[2] and errors[2] < -100, errors
