"""Melodies for the embedded corpus: seeded scores within an instrument's range."""

from dataclasses import dataclass, replace
from typing import List, Sequence, Tuple

import numpy as np

SCALES = (
    (0, 2, 4, 5, 7, 9, 11),  # major
    (0, 2, 3, 5, 7, 8, 10),  # natural minor
    (0, 2, 3, 5, 7, 9, 10),  # Dorian
    (0, 2, 4, 7, 9),  # major pentatonic
    (0, 3, 5, 7, 10),  # minor pentatonic
)
LONGEST_REST = 0.5  # seconds


@dataclass(frozen=True)
class Note:
    """One note of a score.

    Attributes:
        start: Onset in seconds.
        duration: Seconds until the player lets go; a plucked or struck note may be
            cut there or ring on, as its instrument does.
        frequency: Fundamental frequency in Hz.
        velocity: Loudness from 0 (softest) to 1 (loudest).
    """

    start: float
    duration: float
    frequency: float
    velocity: float


@dataclass(frozen=True)
class Style:
    """How an instrument is played.

    Attributes:
        lowest: Lowest MIDI note.
        highest: Highest MIDI note.
        tempo: Range of tempi in beats a minute.
        lengths: Note lengths in beats, drawn with equal probability.
        gate: Sounding part of a note's length, at most 1.
        chord: Probability that a second note sounds along.
        rest: Probability of a rest after a note.
    """

    lowest: int
    highest: int
    tempo: Tuple[float, float]
    lengths: Tuple[float, ...]
    gate: float
    chord: float
    rest: float


def midi_to_hz(midi: float) -> float:
    """Frequency in Hz of a MIDI note number (69 = A4 = 440 Hz)."""
    return 440.0 * 2.0 ** ((midi - 69.0) / 12.0)


def repeated(notes: Sequence[Note], rate: float) -> List[Note]:
    """Each note again and again, ``rate`` times a second, until it ends."""
    return [
        replace(note, start=note.start + begin, duration=min(1.0 / rate, rest))
        for note in notes
        for begin in np.arange(0.0, note.duration, 1.0 / rate)
        if (rest := note.duration - begin) > 0.02
    ]


def compose(style: Style, duration: float, rng: np.random.Generator) -> List[Note]:
    """Write a melody: key, scale, register, tempo, a rhythm that recurs, dynamics.

    The line walks over the degrees of the scale, mostly by step, within a register of
    about an octave and a half. No rest is longer than ``LONGEST_REST`` seconds, so
    that no stretch of a few seconds is silent.

    Args:
        style: The instrument's range and manner.
        duration: Length of the take in seconds.
        rng: The take's random stream.

    Returns:
        Notes sorted by onset; every note ends before ``duration``.
    """
    scale = SCALES[rng.integers(len(SCALES))]
    tonic = int(rng.integers(12))
    width = min(18, style.highest - style.lowest)
    low = int(rng.integers(style.lowest, style.highest - width + 1))
    degrees = [m for m in range(low, low + width + 1) if (m - tonic) % 12 in scale]
    beat = 60.0 / rng.uniform(*style.tempo)
    tuning = rng.uniform(-0.1, 0.1)  # of the whole take, in semitones
    rhythm = rng.choice(style.lengths, size=rng.integers(3, 6))
    swell_period = rng.uniform(2.5, 5.0)
    swell_phase = rng.uniform(0.0, 2.0 * np.pi)

    notes: List[Note] = []
    position = int(rng.integers(len(degrees)))
    time = rng.uniform(0.02, 0.2)
    count = 0
    while time < duration - 0.15:
        if rng.random() < 0.75:
            length = rhythm[count % len(rhythm)]
        else:
            length = rng.choice(style.lengths)
        seconds = length * beat
        sounding = min(style.gate * seconds, duration - time - 0.02)
        swell = 0.15 * np.sin(2.0 * np.pi * time / swell_period + swell_phase)
        accent = 0.12 if count % len(rhythm) == 0 else 0.0
        velocity = float(np.clip(rng.normal(0.6, 0.08) + swell + accent, 0.2, 1.0))
        onset = max(0.0, time + rng.normal(0.0, 0.006))
        notes.append(
            Note(onset, sounding, midi_to_hz(degrees[position] + tuning), velocity)
        )
        if rng.random() < style.chord:
            other = position - int(rng.choice((2, 4)))
            if other < 0:
                other = position + 2
            notes.append(
                Note(
                    onset,
                    sounding,
                    midi_to_hz(degrees[other] + tuning),
                    0.8 * velocity,
                )
            )
        step = int(rng.choice((-3, -2, -1, -1, -1, 0, 1, 1, 1, 2, 3)))
        position += step
        if not 0 <= position < len(degrees):
            position -= 2 * step
        time += seconds
        if rng.random() < style.rest:
            time += min(LONGEST_REST, 0.5 * beat)
        count += 1
    return sorted(notes, key=lambda note: note.start)
