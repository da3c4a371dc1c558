"""Names that modules had in version 0.1, so that existing scripts keep working."""

import importlib
import importlib.abc
import importlib.util
import sys

from espnet2_avsep.cli.commands import former_modules

PACKAGE = "espnet2_avsep"
# Former name -> present name, below the package. A package moves with its modules.
MOVED = {
    "separate": "inference.separate",
    "prompts": "inference.prompts",
    "prompt_reader": "inference.prompt_reader",
    "file_separation": "inference.file_separation",
    "untrained": "inference.untrained",
    "espnet_model": "model.espnet_model",
    "espnet_wave_model": "model.espnet_wave_model",
    "trainer": "model.trainer",
    "checkpoints": "model.checkpoints",
    "timed_batches": "model.timed_batches",
    "bin.compare_counts": "scoring.compare_counts",
    "bin.config_curve": "scoring.config_curve",
    "bin.experiments": "scoring.experiments",
    "bin.mixture_scorer": "scoring.mixture_scorer",
    "bin.score_files": "scoring.score_files",
    "bin.separation": "inference.listed_mixtures",
    "bin.device": "device",
    "visual.device": "device",
    "dsp.landmarks": "dsp.peak_hashes",
    "data.corpus.peer_tree": "corpus.csv_tree",
    "data.media": "media.stream",
    "data.scp": "data.tables.scp",
    "data.clip_id": "data.tables.clip_id",
    "data.clip_files": "data.tables.clip_files",
    "data.key_check": "data.tables.key_check",
    "data.class_labels": "data.tables.class_labels",
    "data.table_entry": "data.tables.table_entry",
    "data.yaml_file": "data.tables.yaml_file",
    "data.base_config": "data.tables.base_config",
    "data.content": "data.records.content",
    "data.digest": "data.records.digest",
    "data.made_from": "data.records.made_from",
    "data.training_record": "data.records.training_record",
    "data.journal": "data.records.journal",
    "data.lock": "data.records.lock",
    "data.source_check": "data.records.source_check",
    "data.output_folder": "data.records.output_folder",
    "data.progress": "data.records.progress",
    "data.audio_blocks": "data.audio.audio_blocks",
    "data.audio_format": "data.audio.audio_format",
    "data.audio_io": "data.audio.audio_io",
    "data.levels": "data.audio.levels",
    "data.track_writer": "data.audio.track_writer",
    "data.video_writer": "data.audio.video_writer",
    "data.wav_writer": "data.audio.wav_writer",
    "data.mix_dataset": "data.mixing.mix_dataset",
    "data.fixed_dataset": "data.mixing.fixed_dataset",
    "data.mixture_draw": "data.mixing.mixture_draw",
    "data.mixture_list": "data.mixing.mixture_list",
    "data.mixture_table": "data.mixing.mixture_table",
    "data.mixtures": "data.mixing.mixtures",
    "data.real_mixtures": "data.mixing.real_mixtures",
    "data.silent_sources": "data.mixing.silent_sources",
    "data.visual_shuffle": "data.mixing.visual_shuffle",
    "visual.clip_encoder": "visual.encoders.clip_encoder",
    "visual.dilated_resnet": "visual.encoders.dilated_resnet",
    "visual.frame_encoder": "visual.encoders.frame_encoder",
    "visual.frame_networks": "visual.encoders.frame_networks",
    "visual.resnet_encoder": "visual.encoders.resnet_encoder",
    "visual.text_encoder": "visual.encoders.text_encoder",
    "visual.preprocessing": "visual.encoders.preprocessing",
    "visual.weights": "visual.pretrained.weights",
    "visual.open_clip_import": "visual.pretrained.open_clip_import",
    "visual.open_clip_weights": "visual.pretrained.open_clip_weights",
    "visual.torchvision_weights": "visual.pretrained.torchvision_weights",
    "visual.box_source": "visual.boxes.box_source",
    "visual.crop": "visual.boxes.crop",
    "visual.detector": "visual.boxes.detector",
    "data.boxes": "visual.boxes.box_files",
    "visual.flow_encoder": "visual.motion_features.flow_encoder",
    "visual.lucas_kanade": "visual.motion_features.lucas_kanade",
    "visual.motion": "visual.motion_features.motion",
    "visual.motion_encoder": "visual.motion_features.motion_encoder",
    "visual.motion_names": "visual.motion_features.motion_names",
    "data.precomputed_motion": "visual.motion_features.precomputed_motion",
    "sharing.encoder_check": "data.records.encoder_check",
    "sharing.weights": "weights",
    "layers.precision": "precision",
    "plots": "figures.plots",
    "analysis.figures": "figures.plots",
    "analysis.frequency_axis": "figures.spectrogram",
    "report.figures": "figures.shapes",
    "report.spectrogram": "figures.spectrogram",
    "data.corpus": "corpus",
    "data.download": "corpus.download",
    "data.leaks": "corpus.leaks",
    "data.mini_music": "corpus.mini_music",
    "bin.cli": "cli.command",
    "bin.corpus_options": "cli.corpus_options",
    "bin.feature_options": "cli.feature_options",
    "bin.music_corpus": "cli.music_corpus",
    "bin.clip_analysis": "analysis.clip_analysis",
    "bin.subcommands": "cli",
    "bin.subcommands.query": "inference.query",
    "bin.subcommands.model": "sharing.default_model",
    "bin.subcommands.separate": "bin.separate.separate",
    "bin.subcommands.ground": "bin.separate.ground",
    "bin.subcommands.info": "bin.separate.info",
    "bin.subcommands.features": "bin.separate.features",
    "bin.subcommands.score": "bin.separate.score",
    "bin.subcommands.export_onnx": "bin.share.export_onnx",
    "bin.subcommands.new_recipe": "bin.prepare.new_recipe",
    "bin.subcommands.completion": "bin.completion",
    **former_modules(),
}


