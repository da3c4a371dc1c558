"""Import ESPnet without the packages that separation does not need.

ESPnet imports its text front ends, adapters and loggers together with its trainer. They
take half of the time of the import, and g2p_en looks for data of nltk and downloads
them: where the network drops packets, every start waits for minutes. Half of the rest
is typeguard, which reads, parses and compiles the source of each checked function: what
is imported here is left unchecked, as it is under ``python -O``.
"""

import contextlib
import importlib
import sys
import types
from typing import Dict, Iterator, Optional

# Imported by name, and used only by what is not called here.
DEFERRED = (
    *("g2p_en", "tacotron_cleaner", "tacotron_cleaner.cleaners", "wandb"),
    "scipy.signal",
)
# Optional in ESPnet: it works without them.
LEFT_OUT = ("transformers", "s3prl", "loralib", "fairscale")
# Functions of modules that import much, of which only these are imported by name.
DEFERRED_FUNCTIONS = {
    # Of attention weights, which our trainer does not draw.
    "espnet2.main_funcs.calculate_all_attentions": "calculate_all_attentions",
    # Of options; it brings setuptools.
    "distutils.util": "strtobool",
}
# Kernels that give shapes of results.
_META = "torch._meta_registrations"
# Parts of torch (2.11) that its own modules import and seldom use.
_PARTS_OF_TORCH = (
    *("torch.export", "torch.masked", "torch.distributions"),
    "torch.quantization",
)


class _Deferred(types.ModuleType):
    """Stand-in for a module, which is imported when something of it is used."""

    __path__: list = []

    def __getattr__(self, name: str):
        # Introspection (inspect.getmodule) asks every module for its __file__.
        if name.startswith("__"):
            raise AttributeError(name)
        return self._imported(name)

    def _imported(self, name: str):
        """Import the module in place of this stand-in; return something of it."""
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


@contextlib.contextmanager
def _in_place(stand_ins: Dict[str, Optional[types.ModuleType]]) -> Iterator[None]:
    """Put stand-ins where modules are not imported yet; remove them afterwards."""
    put = {name: new for name, new in stand_ins.items() if name not in sys.modules}
    sys.modules.update(put)
    try:
        yield
    finally:
        for name, module in put.items():
            if sys.modules.get(name, ...) is module:
                del sys.modules[name]


def _deferred_function(module: str, name: str) -> types.ModuleType:
    """Return a stand-in for a module, whose function imports it when it is called."""

    def call(*args, **kwargs):
        return getattr(importlib.import_module(module), name)(*args, **kwargs)

    stand_in = _Deferred(module)
    setattr(stand_in, name, call)
    return stand_in


def _unchecked() -> types.ModuleType:
    """Return a stand-in for typeguard that checks nothing."""
    stand_in = _Deferred("typeguard")
    stand_in.typechecked = lambda target=None, **_: target or (lambda found: found)
    return stand_in


@contextlib.contextmanager
def without_compiler() -> Iterator[None]:
    """Import torchvision (0.26) without torch's compiler, 2 s of CPU time.

    It imports a function of the compiler by name, and calls it for one operator.
    """
    complete_torch()
    name = "torch._dynamo.utils"
    with _in_place({name: _deferred_function(name, "is_compile_supported")}):
        yield


class _Compiler(_Deferred):
    """Stand-in for torch._dynamo as long as nothing is compiled."""

    @staticmethod
    def graph_break(*_) -> None:
        """Do nothing: there is no graph."""

    @staticmethod
    def disable(function, *_, **__):
        """Return a function, which is not compiled in any case."""
        return function

    @property
    def __path__(self) -> list:
        """Where submodules are looked for: they need the compiler itself."""
        return self._imported("__path__")

    def _imported(self, name: str):
        complete_torch()
        return super()._imported(name)


def defer_compiler() -> None:
    """Let torch's optimizers work without torch's compiler, 2 s of CPU time.

    They (torch 2.11) import it to tell it what not to compile. It is imported once
    something else of it is asked for, as torch.compile does.
    """
    sys.modules.setdefault("torch._dynamo", _Compiler("torch._dynamo"))


def import_lean_torch() -> None:
    """Import torch (2.11) without what most commands do not use, 0.6 s of CPU time.

    Left out are the kernels of its "meta" device, which only torch.compile and
    torch.export use: for commands that do neither. What might import torch's compiler
    calls :func:`complete_torch` before. Parts such as torch.distributions are imported
    when they are used.
    """
    if "torch" in sys.modules:
        return
    deferred = {name: _Deferred(name) for name in _PARTS_OF_TORCH}
    with _in_place({_META: types.ModuleType(_META), **deferred}):
        import torch  # noqa: F401


def complete_torch() -> None:
    """Import what :func:`import_lean_torch` left out."""
    if "torch" in sys.modules:
        importlib.import_module(_META)


@contextlib.contextmanager
def lean_imports() -> Iterator[None]:
    """Defer or leave out what ESPnet imports and we do not use.

    Afterwards ``sys.modules`` names none of these packages, unless it did before: they
    can be imported as ever.
    """
    put = {name: _Deferred(name) for name in DEFERRED}
    put.update(dict.fromkeys(LEFT_OUT))
    for module, name in DEFERRED_FUNCTIONS.items():
        put[module] = _deferred_function(module, name)
    for name, module in put.items():
        parent, _, child = name.rpartition(".")
        if parent in put:
            setattr(put[parent], child, module)
    # Its stand-in replaces it also where it is imported.
    typeguard = sys.modules.pop("typeguard", None)
    put["typeguard"] = _unchecked()
    try:
        with _in_place(put):
            yield
    finally:
        if typeguard is not None:
            sys.modules["typeguard"] = typeguard
