"""The instruments of the embedded corpus, drawn: shapes, colours, playing motion.

Every class follows ``drawing.Picture``: the constructor draws the take's variation
(colours, proportions) from the random stream, ``draw`` draws one moment.
"""

import math

import numpy as np

from espnet2_avsep.corpus.mini_music.drawing import (
    Motion,
    Pen,
    Player,
    hsv,
    shade,
    smooth_outline,
)

STEEL = (205, 210, 218)
EBONY = (35, 28, 26)
IVORY = (238, 234, 220)


class AcousticGuitar:
    """Figure-of-eight body of light wood, sound hole, long neck with frets."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.wood = hsv(
            rng.uniform(0.085, 0.115), rng.uniform(0.6, 0.78), rng.uniform(0.82, 0.97)
        )
        self.neck = hsv(0.06, 0.5, rng.uniform(0.25, 0.4))
        lower, upper = rng.uniform(0.24, 0.27), rng.uniform(0.18, 0.2)
        half = [
            (-0.56, 0.0),
            (-0.53, 0.6 * lower),
            (-0.40, lower),
            (-0.24, 0.8 * lower),
            (-0.14, 0.85 * upper),
            (-0.02, upper),
            (0.07, 0.75 * upper),
            (0.10, 0.2 * upper),
        ]
        other = [(x, -y) for x, y in half[:0:-1]]
        self.outline = smooth_outline(half + other)
        self.tilt = rng.uniform(-0.4, -0.2)

    def draw(self, pen: Pen, player: Player, motion: Motion) -> None:
        """Strumming hand over the sound hole, the other hand travels on the neck."""
        player.draw(pen, (-0.12, -0.34), 0.12)
        pen = pen.turned(self.tilt, (0.0, 0.05))
        pen.polygon(1.04 * self.outline + (0.01, 0.1), shade(self.wood, 0.45))
        pen.polygon(self.outline + (0.0, 0.1), self.wood)
        pen.polygon(0.9 * self.outline + (-0.02, 0.1), shade(self.wood, 1.08))
        pen.box(0.0, 0.065, 0.56, 0.135, self.neck)
        for fret in range(9):
            x = 0.14 + 0.045 * fret
            pen.line([(x, 0.065), (x, 0.135)], STEEL, 0.006)
        pen.polygon([(0.55, 0.06), (0.7, 0.045), (0.7, 0.155), (0.55, 0.14)], self.neck)
        for peg in (0.59, 0.63, 0.67):
            pen.ellipse((peg, 0.035), 0.014, 0.018, IVORY)
            pen.ellipse((peg, 0.165), 0.014, 0.018, IVORY)
        pen.ellipse((-0.09, 0.1), 0.095, 0.095, shade(self.wood, 0.6))
        pen.ellipse((-0.09, 0.1), 0.078, 0.078, EBONY)
        pen.box(-0.37, 0.02, -0.33, 0.18, shade(self.wood, 0.35))
        shake = 0.006 * motion.energy * math.sin(40.0 * motion.time)
        for string in range(6):
            y = 0.07 + 0.012 * string
            pen.line([(-0.35, y), (-0.1, y + shake), (0.6, y)], IVORY, 0.004)
        hand = (-0.16, 0.1 + 0.07 * motion.stroke)
        player.arm(pen, (-0.36, -0.16), hand, 0.08)
        pen.ellipse((0.5 - 0.3 * motion.pitch, 0.13), 0.045, 0.05, player.skin)


class Xylophone:
    """A row of graded, coloured bars on a frame, two mallets."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.count = int(rng.integers(9, 13))
        first = rng.uniform(-0.03, 0.03)
        value = rng.uniform(0.85, 1.0)
        saturation = rng.uniform(0.75, 0.95)
        self.bars = [
            hsv(first + 0.85 * bar / self.count, saturation, value)
            for bar in range(self.count)
        ]
        self.rail = hsv(0.08, rng.uniform(0.3, 0.5), rng.uniform(0.3, 0.5))
        self.mallet = hsv(rng.random(), 0.6, 0.35)

    def draw(self, pen: Pen, player: Player, motion: Motion) -> None:
        """The mallets strike in turn; each lies over the bar of its note."""
        player.draw(pen, (0.0, -0.36), 0.11)
        for y, left, right in ((-0.02, 0.62, 0.5), (0.3, 0.62, 0.56)):
            pen.line([(-left, y), (right, y + 0.02)], self.rail, 0.035)
        for x in (-0.5, 0.46):
            pen.line([(x, 0.25), (x, 0.6)], self.rail, 0.04)
        step = 1.24 / self.count
        for bar, colour in enumerate(self.bars):
            x = -0.62 + (bar + 0.5) * step
            half = 0.29 - 0.13 * bar / self.count
            width = 0.42 * step
            pen.box(x - width, 0.14 - half, x + width, 0.14 + half, shade(colour, 0.6))
            pen.box(x - 0.9 * width, 0.14 - half, x + 0.7 * width, 0.13 + half, colour)
            for y in (-0.02, 0.3):
                pen.ellipse((x, y), 0.012, 0.012, STEEL)
        for hand in (0, 1):
            striking = motion.count % 2 == hand
            target = (
                -0.55 + 1.1 * motion.pitch + (0.0 if striking else 0.25 - 0.5 * hand)
            )
            lift = 0.06 + 0.18 * motion.lift if striking else 0.2
            tip = (target, 0.14 - lift)
            grip = (0.5 * target + (0.2 if hand else -0.2), -0.1 - 0.3 * lift)
            pen.line([grip, tip], IVORY, 0.014)
            pen.ellipse(tip, 0.034, 0.034, self.mallet)
            player.arm(pen, (0.15 if hand else -0.15, -0.2), grip, 0.06)


