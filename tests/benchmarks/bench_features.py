#!/usr/bin/env python3
"""CLIP embeddings of pictures in batches, against one picture at a time.

Embeds 8-bit pictures of 224 x 224 with a randomly initialised ViT-B/32 (speed does not
depend on the weights), in turn with

  ours         FrameEncoder in batches of 32, in float32 and in bfloat16
  counterpart  open_clip's own preprocessing by PIL and encode_image, one by one

The difference is the greatest of 1 - cosine of the embeddings.
"""

import argparse
import sys
from pathlib import Path
from typing import Optional, Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks.common import Row, build_parser, prepare, report_dtypes


def get_parser() -> argparse.ArgumentParser:
    """Build the command line's parser."""
    parser = build_parser(__doc__)
    parser.add_argument("--pictures", type=int, default=32)
    return parser


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the benchmark."""
    args = get_parser().parse_args(argv)
    prepare(args)
    import numpy as np
    import open_clip
    import torch
    from PIL import Image

    from espnet2_avsep.visual.build import build_encoder

    torch.set_num_threads(args.threads)
    encoders = {
        dtype: build_encoder(
            encoder="open_clip",
            model="ViT-B-32",
            pretrained="random",
            seed=0,
            device="cpu",
            dtype=dtype,
            batch_size=32,
        )
        for dtype in ("float32", "bfloat16")
    }
    tower = encoders["float32"].tower
    preprocess = open_clip.image_transform(224, is_train=False)
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (args.pictures, 12, 12, 3), dtype=np.uint8)
    images = [np.asarray(Image.fromarray(image).resize((224, 224))) for image in small]

    @torch.inference_mode()
    def counterpart() -> torch.Tensor:
        rows = [tower(preprocess(Image.fromarray(i))[None]) for i in images]
        return torch.cat(rows)

    ways = {
        dtype: lambda encoder=encoder: torch.as_tensor(encoder.encode(images))
        for dtype, encoder in encoders.items()
    }
    row = Row("CLIP ViT-B/32", 0, 0, "ms a picture", "open_clip, one by one")
    return report_dtypes(row, ways, counterpart, args.pictures, args)


if __name__ == "__main__":
    sys.exit(main())