def present_name(name: str) -> str:
    """Return the present name of a module of this package.

    Args:
        name: Former name, below the package.

    Returns:
        The present name, below the package; empty where nothing has moved.
    """
    package, rest = name, ""
    while package:
        if package in MOVED:
            return MOVED[package] + rest
        package, dot, last = package.rpartition(".")
        rest = f"{dot}{last}{rest}"
    return ""


class MovedModules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a module by its former name: it is the very module of the present one."""

    def __init__(self):
        self._specs = {}

    def find_spec(self, name, path=None, target=None):
        """Return a spec if the name is a former one."""
        package, _, below = name.partition(".")
        if package != PACKAGE or not present_name(below):
            return None
        present = _present_spec(name)
        return present and importlib.util.spec_from_loader(
            name, self, origin=present.origin
        )

    def get_code(self, name):
        """Return the program ``python -m <former name>`` of a command."""
        present = _present_spec(name)
        program = f"from {present.name} import main\n"
        program += "if __name__ == '__main__':\n    raise SystemExit(main())\n"
        return compile(program, present.origin, "exec")

    def create_module(self, spec):
        """Import the module by its present name."""
        module = importlib.import_module(_present_spec(spec.name).name)
        self._specs[spec.name] = module.__spec__
        return module

    def exec_module(self, module):
        """Give the module, which has run, its own spec back."""
        module.__spec__ = self._specs.pop(module.__spec__.name)


def _present_spec(name):
    present = present_name(name.removeprefix(f"{PACKAGE}."))
    return importlib.util.find_spec(f"{PACKAGE}.{present}")


def find_moved_modules() -> None:
    """Let former names be imported.

    This finder is asked first: the usual one finds the modules of a moved package under
    their former names and would import each a second time.
    """
    if not any(isinstance(finder, MovedModules) for finder in sys.meta_path):
        sys.meta_path.insert(0, MovedModules())
