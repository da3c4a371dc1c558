"""Import ESPnet without the packages that separation does not need.

ESPnet imports its text front ends, adapters and loggers together with its trainer. They
take half of the time of the import, and g2p_en looks for data of nltk and downloads
them: where the network drops packets, every start waits for minutes.
"""

import contextlib
import importlib
import sys
import types
from typing import Iterator

# Imported by name, and used only by what is not called here.
DEFERRED = ("g2p_en", "tacotron_cleaner", "tacotron_cleaner.cleaners", "wandb")
# Optional in ESPnet: it works without them.
LEFT_OUT = ("transformers", "s3prl", "loralib", "fairscale")


class _Deferred(types.ModuleType):
    """Stand-in for a module, which is imported when something of it is used."""

    __path__: list = []

    def __getattr__(self, name: str):
        # Introspection (inspect.getmodule) asks every module for its __file__.
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


@contextlib.contextmanager
def lean_imports() -> Iterator[None]:
    """Defer or leave out what ESPnet imports and we do not use.

    Afterwards ``sys.modules`` names none of these packages, unless it did before: they
    can be imported as ever.
    """
    put = {name: _Deferred(name) for name in DEFERRED if name not in sys.modules}
    put.update({name: None for name in LEFT_OUT if name not in sys.modules})
    for name, module in put.items():
        parent, _, child = name.rpartition(".")
        if parent in put:
            setattr(put[parent], child, module)
    sys.modules.update(put)
    try:
        yield
    finally:
        for name, module in put.items():
            if sys.modules.get(name, ...) is module:
                del sys.modules[name]
