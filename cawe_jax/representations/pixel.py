"""The pixel representation: the identity, with all pixels in one noise group."""

from __future__ import annotations

from cawe_jax.memo import memoised
from cawe_jax.types import Array, Coefficients, Representation, Transform


@memoised
def pixel() -> Transform:
  """Mask pixels (Pixel RDE).

  Returns:
    A transform to bind to an image shape ``(H, W, C)``: the representation has
    one leaf ``[1, H, W, C]``; ``k = H * W``.

  Example:
    >>> pixel()((8, 6, 3)).mask_shapes
    ((1, 8, 6, 1),)
  """

  def analysis(image: Array) -> Coefficients:
    return (image[None],)

  def synthesis(coefficients: Coefficients) -> Array:
    return coefficients[0][0]

  @memoised
  def bind(image_shape: tuple[int, int, int], /) -> Representation:
    height, width, _ = image_shape
    return Representation(
      "pixel()", image_shape, ((1, height, width, 1),), analysis, synthesis
    )

  return Transform("pixel()", bind)
