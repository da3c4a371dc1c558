"""Frames of the embedded corpus: a player's motion, a pen, backgrounds, a camera.

What the instruments look like is in ``pictures.py``; here is everything that they
share. Coordinates of a drawing: the unit is the picture's height, x points right, y
points down, (0, 0) is where the instrument stands.
"""

import colorsys
import math
from dataclasses import dataclass
from typing import Iterator, Protocol, Sequence, Tuple

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from espnet2_avsep.corpus.mini_music.melody import Note

TREMOLO_DEPTH = 0.4  # at most 0.5: the bow stays between -1 and 1
OVERSAMPLING = 2  # drawn twice as large and averaged: smooth edges
CIRCLE = np.array(
    [(math.cos(0.1 * math.pi * i), math.sin(0.1 * math.pi * i)) for i in range(20)]
)
Colour = Tuple[int, int, int]
Point = Tuple[float, float]


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """RGB of a hue (taken modulo 1), a saturation and a value (cut to 0..1)."""
    saturation, value = min(max(saturation, 0.0), 1.0), min(max(value, 0.0), 1.0)
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return int(255 * red), int(255 * green), int(255 * blue)


def shade(colour: Colour, factor: float) -> Colour:
    """A darker (factor < 1) or lighter (> 1) version of a colour."""
    red, green, blue = (min(255, int(factor * value)) for value in colour)
    return red, green, blue


def smooth_outline(points: Sequence[Point], steps: int = 6) -> np.ndarray:
    """Closed Catmull-Rom curve through ``points``; (steps * len(points), 2)."""
    p1 = np.asarray(points, dtype=float)
    p0, p2, p3 = np.roll(p1, 1, 0), np.roll(p1, -1, 0), np.roll(p1, -2, 0)
    t = np.arange(steps)[None, :, None] / steps
    p0, p1, p2, p3 = (p[:, None, :] for p in (p0, p1, p2, p3))
    curve = 0.5 * (
        2.0 * p1
        + (p2 - p0) * t
        + (2.0 * p0 - 5.0 * p1 + 4.0 * p2 - p3) * t**2
        + (3.0 * p1 - p0 - 3.0 * p2 + p3) * t**3
    )
    return curve.reshape(-1, 2)


@dataclass(frozen=True)
class Motion:
    """What the player does at one moment.

    Attributes:
        time: Seconds.
        energy: 0 in silence; jumps up at each onset and fades while the note lasts.
        stroke: Position of a bow, a strumming hand or a bellows, -1..1; each note
            moves it from one side to the other.
        lift: 0 where a mallet touches, 1 where it is highest.
        pitch: Height of the current note within the take, 0..1.
        count: Number of notes begun so far.
    """

    time: float
    energy: float
    stroke: float
    lift: float
    pitch: float
    count: int


def motion_at(notes: Sequence[Note], time: float) -> Motion:
    """The player's motion at a time; ``notes`` are sorted by onset, at least one."""
    onsets = [note.start for note in notes]
    index = max(0, int(np.searchsorted(onsets, time, side="right")) - 1)
    note = notes[index]
    pitches = np.log2([n.frequency for n in notes])
    spread = max(float(np.ptp(pitches)), 1e-6)
    pitch = (math.log2(note.frequency) - float(np.min(pitches))) / spread
    later = [onset for onset in onsets[index + 1 :] if onset > note.start + 0.05]
    following = later[0] if later else note.start + note.duration
    age = max(0.0, time - note.start)
    length = max(following - note.start, 0.05)
    progress = min(1.0, age / length)
    direction = 1.0 if len(set(onsets[: index + 1])) % 2 else -1.0
    energy = 0.0
    if note.start <= time <= note.start + note.duration:
        energy = note.velocity * math.exp(-1.5 * progress)
    return Motion(
        time=time,
        energy=energy,
        stroke=-direction * math.cos(math.pi * progress),
        lift=math.sin(math.pi * progress),
        pitch=pitch,
        count=index + 1,
    )


