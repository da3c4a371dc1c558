"""Fetch a corpus: its official lists, then its videos, with a manifest of both."""
