"""Audio-visual sound source separation for the ESPnet community."""

__version__ = "0.1.0"

__all__ = ["SeparateAV", "__version__"]


def __getattr__(name: str):
    """Import SeparateAV on first use: it brings torch with it."""
    if name == "SeparateAV":
        from espnet2_avsep.separate import SeparateAV

        return SeparateAV
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
