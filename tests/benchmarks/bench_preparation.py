#!/usr/bin/env python3
"""Videos to a prepared set: stages 1 to 4, against frames dumped as JPEG and librosa.

Generates a video with sound (H.264 and AAC; some seconds, repeated to the full length
without encoding them again) and prepares copies of it in turn with

  ours        header check (stage 1), visual rows and formatted audio in one pass (2 and
              3), clip filter and fixed mixtures (4)
  two passes  the same with stage 3 reading the video again
  reference   every picture decoded by PyAV and saved as JPEG by PIL at its native size;
              those wanted (one a second) opened, scaled and cropped; the sound decoded
              to a wav, read by librosa at the training rate, written

All run in this process, on one core, with one decoder thread; CPU time counts. Start-up
and imports do not: a short video goes first. By default no way pays for an encoder of
pictures (ours has one that averages colours); with --encoder true both encode the
wanted ones with CLIP ViT-B/32 (random weights; the time does not depend on them).
"""

import argparse
import gc
import io
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Dict, List, Optional, Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

GOAL_RATIO = 5
GOAL_DISK = 50
FS, SEGMENT = 11625, 65280
SIDE = 224


def get_parser() -> argparse.ArgumentParser:
    """Build the command line's parser."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--videos", type=int, default=2, help="a round; 2 at least, to be mixed")
    add("--seconds", type=int, default=180, help="of a video")
    add("--encoded_seconds", type=int, default=15, help="that are repeated")
    add("--rounds", type=int, default=2, help="rounds to take medians of")
    add("--fps", type=int, default=25, help="of the video")
    add("--width", type=int, default=1280)
    add("--height", type=int, default=720)
    add("--encoder", choices=("true", "false"), default="false")
    return parser


def make_video(path: Path, args: argparse.Namespace, seconds: int) -> None:
    """Write the first seconds of a video, and repeat their packets."""
    import av
    import numpy as np

    from tests.benchmarks.moving_texture import moving_texture

    rate = 44100
    once = io.BytesIO()
    rng = np.random.default_rng(1)
    beginning = min(seconds, args.encoded_seconds)
    with av.open(once, "w", format="mp4") as container:
        video = container.add_stream(
            "libx264", rate=args.fps, options={"preset": "fast"}
        )
        video.width, video.height = args.width, args.height
        video.pix_fmt = "yuv420p"
        sound = container.add_stream("aac", rate=rate, layout="stereo")
        sound.bit_rate = 128000
        for n, picture in enumerate(
            moving_texture(beginning * args.fps, args.width, args.height)
        ):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(video.encode(frame))
            if n % args.fps == 0:
                at = np.arange(rate) / rate + n / args.fps
                wave = sum(np.sin(2 * np.pi * 220 * k * at) / k for k in range(1, 9))
                wave = 0.1 * wave + 0.02 * rng.normal(size=(2, rate))
                part = av.AudioFrame.from_ndarray(
                    wave.astype(np.float32), format="fltp", layout="stereo"
                )
                part.sample_rate, part.pts = rate, n // args.fps * rate
                container.mux(sound.encode(part))
        container.mux(video.encode())
        container.mux(sound.encode())
    with av.open(str(path), "w") as target:
        outputs: List = []
        last: Dict[int, int] = {}
        for turn in range(-(-seconds // beginning)):
            once.seek(0)
            with av.open(once) as source:
                if not outputs:  # all of them before the first packet
                    outputs = [
                        target.add_stream_from_template(s) for s in source.streams
                    ]
                for packet in source.demux():
                    if packet.dts is None:
                        continue
                    shift = int(turn * beginning / packet.time_base)
                    packet.pts += shift
                    packet.dts += shift
                    if packet.dts <= last.get(packet.stream_index, packet.dts - 1):
                        continue  # sound that lasts a little longer than its picture
                    last[packet.stream_index] = packet.dts
                    packet.stream = outputs[packet.stream_index]
                    target.mux(packet)


def make_encoder(real: bool):
    """CLIP with random weights, or what costs nothing beside it."""
    from espnet2_avsep.visual.build import build_encoder

    if real:
        return build_encoder("open_clip", "ViT-B-32", "random", batch_size=32)
    import torch

    from espnet2_avsep.visual.encoders.frame_encoder import FrameEncoder, Preprocessing
    from espnet2_avsep.visual.frames import Resize

    class Means(torch.nn.Module):
        def forward(self, images):
            return torch.nn.functional.adaptive_avg_pool2d(images[:, :1], (16, 32))[
                :, 0
            ].flatten(1)

    plain = Preprocessing(Resize((SIDE, SIDE)), (SIDE, SIDE), (0.5,) * 3, (1.0,) * 3)
    info = {"encoder": "means", "weights": "none"}
    return FrameEncoder(Means(), plain, info, batch_size=32)


def ours(videos: List[Path], folder: Path, one_pass: bool) -> None:
    """Stages 1 to 4, by the functions that their commands call."""
    from espnet2_avsep.data.audio.audio_format import format_audio
    from espnet2_avsep.data.clip_filter import Limits, filter_clips
    from espnet2_avsep.data.mixing.mixtures import make_mixtures
    from espnet2_avsep.data.tables.scp import write_scp, write_skipped
    from espnet2_avsep.media.stream import probe
    from espnet2_avsep.visual.extract import extract_visual
    from espnet2_avsep.visual.visual_options import VisualOptions

    data, audio, visual = folder / "data", folder / "org", folder / "visual"
    clips = {f"class{n}-{path.stem}": str(path) for n, path in enumerate(videos)}
    for path in clips.values():
        info = probe(path)
        assert info.has_audio and info.has_video
    write_scp(data / "video.scp", clips)
    write_scp(data / "wav.scp", clips)
    write_scp(data / "utt2spk", {key: key.split("-")[0] for key in clips})
    write_skipped(data / "skipped.tsv", [])
    options = {
        name: [str(data / f"{name[:-4]}.scp")] for name in ("video_scp", "wav_scp")
    }
    if one_pass:
        options.update(audio_dir=[str(audio)], fs=FS)
    extract_visual(VisualOptions(**options, output_dir=[str(visual)], device="cpu"))
    format_audio(data / "wav.scp", audio, FS)
    filter_clips(data, audio, visual, folder / "clips", Limits(FS, SEGMENT))
    make_mixtures(folder / "clips", folder / "test", FS, segment_samples=SEGMENT)


def reference(videos: List[Path], folder: Path, encoder) -> None:
    """Every picture as a JPEG file, the sound through librosa."""
    import av
    import librosa
    import numpy as np
    import soundfile
    from PIL import Image

    for video in videos:
        frames = folder / "frames" / video.stem
        frames.mkdir(parents=True)
        with av.open(str(video)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            rate = round(stream.average_rate)
            for number, frame in enumerate(container.decode(stream), 1):
                frame.to_image().save(frames / f"{number:06d}.jpg")
        images = []
        for path in sorted(frames.iterdir())[::rate]:
            with Image.open(path) as image:
                image = image.convert("RGB")
            scale = SIDE / min(image.size)
            image = image.resize(
                (int(image.width * scale), int(image.height * scale)),
                Image.Resampling.BICUBIC,
            )
            left, top = (image.width - SIDE) // 2, (image.height - SIDE) // 2
            images.append(np.asarray(image.crop((left, top, left + SIDE, top + SIDE))))
        np.save(folder / f"{video.stem}.npy", encoder.encode(images))

        pieces = []
        with av.open(str(video)) as container:
            for frame in container.decode(audio=0):
                pieces.append(frame.to_ndarray())
                native = frame.sample_rate
        with tempfile.NamedTemporaryFile(suffix=".wav") as wav:
            soundfile.write(wav.name, np.concatenate(pieces, axis=1).T, native)
            audio, _ = librosa.load(wav.name, sr=FS)
        soundfile.write(folder / f"{video.stem}.wav", audio, FS, subtype="PCM_16")


def disk(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the benchmark; 1 if a goal is missed."""
    args = get_parser().parse_args(argv)
    if args.videos < 2:
        sys.exit("--videos must be 2 at least: mixtures are made of them")
    import av
    import torch

    from espnet2_avsep.visual import build

    torch.set_num_threads(1)
    encoder = make_encoder(args.encoder == "true")
    build.build_encoder = lambda **_: encoder
    ways = {
        "ours": lambda videos, folder: ours(videos, folder, True),
        "two passes": lambda videos, folder: ours(videos, folder, False),
        "reference": lambda videos, folder: reference(videos, folder, encoder),
    }
    seconds: Dict[str, List[float]] = {name: [] for name in ways}
    cpu: Dict[str, List[float]] = {name: [] for name in ways}
    size = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        videos = [root / f"video{n}.mp4" for n in range(args.videos)]
        make_video(videos[0], args, args.seconds)
        for path in videos[1:]:
            shutil.copyfile(videos[0], path)
        short = [root / f"short{n}.mp4" for n in range(2)]
        make_video(short[0], args, 6)
        shutil.copyfile(short[0], short[1])
        for turn in range(args.rounds + 1):  # the first does not count
            for name, way in ways.items():
                target = root / "prepared"
                target.mkdir()
                gc.collect()
                begin, begin_cpu = time.perf_counter(), time.process_time()
                way(videos if turn else short, target)
                if turn:
                    seconds[name].append(time.perf_counter() - begin)
                    cpu[name].append(time.process_time() - begin_cpu)
                size[name] = disk(target)
                shutil.rmtree(target)
        video_bytes = videos[0].stat().st_size
    hours = args.videos * args.seconds / 3600
    print(
        f"{os.cpu_count()} cores, 1 decoder thread, PyAV {av.__version__}; "
        f"{args.videos} videos of {args.seconds} s, {args.width} x {args.height}, "
        f"{args.fps} fps, {video_bytes / 1e6:.1f} MB each; encoder: "
        f"{'ViT-B-32' if args.encoder == 'true' else 'none'}; {args.rounds} rounds"
    )
    rate = {}
    for name in ways:
        rate[name] = args.videos * 60 / statistics.median(cpu[name])
        each = statistics.median(seconds[name]) / args.videos
        print(
            f"  {name:11s}{rate[name]:8.2f} videos a minute and core   "
            f"{each:8.2f} s a video by the clock   "
            f"{size[name] / hours / 1e6:10.1f} MB on disk an hour of video"
        )
    ratio, smaller = rate["ours"] / rate["reference"], size["reference"] / size["ours"]
    print(
        f"goals: {ratio:.1f}x the reference's videos a minute and core, of at least "
        f"{GOAL_RATIO}x; 1/{smaller:.0f} of their disk, of at most 1/{GOAL_DISK}; one "
        f"pass against two: {rate['ours'] / rate['two passes']:.3f}x"
    )
    return int(ratio < GOAL_RATIO or smaller < GOAL_DISK)


if __name__ == "__main__":
    sys.exit(main())
