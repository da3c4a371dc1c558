#!/usr/bin/env python3
"""Video to frames: decoding only what is wanted, against frames dumped as JPEG files.

Generates a video (H.264, moving texture), and gets from it one picture in so many,
scaled and cropped to 224 x 224, uint8, in turn with

  ours       espnet2_avsep.visual.frames.video_frames
  dump all   every picture decoded by PyAV and saved as JPEG by PIL, at its native
             rate, as HFRA's README does; then those wanted opened, scaled and cropped
  dump 8/s   the same with 8 pictures a second saved, as HFRA's paper has it

One decoder thread each; medians of interleaved rounds, and the mean difference of the
pictures (JPEG's losses, mostly). The goal is for "dump all".
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Optional, Sequence

GOAL_RATIO = 5
GOAL_DIFFERENCE = 4


def get_parser() -> argparse.ArgumentParser:
    """Build the command line's parser."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds to take medians")
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
    from moving_texture import moving_texture

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
    seconds = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/video.mp4"
        make_video(path, args.seconds, args.width, args.height, args.fps)
        size = os.path.getsize(path)
        for number in range(args.rounds + 1):  # the first does not count
            for name, way in ways.items():
                begin = time.perf_counter()
                images = way(path)
                if number:
                    seconds[name].append(time.perf_counter() - begin)
                if name == "ours":
                    found = images
    difference = float(np.abs(found.astype(float) - images).mean())
    median = {name: statistics.median(values) for name, values in seconds.items()}
    print(
        f"{os.cpu_count()} cores, 1 decoder thread, PyAV {av.__version__}; "
        f"{args.seconds} s of {args.width} x {args.height} at {args.fps} fps "
        f"({size / 1e6:.1f} MB), {len(times)} pictures wanted, medians of "
        f"{args.rounds} interleaved rounds"
    )
    for name, values in seconds.items():
        print(
            f"  {name:9s}{median[name] * 1e3 / len(times):8.2f} ms a picture   "
            f"({min(values) * 1e3 / len(times):.2f} to "
            f"{max(values) * 1e3 / len(times):.2f})   "
            f"ours is {median[name] / median['ours']:.1f}x"
        )
    ratio = median["dump all"] / median["ours"]
    print(
        f"goals: {ratio:.1f}x of at least {GOAL_RATIO}x; mean difference "
        f"{difference:.2f} of at most {GOAL_DIFFERENCE} (of 255)"
    )
    return int(ratio < GOAL_RATIO or not difference <= GOAL_DIFFERENCE)


if __name__ == "__main__":
    sys.exit(main())
