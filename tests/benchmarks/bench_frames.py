#!/usr/bin/env python3
"""Video to frames: decoding only what is wanted, against frames dumped as JPEG files.

Generates a video (H.264, moving texture), and gets from it every n-th picture,
scaled and cropped to 224 x 224, uint8, in turn with

  ours       espnet2_avsep.visual.frames.video_frames
  dump all   every picture decoded by PyAV and saved as JPEG by PIL, at its native
             rate, as HFRA's README does; then those wanted opened, scaled and cropped
  dump 8/s   the same with 8 pictures a second saved, as HFRA's paper has it

One decoder thread each; medians of interleaved rounds, and the mean difference of the
pictures (JPEG's losses, mostly). The goal is for "dump all".
"""

import argparse
import sys
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Optional, Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks.common import (
    Row,
    build_parser,
    circumstances,
    compare,
    prepare,
    report,
)

GOAL_RATIO = 5
GOAL_DIFFERENCE = 4


def get_parser() -> argparse.ArgumentParser:
    """Build the command line's parser."""
    parser = build_parser(__doc__, threads=1)
    parser.add_argument("--seconds", type=int, default=20, help="of video")
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=360)
    parser.add_argument("--fps", type=int, default=24, help="of the video")
    parser.add_argument(
        "--rate", type=int, default=1, help="pictures wanted a second; divides 8"
    )
    return parser


def make_video(path: str, seconds: int, width: int, height: int, fps: int) -> None:
    """Write a texture that moves and a noise that changes."""
    import av

    from tests.benchmarks.moving_texture import moving_texture

    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for picture in moving_texture(seconds * fps, width, height):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the benchmark; 1 if a goal is missed."""
    args = get_parser().parse_args(argv)
    prepare(args)
    if 8 % args.rate or args.fps % 8:
        sys.exit("--rate must divide 8, and 8 must divide --fps")
    import av
    import numpy as np
    from PIL import Image

    from espnet2_avsep.visual.frames import Resize, sample_times, video_frames

    side = 224
    times = sample_times(args.seconds, Fraction(args.rate))

    def ours(path: str) -> np.ndarray:
        images = []
        for _, image in video_frames(path, times, Resize((side, side))):
            top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
            images.append(image[top : top + side, left : left + side])
        return np.stack(images)

    def dump(path: str, dumped_rate: int) -> np.ndarray:
        images = []
        with tempfile.TemporaryDirectory() as folder:
            with av.open(path) as container:
                container.streams.video[0].codec_context.thread_count = 1
                for i, frame in enumerate(container.decode(video=0)):
                    if i % (args.fps // dumped_rate) == 0:
                        number = i // (args.fps // dumped_rate) + 1
                        frame.to_image().save(f"{folder}/{number:06d}.jpg")
            files = sorted(Path(folder).iterdir())[:: dumped_rate // args.rate]
            for file in files:
                with Image.open(file) as image:
                    image = image.convert("RGB")
                scale = side / min(image.size)
                width, height = int(image.width * scale), int(image.height * scale)
                image = image.resize((width, height), Image.Resampling.BICUBIC)
                left, top = (width - side) // 2, (height - side) // 2
                images.append(
                    np.asarray(image.crop((left, top, left + side, top + side)))
                )
        return np.stack(images)

    ways = {
        "ours": ours,
        "dump all": lambda path: dump(path, args.fps),
        "dump 8/s": lambda path: dump(path, 8),
    }
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/video.mp4"
        make_video(path, args.seconds, args.width, args.height, args.fps)
        median, found = compare(
            {name: lambda way=way: way(path) for name, way in ways.items()},
            args.rounds,
        )
    difference = float(np.abs(found["ours"].astype(float) - found["dump all"]).mean())
    print(circumstances(args))
    print(
        f"{args.seconds} s of {args.width} x {args.height} at {args.fps} fps, "
        f"{len(times)} pictures wanted, 1 decoder thread, PyAV {av.__version__}"
    )
    scale = 1e3 / len(times)
    rows = [
        Row(
            "video to pictures",
            median["ours"] * scale,
            median[name] * scale,
            "ms each",
            against,
            difference=f"{difference:.1f} of 255" if name == "dump all" else "",
            goal=goal,
        )
        for name, against, goal in (
            ("dump all", "dump every frame as JPEG", GOAL_RATIO),
            ("dump 8/s", "dump 8 a second", None),
        )
    ]
    missed = report(rows, args)
    return missed or int(not difference <= GOAL_DIFFERENCE)


if __name__ == "__main__":
    sys.exit(main())
