r"""How far a changed output is from the clean one.

A distortion is a function ``(clean_logits [K], logits [K], target) -> scalar``, where
``p(x) = softmax(clean_logits)`` belongs to the image, ``p(y) = softmax(logits)`` to one
obfuscation, and ``target`` is the explained class, an int scalar in ``[0, K)`` (not
checked under `jit`). Averaging over draws is the caller's. For networks that are no
softmax over classes see :mod:`cawe_jax.outputs`.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from cawe_jax.part import Part
from cawe_jax.types import Array, Outputs, Scalar, Target


def label_squared_error(
  clean_logits: Outputs, logits: Outputs, target: Target
) -> Scalar:
  """Squared change of the target's probability, ``(p_t(x) - p_t(y))^2``, in [0, 1].

  The papers' default. An empty mask costs at most ``p_t(x)^2``, so it is refused for a
  target that the network does not predict: there every mask is good.

  Example:
    >>> float(label_squared_error(jnp.zeros(2), jnp.zeros(2), 0))
    0.0

  References:
    Kolek et al., Cartoon Explanations of Image Classifiers, ECCV 2022, Sec. 3.
  """
  return (_probability(clean_logits, target) - _probability(logits, target)) ** 2


def automatic(clean_logits: Outputs, logits: Outputs, target: Target) -> Scalar:
  """Label squared error for the predicted class, maximise probability for any other.

  Example:
    >>> float(automatic(jnp.array([1.0, 0.0]), jnp.zeros(2), 1))
    0.5
  """
  return jnp.where(
    jnp.argmax(clean_logits) == target,
    label_squared_error(clean_logits, logits, target),
    maximise_probability(clean_logits, logits, target),
  )


def lost_share(clean_logits: Outputs, logits: Outputs, target: Target) -> Scalar:
  """Squared share of the target's probability that is lost, in [0, 1].

  ``max(0, 1 - p_t(y) / p_t(x))^2``. An empty mask costs about 1, however unsure the
  prediction is, so that an unsure one is worth as dense a mask as a sure one. More
  probability than the image's own costs nothing.

  Example:
    >>> clean, changed = jnp.log(jnp.array([0.4, 0.6])), jnp.log(jnp.array([0.2, 0.8]))
    >>> float(lost_share(clean, changed, 0)), float(lost_share(clean, changed, 1))
    (0.25, 0.0)
  """
  before, after = (jax.nn.log_softmax(z)[target] for z in (clean_logits, logits))
  return jnp.expm1(jnp.minimum(after - before, 0)) ** 2


def maximise_label(clean_logits: Outputs, logits: Outputs, target: Target) -> Scalar:
  """Squared missing probability, ``(1 - p_t(y))^2``, in [0, 1]: the released code.

  Example:
    >>> float(maximise_label(jnp.zeros(2), jnp.zeros(2), 0))
    0.25

  References:
    The code of Kolek et al., ECCV 2022 and CVPR 2023.
  """
  del clean_logits
  return (1 - _probability(logits, target)) ** 2


def maximise_probability(
  clean_logits: Outputs, logits: Outputs, target: Target
) -> Scalar:
  """Missing probability, ``1 - p_t(y)``, in [0, 1]: the printed formula.

  Example:
    >>> float(maximise_probability(jnp.zeros(4), jnp.zeros(4), 0))
    0.75

  References:
    Kolek et al., ECCV 2022 ("maximise label"); Kolek et al., CVPR 2023, eq. 7.
  """
  del clean_logits
  return 1 - _probability(logits, target)


def l2(clean_logits: Outputs, logits: Outputs, target: Target) -> Scalar:
  """``||p(x) - p(y)||_2``, not squared, in [0, sqrt(2)]; the gradient at 0 is 0.

  Example:
    >>> float(l2(jnp.zeros(2), jnp.zeros(2), 0))
    0.0

  References:
    The interactive article, eq. 1; Kolek et al., ECCV 2022, Fig. 7.
  """
  return _norm(squared_l2(clean_logits, logits, target))


def squared_l2(clean_logits: Outputs, logits: Outputs, target: Target) -> Scalar:
  """``||p(x) - p(y)||_2^2``, in [0, 2].

  Example:
    >>> float(squared_l2(jnp.zeros(2), jnp.zeros(2), 0))
    0.0
  """
  del target
  return jnp.sum((jax.nn.softmax(clean_logits) - jax.nn.softmax(logits)) ** 2)


def kl(clean_logits: Outputs, logits: Outputs, target: Target) -> Scalar:
  """``KL(p(x) || p(y))`` in nats, at least 0: the printed direction.

  Example:
    >>> float(kl(jnp.zeros(2), jnp.zeros(2), 0))
    0.0

  References:
    Kolek et al., ECCV 2022, Fig. 8d.
  """
  del target
  return _kl(clean_logits, logits)


def reverse_kl(clean_logits: Outputs, logits: Outputs, target: Target) -> Scalar:
  """``KL(p(y) || p(x))`` in nats, at least 0: what the released codes compute.

  Example:
    >>> float(reverse_kl(jnp.zeros(2), jnp.zeros(2), 0))
    0.0
  """
  del target
  return _kl(logits, clean_logits)


def logit_l2(clean_logits: Outputs, logits: Outputs, target: Target) -> Scalar:
  """``||logits(x) - logits(y)||_2``, not squared, before the softmax; at least 0.

  Example:
    >>> float(logit_l2(jnp.array([3.0, 0.0]), jnp.array([0.0, 4.0]), 0))
    5.0
  """
  del target
  return _norm(jnp.sum((clean_logits - logits) ** 2))


class class_weighted_l2(Part):
  """``sqrt(sum_c w_c (p_c(x) - p_c(y))^2)``; the gradient at 0 is 0.

  Args:
    weights: K numbers, at least 0. They are data: others compile nothing.

  Raises:
    ValueError: A weight is negative or not finite; or, when called, their number is
      not that of the classes.

  Example:
    >>> distortion = class_weighted_l2((1.0, 0.0))
    >>> float(distortion(jnp.zeros(2), jnp.zeros(2), 0))
    0.0
  """

  weights: Array | Sequence[float]

  def __post_init__(self) -> None:
    # JAX calls this too, with tracers and placeholders.
    if isinstance(self.weights, list | tuple | np.ndarray | np.generic | float | int):
      values = np.asarray(self.weights, np.float32)
      if values.ndim != 1 or not np.all(np.isfinite(values) & (values >= 0)):
        raise ValueError(
          f"weights is {self.weights}; it must be finite numbers, at least 0"
        )
      object.__setattr__(self, "weights", values)
    super().__post_init__()

  def __call__(self, clean_logits: Outputs, logits: Outputs, target: Target) -> Scalar:
    """The distance, a scalar."""
    del target
    weights = jnp.asarray(self.weights, logits.dtype)
    if clean_logits.shape[-1] != weights.size:
      raise ValueError(
        f"weights has {weights.size} entries; the classifier has "
        f"{clean_logits.shape[-1]} classes"
      )
    change = jax.nn.softmax(clean_logits) - jax.nn.softmax(logits)
    return _norm(jnp.sum(weights * change**2))


def _probability(logits: Outputs, target: Target) -> Scalar:
  return jax.nn.softmax(logits)[target]


def _kl(p_logits: Outputs, q_logits: Outputs) -> Scalar:
  log_p, log_q = jax.nn.log_softmax(p_logits), jax.nn.log_softmax(q_logits)
  return jnp.sum(jnp.exp(log_p) * (log_p - log_q))


def _norm(square: Scalar) -> Scalar:
  """Square root with gradient 0 at 0, where a mask of ones starts.

  At most 1e-6 counts as 0: there float32 rounding decides the norm, and its gradient
  would be a vector of pure rounding noise with norm 1.
  """
  positive = square > 1e-12
  return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1)), 0)
