"""What parts of a method must be, checked before a search begins.

A part that somebody wrote is traced on shapes alone, in a few milliseconds, and what is
wrong is said in one line that names the part. :func:`check_inverse` computes too; it is
for tests.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cawe_jax.initial_masks import InitialMask
from cawe_jax.objective import Objective
from cawe_jax.part import as_part, name_of
from cawe_jax.schedules import Schedule
from cawe_jax.solvers import Solver
from cawe_jax.stopping import Stopping
from cawe_jax.types import (
  Distortion,
  Instance,
  Masked,
  Penalty,
  Perturbation,
  Representation,
  Transform,
)

_KINDS = {
  "initial_mask": InitialMask,
  "solver": Solver,
  "schedule": Schedule,
  "stopping": Stopping,
}


def check_method(method: Any) -> None:
  """Refuse parts of a :class:`.Method` that are none, and numbers that make no sense.

  Raises:
    ValueError: One line that names the part or the number and what is allowed.
  """
  if not hasattr(method, "recipe"):
    raise ValueError(
      f"method is {method!r:.80}; it must be a Method, such as cartoonx() returns"
    )
  recipe = method.recipe
  check_transform(method.representation)
  check_part("perturbation", method.perturbation, Perturbation)
  for name, kind in _KINDS.items():
    check_part(name, getattr(recipe, name), kind)
  if len(method.penalty_weights) != len(method.penalties):
    raise ValueError(
      f"penalty_weights has {len(method.penalty_weights)} entries; the method has "
      f"{len(method.penalties)} penalties"
    )
  named = {"lagrange_multiplier": method.lagrange_multiplier}
  for penalty, weight in zip(method.penalties, method.penalty_weights, strict=True):
    name = f"weight of {name_of(penalty)}"
    if name in named:
      raise ValueError(
        f"penalties has two that are called {name_of(penalty)}; their values are in "
        "the history by name: give each a __name__ of its own"
      )
    named[name] = weight
  for name, value in named.items():
    if not (are_real(value) and np.all(np.asarray(value) >= 0)):
      raise ValueError(f"{name} is {value!r}; it must be finite and at least 0")
  size = recipe.step_size
  if not (are_real(size) and np.all(np.asarray(size) > 0)):
    raise ValueError(f"step_size is {size!r}; it must be finite and above 0")
  if np.shape(recipe.contrast) != (2,) or not (
    0 <= recipe.contrast[0] < recipe.contrast[1] <= 1
  ):
    raise ValueError(
      f"contrast is {recipe.contrast}; it must be two numbers, 0 <= low < high <= 1: "
      "(0, 1) keeps the mask as it is"
    )
  check_count("num_steps", recipe.num_steps)
  check_count("num_draws", recipe.num_draws)


def are_real(values: Any) -> bool:
  """Whether all are finite numbers, and no texts or booleans.

  Example:
    >>> are_real([1, 2.5]), are_real("20"), are_real(True), are_real(float("nan"))
    (True, False, False, False)
  """
  array = np.asarray(values)
  is_number = jnp.issubdtype(array.dtype, np.number)
  return is_number and bool(np.all(np.isfinite(array)))


def check_count(name: str, count: Any, most: int = 2**31 - 1, least: int = 1) -> None:
  """Refuse a count that is no integer from ``least`` to ``most``.

  Raises:
    ValueError: One line that names the count, its value and what is allowed.
  """
  is_integer = isinstance(count, int | np.integer) and not isinstance(count, bool)
  if not (is_integer and least <= count <= most):
    raise ValueError(
      f"{name} is {count!r}; it must be an integer from {least} to {most}"
    )


def check_part(name: str, part: Any, kind: type) -> None:
  """Refuse a part that is not of the kind wanted.

  Raises:
    ValueError: One line that says what was given instead.
  """
  if not isinstance(part, kind):
    hint = ": call it" if isinstance(part, type) else ""
    raise ValueError(
      f"{name} is {part!r}; it must be a {kind.__module__}.{kind.__name__}{hint}"
    )


def check_transform(representation: Any) -> None:
  """Refuse a representation that is no transform.

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
  return bound


def check_objective(objective: Objective, num_outputs: int) -> None:
  """All parts of an objective fit together, for a network of K outputs.

  Raises:
    ValueError: As the checks below.
  """
  representation = objective.representation
  check_representation(representation)
  check_perturbation(objective.perturbation, representation, num_outputs)
  check_distortion(objective.distortion, num_outputs)
  for penalty in objective.penalties:
    check_penalty(penalty, representation)


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
    leaves = _trace(what, _analysis, bound, image)
    expected = coefficients_of(bound, count)
    _check_like(what, leaves, expected)
    what = f"{name}: synthesis of coefficients with {count} channel(s)"
    _check_like(what, _trace(what, _synthesis, bound, expected), image)


def check_initial_mask(
  initial_mask: InitialMask, bound: Representation, num_outputs: int = 2
) -> None:
  """An initial mask makes leaves of the shapes that masks here have.

  Raises:
    ValueError: One line that names the initial mask, what it returned, and what is
      allowed.

  Example:
    >>> from cawe_jax.initial_masks import ones
    >>> from cawe_jax.representations import pixel
    >>> check_initial_mask(ones(), pixel()((32, 32, 3)))
  """
  what = f"initial_mask {initial_mask.name!r}"
  instance = _instance(bound, num_outputs)
  _check_like(what, _trace(what, _make, initial_mask, instance), _masks_of(bound))


def check_perturbation(
  perturbation: Perturbation, bound: Representation, num_outputs: int = 2
) -> None:
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
  instance = _instance(bound, num_outputs)
  state = _trace(f"{name}: init", _init, perturbation, instance)
  expected = coefficients_of(bound, bound.image_shape[-1])
  masked = Masked(_masks_of(bound), expected, bound)
  draw = _trace(f"{name}: sample", _sample, perturbation, state, masked)
  _check_like(f"{name}: sample", draw, expected)


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
  found = _trace(what, _call, as_part(distortion), logits, logits, target)
  _check_like(what, found, _shaped(()))


def check_penalty(penalty: Penalty, bound: Representation) -> None:
  """A real number of a mask and a greyscale explanation ``[H, W, 1]``.

  Raises:
    ValueError: One line that names the penalty and what it returned.
  """
  what = f"penalty {name_of(penalty)!r}"
  grey = _shaped((*bound.image_shape[:2], 1))
  found = _trace(what, _call, as_part(penalty), _masks_of(bound), grey)
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


def _masks_of(bound: Representation) -> tuple[Any, ...]:
  return coefficients_of(bound, 1)


def _instance(bound: Representation, num_outputs: int) -> Instance:
  outputs, target = _shaped((num_outputs,)), _shaped((), jnp.int32)
  return Instance(_shaped(bound.image_shape), outputs, target, bound)


# What is traced, as functions of parts and shapes: JAX remembers what it has traced.


def _analysis(bound: Representation, image: Any) -> Any:
  return bound.analysis(image)


def _synthesis(bound: Representation, coefficients: Any) -> Any:
  return bound.synthesis(coefficients)


def _make(initial_mask: InitialMask, instance: Instance) -> Any:
  return initial_mask.make(jax.random.key(0), instance)


def _init(perturbation: Perturbation, instance: Instance) -> Any:
  return perturbation.init(instance)


def _sample(perturbation: Perturbation, state: Any, masked: Masked) -> Any:
  return perturbation.sample(jax.random.key(0), state, masked)


def _call(part: Callable[..., Any], *arguments: Any) -> Any:
  return part(*arguments)


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
