"""What the library needs to know of a network."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cawe_jax.classifiers.outputs import Output, softmax
from cawe_jax.types import Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Classifier:
  """A function from images to outputs, with its parameters as data.

  Only ``params`` is a pytree child: a compiled program takes them as arguments, so that
  other weights need no other program. Normalisation lives inside ``apply``.

  Attributes:
    apply: ``(params, images [N, H, W, C] in [0, 1]) -> outputs [N, K]``, by default
      logits; each image's outputs must depend on that image alone.
    params: Pytree of arrays.
    input_size: ``(H, W)`` that the network was made for, or one int for both.
    class_names: One name per class, label or output, or None.
    name: For settings and figures.
    output: What the outputs mean: see :mod:`cawe_jax.classifiers.outputs`.

  Example:
    >>> import jax.numpy as jnp
    >>> linear = lambda w, images: images.reshape(len(images), -1) @ w
    >>> classifier = Classifier(linear, jnp.ones((12, 2)), 2, ("cat", "dog"))
    >>> classifier(jnp.ones((1, 2, 2, 3))).tolist()
    [[12.0, 12.0]]
    >>> classifier.class_index("dog")
    1
  """

  apply: Callable[[Any, Array], Array] = dataclasses.field(metadata={"static": True})
  params: Any
  input_size: int | tuple[int, int] = dataclasses.field(metadata={"static": True})
  class_names: tuple[str, ...] | None = dataclasses.field(
    default=None, metadata={"static": True}
  )
  name: str = dataclasses.field(default="custom", metadata={"static": True})
  output: Output = dataclasses.field(default=softmax(), metadata={"static": True})

  def __post_init__(self) -> None:
    # Static fields are compared and hashed, which lists cannot be.
    for name in ("input_size", "class_names"):
      value = getattr(self, name)
      if isinstance(value, list):
        object.__setattr__(self, name, tuple(value))

  def __call__(self, images: Array) -> Array:
    """Outputs ``[N, K]`` of images ``[N, H, W, C]`` in [0, 1], at least float32.

    A network may compute in half precision, whose probabilities near 1 are 0.004 apart;
    what is computed from its outputs does not.

    Raises:
      ValueError: ``apply`` returned anything but floating-point numbers ``[N, K]``.
    """
    outputs = self.apply(self.params, images)
    if not isinstance(outputs, jax.Array | np.ndarray):
      got = f"a {type(outputs).__name__}"
    elif outputs.ndim != 2 or len(outputs) != len(images) or outputs.shape[1] == 0:
      got = f"shape {outputs.shape}"
    elif not jnp.issubdtype(outputs.dtype, jnp.floating):
      got = f"type {outputs.dtype}"
    else:
      return outputs.astype(jnp.promote_types(outputs.dtype, jnp.float32))
    raise ValueError(
      f"classifier {self.name!r} returned {got} for {len(images)} images; it must be "
      f"floating-point numbers [{len(images)}, K]"
    )

  def class_name(self, index: int) -> str:
    """The name of a class, or e.g. ``class 7`` where there are no names."""
    return (
      self.class_names[index] if self.class_names else f"{self.output.noun} {index}"
    )

  def class_index(self, target: int | str) -> int:
    """The index of a class given by index or name.

    Raises:
      ValueError: No such class, or several of that name.
    """
    text = str(target).strip()
    if text.isdecimal():
      index = int(text)
      if self.class_names and index >= len(self.class_names):
        raise ValueError(
          f"target is {target}; allowed are 0 to {len(self.class_names) - 1}"
        )
      return index
    names = [name.casefold() for name in self.class_names or ()]
    found = [i for i, name in enumerate(names) if name == text.casefold()]
    if len(found) == 1:
      return found[0]
    if found:
      raise ValueError(
        f"target {target!r} names several classes; give one of the indices "
        f"{', '.join(map(str, found))}"
      )
    near = [
      f"{i} {self.class_name(i)!r}"
      for i, name in enumerate(names)
      if text.casefold() in name
    ]
    hint = f"; near: {', '.join(near[:5])}" if near else ""
    raise ValueError(
      f"target {target!r} is no class of {self.name}; allowed is a class index or "
      f"a class name{hint}"
    )
