"""Copy a recipe, with everything that it needs, into a folder of its own.

The same as avsep_new_recipe: run.sh, avsep.sh, conf, local, utils.
"""

from espnet2_avsep.bin.avsep_new_recipe import add_arguments, run

__all__ = ["add_arguments", "run"]
