r"""Networks whose best mask is known, with which a search can be compared.

A ridge network is a head on a few linear features of the image,
:math:`\Phi(x) = h(W (x - x_0))`. Under adaptive Gaussian noise, and as long as no pixel
leaves [0, 1], the features of an obfuscation are jointly Gaussian: with A the features'
weights on the coefficients, H the coefficients, and the noise's means M and deviations
S,

.. math:: m(s) = A \operatorname{diag}(1 - s) (M - H), \qquad
  C(s) = A \operatorname{diag}\bigl((1 - s)^2 S^2\bigr) A^T.

So the expected distortion of a mask is an integral over one to three numbers, which
Gauss-Hermite quadrature gives to many digits, and a deterministic optimiser in double
precision finds the best mask. For a linear head, whose distortion is a quadratic form,
only mean and variance matter, and the noise may be uniform.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage, optimize

import cawe_jax as cawe
from cawe_jax import perturbations
from cawe_jax.engine.session import Session
from cawe_jax.explaining import optimality
from cawe_jax.methods import Method
from cawe_jax.numerics.flat_masks import unflat
from cawe_jax.outputs import Output

CONTRAST = 0.05  # of images and hence of noise: 1/2 is ten of it away
_NODES = {1: 60, 2: 30, 3: 16}
_RANDOM_STARTS = 3


class Ridge(NamedTuple):
  """A network, an image and a method whose optimum :func:`optimum` finds.

  Attributes:
    image: ``[H, W, C]``.
    features: W, ``[F, H * W * C]``, F at most 3.
    head: ``features [F] -> outputs [K]``, in any precision; 0 belongs to the image.
    output: What the outputs mean.
    method: CartoonX or Pixel RDE, with its multiplier and noise.
  """

  image: np.ndarray
  features: np.ndarray
  head: Callable[[Any], Any]
  output: Output
  method: Method

  def classifier(self) -> cawe.Classifier:
    """As the library takes it, in float32."""
    image, head = self.image, self.head

    def apply(weights: Any, images: Any) -> Any:
      # The difference first: features are small beside the products that make them.
      return jax.vmap(head)((images - image[None]).reshape(len(images), -1) @ weights)

    weights = jnp.asarray(self.features.T, jnp.float32)
    return cawe.Classifier(apply, weights, image.shape[:2], output=self.output)


class Optimum(NamedTuple):
  """The best mask known.

  Attributes:
    objective: Its expected distortion and weighted rate.
    mask: ``[k]``, the leaves one after the other.
  """

  objective: float
  mask: np.ndarray


class Exact:
  """The expected objective of a :class:`Ridge`, and its gradient, in float64."""

  def __init__(self, ridge: Ridge):
    self.multiplier = float(ridge.method.lagrange_multiplier)
    lost, covariance = _law(ridge)
    number, self.size = lost.shape
    nodes, weights = _quadrature(number)
    distortion = ridge.output.adapt(ridge.method.distortion)
    with jax.enable_x64(True):
      # In this context they are float64.
      lost, covariance, nodes, weights = map(
        jnp.asarray, (lost, covariance, nodes, weights)
      )
      clean = ridge.head(jnp.zeros(number))
      target = jnp.argmax(clean)

      def expected(mask: Any) -> Any:
        mean = lost @ (1 - mask)
        spread = covariance @ (1 - mask) ** 2
        root = jnp.linalg.cholesky(spread + 1e-14 * jnp.eye(number))
        outputs = jax.vmap(ridge.head)(mean[None] + nodes @ root.T)
        each = jax.vmap(distortion, (None, 0, None))(clean, outputs, target)
        return weights @ each

      def objective(mask: Any) -> Any:
        return expected(mask) + self.multiplier * jnp.mean(mask)

      self._distortion = jax.jit(expected)
      self._objective = jax.jit(jax.value_and_grad(objective))

  def distortion(self, mask: np.ndarray) -> float:
    """Expected distortion of a mask ``[k]``."""
    with jax.enable_x64(True):
      return float(self._distortion(jnp.asarray(mask, jnp.float64)))

  def objective(self, mask: np.ndarray) -> tuple[float, np.ndarray]:
    """Expected distortion and weighted rate of a mask ``[k]``, and the gradient."""
    with jax.enable_x64(True):
      value, gradient = self._objective(jnp.asarray(mask, jnp.float64))
      return float(value), np.asarray(gradient)

  def optimum(self) -> Optimum:
    """The best of L-BFGS-B from ones, zeros, one half and random masks."""
    rng, k = np.random.default_rng(0), self.size
    starts = [
      np.ones(k),
      np.zeros(k),
      np.full(k, 0.5),
      *rng.random((_RANDOM_STARTS, k)),
    ]
    found = [
      optimize.minimize(
        self.objective,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, 1)] * k,
        options={"maxiter": 3000, "maxfun": 6000, "ftol": 1e-12, "gtol": 1e-9},
      )
      for start in starts
    ]
    best = min(found, key=lambda result: result.fun)
    return Optimum(float(best.fun), best.x)


def picture(shape: tuple[int, int, int], seed: int) -> np.ndarray:
  """A smooth random image around 1/2 that noise like its own keeps inside [0, 1]."""
  noise = np.random.default_rng(seed).normal(size=shape)
  smooth = ndimage.gaussian_filter(noise, (1.2, 1.2, 0))
  image = 0.5 + CONTRAST * np.clip(smooth / smooth.std(), -3.5, 3.5)
  return image.astype(np.float32)


def unit(features: np.ndarray) -> np.ndarray:
  """Features scaled so that noise of :data:`CONTRAST` moves each by 1."""
  return features / (CONTRAST * np.linalg.norm(features, axis=1, keepdims=True))


def target_of(ridge: Ridge) -> int:
  """The class that the network predicts for the image, or 0 of a regression."""
  return int(np.argmax(ridge.classifier()(ridge.image[None])[0]))


def search(ridge: Ridge, seeds: int) -> cawe.Explanation:
  """What :func:`cawe_jax.explain` finds for so many seeds of the noise, as a batch."""
  what, how = _question(ridge, seeds)
  with warnings.catch_warnings():
    # The table counts them, and some best masks are empty.
    warnings.simplefilter("ignore", cawe.EmptyMaskWarning)
    return cawe.explain(*what, **how)


def open_session(ridge: Ridge, seeds: int, rows: int | None = None) -> Session:
  """The image on the devices, once for each seed of the noise, as in :func:`search`."""
  what, how = _question(ridge, seeds)
  return Session(*what, **how, rows=rows)


def _question(ridge: Ridge, seeds: int) -> tuple[tuple, dict[str, Any]]:
  """The network, the images and the method; and the noise and the targets, by name."""
  what = ridge.classifier(), np.stack([ridge.image] * seeds), ridge.method
  noise = {"key": jax.random.key(0), "image_ids": range(seeds)}
  return what, {**noise, "targets": target_of(ridge)}


def false_alarms(ridge: Ridge, best: Optimum, seeds: int) -> int:
  """How many of so many checks doubt the best mask itself."""
  session = open_session(ridge, seeds)
  like = session.crop(session.initial_masks)
  found = optimality.check(session, unflat(np.stack([best.mask] * seeds), like))
  objectives = np.full(seeds, best.objective)
  return int(np.sum(optimality.is_doubtful(*found, objectives)))


def _law(ridge: Ridge) -> tuple[np.ndarray, np.ndarray]:
  """What each entry, when it is lost, adds to mean ``[F, k]`` and covariance."""
  representation = ridge.method.representation(ridge.image.shape)
  coefficients = representation.analysis(jnp.asarray(ridge.image))
  means, deviations = perturbations.statistics(coefficients)
  pull = jax.vjp(representation.synthesis, coefficients)[1]

  def joined(leaves: Any) -> np.ndarray:
    return np.concatenate(
      [np.asarray(x, float).reshape(-1, x.shape[-1]) for x in leaves]
    )

  def like(values: Any) -> np.ndarray:
    pairs = zip(values, coefficients, strict=True)
    return joined([jnp.broadcast_to(value, leaf.shape) for value, leaf in pairs])

  h, m, s = joined(coefficients), like(means), like(deviations)
  if ridge.method.perturbation.name.startswith("adaptive_uniform"):
    s = s / 3**0.5
  a = np.stack(
    [
      joined(pull(jnp.asarray(w.reshape(ridge.image.shape), jnp.float32))[0])
      for w in ridge.features
    ]
  )
  lost = np.einsum("fkc,kc->fk", a, m - h)
  return lost, np.einsum("fkc,gkc,kc->fgk", a, a, s**2)


def _quadrature(number: int) -> tuple[np.ndarray, np.ndarray]:
  """Nodes ``[N, F]`` and weights ``[N]`` for the mean over standard normals."""
  nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES[number])
  weights = weights / weights.sum()
  return (
    np.array(list(itertools.product(nodes, repeat=number))),
    np.prod(list(itertools.product(weights, repeat=number)), axis=1),
  )
