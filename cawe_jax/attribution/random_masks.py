"""RISE: the mean of random masks, weighted by the score of the image they leave."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from cawe_jax.attribution.attribution import PixelAttribution
from cawe_jax.attribution.samples import Batch, Maps, Samples
from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.methods.contracts import check_count
from cawe_jax.part import setting
from cawe_jax.types import Array


class rise(PixelAttribution):
  r"""Random masks, weighted by scores.

  .. math:: R = \frac{1}{N p} \sum_{n=1}^{N} p_t(x \odot M_n)\, M_n

  A mask is a coarse grid of cells that are kept or not, enlarged bilinearly by a cell
  more than the image and cut at a random place. The score is what the network's output
  says (:mod:`cawe_jax.outputs`): a class's probability. What is masked is
  black. Works with any network, also one without gradients.

  Args:
    num_masks: Number N of masks of each image; 4000 for VGG16 in the paper.
    num_cells: Cells of the grid along either side, at least 1.
    keep_probability: The probability that a cell is kept, above 0 and below 1.

  Raises:
    ValueError: An argument is out of range.

  Example:
    >>> rise(num_masks=100).name
    'rise(num_masks=100, num_cells=7, keep_probability=0.5)'

  References:
    Petsiuk et al., RISE: Randomized Input Sampling for Explanation, BMVC 2018.
  """

  num_masks: int = setting(default=4000)
  num_cells: int = setting(default=7)
  keep_probability: float = setting(default=0.5)

  def check(self) -> None:
    """Refuse counts below 1 and a probability that is none or decides nothing."""
    check_count("num_masks", self.num_masks)
    check_count("num_cells", self.num_cells)
    if not 0 < self.keep_probability < 1:
      raise ValueError(
        f"keep_probability is {self.keep_probability}; it must be above 0 and below 1"
      )

  def num_terms(self) -> int:
    """One for each mask."""
    return self.num_masks

  def term(self, classifier: Classifier, rows: Batch, samples: Samples) -> Maps:
    """The mask of each row, weighted by its score."""
    keys = jax.vmap(jax.random.fold_in)(rows.keys, samples)
    size, cells, keep = rows.images.shape[1:3], self.num_cells, self.keep_probability
    masks = jax.vmap(lambda key: _mask(key, size, cells, keep))(keys)
    outputs = classifier(rows.images * masks[..., None])
    scores = jax.vmap(classifier.output.score)(outputs, rows.targets)
    return scores[:, None, None] * masks / (self.num_masks * keep)


def _mask(
  key: Array, size: tuple[int, int], num_cells: int, keep_probability: float
) -> Array:
  """One mask ``[H, W]`` in [0, 1]."""
  cells = tuple(-(-side // num_cells) for side in size)
  enlarged = tuple((num_cells + 1) * side for side in cells)
  key_of_cells, key_of_place = jax.random.split(key)
  # Types that programs of 64 bits do not change, hence the same masks there.
  share = jnp.float32(keep_probability)
  kept = jax.random.bernoulli(key_of_cells, share, (num_cells, num_cells))
  smooth = jax.image.resize(kept.astype(jnp.float32), enlarged, "bilinear")
  last = jnp.asarray(cells, jnp.int32)
  place = jax.random.randint(key_of_place, (2,), 0, last, jnp.int32)
  return jax.lax.dynamic_slice(smooth, place, size)
