"""Separation of listed mixtures and of whole files."""
