"""The pixel representation: the identity, with all pixels in one noise group."""

from __future__ import annotations

from cawe_jax.types import Coefficients, Image, Representation, Transform


class pixel(Transform):
  """Mask pixels (Pixel RDE).

  Bound to an image shape ``(H, W, C)``, the representation has one leaf
  ``[1, H, W, C]``; ``k = H * W``.

  Example:
    >>> pixel()((8, 6, 3)).mask_shapes
    ((1, 8, 6, 1),)
  """

  def bind(self, image_shape: tuple[int, int, int]) -> Representation:
    """The pixels of images of shape ``(H, W, C)``."""
    height, width, _ = image_shape
    return _Pixels(self, image_shape, ((1, height, width, 1),))


class _Pixels(Representation):
  def analysis(self, image: Image) -> Coefficients:
    return (image[None],)

  def synthesis(self, coefficients: Coefficients) -> Image:
    return coefficients[0][0]
