"""Linear probe: how much of the class can be read off an embedding by a linear map.

Guillaume Alain and Yoshua Bengio, "Understanding intermediate layers using linear
classifier probes", 2016. The probe is multinomial logistic regression on embeddings
that are standardised by the training clips, with a penalty on the weights' squares. Its
optimum is unique, so a probe has no seed and no learning rate.
"""

from typing import NamedTuple, Tuple

import numpy as np


class LinearProbe(NamedTuple):
    """A trained probe.

    Attributes:
        mean: Of the training embeddings, (D,).
        scale: Their standard deviation, (D,); 1 where it is 0.
        weight: (D, K).
        bias: (K,).
    """

    mean: np.ndarray
    scale: np.ndarray
    weight: np.ndarray
    bias: np.ndarray

    def log_probability(self, x: np.ndarray) -> np.ndarray:
        """Log probability of each class, (clips, D) -> (clips, K)."""
        z = (np.asarray(x, dtype=np.float64) - self.mean) / self.scale
        return _log_softmax(z @ self.weight + self.bias)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Most probable class of each embedding, (clips, D) -> (clips,)."""
        return self.log_probability(x).argmax(axis=1)


def fit_linear_probe(
    x: np.ndarray, y: np.ndarray, num_classes: int, penalty: float = 1.0
) -> LinearProbe:
    """Train a probe: minimise sum of -log p(y | x) + penalty / 2 * sum of weight ** 2.

    The bias is not penalised. (In scikit-learn's terms C = 1 / penalty.)

    Args:
        x: Embeddings, (clips, D).
        y: Their classes, integers (clips,) below num_classes.
        num_classes: K.
        penalty: Of the weights, above 0.

    Raises:
        ValueError: shapes that do not fit, values that are not finite, a class number
            out of range, or a penalty that is not above 0.
        RuntimeError: the minimum was not reached.
    """
    from scipy.optimize import minimize

    x, y = np.asarray(x, dtype=np.float64), np.asarray(y)
    if x.ndim != 2 or y.shape != x.shape[:1] or not len(x):
        raise ValueError(
            f"embeddings {x.shape} and classes {y.shape}: expected (n, D), (n,)."
        )
    if not np.isfinite(x).all():
        raise ValueError("embeddings must be finite.")
    if y.min() < 0 or y.max() >= num_classes:
        raise ValueError(f"classes must be numbers from 0 to {num_classes - 1}.")
    if not penalty > 0:
        raise ValueError(f"penalty={penalty}: must be above 0.")
    mean, scale = x.mean(axis=0), x.std(axis=0)
    # What does not vary says nothing; rounding errors of its mean must not be blown up.
    scale = np.where(scale > 1e-12 * np.abs(x).max(axis=0), scale, 1.0)
    z = (x - mean) / scale
    target = np.eye(num_classes)[y]  # (n, K)
    dim = x.shape[1]

    def objective(parameters: np.ndarray) -> Tuple[float, np.ndarray]:
        weight, bias = _split(parameters, dim, num_classes)
        log_p = _log_softmax(z @ weight + bias)
        excess = np.exp(log_p) - target
        loss = -(log_p * target).sum() + penalty / 2 * (weight**2).sum()
        gradient = np.vstack([z.T @ excess + penalty * weight, excess.sum(axis=0)])
        return loss, gradient.ravel()

    result = minimize(
        objective,
        np.zeros((dim + 1) * num_classes),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 10000, "maxfun": 20000, "gtol": 1e-7, "ftol": 1e-14},
    )
    if not result.success:
        raise RuntimeError(f"the probe did not reach its minimum: {result.message}")
    return LinearProbe(mean, scale, *_split(result.x, dim, num_classes))


def _split(
    parameters: np.ndarray, dim: int, num_classes: int
) -> Tuple[np.ndarray, np.ndarray]:
    table = parameters.reshape(dim + 1, num_classes)
    return table[:-1], table[-1]


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = logits - logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
