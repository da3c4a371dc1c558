"""Score the separated sources of a set against their references (stage 8).

SDR, SIR and SAR as mir_eval.separation.bss_eval_sources(compute_permutation=False) has
them, SI-SDR, and the improvements over the mixture. Writes scores.tsv (one row per
mixture and source) and result_<set>.txt (means with bootstrap intervals). References
are cut to the estimates' length, estimates clipped to [-1, 1]. The track of a silent
source is scored by the energy that leaks into it, relative to the mixture. What cannot
be scored is skipped and listed with the reason.
"""

from espnet2_avsep.cli.options import with_options
from espnet2_avsep.scoring.set_scores import ScoringOptions, score_set


@with_options(ScoringOptions)
def main(args: ScoringOptions) -> None:
    """Run the command."""
    score_set(args)
