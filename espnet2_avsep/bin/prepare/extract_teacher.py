"""Write the CLAP embeddings of a set of recordings as a Kaldi ark.

Of the mixtures of dump/raw/<set>/wav.scp, to teacher.ark and teacher.scp, for the
teacher 'precomputed'. A run that was cut off continues where it stopped.
"""

from espnet2_avsep.cli.options import with_options
from espnet2_avsep.teacher.extract import TeacherOptions, extract_teacher


@with_options(TeacherOptions)
def main(args: TeacherOptions) -> None:
    """Run the command."""
    extract_teacher(args)
