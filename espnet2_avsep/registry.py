"""The classes a config may name, found by the names of their files.

``separator: tfc_tdf`` is the class of ``separator/tfc_tdf_separator.py``: a new
separator, loss or system without training is one new file. A class of another package
is named by its path: ``separator: my_package.my_module:MySeparator``.

A module is imported when a config names it. This one imports only the standard library,
so that the help of a command can list the names.
"""

import importlib
import inspect
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Dict, Optional, Type

from espnet2_avsep.errors import InputError, close_to, shown
from espnet2_avsep.lean_imports import lean_imports

_PACKAGE = "espnet2_avsep"
_ROOT = Path(__file__).resolve().parent
_ENCODERS = "espnet2_avsep.visual.encoders"
_NULL = ("none", "null", "nil")


class Registry(Mapping):
    """Name in a config -> class; what ESPnet's task needs of its ClassChoices.

    Args:
        name: Of the option, e.g. "separator".
        base: Path of the class that all derive from, "module:Class".
        folder: Of the package; the class named ``x`` is the one of ``x<suffix>.py``.
            None: there are only those of ``named``.
        suffix: Of the modules' names.
        named: Name -> path of a class, for modules of several classes.
        default: Of the option; None: it may be left out.
    """

    def __init__(
        self,
        name: str,
        base: str,
        folder: Optional[str] = None,
        suffix: str = "",
        named: Optional[Dict[str, str]] = None,
        default: Optional[str] = None,
    ):
        self.name = name
        self.folder = folder
        self.suffix = suffix
        self.default = default
        self.optional = default is None
        self._base = base
        self._named = dict(named or {})

    @property
    def base(self) -> Type:
        """The class that all derive from."""
        return _import(self._base)

    def paths(self) -> Dict[str, str]:
        """Return name -> path, "module" or "module:Class", without importing any."""
        paths = dict(self._named)
        if self.folder is not None:
            listed = {path.partition(":")[0] for path in paths.values()}
            for file in sorted((_ROOT / self.folder).glob(f"*{self.suffix}.py")):
                module = f"{_PACKAGE}.{self.folder}.{file.stem}"
                if not file.stem.startswith(("_", "abs_")) and module not in listed:
                    paths[file.stem.removesuffix(self.suffix)] = module
        return paths

    def __iter__(self) -> Iterator[str]:
        return iter(self.paths())

    def __len__(self) -> int:
        return len(self.paths())

    def __contains__(self, name: object) -> bool:
        return name in self.paths()

    def __getitem__(self, name: str) -> Type:
        return self.get_class(name)

    def get_class(self, name: Optional[str]) -> Optional[Type]:
        """Import the class that a config names; None where it names none.

        Raises:
            InputError: there is no such class, or it cannot be imported.
        """
        if name is None:
            return None
        path = name
        if not isinstance(name, str) or not is_path(name):
            known = self.paths()
            path = known.get(name) if isinstance(name, str) else None
            if path is None:
                raise InputError(
                    f"{self.name}: {shown(name)} is not known{close_to(name, known)}; "
                    f"choose from {', '.join(known)}. {self._how_to_add(name)}"
                )
        return self._checked(_import(path) if is_path(path) else self._only(path), path)

    def that(self, **declared: Any) -> str:
        """Return the names of the classes that declare values, for messages.

        All modules are imported. Of values that depend on a class's arguments, the name
        of the option that has these is given, too.

        Args:
            **declared: Attributes of the class and their values.
        """
        names = []
        for name, cls in self.items():
            if all(getattr(cls, key) == value for key, value in declared.items()):
                names.append(name)
            elif all(self.declares(name, key) for key in declared):
                names.append(f"{name}, depending on {self.name}_conf")
        return ", ".join(names)

    def declares(self, name: str, attribute: str) -> bool:
        """Whether a class, or its constructor, may declare an attribute.

        Of a class of this package, the source tells, without an import: one that does
        not declare it has the value of ``base``, since they do not derive from one
        another.
        """
        module = None if is_path(name) else self.paths().get(name)
        if module is None or is_path(module):
            return True
        source = _ROOT.parent / f"{module.replace('.', '/')}.py"
        text = source.read_text(encoding="utf-8")
        pattern = rf"^    {attribute}\b|\bself\.{attribute} = "
        return re.search(pattern, text, re.MULTILINE) is not None

    def add_arguments(self, parser: Any) -> None:
        """Add ``--<name>`` and ``--<name>_conf`` to a parser."""
        from espnet2.utils.nested_dict_action import NestedDictAction

        parser.add_argument(
            f"--{self.name}",
            type=_option,
            default=self.default,
            help=f"The {self.name}: {', '.join(self)}; or the path of a class, "
            "my_package.my_module:MyClass",
        )
        parser.add_argument(
            f"--{self.name}_conf",
            action=NestedDictAction,
            default={},
            help=f"The keyword arguments for {self.name}",
        )

    def _how_to_add(self, name: object) -> str:
        """Return how a class of one's own gets a name."""
        way = "Name a class of your own by its path, my_package.my_module:MyClass"
        if self.folder is not None and isinstance(name, str) and name.isidentifier():
            file = f"{_PACKAGE}/{self.folder}/{name}{self.suffix}.py"
            way += f", or write it to {file} (see {_PACKAGE}/README.md)"
        return f"{way}."

    def _only(self, module: str) -> Type:
        """Return the one class of a module that can be built."""
        found = [
            value
            for key, value in vars(_import_module(module, self.name)).items()
            if inspect.isclass(value)
            and issubclass(value, self.base)
            and value.__module__ == module
            and not key.startswith("_")
            and not inspect.isabstract(value)
        ]
        if len(found) != 1:
            raise InputError(
                f"{module}: has {len(found)} public classes that derive from "
                f"{self.base.__name__} ({', '.join(c.__name__ for c in found)}); "
                "expected one. Begin the names of others with an underscore."
            )
        return found[0]

    def _checked(self, cls: Any, path: str) -> Type:
        if not inspect.isclass(cls) or not issubclass(cls, self.base):
            raise InputError(
                f"{self.name}: {path} is not a class that derives from "
                f"{self.base.__module__}.{self.base.__name__}."
            )
        if inspect.isabstract(cls):
            missing = ", ".join(sorted(cls.__abstractmethods__))
            raise InputError(f"{self.name}: {path} does not implement {missing}.")
        return cls


