"""Corpora as they lie on disk: one reader a layout, splits, and data/<set>/."""
