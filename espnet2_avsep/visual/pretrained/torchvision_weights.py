"""torchvision's models, with weights by their published name or from a file."""

import logging
import os
from typing import Any, Dict, Optional, Tuple

import torch

from espnet2_avsep.data.fetch import FetchError, fetch_file
from espnet2_avsep.data.records.digest import file_sha256
from espnet2_avsep.errors import InputError
from espnet2_avsep.lean_imports import without_compiler
from espnet2_avsep.visual.encoder_info import RANDOM
from espnet2_avsep.visual.pretrained.weights import (
    connection_problem,
    warn_random,
    weights_error,
)
from espnet2_avsep.weights import load_strict, read_state


def build_network(
    model: str,
    title: str,
    pretrained: str,
    option: str,
    seed: int = 0,
    cache_dir: Optional[str] = None,
    without: Optional[str] = None,
    effect: str = "",
    **arguments: Any,
) -> Tuple[torch.nn.Module, Dict[str, Any]]:
    """Build a network; its weights are read without pickle, every key of them.

    Args:
        model: torchvision's name of the model, e.g. "resnet18".
        title: Its name in messages.
        pretrained: The name of torchvision weights, the path of a state dict (with or
            without the classifier), or "random".
        option: What names the weights on the command line, for messages.
        seed: Of random weights.
        cache_dir: Where downloads are kept; default: torch's hub folder.
        without: Name of the classifier, which is left out; None: nothing is.
        effect: What random weights mean; see weights.warn_random.
        **arguments: Of torchvision's function.

    Returns:
        The network, and what its weights are, for logs and result files.

    Raises:
        InputError: unknown name, weights that are neither here nor within reach, a
            file that does not fit.
    """
    with without_compiler():
        import torchvision

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = torchvision.models.get_model(model, weights=None, **arguments)
    if without is not None:
        setattr(network, without, torch.nn.Identity())
    path = find_file(model, title, pretrained, option, cache_dir)
    if path is None:
        return network, {"weights": warn_random(title, seed, effect), "seed": seed}
    state = read_state(path)
    if without is not None:
        state = {k: v for k, v in state.items() if not k.startswith(f"{without}.")}
    hint = f"A state dict of torchvision's {model} was expected."
    load_strict(network, state, f"{option} {path}: does not fit {title}", hint)
    sha256 = file_sha256(path)
    logging.info("%s: loaded %s (sha256 %s)", title, path, sha256)
    return network, {"weights": f"sha256 {sha256}"}


def find_file(
    model: str,
    title: str,
    pretrained: str,
    option: str,
    cache_dir: Optional[str] = None,
) -> Optional[str]:
    """Return the file of some weights, which are fetched where they are not here yet.

    Args:
        model: See :func:`build_network`.
        title: As above.
        pretrained: As above; there is no file of "random".
        option: As above.
        cache_dir: As above.

    Raises:
        InputError: unknown name, weights that are neither here nor within reach.
    """
    if pretrained == RANDOM:
        return None
    if os.path.isfile(pretrained):
        return pretrained
    return _fetch(model, title, pretrained, option, cache_dir)


def _fetch(
    model: str, title: str, name: str, option: str, cache_dir: Optional[str]
) -> str:
    """Return the file of torchvision weights: from the cache, else from the network."""
    with without_compiler():
        import torchvision

    known = torchvision.models.get_model_weights(model).__members__
    if name not in known:
        raise InputError(
            f"{option} {name}: no such file, and no torchvision weights of "
            f"{model}; expected one of {', '.join(known)}, the path of a state dict, "
            f"or '{RANDOM}'."
        )
    url = known[name].url
    folder = cache_dir or os.path.join(torch.hub.get_dir(), "checkpoints")
    path = os.path.join(folder, os.path.basename(url))
    if os.path.isfile(path):
        return path
    problem = connection_problem(url)
    if problem is None:
        try:
            # The name ends in the first digits of the hash: resnet18-f37072fd.pth.
            fetch_file(url, path, sha256_prefix=os.path.splitext(path)[0][-8:])
            return path
        except FetchError as error:
            problem = str(error)
    raise weights_error(title, name, folder, url, problem, option)