def is_path(name: object) -> bool:
    """Whether a name is the path of a class, "module:Class"."""
    return isinstance(name, str) and ":" in name


def check_no_code(config: Mapping, where: str) -> None:
    """Check that a config from somebody else does not import modules.

    Args:
        config: Content of a config.yaml.
        where: It comes from, for the message.

    Raises:
        InputError: it names a class by the path of a module that is not imported yet.
    """
    entries = config.get("criterions") or []
    names = [(registry.name, config.get(registry.name)) for registry in REGISTRIES]
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict):
            names.append(("criterion", entry.get("name")))
    for option, name in names:
        if is_path(name) and name.partition(":")[0] not in sys.modules:
            raise InputError(
                f"{where}: its {option} is {shown(name)}, a class of another "
                "package, and importing it runs code. If you trust it, import "
                f"{name.partition(':')[0]} in Python before loading the model."
            )


def _option(text: str) -> Optional[str]:
    """Read a name from the command line."""
    if is_path(text):
        return text
    return None if text.lower() in _NULL else text.lower()


def _import(path: str) -> Any:
    module, _, name = path.partition(":")
    try:
        return getattr(_import_module(module, path), name)
    except AttributeError:
        raise InputError(f"{path}: the module {module} has no {name!r}.") from None


def _import_module(module: str, what: str) -> Any:
    try:
        if module.startswith("espnet2."):
            with lean_imports(), warnings.catch_warnings():
                # torch.cuda.amp.autocast, a decorator of STFTEncoder, is deprecated.
                warnings.simplefilter("ignore", FutureWarning)
                return importlib.import_module(module)
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"{what}: the module {module} cannot be imported ({error}). Install its "
            "package, or add its folder to PYTHONPATH."
        ) from error
    except ValueError as error:  # no name of a module
        raise InputError(f"{what}: expected my_package.my_module:MyClass.") from error


encoder_choices = Registry(
    "encoder",
    "espnet2.enh.encoder.abs_encoder:AbsEncoder",
    named={"stft": "espnet2.enh.encoder.stft_encoder:STFTEncoder"},
    default="stft",
)
decoder_choices = Registry(
    "decoder",
    "espnet2.enh.decoder.abs_decoder:AbsDecoder",
    named={"stft": "espnet2.enh.decoder.stft_decoder:STFTDecoder"},
    default="stft",
)
visual_adapter_choices = Registry(
    "visual_adapter",
    "espnet2_avsep.visual.abs_adapter:AbsVisualAdapter",
    "visual",
    "_adapter",
    named={
        "mean": "espnet2_avsep.visual.adapter:MeanAdapter",
        "standardise": "espnet2_avsep.visual.adapter:StandardiseAdapter",
        "resnet18_dilated": f"{_ENCODERS}.dilated_resnet:DilatedResNet18",
        **{
            f"resnet18_{name}": f"{_ENCODERS}.frame_networks:{cls}ResNet18"
            for name, cls in (
                ("co_separation", "CoSeparation"),
                ("predictive_coding", "PredictiveCoding"),
                ("ccol", "CCoL"),
                ("sound_of_motions", "SoundOfMotions"),
            )
        },
    },
    default="mean",
)
separator_choices = Registry(
    "separator",
    "espnet2_avsep.separator.abs_separator:AbsSeparator",
    "separator",
    "_separator",
    default="hfra",
)
teacher_choices = Registry(
    "teacher",
    "espnet2_avsep.teacher.abs_teacher:AbsTeacher",
    "teacher",
    "_teacher",
    named={"precomputed": "espnet2_avsep.teacher.precomputed:PrecomputedTeacher"},
)
criterion_choices = Registry(
    "criterion",
    "espnet2_avsep.loss.abs_criterion:AbsCriterion",
    "loss",
    default="spectrogram_l1",
)
# Systems without training; not among the classes of the task, which trains.
baseline_choices = Registry(
    "baseline",
    "espnet2_avsep.baseline.abs_baseline:AbsBaseline",
    "baseline",
    named={
        "ideal_binary_mask": "espnet2_avsep.baseline.ideal_mask:IdealBinaryMask",
        "ideal_ratio_mask": "espnet2_avsep.baseline.ideal_mask:IdealRatioMask",
    },
)

# What a config of the task names.
REGISTRIES = (
    encoder_choices,
    decoder_choices,
    visual_adapter_choices,
    separator_choices,
    teacher_choices,
)
