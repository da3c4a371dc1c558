"""Files of pretrained weights, and what is said about them; without torch."""

import logging
from typing import Optional

from espnet2_avsep.errors import InputError
from espnet2_avsep.visual.encoder_info import RANDOM

# How long to wait for the server of the weights before taking it as out of reach, s.
CONNECT_TIMEOUT = 10


def warn_random(what: str, seed: int, effect: str = "") -> str:
    """Log that a network is not trained; return how result files name its weights.

    Args:
        what: Its title.
        seed: Of its weights.
        effect: What that means; default: that of an encoder of pictures.
    """
    effect = effect or (
        "not CLIP and not trained on anything: its embeddings tell pictures apart only "
        "roughly"
    )
    logging.warning("%s: randomly initialised (seed %d), %s", what, seed, effect)
    return f"random, seed {seed}"


def connection_problem(url: str) -> Optional[str]:
    """Return why a server does not answer within CONNECT_TIMEOUT, or None if it does.

    Clients that fetch weights repeat an attempt for minutes; this asks once before.
    """
    from huggingface_hub.utils import get_session

    try:
        get_session().head(url, timeout=CONNECT_TIMEOUT)
    except Exception as error:  # of whichever HTTP library the hub's client uses
        return str(error) or type(error).__name__
    return None


def weights_error(
    model: str,
    name: str,
    folder: str,
    url: str,
    problem: str,
    option: str = "--visual_pretrained",
) -> InputError:
    """Return the error for weights that are neither here nor within reach."""
    return InputError(
        f"{option} {name}: the weights of {model} are not in {folder} and "
        f"cannot be fetched from {url} ({problem}). With a network, run this once; "
        f"without one, copy the file here and give its path: {option} "
        f"/path/to.pt; or ask for an untrained encoder by name: {option} {RANDOM}."
    )
