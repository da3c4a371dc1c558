"""What every trained separator of the project offers."""

from abc import ABC, abstractmethod
from typing import Any, Dict, Mapping, Optional, Tuple

from torch import Tensor, nn

from espnet2_avsep.layers.recursion import RecursionSteps


class AbsSeparator(nn.Module, ABC):
    """What separators of spectrograms and of waveforms have in common.

    A separator declares here, in its own class, what it needs; task, datasets, model,
    inference, the recipe and the tests read that. What depends on its arguments is set
    in its constructor.

    Attributes:
        visual_dim: D, size of the visual embedding of a source.
        bottleneck_dim: Size of the audio embedding that forward() returns.
        needs_motion: Whether forward() takes the keywords ``motion``, (B, N, S, D_m),
            and ``motion_lengths``, (B, N). This is a condition, as needs_labels is:
            data/conditions.py declares what there is.
        motion_dim: D_m, with needs_motion.
        needs_flow: Whether this motion is optical flow, over the time of the mixture.
        needs_labels: Whether forward() takes the keyword ``labels``, (B, N).
        sees_magnitude: Whether the feature that forward() takes is the mixture's
            magnitude; then it also takes the keywords ``compress``, what
            model_conf.compression makes of a magnitude, and ``row_weight``, (F,), see
            LogFrequencyWarp. Masks must be those of sigmoid(logits).
        complex_masks: Whether logits are complex; then real_forward() returns their
            real and imaginary parts, (B, N, 2, F, T), and the bottleneck.
        context_frames: Frames on each side that a mask depends on; 0: not known.
        gives_steps: Whether run() returns the steps of a recursion.
        phases: Names of the training phases that set_phase() knows.
        grounds: Whether it has the method ground(), see CCoLSeparator.
        learns_grounding: Whether that learns by the criterion co_learning; then it has
            ``phases`` and an attribute ``phase``.
        tells_presence: Whether it has the method presence(), see TFCTDFSeparator.
        beside_masks: Prefixes of the names of weights that have no part in the masks
            of training.
        num_classes: With needs_labels: for how many classes it is built.
        new_classes: How many of them are added to a trained model, and come last.
        model_conf: Values that options of the model around it must have.
        rate_factors: Prefix of names of weights -> factor of their learning rate where
            a configuration is made for all systems alike (local/make_small_config.py).
        tiny: Arguments that make it tiny, for the tests that all separators pass
            (tests/separator/test_every_separator.py).
    """

    visual_dim: int
    bottleneck_dim: int
    motion_dim: int
    needs_motion: bool = False
    needs_flow: bool = False
    needs_labels: bool = False
    sees_magnitude: bool = False
    complex_masks: bool = False
    context_frames: int = 0
    gives_steps: bool = False
    phases: Tuple[str, ...] = ()
    grounds: bool = False
    learns_grounding: bool = False
    tells_presence: bool = False
    beside_masks: Tuple[str, ...] = ()
    num_classes: Optional[int] = None
    new_classes: int = 0
    model_conf: Mapping[str, Any] = {}
    rate_factors: Mapping[str, float] = {}
    tiny: Mapping[str, Any] = {}

    @classmethod
    def small_conf(cls, conf: Mapping[str, Any]) -> Dict[str, Any]:
        """Return arguments of a small network of the same method, for a CPU.

        An eighth of the channels, at most 5 levels, narrow conditions.

        Args:
            conf: Arguments of the full one (separator_conf).
        """
        small = dict(conf)
        for key in ("channels", "grounding_channels"):
            if isinstance(small.get(key), (list, tuple)):
                small[key] = [max(1, count // 8) for count in small[key]]
            elif small.get(key) is not None:
                small[key] = max(1, small[key] // 8)
        for key, most in (
            ("layers", 5),
            ("motion_channels", 16),
            ("width", 16),
            ("condition_dim", 32),
        ):
            if small.get(key) is not None:
                small[key] = min(small[key], most)
        return small

    def set_phase(self, name: str) -> None:
        """Prepare for a phase of the training (the config's option phases).

        Raises:
            ValueError: it is not among ``phases``.
        """
        if name not in self.phases:
            raise ValueError(f"the phase {name!r} is none of {self.phases}.")

    def check_visual(self, visual: Tensor) -> None:
        """Raise a ValueError unless visual is (B, N, visual_dim)."""
        if visual.size(-1) != self.visual_dim:
            raise ValueError(
                f"visual embeddings have {visual.size(-1)} values, the separator was "
                f"built for {self.visual_dim}: set separator_conf.visual_dim, or "
                "extract the features with the encoder that it was trained with."
            )

    def check_motion(
        self, motion: Optional[Tensor], lengths: Optional[Tensor]
    ) -> Tensor:
        """Check motion (B, N, S, motion_dim) and, if given, its lengths (B, N).

        Returns:
            The motion.

        Raises:
            ValueError: motion is missing, or one of them does not fit.
        """
        if motion is None:
            raise ValueError(
                "this separator needs the motion features of every source; give them, "
                "or train with separator_conf.motion: false where that exists."
            )
        if motion.dim() != 4 or motion.size(-1) != self.motion_dim:
            raise ValueError(
                f"motion features have the shape {tuple(motion.shape)}, the separator "
                f"was built for (B, N, steps, {self.motion_dim}): set separator_conf."
                "motion_dim, or extract them with the network that it was trained with."
            )
        # On a GPU, reading the lengths would wait for the device.
        if (
            lengths is not None
            and lengths.device.type == "cpu"
            and (lengths.min() < 1 or lengths.max() > motion.size(2))
        ):
            raise ValueError(
                f"lengths of motion features are {int(lengths.min())} to "
                f"{int(lengths.max())}; expected 1 to {motion.size(2)}."
            )
        return motion


class AbsAVSeparator(AbsSeparator):
    """A network: mixture spectrogram and one visual embedding per source -> masks.

    A separator sees no waveform, no file and no config; the STFT, the frequency warp
    and the mask's activation belong to the model around it.
    """

    @abstractmethod
    def forward(self, feature: Tensor, visual: Tensor) -> Tuple[Tensor, Tensor]:
        """Compute the mask logits of every source.

        Args:
            feature: Mixture feature, (B, 1, F, T).
            visual: Visual embedding of each source, (B, N, D).

        Returns:
            logits: (B, N, F, T), source i conditioned only on visual[:, i]. Of a
                separator of complex masks they are complex: the real part is the logit
                of the magnitude, the imaginary part the phase in radians.
            bottleneck: Embedding of the mixture, (B, bottleneck_dim).
        """

    def run(
        self, feature: Tensor, visual: Tensor, **conditions: Tensor
    ) -> Tuple[Tensor, Tensor, Optional[RecursionSteps]]:
        """Return what forward() returns, and the steps of a recursive separator."""
        return (*self(feature, visual, **conditions), None)