class Cello:
    """Upright reddish-brown body with a waist, f-holes, fingerboard, and a bow."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.varnish = hsv(
            rng.uniform(0.02, 0.045), rng.uniform(0.78, 0.92), rng.uniform(0.42, 0.58)
        )
        lower, upper = rng.uniform(0.27, 0.3), rng.uniform(0.2, 0.23)
        half = [
            (0.0, -0.19),
            (0.6 * upper, -0.17),
            (upper, -0.08),
            (0.85 * upper, 0.0),
            (0.62 * lower, 0.05),
            (0.55 * lower, 0.12),
            (0.62 * lower, 0.18),
            (0.95 * lower, 0.22),
            (lower, 0.34),
            (0.75 * lower, 0.45),
            (0.0, 0.49),
        ]
        other = [(-x, y) for x, y in half[-2:0:-1]]
        self.outline = smooth_outline(half + other)
        self.slant = rng.uniform(-0.12, 0.04)

    def draw(self, pen: Pen, player: Player, motion: Motion) -> None:
        """The bow crosses the strings with every note and turns at the next."""
        player.draw(pen, (-0.2, -0.33), 0.12)
        pen = pen.turned(self.slant, (0.0, 0.2))
        pen.polygon(1.03 * self.outline, shade(self.varnish, 0.45))
        pen.polygon(0.98 * self.outline, self.varnish)
        pen.polygon(0.7 * self.outline + (0.0, 0.06), shade(self.varnish, 1.25))
        for side in (-1.0, 1.0):
            hole = [(0.07, 0.06), (0.095, 0.09), (0.085, 0.18), (0.11, 0.22)]
            pen.line([(side * x, y) for x, y in hole], EBONY, 0.016)
        pen.box(-0.03, -0.45, 0.03, -0.18, shade(self.varnish, 0.7))
        pen.polygon(
            [(-0.022, -0.45), (0.022, -0.45), (0.035, 0.08), (-0.035, 0.08)], EBONY
        )
        pen.ellipse((0.0, -0.47), 0.04, 0.04, shade(self.varnish, 0.7))
        for peg in (-0.44, -0.4):
            pen.line([(-0.065, peg), (0.065, peg)], EBONY, 0.014)
        pen.box(-0.06, 0.15, 0.06, 0.17, (200, 165, 110))
        pen.polygon([(-0.03, 0.28), (0.03, 0.28), (0.018, 0.43), (-0.018, 0.43)], EBONY)
        for string in (-0.018, -0.006, 0.006, 0.018):
            pen.line([(0.8 * string, -0.44), (1.3 * string, 0.3)], STEEL, 0.004)
        pen.ellipse((-0.03, -0.32 + 0.28 * motion.pitch), 0.05, 0.035, player.skin)
        x = -0.05 + 0.18 * motion.stroke
        player.arm(pen, (-0.3, -0.1), (x - 0.37, 0.08), 0.08)
        pen.line([(x - 0.34, 0.11), (x + 0.4, 0.09)], IVORY, 0.012)
        pen.line([(x - 0.4, 0.085), (x + 0.42, 0.065)], (95, 45, 20), 0.016)
        pen.ellipse((x - 0.37, 0.08), 0.052, 0.044, player.skin)


class Clarinet:
    """Long black pipe with silver keys and a flared bell, held downwards."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.pipe = hsv(rng.random(), 0.1, rng.uniform(0.05, 0.13))
        self.width = rng.uniform(0.13, 0.15)
        self.tilt = rng.uniform(-0.3, 0.1)

    def draw(self, pen: Pen, player: Player, motion: Motion) -> None:
        """Fingers lift with the pitch; the bell sways with each note."""
        player.draw(pen, (0.0, -0.34), 0.15)
        tilt = self.tilt + 0.06 * motion.stroke * motion.energy
        pen = pen.turned(tilt, (0.0, -0.26))
        w = 0.5 * self.width
        pen.polygon(
            [(-0.3 * w, -0.3), (0.3 * w, -0.3), (0.75 * w, -0.18), (-0.75 * w, -0.18)],
            shade(self.pipe, 1.8),
        )
        pen.box(-w, -0.19, w, 0.36, self.pipe)
        bell = [(-w, 0.34), (w, 0.34), (1.4 * w, 0.44), (2.6 * w, 0.52)]
        pen.polygon([*bell, (-2.6 * w, 0.52), (-1.4 * w, 0.44)], self.pipe)
        pen.line([(-2.6 * w, 0.515), (2.6 * w, 0.515)], STEEL, 0.014)
        pen.line([(-0.6 * w, -0.17), (-0.6 * w, 0.36)], (95, 95, 105), 0.012)
        for ring in (-0.18, 0.08, 0.34):
            pen.box(-1.1 * w, ring - 0.012, 1.1 * w, ring + 0.012, STEEL)
        for key in range(9):
            y = -0.13 + 0.052 * key
            pen.ellipse((0.25 * w, y), 0.45 * w, 0.018, STEEL)
        for key in (-0.06, 0.15, 0.26):
            pen.rod([(1.1 * w, key), (1.5 * w, key + 0.07)], STEEL, 0.02)
        for hand, y in enumerate((-0.06, 0.2)):
            side = 1.0 - 2.0 * hand
            player.arm(pen, (0.33 * side, 0.0), (0.95 * w * side, y), 0.075)
            for finger in range(3):
                raised = 3 * hand + finger < 6.0 * motion.pitch
                reach = w * (1.1 if raised else 0.2) * side
                at = y - 0.04 + 0.04 * finger
                pen.rod([(1.2 * w * side, at), (reach, at)], player.skin, 0.024)


