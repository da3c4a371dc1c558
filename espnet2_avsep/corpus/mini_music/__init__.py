"""The embedded corpus: melodies, instruments, drawings, and files laid out as MUSIC."""
