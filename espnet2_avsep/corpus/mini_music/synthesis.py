"""Instruments of the embedded corpus as sound: scores in, waveforms out, numpy only.

Every voice has the signature of ``Voice``: it draws the take's own character (body,
touch, vibrato) from the random stream first and then plays the notes. The models are
the textbook ones (Fletcher and Rossing, The Physics of Musical Instruments, 1998):
damped partials for strings and bars that are plucked or struck, harmonic series with
the spectrum of the excitation times the resonances of the body for what is bowed or
blown.

Notes:
    Only partials below ``HIGHEST_PARTIAL`` or 0.45 of the sampling rate are made.
"""

from typing import Callable, Sequence, Tuple

import numpy as np

from espnet2_avsep.corpus.mini_music.melody import Note

HIGHEST_PARTIAL = 10000.0  # Hz
TABLE_SIZE = 4096  # samples in one period of a wave table
Resonance = Tuple[float, float, float]  # centre in Hz, bandwidth in octaves, gain

# notes, duration in seconds, sampling rate in Hz, random stream -> (L,) float64
Voice = Callable[[Sequence[Note], float, int, np.random.Generator], np.ndarray]


def damped_partials(
    frequencies: np.ndarray,
    amplitudes: np.ndarray,
    decays: np.ndarray,
    samples: int,
    fs: int,
) -> np.ndarray:
    """Sum of exponentially decaying sines, all starting at phase 0.

    With z the complex pole of a partial, z^(Ma + b) = (z^M)^a z^b: the sum over the
    partials is one matrix product of shape (samples / M, K) x (K, M).

    Args:
        frequencies: (K,) in Hz.
        amplitudes: (K,).
        decays: (K,) seconds until the amplitude has fallen to 1/e.
        samples: Length L of the result.
        fs: Sampling rate in Hz.

    Returns:
        (L,) float64.
    """
    log_poles = (2j * np.pi * frequencies - 1.0 / decays) / fs  # (K,)
    block = 256
    coarse = np.exp(np.outer(block * np.arange(-(-samples // block)), log_poles))
    fine = np.exp(np.outer(log_poles, np.arange(block))) * amplitudes[:, None]
    wave = coarse.real @ fine.imag + coarse.imag @ fine.real  # imaginary part
    return wave.ravel()[:samples]


def wave_table(amplitudes: np.ndarray, phases: np.ndarray) -> np.ndarray:
    """One period of a harmonic tone, with its first sample repeated at the end.

    Args:
        amplitudes: (K,) of the harmonics 1..K, K < TABLE_SIZE / 2.
        phases: (>= K,) in radians; 0 is a sine.

    Returns:
        (TABLE_SIZE + 1,) float64.
    """
    count = len(amplitudes)
    spectrum = np.zeros(TABLE_SIZE // 2 + 1, dtype=complex)
    spectrum[1 : count + 1] = amplitudes * np.exp(1j * (phases[:count] - np.pi / 2))
    table = np.fft.irfft(spectrum, TABLE_SIZE) * (TABLE_SIZE / 2)
    return np.append(table, table[0])


def read_table(table: np.ndarray, cycles: np.ndarray) -> np.ndarray:
    """Read a wave table at phases given in cycles, linearly interpolated. (L,)."""
    position = (cycles % 1.0) * TABLE_SIZE
    index = position.astype(np.int64)
    np.minimum(index, TABLE_SIZE - 1, out=index)
    value = table[index]
    return value + (position - index) * (table[index + 1] - value)


def harmonics(frequency: float, fs: int) -> np.ndarray:
    """Numbers 1..K of the harmonics that are made for a fundamental, as floats."""
    highest = min(HIGHEST_PARTIAL, 0.45 * fs)
    return np.arange(1.0, max(2.0, np.floor(highest / frequency) + 1.0))


def body(frequencies: np.ndarray, resonances: Sequence[Resonance]) -> np.ndarray:
    """Gain of a body: 0.3 plus one bell (on the octave axis) for each resonance."""
    gain = np.full(len(frequencies), 0.3)
    for centre, width, height in resonances:
        gain += height * np.exp(-0.5 * (np.log2(frequencies / centre) / width) ** 2)
    return gain


def coloured_noise(
    samples: int,
    fs: int,
    rng: np.random.Generator,
    centre: float,
    width: float,
) -> np.ndarray:
    """Gaussian noise with a bell-shaped spectrum (octaves), of unit RMS. (L,)."""
    size = 1 << (samples - 1).bit_length()  # a fast FFT length
    spectrum = np.fft.rfft(rng.standard_normal(size))
    frequencies = np.maximum(np.fft.rfftfreq(size, 1.0 / fs), 1.0)
    spectrum *= np.exp(-0.5 * (np.log2(frequencies / centre) / width) ** 2)
    noise = np.fft.irfft(spectrum, size)[:samples]
    return noise / np.sqrt(np.mean(noise**2))


def held_envelope(
    samples: int, fs: int, duration: float, attack: float, release: float
) -> np.ndarray:
    """Raised-cosine attack, hold at 1, raised-cosine release from ``duration`` on.

    A note shorter than its attack turns at the level that it has reached.

    Returns:
        (L,) float64 between 0 and 1.
    """
    time = np.arange(samples) / fs
    rise = 0.5 - 0.5 * np.cos(np.pi * np.clip(time / attack, 0.0, 1.0))
    fall = 0.5 + 0.5 * np.cos(np.pi * np.clip((time - duration) / release, 0.0, 1.0))
    return rise * fall


def vibrato_cycles(
    frequency: float,
    samples: int,
    fs: int,
    rate: float,
    cents: float,
    delay: float,
    start: float,
) -> np.ndarray:
    """Phase (L,) in cycles of a tone whose vibrato sets in after ``delay`` seconds."""
    time = np.arange(samples) / fs
    depth = (2.0 ** (cents / 1200.0) - 1.0) * np.clip((time - delay) / 0.25, 0.0, 1.0)
    deviation = depth * np.sin(2.0 * np.pi * rate * (time - delay) + start)
    return np.cumsum(frequency * (1.0 + deviation)) / fs


def add(track: np.ndarray, start: float, fs: int, sound: np.ndarray) -> None:
    """Add ``sound`` to ``track`` from ``start`` seconds on; what overhangs is cut."""
    first = int(round(start * fs))
    length = min(len(sound), len(track) - first)
    if length > 0:
        track[first : first + length] += sound[:length]


def _empty(duration: float, fs: int) -> np.ndarray:
    return np.zeros(int(round(duration * fs)))


def acoustic_guitar(
    notes: Sequence[Note], duration: float, fs: int, rng: np.random.Generator
) -> np.ndarray:
    """Plucked string: slightly inharmonic partials, the high ones die first.

    A string plucked at a fraction p of its length has partials sin(pi k p) / k; a
    soft pluck has fewer high ones. The body adds its air and wood resonances.
    """
    track = _empty(duration, fs)
    pluck = rng.uniform(0.13, 0.22)
    inharmonicity = rng.uniform(5e-5, 2e-4)
    ring = rng.uniform(0.7, 1.1)
    resonances = (
        (105.0 * rng.uniform(0.95, 1.05), 0.25, 0.8),
        (210.0 * rng.uniform(0.95, 1.05), 0.3, 0.8),
        (430.0 * rng.uniform(0.9, 1.1), 0.5, 0.4),
        (2500.0, 0.7, 0.3),
    )
    for note in notes:
        k = harmonics(note.frequency, fs)
        frequencies = k * note.frequency * np.sqrt(1.0 + inharmonicity * k**2)
        amplitudes = np.sin(np.pi * k * pluck) / k * body(frequencies, resonances)
        amplitudes *= np.exp(-frequencies / (1500.0 + 4000.0 * note.velocity))
        decays = ring * np.sqrt(220.0 / note.frequency) / (1.0 + 0.25 * (k - 1.0))
        samples = int((note.duration + 0.08) * fs)
        sound = damped_partials(frequencies, amplitudes, decays, samples, fs)
        click = coloured_noise(int(0.012 * fs), fs, rng, 1800.0, 0.8)
        click *= np.linspace(1.0, 0.0, len(click)) ** 2
        add(sound, 0.0, fs, 0.04 * np.max(np.abs(sound)) * click)
        sound *= held_envelope(samples, fs, note.duration, 0.002, 0.08)
        add(track, note.start, fs, note.velocity * sound)
    return track


def xylophone(
    notes: Sequence[Note], duration: float, fs: int, rng: np.random.Generator
) -> np.ndarray:
    """Struck bar: few partials, tuned near 1:3 and inharmonic above, that die fast."""
    track = _empty(duration, fs)
    ratios = np.array([1.0, 2.98, 6.27, 9.7]) * np.append(
        1.0, rng.uniform(0.985, 1.015, 3)
    )
    hardness = rng.uniform(0.5, 0.9)
    ring = rng.uniform(0.16, 0.26)
    for note in notes:
        kept = ratios * note.frequency < min(HIGHEST_PARTIAL, 0.45 * fs)
        frequencies = ratios[kept] * note.frequency
        strike = hardness * (0.6 + 0.5 * note.velocity)
        amplitudes = np.array([1.0, 0.55, 0.3, 0.15])[kept]
        amplitudes = amplitudes * strike ** np.arange(len(amplitudes))
        decays = ring * np.array([1.0, 0.45, 0.2, 0.12])[kept]
        decays *= np.sqrt(523.0 / note.frequency)
        samples = int(1.2 * fs)  # bars ring on
        sound = damped_partials(frequencies, amplitudes, decays, samples, fs)
        click = coloured_noise(int(0.006 * fs), fs, rng, 3000.0, 0.8)
        click *= np.linspace(1.0, 0.0, len(click)) ** 2
        add(sound, 0.0, fs, 0.1 * strike * click)
        sound *= held_envelope(samples, fs, 1.0, 0.001, 0.2)
        add(track, note.start, fs, note.velocity * sound)
    return track


def cello(
    notes: Sequence[Note], duration: float, fs: int, rng: np.random.Generator
) -> np.ndarray:
    """Bowed string: sawtooth (1/k) times the body, slow attack, vibrato, bow noise."""
    track = _empty(duration, fs)
    resonances = [
        (centre * rng.uniform(0.95, 1.05), width, gain)
        for centre, width, gain in (
            (102.0, 0.15, 0.6),
            (185.0, 0.2, 0.8),
            (390.0, 0.25, 0.9),
            (740.0, 0.3, 0.7),
            (1350.0, 0.3, 0.7),
            (2300.0, 0.4, 1.8),
        )
    ]
    phases = np.zeros(256)
    rate = rng.uniform(5.0, 6.3)
    cents = rng.uniform(14.0, 26.0)
    attack = rng.uniform(0.07, 0.12)
    for note in notes:
        samples = int((note.duration + 0.1) * fs)
        k = harmonics(1.02 * note.frequency, fs)
        amplitudes = body(k * note.frequency, resonances) / k
        amplitudes *= np.exp(-k * note.frequency / (4000.0 + 4000.0 * note.velocity))
        cycles = vibrato_cycles(
            note.frequency, samples, fs, rate, cents, 0.1, rng.uniform(0.0, 6.28)
        )
        sound = read_table(wave_table(amplitudes, phases), cycles)
        time = np.arange(samples) / fs
        tremor = 1.0 + 0.07 * np.sin(2.0 * np.pi * rate * time + rng.uniform(0.0, 6.28))
        bow = coloured_noise(samples, fs, rng, 2200.0, 0.9)
        sound = tremor * sound + 0.02 * bow
        sound *= held_envelope(samples, fs, note.duration, attack, 0.1)
        add(track, note.start, fs, note.velocity * sound)
    return track


def clarinet(
    notes: Sequence[Note], duration: float, fs: int, rng: np.random.Generator
) -> np.ndarray:
    """Single reed on a closed cylinder: odd harmonics, steady, hardly any vibrato."""
    track = _empty(duration, fs)
    even = rng.uniform(0.03, 0.07)
    cutoff = rng.uniform(1400.0, 1900.0)  # of the open tone holes
    phases = rng.uniform(0.0, 2.0 * np.pi, 256)
    attack = rng.uniform(0.025, 0.045)
    for note in notes:
        samples = int((note.duration + 0.06) * fs)
        k = harmonics(note.frequency, fs)
        strength = np.where(k % 2 == 1, 1.0, np.minimum(1.0, even * k))
        rolloff = (k * note.frequency / cutoff) ** 4
        edge = 1.0 / np.sqrt(1.0 + rolloff / (0.5 + note.velocity))
        amplitudes = strength * edge / k**0.7
        cycles = vibrato_cycles(
            note.frequency, samples, fs, 4.5, 3.0, 0.2, rng.uniform(0.0, 6.28)
        )
        sound = read_table(wave_table(amplitudes, phases), cycles)
        sound += 0.008 * coloured_noise(samples, fs, rng, 2000.0, 1.0)
        sound *= held_envelope(samples, fs, note.duration, attack, 0.06)
        add(track, note.start, fs, note.velocity * sound)
    return track


def _brass(
    notes: Sequence[Note],
    duration: float,
    fs: int,
    rng: np.random.Generator,
    formant: Resonance,
    soft: float,
    loud: float,
    attack: float,
) -> np.ndarray:
    """Lip reed: the louder, the brighter, also within a note.

    Two tables are mixed by the momentary level: partials fall by a factor 1/e within
    ``soft`` Hz in the one and within ``loud`` Hz in the other.
    """
    track = _empty(duration, fs)
    phases = rng.uniform(0.0, 2.0 * np.pi, 256)
    rate = rng.uniform(4.5, 5.8)
    cents = rng.uniform(3.0, 10.0)
    centre, width, gain = formant
    formant = (centre * rng.uniform(0.9, 1.1), width, gain)
    for note in notes:
        samples = int((note.duration + 0.07) * fs)
        k = harmonics(1.01 * note.frequency, fs)
        frequencies = k * note.frequency
        shape = body(frequencies, [formant])
        dull = shape * np.exp(-(frequencies - note.frequency) / soft)
        bright = shape * np.exp(-(frequencies - note.frequency) / loud)
        cycles = vibrato_cycles(
            note.frequency, samples, fs, rate, cents, 0.25, rng.uniform(0.0, 6.28)
        )
        level = held_envelope(samples, fs, note.duration, attack, 0.07)
        time = np.arange(samples) / fs
        level *= 0.85 + 0.15 * np.exp(-time / 0.12)  # the tongued attack is louder
        mixing = (note.velocity * level) ** 2
        sound = (1.0 - mixing) * read_table(wave_table(dull, phases), cycles)
        sound += mixing * read_table(wave_table(bright, phases), cycles)
        sound += 0.006 * coloured_noise(samples, fs, rng, 2.0 * centre, 0.8)
        add(track, note.start, fs, note.velocity * level * sound)
    return track


def trumpet(
    notes: Sequence[Note], duration: float, fs: int, rng: np.random.Generator
) -> np.ndarray:
    """Brass with a formant near 1.3 kHz; many strong partials when loud."""
    attack = rng.uniform(0.03, 0.05)
    return _brass(notes, duration, fs, rng, (1300.0, 0.6, 1.2), 600.0, 2600.0, attack)


def tuba(
    notes: Sequence[Note], duration: float, fs: int, rng: np.random.Generator
) -> np.ndarray:
    """Low brass: round, with a formant near 250 Hz and a slow attack."""
    attack = rng.uniform(0.05, 0.08)
    return _brass(notes, duration, fs, rng, (250.0, 0.7, 1.2), 160.0, 450.0, attack)


def flute(
    notes: Sequence[Note], duration: float, fs: int, rng: np.random.Generator
) -> np.ndarray:
    """Air jet: nearly a sine, tremolo rather than vibrato, breath noise."""
    track = _empty(duration, fs)
    second = rng.uniform(0.12, 0.25)
    breath = rng.uniform(0.02, 0.04)
    rate = rng.uniform(4.6, 5.6)
    attack = rng.uniform(0.05, 0.08)
    phases = rng.uniform(0.0, 2.0 * np.pi, 8)
    for note in notes:
        samples = int((note.duration + 0.08) * fs)
        k = harmonics(1.02 * note.frequency, fs)[:4]
        overtones = np.array([1.0, second, 0.3 * second, 0.1 * second])[: len(k)]
        amplitudes = overtones * (0.5 + note.velocity) ** (k - 1.0)
        start = rng.uniform(0.0, 6.28)
        cycles = vibrato_cycles(note.frequency, samples, fs, rate, 8.0, 0.15, start)
        sound = read_table(wave_table(amplitudes, phases), cycles)
        time = np.arange(samples) / fs
        sound *= 1.0 + 0.12 * np.sin(2.0 * np.pi * rate * time + start)
        sound += breath * coloured_noise(samples, fs, rng, 2.0 * note.frequency, 0.5)
        sound += 0.5 * breath * coloured_noise(samples, fs, rng, 3500.0, 0.8)
        sound *= held_envelope(samples, fs, note.duration, attack, 0.08)
        add(track, note.start, fs, note.velocity * sound)
    return track


def accordion(
    notes: Sequence[Note], duration: float, fs: int, rng: np.random.Generator
) -> np.ndarray:
    """Free reeds in pairs, a few cents apart, so that they beat; rich and steady.

    The phases grow with k squared (Schroeder, 1970), which spreads the energy evenly
    over the period: the level is steady. The two reeds' phases have opposite signs, so
    that their peaks never coincide.
    """
    track = _empty(duration, fs)
    detuning = rng.uniform(8.0, 14.0)  # cents
    bend = rng.uniform(0.8, 1.0)
    resonances = ((1800.0, 0.6, 0.6), (3300.0 * rng.uniform(0.9, 1.1), 0.5, 1.4))
    swell = rng.uniform(0.3, 0.6)
    for note in notes:
        samples = int((note.duration + 0.05) * fs)
        k = harmonics(1.01 * note.frequency, fs)
        amplitudes = body(k * note.frequency, resonances) / k**0.6
        amplitudes *= np.exp(-k * note.frequency / 6000.0)
        time = np.arange(samples) / fs
        sound = np.zeros(samples)
        for side in (-1.0, 1.0):
            table = wave_table(amplitudes, side * bend * np.pi * k**2 / 16.0)
            frequency = note.frequency * 2.0 ** (side * 0.5 * detuning / 1200.0)
            sound += read_table(table, frequency * time + rng.random())
        bellows = 0.5 + 0.5 * note.velocity  # the pressure is nearly even
        bellows *= 1.0 + 0.12 * np.sin(2.0 * np.pi * swell * (note.start + time))
        sound *= bellows * held_envelope(samples, fs, note.duration, 0.04, 0.05)
        add(track, note.start, fs, sound)
    return track


def room(
    track: np.ndarray,
    channels: int,
    level_dbfs: float,
    fs: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Put a dry take into a room: reverberation, noise floor, level drift, level.

    Args:
        track: (L,) dry sound.
        channels: 1 or 2; two channels differ in gain and in reverberation.
        level_dbfs: Wanted RMS in dB below full scale; it is lowered where a peak
            would come above -1 dBFS.
        fs: Sampling rate in Hz.
        rng: The take's random stream.

    Returns:
        (channels, L) float32, rounded to 16 bits, within [-1, 1].
    """
    samples = len(track)
    reverberation = rng.uniform(0.15, 0.45)  # seconds until -60 dB
    wet = 10.0 ** (rng.uniform(-22.0, -14.0) / 20.0)
    floor = 10.0 ** (rng.uniform(-48.0, -40.0) / 20.0)
    drift = rng.uniform(0.5, 1.5)  # dB
    period = rng.uniform(3.0, 8.0)
    phase = rng.uniform(0.0, 2.0 * np.pi)
    pan = rng.uniform(-0.25, 0.25) if channels == 2 else 0.0
    time = np.arange(samples) / fs
    gain = 10.0 ** (drift * np.sin(2.0 * np.pi * time / period + phase) / 20.0)
    tail = int(reverberation * fs)
    size = 1 << (samples + tail - 1).bit_length()
    dry_spectrum = np.fft.rfft(track, size)
    rms = np.sqrt(np.mean(track**2))
    audio = np.empty((channels, samples))
    for channel in range(channels):
        response = rng.standard_normal(tail)
        response *= np.exp(-6.9 * np.arange(tail) / tail)
        response *= wet / np.sqrt(np.sum(response**2))
        reverb = np.fft.irfft(dry_spectrum * np.fft.rfft(response, size), size)
        noise = coloured_noise(samples, fs, rng, 1000.0, 2.5)
        side = 1.0 + (pan if channel == 0 else -pan)
        audio[channel] = gain * (side * track + reverb[:samples]) + floor * rms * noise
    audio *= 10.0 ** (level_dbfs / 20.0) / np.sqrt(np.mean(audio**2))
    peak = 10.0 ** (-1.0 / 20.0)
    audio *= min(1.0, peak / np.max(np.abs(audio)))
    fade = np.clip(np.arange(samples, 0, -1) / (0.02 * fs), 0.0, 1.0)
    return (np.round(audio * fade * 32768.0) / 32768.0).astype(np.float32)
