"""What parts of a method must be, checked before a search begins.

A part that somebody wrote is traced on shapes alone, in a few milliseconds, and what is
wrong is said in one line that names the part. :func:`check_inverse` computes too; it is
for tests.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cawe_jax.types import (
  Distortion,
  Penalty,
  Perturbation,
  Representation,
  Transform,
)


def check_parts(representation: Any, perturbation: Any) -> None:
  """Refuse what is no transform and no perturbation.

  Raises:
    ValueError: One line that says what was given instead.
  """
  check_transform(representation)
  check_part("perturbation", perturbation, Perturbation)


def check_part(name: str, part: Any, kind: type) -> None:
  """Refuse what is not of the kind that factories make.

  Raises:
    ValueError: One line that says what was given instead.
  """
  if not isinstance(part, kind):
    raise ValueError(
      f"{name} is {part!r}; it must be a {kind.__module__}.{kind.__name__}, which "
      "factories return when they are called"
    )


def check_transform(representation: Any) -> None:
  """Refuse what is no transform.

  Raises:
    ValueError: One line that says what was given instead.
  """
  if not isinstance(representation, Transform):
    hint = "a Representation, which is bound to one image shape already"
    given = hint if isinstance(representation, Representation) else repr(representation)
    raise ValueError(
      f"representation is {given}; it must be a cawe_jax.types.Transform"
    )


def bind(transform: Transform, image_shape: tuple[int, int, int]) -> Representation:
  """A transform's representation of images of shape ``(H, W, C)``.

  Raises:
    ValueError: One line: it is no transform, fails on this shape, or makes something
      else.

  Example:
    >>> from cawe_jax.representations import pixel
    >>> bind(pixel(), (8, 8, 3)).num_entries
    64
  """
  check_transform(transform)
  what = f"representation {transform.name!r}, made for images of shape {image_shape},"
  try:
    bound = transform(image_shape)
  except ValueError:
    raise  # of the library's own, or as good
  except Exception as error:
    raise ValueError(f"{what} failed with {in_one_line(error)}") from error
  if not isinstance(bound, Representation):
    raise ValueError(
      f"{what} is {bound!r:.80}; it must be a cawe_jax.types.Representation"
    )
  # Compared and hashed, which lists cannot be.
  shapes: Any = tuple(tuple(shape) for shape in bound.mask_shapes)
  return bound._replace(mask_shapes=shapes)


@functools.lru_cache(maxsize=256)
def check_representation(bound: Representation) -> None:
  """Leaves of analysis and what synthesis makes of them, for C channels and for one.

  The grey image goes through both maps too, with one channel.

  Raises:
    ValueError: One line that names the representation, what it returned, and what is
      allowed.

  Example:
    >>> from cawe_jax.representations import wavelet
    >>> check_representation(wavelet("haar", levels=2)((32, 32, 3)))
  """
  name = f"representation {bound.name!r}"
  height, width, channels = bound.image_shape
  for shape in bound.mask_shapes:
    if len(shape) != 4 or shape[-1] != 1 or 0 in shape:
      raise ValueError(
        f"{name}: mask_shapes has {shape}; allowed is (orientations, h, w, 1)"
      )
  for count in sorted({channels, 1}, reverse=True):
    image = _shaped((height, width, count))
    what = f"{name}: analysis of an image of shape {image.shape}"
    leaves = _trace(what, bound.analysis, image)
    expected = coefficients_of(bound, count)
    _check_like(what, leaves, expected)
    what = f"{name}: synthesis of coefficients with {count} channel(s)"
    _check_like(what, _trace(what, bound.synthesis, expected), image)


@functools.lru_cache(maxsize=256)
def check_initial_mask(initial_mask: Any, bound: Representation) -> None:
  """An :class:`.InitialMask` makes leaves of the shapes that masks here have.

  Raises:
    ValueError: One line that names the initial mask, what it returned, and what is
      allowed.

  Example:
    >>> from cawe_jax.initial_masks import ones
    >>> from cawe_jax.representations import pixel
    >>> check_initial_mask(ones(), pixel()((32, 32, 3)))
  """
  what = f"initial_mask {initial_mask.name!r}"
  key = jax.eval_shape(lambda: jax.random.key(0))
  found = _trace(what, lambda key: initial_mask.make(key, bound), key)
  _check_like(what, found, coefficients_of(bound, 1))


@functools.lru_cache(maxsize=256)
def check_perturbation(perturbation: Perturbation, bound: Representation) -> None:
  """A draw has the structure and the shapes of an image's coefficients.

  Raises:
    ValueError: One line that names the perturbation, what it returned, and what is
      allowed.

  Example:
    >>> from cawe_jax.perturbations import blur
    >>> from cawe_jax.representations import pixel
    >>> check_perturbation(blur(), pixel()((32, 32, 3)))
  """
  name = f"perturbation {perturbation.name!r}"

  def init(image: Any) -> Any:
    return perturbation.init(image, bound)

  state = _trace(f"{name}: init", init, _shaped(bound.image_shape))
  expected = coefficients_of(bound, bound.image_shape[-1])
  mask = coefficients_of(bound, 1)
  key = jax.eval_shape(lambda: jax.random.key(0))
  draw = _trace(f"{name}: sample", perturbation.sample, key, state, mask, expected)
  _check_like(f"{name}: sample", draw, expected)


@functools.lru_cache(maxsize=256)
def check_distortion(distortion: Distortion, num_outputs: int) -> None:
  """A real number of the clean outputs ``[K]``, the outputs ``[K]`` and the target.

  Raises:
    ValueError: One line that names the distortion and what it returned.

  Example:
    >>> from cawe_jax.distortions import kl
    >>> check_distortion(kl, 1000)
    >>> check_distortion(lambda clean, logits, target: logits - clean, 1000)
    Traceback (most recent call last):
      ...
    ValueError: distortion '<lambda>' returned float32[1000]; must be float32[]
  """
  what = f"distortion {name_of(distortion)!r}"
  logits, target = _shaped((num_outputs,)), _shaped((), jnp.int32)
  _check_like(what, _trace(what, distortion, logits, logits, target), _shaped(()))


@functools.lru_cache(maxsize=256)
def check_penalty(penalty: Penalty, bound: Representation) -> None:
  """A real number of a mask and a greyscale explanation ``[H, W, 1]``.

  Raises:
    ValueError: One line that names the penalty and what it returned.
  """
  what = f"penalty {name_of(penalty)!r}"
  grey = _shaped((*bound.image_shape[:2], 1))
  found = _trace(what, penalty, coefficients_of(bound, 1), grey)
  _check_like(what, found, _shaped(()))


def check_inverse(bound: Representation, tolerance: float = 1e-4) -> None:
  """Synthesis undoes analysis, on an image of random pixels.

  Args:
    bound: A representation bound to an image shape.
    tolerance: Largest error of a pixel in [0, 1].

  Raises:
    ValueError: One line with the largest error.

  Example:
    >>> from cawe_jax.representations import wavelet
    >>> check_inverse(wavelet("db3", levels=2)((32, 32, 3)))
  """
  image = np.random.default_rng(0).random(bound.image_shape, np.float32)
  error = float(
    jnp.abs(bound.synthesis(bound.analysis(jnp.asarray(image))) - image).max()
  )
  if not error <= tolerance:
    raise ValueError(
      f"representation {bound.name!r}: synthesis(analysis(image)) differs from the "
      f"image by up to {error:.3g}; allowed is {tolerance:g}"
    )


def coefficients_of(bound: Representation, channels: int) -> tuple[Any, ...]:
  """Shapes of the coefficients of an image with that many channels."""
  return tuple(_shaped((*shape[:3], channels)) for shape in bound.mask_shapes)


def _shaped(shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(shape, dtype)


def _trace(what: str, function: Callable[..., Any], *arguments: Any) -> Any:
  try:
    return jax.eval_shape(function, *arguments)
  except Exception as error:
    raise ValueError(f"{what} failed with {in_one_line(error)}") from error


def _check_like(what: str, found: Any, expected: Any) -> None:
  """The same structure, shapes, and floating types."""
  found_leaves, found_tree = jax.tree.flatten(found)
  leaves, tree = jax.tree.flatten(expected)
  alike = found_tree == tree and all(  # type: ignore[operator]
    x.shape == y.shape and jnp.issubdtype(x.dtype, jnp.floating)
    for x, y in zip(found_leaves, leaves, strict=True)
  )
  if not alike:
    raise ValueError(f"{what} returned {_written(found)}; must be {_written(expected)}")


def _written(tree: Any) -> str:
  """Types and shapes, e.g. ``(float32[1, 7, 7, 3], float32[3, 7, 7, 3])``."""
  if isinstance(tree, tuple | list):
    inside = ", ".join(_written(leaf) for leaf in tree)
    if isinstance(tree, list):
      return f"[{inside}]"
    return f"({inside},)" if len(tree) == 1 else f"({inside})"
  if hasattr(tree, "shape"):
    return f"{tree.dtype}{list(tree.shape)}"
  return repr(tree)


def in_one_line(error: Exception) -> str:
  r"""An error's type and the first line that says something; JAX goes on for many.

  Example:
    >>> in_one_line(TypeError("got a list\nmuch more"))
    'TypeError: got a list'
  """
  said = [line.strip() for line in str(error).splitlines() if line.strip()]
  return f"{type(error).__name__}: {said[0]}" if said else type(error).__name__


def name_of(function: object) -> str:
  """The name of a part that is a function; of a nameless partial one, what it calls.

  Example:
    >>> name_of(max), name_of(functools.partial(max, default=0))
    ('max', 'max(default=0)')
  """
  if own := getattr(function, "__name__", None):
    return str(own)
  if isinstance(function, functools.partial):
    given = [*map(repr, function.args)]
    given += [f"{key}={value!r}" for key, value in function.keywords.items()]
    return " ".join(f"{name_of(function.func)}({', '.join(given)})".split())
  return repr(function)
