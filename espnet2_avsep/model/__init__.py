"""The model, its training with ESPnet, and what is kept of it."""
