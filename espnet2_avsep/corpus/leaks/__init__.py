"""Whether what is tested on was trained on: same videos, same sounds."""
