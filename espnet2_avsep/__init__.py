"""Audio-visual sound source separation for the ESPnet community."""

__version__ = "0.1.0"

__all__ = ["Chunking", "Region", "SeparateAV", "Text", "__version__"]


def __getattr__(name: str):
    """Import what is public on first use: it brings torch with it."""
    if name in ("Chunking", "Region", "SeparateAV", "Text"):
        from espnet2_avsep import separate

        return getattr(separate, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
