"""Audio-visual sound source separation for the ESPnet community."""

__version__ = "0.1.0"

__all__ = ["SeparateAV", "Text", "__version__"]


def __getattr__(name: str):
    """Import SeparateAV and Text on first use: they bring torch with them."""
    if name in ("SeparateAV", "Text"):
        from espnet2_avsep import separate

        return getattr(separate, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
