"""Scores: reading references and estimates, scoring, tables, comparison."""
