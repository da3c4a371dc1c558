"""Write the sound of every clip as mono 16-bit PCM at one rate (stage 3).

Decodes any media file, averages its channels and resamples them; writes wav.scp,
utt2num_samples and skipped.tsv, too. A run that was cut off continues where it stopped.
"""

from dataclasses import dataclass

from espnet2_avsep.cli.feature_options import Sounds
from espnet2_avsep.cli.options import Log, option, values, with_options


@dataclass(kw_only=True)
class Options(Sounds, Log):
    """The options of the command."""

    wav_scp: str = option(..., "table: clip, media file (or 'command |')")
    output_dir: str = option(..., "where tables and wavs go")
    fs: int = option(..., "sampling rate in Hz, e.g. 11625", least=1, most=1_000_000)
    audio_format: str = option("wav", "of the files", choices=("wav", "flac"))


@with_options(Options)
def main(args: Options) -> None:
    """Run the command."""
    from espnet2_avsep.data.audio.audio_format import format_audio

    format_audio(**values(args))
