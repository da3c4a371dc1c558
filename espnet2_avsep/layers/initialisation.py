"""Initial weights as released programs draw them."""

from typing import NamedTuple, Optional

from torch import nn


class InitialWeights(NamedTuple):
    """Standard deviations of the normal distributions that weights are drawn from.

    Attributes:
        conv: Of convolutions, around 0.
        norm: Of BatchNorm's weights, around 1; its biases become 0.
        linear: Of linear layers, around 0.
    """

    conv: float
    norm: float
    linear: float


# The names that separator_conf.initialisation takes.
INITIALISATIONS = {
    # Sound of Pixels and programs derived from it: CLIPSep, HFRA, DGFNet.
    "sound_of_pixels": InitialWeights(conv=1e-3, norm=0.02, linear=1e-4),
    "co_separation": InitialWeights(conv=0.02, norm=0.02, linear=0.02),
}


def initialise(network: nn.Module, name: Optional[str]) -> None:
    """Draw the weights of a network again; biases of convolutions stay as they are.

    Args:
        network: The network.
        name: One of INITIALISATIONS; None keeps torch's own initial weights.

    Raises:
        ValueError: the name is unknown.
    """
    if name is None:
        return
    if name not in INITIALISATIONS:
        raise ValueError(
            f"initialisation={name!r}: expected null or one of "
            f"{', '.join(INITIALISATIONS)}."
        )
    std = INITIALISATIONS[name]
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(module.weight, 0.0, std.conv)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, std.norm)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, std.linear)
