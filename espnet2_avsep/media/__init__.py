"""Media files: what they hold, on one clock, and their sound."""