class Trumpet:
    """Golden tube loop with three valves, ending in a wide bell, held level."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.brass = hsv(
            rng.uniform(0.11, 0.13), rng.uniform(0.75, 0.9), rng.uniform(0.88, 1.0)
        )
        self.tilt = rng.uniform(-0.15, 0.15)

    def draw(self, pen: Pen, player: Player, motion: Motion) -> None:
        """Valves go down in turn with the notes; the bell rises with loudness."""
        player.draw(pen, (-0.5, -0.16), 0.15)
        pen = pen.turned(self.tilt - 0.1 * motion.energy, (-0.5, -0.05))
        dark, bright = shade(self.brass, 0.6), shade(self.brass, 1.25)
        player.arm(pen, (-0.35, 0.25), (0.02, 0.13), 0.09)
        pen.rod([(-0.42, -0.06), (0.42, -0.06)], self.brass, 0.05)
        pen.rod([(-0.22, 0.1), (0.28, 0.1)], self.brass, 0.05)
        left, right = (np.linspace(a, a + np.pi, 9) for a in (np.pi / 2, -np.pi / 2))
        for turn, x in ((left, -0.22), (right, 0.28)):
            arc = [(x + 0.08 * math.cos(a), 0.02 + 0.08 * math.sin(a)) for a in turn]
            pen.line(arc, self.brass, 0.05)
        pen.line([(-0.4, -0.07), (0.4, -0.07)], bright, 0.012)
        pen.line([(-0.2, 0.09), (0.26, 0.09)], bright, 0.012)
        pen.polygon([(-0.47, -0.085), (-0.47, -0.035), (-0.41, -0.06)], STEEL)
        bell = [(0.3, -0.085), (0.46, -0.12), (0.56, -0.2), (0.62, -0.3)]
        pen.polygon(bell + [(x, -0.12 - y) for x, y in bell[::-1]], self.brass)
        pen.polygon([(0.34, -0.075), (0.55, -0.14), (0.6, -0.24), (0.58, -0.1)], bright)
        pen.ellipse((0.62, -0.06), 0.045, 0.245, dark)
        pen.ellipse((0.628, -0.06), 0.03, 0.2, shade(self.brass, 0.4))
        for valve in range(3):
            x = -0.08 + 0.085 * valve
            down = 0.035 if motion.count % 3 == valve and motion.energy > 0.1 else 0.0
            pen.box(x - 0.01, -0.2 + down, x + 0.01, -0.1, STEEL)
            pen.ellipse((x, -0.2 + down), 0.026, 0.012, IVORY)
            pen.box(x - 0.034, -0.13, x + 0.034, 0.18, self.brass)
            pen.box(x - 0.034, -0.13, x - 0.018, 0.18, bright)
            pen.box(x + 0.02, -0.13, x + 0.034, 0.18, dark)
            pen.rod(
                [(x, -0.22 + down), (x + 0.02, -0.3), (x + 0.14, -0.26)],
                player.skin,
                0.04,
            )


class Tuba:
    """Large coil of wide brass tubes with an upright bell, held in the lap."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.brass = hsv(
            rng.uniform(0.1, 0.12), rng.uniform(0.7, 0.85), rng.uniform(0.68, 0.82)
        )
        self.flare = rng.uniform(0.3, 0.36)

    def draw(self, pen: Pen, player: Player, motion: Motion) -> None:
        """Valves move with the notes, the whole breathes with loudness."""
        player.draw(pen, (0.3, -0.2), 0.14)
        pen = pen.turned(0.06 * motion.stroke * motion.energy, (0.0, 0.4))
        dark, bright = shade(self.brass, 0.55), shade(self.brass, 1.3)

        def loop(left: float, top: float, right: float, bottom: float, width: float):
            radius = 0.45 * (right - left)
            corners = (
                (right - radius, bottom - radius, 0.0),
                (left + radius, bottom - radius, 0.5 * np.pi),
                (left + radius, top + radius, np.pi),
                (right - radius, top + radius, 1.5 * np.pi),
            )
            path = [
                (x + radius * math.cos(a + b), y + radius * math.sin(a + b))
                for x, y, a in corners
                for b in np.linspace(0.0, 0.5 * np.pi, 6)
            ]
            path.append(path[0])
            pen.line(path, dark, width)
            pen.line(path, self.brass, 0.8 * width)
            pen.line([(x - 0.15 * width, y) for x, y in path], bright, 0.2 * width)

        loop(-0.36, -0.1, 0.34, 0.5, 0.13)
        loop(-0.22, -0.02, 0.22, 0.4, 0.085)
        f = self.flare
        bell = [(-0.29, 0.2), (-0.3, -0.15), (-0.38, -0.28), (-0.12 - f, -0.42)]
        other = [(-0.24 - x, y) for x, y in bell[::-1]]
        pen.polygon(bell + other, self.brass)
        pen.polygon(
            [(-0.27, 0.2), (-0.28, -0.15), (-0.33, -0.3), (-0.22, -0.3), (-0.2, 0.2)],
            bright,
        )
        pen.ellipse((-0.12, -0.42), f, 0.075, dark)
        pen.ellipse((-0.12, -0.425), 0.85 * f, 0.05, shade(self.brass, 0.35))
        for valve in range(4):
            x = -0.1 + 0.075 * valve
            down = 0.04 if motion.count % 4 == valve and motion.energy > 0.1 else 0.0
            pen.box(x - 0.009, -0.01 + down, x + 0.009, 0.08, STEEL)
            pen.ellipse((x, -0.01 + down), 0.024, 0.012, IVORY)
            pen.box(x - 0.028, 0.07, x + 0.028, 0.3, self.brass)
            pen.box(x - 0.028, 0.07, x - 0.014, 0.3, bright)
            pen.box(x + 0.016, 0.07, x + 0.028, 0.3, dark)
        pen.line([(0.24, -0.14), (0.12, -0.1), (0.18, 0.06)], self.brass, 0.03)
        player.arm(pen, (0.5, 0.1), (0.06, 0.0 + 0.03 * motion.lift), 0.09)


