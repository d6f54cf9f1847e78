"""RISE: the mean of random masks, weighted by the score of the image they leave."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from cawe_jax.attribution.attribution import (
  Attribution,
  check_count,
  pixel_attribution,
)
from cawe_jax.attribution.samples import Batch, Sum, as_it_is
from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.memo import memoised
from cawe_jax.types import Array


@memoised
def rise(
  num_masks: int = 4000, num_cells: int = 7, keep_probability: float = 0.5
) -> Attribution:
  r"""Random masks, weighted by scores.

  .. math:: R = \frac{1}{N p} \sum_{n=1}^{N} p_t(x \odot M_n)\, M_n

  A mask is a coarse grid of cells that are kept or not, enlarged bilinearly by a cell
  more than the image and cut at a random place. The score is what the network's output
  says (:mod:`cawe_jax.classifiers.outputs`): a class's probability. What is masked is
  black. Works with any network, also one without gradients.

  Args:
    num_masks: Number N of masks of each image; 4000 for VGG16 in the paper.
    num_cells: Cells of the grid along either side, at least 1.
    keep_probability: Of a cell, above 0 and below 1.

  Raises:
    ValueError: An argument is out of range.

  Example:
    >>> rise(num_masks=100).name
    'rise(num_masks=100, num_cells=7, keep_probability=0.5)'

  References:
    Petsiuk et al., RISE: Randomized Input Sampling for Explanation, BMVC 2018.
  """
  check_count("num_masks", num_masks)
  check_count("num_cells", num_cells)
  if not 0 < keep_probability < 1:
    raise ValueError(
      f"keep_probability is {keep_probability}; it must be above 0 and below 1"
    )

  def term(classifier: Classifier, rows: Batch, draws: Array) -> Array:
    keys = jax.vmap(jax.random.fold_in)(rows.keys, draws)
    size = rows.images.shape[1:3]
    masks = jax.vmap(lambda key: _mask(key, size, num_cells, keep_probability))(keys)
    outputs = classifier(rows.images * masks[..., None])
    scores = jax.vmap(classifier.output.score)(outputs, rows.targets)
    return scores[:, None, None] * masks / (num_masks * keep_probability)

  name = (
    f"rise(num_masks={num_masks}, num_cells={num_cells}, "
    f"keep_probability={keep_probability})"
  )
  return pixel_attribution(name, Sum(term, as_it_is, num_masks))


def _mask(
  key: Array, size: tuple[int, int], num_cells: int, keep_probability: float
) -> Array:
  """One mask ``[H, W]`` in [0, 1]."""
  cells = tuple(-(-side // num_cells) for side in size)
  enlarged = tuple((num_cells + 1) * side for side in cells)
  key_of_cells, key_of_place = jax.random.split(key)
  kept = jax.random.bernoulli(key_of_cells, keep_probability, (num_cells, num_cells))
  smooth = jax.image.resize(kept.astype(jnp.float32), enlarged, "bilinear")
  place = jax.random.randint(key_of_place, (2,), 0, jnp.asarray(cells))
  return jax.lax.dynamic_slice(smooth, place, size)
