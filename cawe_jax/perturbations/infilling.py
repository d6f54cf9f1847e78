"""What an inpainter makes of what is kept, in the place of masked coefficients."""

from __future__ import annotations

from typing import ClassVar, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from cawe_jax.inpainting import harmonic
from cawe_jax.part import as_part
from cawe_jax.types import (
  Coefficients,
  GreyImage,
  Image,
  Instance,
  Key,
  Mask,
  Masked,
  Perturbation,
)


class Inpainter(Protocol):
  """What completes an image: a function, or a part such as a network with weights."""

  def __call__(self, visible: Image, known: GreyImage, /) -> Image:
    """The completed image; it runs inside `jit`, and no gradient is taken of it.

    Args:
      visible: ``known * image``.
      known: How far each pixel is known, in [0, 1].
    """
    ...


class infill(Perturbation):
  """The coefficients of the image completed by an inpainter from what is kept.

  The hole is defined in pixels, for every representation alike: a pixel is known to
  the degree ``e_k / (e_k + e_m)``, where ``e_k`` and ``e_m`` are the energies there of
  the kept and of the masked part of the image. (They are taken of ``(1 + x) / 2``, so
  that black has energy too. A pixel mask of zeros and ones is thereby its own map of
  what is known.) No gradient flows through the inpainter's view of the mask.

  Args:
    inpainter: An :class:`Inpainter`: a function such as
      :func:`cawe_jax.inpainting.harmonic`, or a network as a part, whose weights are
      its data. It must run inside `jit`.

  References:
    Kolek et al., A Rate-Distortion Framework, 2021; Heiss et al., 2020.
  """

  is_random: ClassVar[bool] = False
  inpainter: Inpainter = harmonic

  def __post_init__(self) -> None:
    object.__setattr__(self, "inpainter", as_part(self.inpainter))
    super().__post_init__()

  def init(self, instance: Instance) -> _Visible:
    """The image and its lifted coefficients."""
    lifted = instance.representation.analysis((1 + instance.image) / 2)
    return _Visible(instance.image, lifted)

  def sample(self, key: Key, state: _Visible, masked: Masked) -> Coefficients:
    """The completed image's coefficients."""
    known = _known_pixels(state, masked)
    return masked.representation.analysis(self.inpainter(known * state.image, known))


class _Visible(NamedTuple):
  """The image, and ``T((1 + x) / 2)``."""

  image: Image
  lifted: Coefficients


def _known_pixels(state: _Visible, masked: Masked) -> GreyImage:
  """How far each pixel is kept: ``[H, W, 1]`` in [0, 1]; see :class:`infill`."""

  def energy(share: Mask) -> GreyImage:
    part = tuple(s * h for s, h in zip(share, state.lifted, strict=True))
    image = masked.representation.synthesis(part)
    return jnp.sum(image**2, axis=-1, keepdims=True)

  mask = jax.lax.stop_gradient(masked.mask)
  kept, lost = energy(mask), energy(jax.tree.map(lambda s: 1 - s, mask))
  return kept / jnp.maximum(kept + lost, 1e-12)