class Flute:
    """Bright silver tube with many keys, held level across the picture."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.silver = hsv(
            rng.uniform(0.52, 0.62), rng.uniform(0.03, 0.1), rng.uniform(0.92, 1.0)
        )
        self.width = rng.uniform(0.11, 0.13)
        self.tilt = rng.uniform(0.0, 0.2)
        self.height = rng.uniform(0.12, 0.2)

    def draw(self, pen: Pen, player: Player, motion: Motion) -> None:
        """Fingers lift with the pitch; the tube swings with the breath."""
        pen = pen.moved(0.0, self.height)
        player.draw(pen, (-0.34, -0.14), 0.2)
        pen = pen.turned(self.tilt + 0.04 * motion.stroke * motion.energy, (-0.34, 0.0))
        dark, bright = shade(self.silver, 0.55), (255, 255, 255)
        w = 0.5 * self.width
        pen.box(-0.5, -w, 0.66, w, dark)
        pen.box(-0.5, -w, 0.66, 0.6 * w, self.silver)
        pen.box(-0.5, -0.7 * w, 0.66, -0.3 * w, bright)
        pen.ellipse((-0.34, -0.8 * w), 0.065, 0.5 * w, shade(self.silver, 0.85))
        pen.ellipse((-0.34, -0.85 * w), 0.025, 0.22 * w, EBONY)
        for ring in (-0.2, 0.5):
            pen.box(ring - 0.015, -1.15 * w, ring + 0.015, 1.15 * w, dark)
        pen.line([(-0.15, 1.1 * w), (0.62, 1.1 * w)], dark, 0.014)
        for key in range(12):
            x = -0.13 + 0.064 * key
            pen.ellipse((x, -0.15 * w), 0.027, 0.85 * w, dark)
            pen.ellipse((x, -0.2 * w), 0.021, 0.65 * w, bright)
        for hand, x in enumerate((0.05, 0.33)):
            side = 1.0 if hand else -1.0
            player.arm(pen, (-0.3 + 0.3 * hand, 0.42), (x, 1.6 * w * side), 0.085)
            for finger in range(4):
                raised = 4 * hand + finger < 8.0 * motion.pitch
                at = x - 0.06 + 0.042 * finger
                reach = -w * (1.6 if raised else 0.5)
                pen.rod([(at, 1.5 * w * side), (at, reach)], player.skin, 0.026)


class Accordion:
    """Two boxes of bright lacquer with pleated bellows between, keys and buttons."""

    def __init__(self, rng: np.random.Generator) -> None:
        hue = rng.choice((-0.02, 0.0, 0.01)) + rng.uniform(-0.01, 0.01)
        self.lacquer = hsv(hue, rng.uniform(0.85, 0.97), rng.uniform(0.75, 0.95))
        self.folds = int(rng.integers(7, 10))

    def draw(self, pen: Pen, player: Player, motion: Motion) -> None:
        """The bellows open and close with the notes."""
        player.draw(pen, (0.0, -0.4), 0.12)
        spread = 0.2 + 0.09 * motion.stroke
        top, bottom = -0.24, 0.36
        step = 2.0 * spread / self.folds
        for fold in range(self.folds):
            x = -spread + fold * step
            pen.box(x, top + 0.03, x + step, bottom - 0.03, EBONY)
            pen.box(x, top + 0.03, x + 0.45 * step, bottom - 0.03, IVORY)
            pen.box(x + 0.45 * step, top, x + 0.62 * step, bottom, self.lacquer)
        left, right = -spread - 0.2, spread + 0.12
        pen.box(left, top - 0.03, -spread, bottom + 0.03, self.lacquer)
        pen.box(left, top - 0.03, left + 0.03, bottom + 0.03, shade(self.lacquer, 1.25))
        pen.box(spread, top - 0.03, right, bottom + 0.03, self.lacquer)
        for row in range(8):
            for column in range(3):
                at = (left + 0.05 + 0.05 * column, top + 0.06 + 0.066 * row)
                pen.ellipse(at, 0.017, 0.017, IVORY)
        for grille in range(6):
            y = top + 0.06 + 0.085 * grille
            pen.line([(spread + 0.02, y), (right - 0.02, y)], STEEL, 0.018)
        keys = 12
        height = (bottom - top) / keys
        for key in range(keys):
            y = top + key * height
            pen.box(right, y, right + 0.17, y + 0.9 * height, IVORY)
            if key % 7 not in (2, 6):
                pen.box(right, y + 0.65 * height, right + 0.1, y + 1.2 * height, EBONY)
        at = bottom - 0.05 - 0.45 * motion.pitch
        player.arm(pen, (0.26, -0.26), (right + 0.13, at), 0.085)
        player.arm(pen, (-0.24, -0.26), (left + 0.02, 0.05), 0.085)
