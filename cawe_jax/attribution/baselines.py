"""Images that show nothing, from which a path to an image starts."""

from __future__ import annotations

import abc
from typing import Any

import numpy as np

from cawe_jax.attribution.attribution import check_range
from cawe_jax.part import Part, setting
from cawe_jax.types import Array, Images


class Baseline(Part, abc.ABC):
  """An image that shows nothing."""

  @abc.abstractmethod
  def __call__(self, images: Images) -> Any:
    """What shows nothing, of a shape that fits images ``[R, H, W, C]``."""

  def check_shape(self, images: Images) -> None:
    """Refuse images of another shape.

    Raises:
      ValueError: One line with both shapes.
    """


class grey(Baseline):
  """One grey value everywhere, in [0, 1]."""

  value: float = setting()

  def check(self) -> None:
    """Refuse a value that is no grey value."""
    check_range("baseline", self.value, 0, 1)

  @property
  def name(self) -> str:
    """The value."""
    return repr(self.value)

  def __call__(self, images: Images) -> float:
    """The value."""
    return self.value


class picture(Baseline):
  """An image ``[H, W, C]`` in [0, 1]."""

  image: Any

  @property
  def name(self) -> str:
    """Nothing of the numbers."""
    return "image"

  def check_shape(self, images: Images) -> None:
    """Refuse images of another shape than the baseline's."""
    if np.shape(self.image) != images.shape[1:]:
      raise ValueError(
        f"baseline has shape {np.shape(self.image)}; it must be that of an image, "
        f"{images.shape[1:]}"
      )

  def __call__(self, images: Images) -> Array:
    """The image as a batch of one, of the images' type."""
    return self.image.astype(images.dtype)[None]


def as_baseline(given: Any) -> Baseline:
  """A grey value or an image as a baseline; a baseline stays as it is.

  Raises:
    ValueError: It is neither; one line with the value, or its shape and range.

  Example:
    >>> as_baseline(0.5), as_baseline(np.zeros((2, 2, 3)))
    (0.5, image)
  """
  if isinstance(given, Baseline):
    return given
  array = np.asarray(given)
  if array.ndim == 0:
    return grey(float(array))
  if array.ndim != 3 or not np.all((array >= 0) & (array <= 1)):
    raise ValueError(
      f"baseline has shape {array.shape} and values in [{array.min()}, {array.max()}]; "
      "it must be a grey value or an image [H, W, C], in [0, 1]"
    )
  return picture(given if hasattr(given, "astype") else array)