def bow_at(notes: Sequence[Note], time: float, tremolo: float = 0.0) -> Motion:
    """The motion of a player of whom only the bow moves, and only in a note.

    Args:
        notes: Sorted by onset, at least one.
        time: Seconds.
        tremolo: Frequency in Hz with which the bow also goes back and forth in a note;
            less at the ends of a stroke, so that it is nowhere that it would not be
            without.
    """
    begun = [note for note in notes if note.start <= time] or [notes[0]]
    note = begun[-1]
    progress = min(max((time - note.start) / note.duration, 0.0), 1.0)
    direction = 1.0 if len(begun) % 2 else -1.0
    stroke = -direction * math.cos(math.pi * progress)
    phase = 2.0 * math.pi * tremolo * (time - note.start)
    stroke += TREMOLO_DEPTH * (1.0 - stroke**2) * math.sin(phase)
    return Motion(
        time=time,
        energy=0.0,
        stroke=stroke,
        lift=0.0,
        pitch=0.5,
        count=0,
    )


class Pen:
    """Draws shapes, given in an instrument's own coordinates, on an image.

    Args:
        image: The RGB image to draw on.
        centre: Where the instrument's origin lies, in pixels.
        scale: Pixels to a unit.
        angle: Rotation in radians, clockwise on the screen.
    """

    def __init__(
        self,
        image: Image.Image,
        centre: Point,
        scale: float,
        angle: float,
    ) -> None:
        self.image = image
        self.scale = scale
        self.centre = np.asarray(centre, dtype=float)
        cos, sin = scale * math.cos(angle), scale * math.sin(angle)
        # Row vectors: pixel = point @ matrix + centre.
        self.matrix = np.array([[cos, sin], [-sin, cos]])
        self.canvas = ImageDraw.Draw(image)

    def turned(self, angle: float, about: Point) -> "Pen":
        """A pen whose drawing is turned by ``angle`` radians about a point."""
        pen = Pen(self.image, self.centre, self.scale, 0.0)
        turn = np.array(
            [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]
        )
        pivot = np.asarray(about, dtype=float)
        pen.matrix = turn @ self.matrix
        pen.centre = (pivot - pivot @ turn) @ self.matrix + self.centre
        return pen

    def moved(self, x: float, y: float) -> "Pen":
        """A pen whose origin lies at (x, y) of this one."""
        pen = Pen(self.image, self.centre, self.scale, 0.0)
        pen.matrix = self.matrix
        pen.centre = (x, y) @ self.matrix + self.centre
        return pen

    def _pixels(self, points: Sequence[Point]) -> list:
        pixels = np.asarray(points, dtype=float) @ self.matrix + self.centre
        return pixels.ravel().tolist()

    def polygon(self, points: Sequence[Point], fill: Colour) -> None:
        """Fill a polygon."""
        self.canvas.polygon(self._pixels(points), fill=fill)

    def line(self, points: Sequence[Point], fill: Colour, width: float) -> None:
        """Draw a line through points; ``width`` in units, with round joints."""
        pixels = max(1, round(width * self.scale))
        self.canvas.line(self._pixels(points), fill=fill, width=pixels, joint="curve")

    def rod(self, points: Sequence[Point], fill: Colour, width: float) -> None:
        """Draw a line with round ends."""
        self.line(points, fill, width)
        for point in (points[0], points[-1]):
            self.ellipse(point, 0.5 * width, 0.5 * width, fill)

    def ellipse(self, centre: Point, rx: float, ry: float, fill: Colour) -> None:
        """Fill an ellipse whose axes are the instrument's."""
        self.polygon(CIRCLE * (rx, ry) + centre, fill)

    def box(
        self, left: float, top: float, right: float, bottom: float, fill: Colour
    ) -> None:
        """Fill a rectangle whose sides are along the instrument's axes."""
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], fill)


class Player:
    """A simple figure behind the instrument: trunk, head, hair, and arms on demand.

    Args:
        rng: Draws skin, hair and clothes.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        tone = rng.random()
        self.skin = tuple(
            int(tone * dark + (1.0 - tone) * light)
            for dark, light in ((125, 242), (82, 200), (58, 172))
        )
        self.hair = hsv(
            rng.uniform(0.05, 0.1), rng.uniform(0.2, 0.6), rng.uniform(0.1, 0.45)
        )
        # Concert dress: dark, bluish grey.
        self.shirt = hsv(
            rng.uniform(0.58, 0.68), rng.uniform(0.12, 0.3), rng.uniform(0.24, 0.34)
        )
        self.long_hair = bool(rng.random() < 0.5)

    def draw(self, pen: Pen, head: Point, size: float) -> None:
        """Draw trunk and head; ``head`` is its centre, ``size`` its half height."""
        x, y = head
        neck = y + size
        trunk = [
            (x - 0.3 * size, neck - 0.2 * size),
            (x + 0.3 * size, neck - 0.2 * size),
            (x + 1.7 * size, neck + 0.6 * size),
            (x + 2.0 * size, neck + 5.0 * size),
            (x - 2.0 * size, neck + 5.0 * size),
            (x - 1.7 * size, neck + 0.6 * size),
        ]
        if self.long_hair:
            pen.ellipse((x, y + 0.3 * size), 0.95 * size, 1.3 * size, self.hair)
        pen.polygon(trunk, self.shirt)
        pen.box(
            x - 0.28 * size,
            y,
            x + 0.28 * size,
            neck + 0.15 * size,
            shade(self.skin, 0.85),
        )
        pen.ellipse((x, y - 0.15 * size), 0.82 * size, 0.98 * size, self.hair)
        pen.ellipse((x, y + 0.1 * size), 0.72 * size, 0.88 * size, self.skin)
        for side in (-0.28, 0.28):
            pen.ellipse((x + side * size, y), 0.09 * size, 0.09 * size, (40, 30, 30))

    def arm(self, pen: Pen, shoulder: Point, hand: Point, width: float) -> None:
        """Draw a sleeve from the shoulder by way of a bent elbow, and the hand."""
        dx, dy = hand[0] - shoulder[0], hand[1] - shoulder[1]
        elbow = (
            shoulder[0] + 0.45 * dx,
            shoulder[1] + 0.45 * dy + 0.4 * abs(dx) + 0.02,
        )
        pen.line([shoulder, elbow, hand], shade(self.shirt, 0.8), width)
        pen.ellipse(hand, 0.65 * width, 0.55 * width, self.skin)


class Picture(Protocol):
    """An instrument that can be drawn; the constructor takes a random stream."""

    def draw(self, pen: Pen, player: Player, motion: Motion) -> None:
        """Draw player and instrument at one moment."""


def background(width: int, height: int, rng: np.random.Generator) -> Image.Image:
    """A muted room: graded wall, perhaps stripes, tiles or a floor, and clutter."""
    hue, saturation = rng.random(), rng.uniform(0.02, 0.12)
    value = rng.uniform(0.78, 0.92)
    near = np.array(hsv(hue, saturation, value), dtype=float)
    far = np.array(
        hsv(
            hue + rng.uniform(-0.1, 0.1),
            saturation,
            value * rng.uniform(0.8, 0.97),
        ),
        dtype=float,
    )
    angle = rng.uniform(0.0, 2.0 * np.pi)
    y, x = np.mgrid[0:height, 0:width] / height - 0.5
    ramp = np.clip(0.5 + np.cos(angle) * x + np.sin(angle) * y, 0.0, 1.0)[..., None]
    kind = rng.integers(4)
    pattern = np.zeros((height, width))
    if kind == 1:  # curtain
        pattern = np.sin(2.0 * np.pi * x * rng.uniform(5.0, 12.0) + np.sin(5.0 * y))
    elif kind == 2:  # tiles
        size = rng.uniform(0.12, 0.3)
        lines = np.minimum(x % size, y % size) < 0.012
        pattern = -2.0 * lines
    elif kind == 3:  # plaster
        coarse = rng.normal(size=(12, 16)).astype(np.float32)
        field = Image.fromarray(coarse).resize(
            (width, height), Image.Resampling.BICUBIC
        )
        pattern = np.asarray(field)
    wall = near * ramp + far * (1.0 - ramp) + 5.0 * pattern[..., None]
    image = Image.fromarray(np.clip(wall, 0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    if rng.random() < 0.5:  # floor
        top = rng.uniform(0.72, 0.92) * height
        floor = hsv(rng.random(), rng.uniform(0.05, 0.2), rng.uniform(0.62, 0.74))
        pen.rectangle([0, top, width, height], fill=floor)
    for _ in range(rng.integers(2, 7)):  # pictures, lamps, shelves
        colour = hsv(rng.random(), rng.uniform(0.05, 0.3), rng.uniform(0.65, 0.95))
        left, top = rng.uniform(-0.1, 1.0) * width, rng.uniform(-0.1, 0.7) * height
        right = left + rng.uniform(0.05, 0.18) * width
        bottom = top + rng.uniform(0.05, 0.18) * height
        shape = pen.rectangle if rng.random() < 0.6 else pen.ellipse
        shape([left, top, right, bottom], fill=colour, outline=shade(colour, 0.7))
    return image


def frames(
    make: type,
    notes: Sequence[Note],
    duration: float,
    fps: int,
    width: int,
    height: int,
    rng: np.random.Generator,
    only_bow: bool = False,
    tremolo: float = 0.0,
) -> Iterator[np.ndarray]:
    """Film a take.

    Args:
        make: The class of the instrument's ``Picture``.
        notes: The score, sorted by onset.
        duration: Seconds.
        fps: Frames a second.
        width: Pixels.
        height: Pixels.
        rng: The take's random stream: colours, place, size, angle, background, light.
        only_bow: Whether the player moves as ``bow_at`` says, not as ``motion_at``.
        tremolo: See ``bow_at``.

    Yields:
        (height, width, 3) uint8 RGB, round(duration * fps) times.
    """
    picture: Picture = make(rng)
    player = Player(rng)
    large = (OVERSAMPLING * width, OVERSAMPLING * height)
    room = background(*large, rng)
    place = (
        (0.5 + rng.uniform(-0.05, 0.05)) * large[0],
        (0.5 + rng.uniform(-0.04, 0.04)) * large[1],
    )
    # Pictures are drawn for 4:3; a narrower frame takes a smaller instrument.
    scale = min(large[1], 0.75 * large[0]) * rng.uniform(0.98, 1.15)
    angle = rng.uniform(-0.12, 0.12)
    sway = rng.uniform(0.01, 0.04), rng.uniform(0.25, 0.6), rng.uniform(0.0, 6.28)
    light = rng.uniform(0.94, 1.06), rng.uniform(0.02, 0.05), rng.uniform(3.0, 9.0)
    noise = rng.normal(128.0, rng.uniform(1.5, 4.0), size=(4, height, width))
    grain = [
        Image.merge(
            "RGB", 3 * [Image.fromarray(np.clip(plane, 0, 255).astype(np.uint8))]
        )
        for plane in noise
    ]
    for index in range(int(round(duration * fps))):
        time = index / fps
        if only_bow:
            motion = bow_at(notes, time, tremolo)
        else:
            motion = motion_at(notes, time)
        image = room.copy()
        swing = math.sin(2.0 * math.pi * sway[1] * time + sway[2])
        centre = (
            place[0] + 0.5 * sway[0] * swing * large[1],
            place[1] - 0.012 * motion.energy * large[1],
        )
        pen = Pen(image, centre, scale, angle + sway[0] * swing)
        picture.draw(pen, player, motion)
        gain = light[0] + light[1] * math.sin(2.0 * math.pi * time / light[2])
        table = [min(255, int(gain * value)) for value in range(256)]
        image = image.reduce(OVERSAMPLING).point(3 * table)
        grained = ImageChops.add(image, grain[rng.integers(len(grain))], offset=-128)
        yield np.asarray(grained)
