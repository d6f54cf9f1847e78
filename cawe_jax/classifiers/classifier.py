"""What the library needs to know of a network."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Set
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from cawe_jax.outputs import Output, softmax
from cawe_jax.types import BatchOfOutputs, Images


class Apply(Protocol):
  """A network: a function, or anything that is called like one."""

  def __call__(self, params: Any, images: Images, /) -> BatchOfOutputs:
    """The outputs of each image, which depend on that image alone.

    Args:
      params: The classifier's, a pytree of arrays.
      images: In [0, 1]; what normalises them is part of the network.
    """
    ...


class Settling(abc.ABC):
  """A network that may be another one by now though it is the same object."""

  @abc.abstractmethod
  def settle(self, images: Images) -> Apply:
    """The network as it is now, equal to what it was before if nothing has changed.

    Args:
      images: Such as it will get; only their shape and type count.
    """


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Classifier:
  """A function from images to outputs, with its parameters as data.

  Only ``params`` is a pytree child: a compiled program takes them as arguments, so that
  other weights need no other program. Normalisation lives inside ``apply``.

  Attributes:
    apply: An :class:`Apply`, ``(params, images [N, H, W, C] in [0, 1]) ->
      outputs [N, K]``, by default logits; each image's outputs must depend on that
      image alone. What it reads besides, such as a global or an object's attribute, is
      read once, as by ``jax.jit``.
    params: Pytree of arrays.
    input_size: ``(H, W)`` that the network was made for, or one int for both.
    class_names: One name per class, label or output, in their order, or None.
    name: For settings and figures.
    output: What the outputs mean: see :mod:`cawe_jax.outputs`.

  Example:
    >>> import jax.numpy as jnp
    >>> linear = lambda w, images: images.reshape(len(images), -1) @ w
    >>> classifier = Classifier(linear, jnp.ones((12, 2)), 2, ("cat", "dog"))
    >>> classifier(jnp.ones((1, 2, 2, 3))).tolist()
    [[12.0, 12.0]]
    >>> classifier.class_index("dog")
    1
  """

  apply: Apply = dataclasses.field(metadata={"static": True})
  params: Any
  input_size: int | tuple[int, int] = dataclasses.field(metadata={"static": True})
  class_names: tuple[str, ...] | None = dataclasses.field(
    default=None, metadata={"static": True}
  )
  name: str = dataclasses.field(default="custom", metadata={"static": True})
  output: Output = dataclasses.field(default=softmax(), metadata={"static": True})

  def __post_init__(self) -> None:
    # Static fields are compared and hashed, which lists cannot be.
    if isinstance(self.input_size, list):
      object.__setattr__(self, "input_size", tuple(self.input_size))
    if self.class_names is not None:
      object.__setattr__(self, "class_names", _checked_names(self.class_names))

  def __call__(self, images: Images) -> BatchOfOutputs:
    """Outputs ``[N, K]`` of images ``[N, H, W, C]`` in [0, 1], at least float32.

    A network may compute in half precision, whose probabilities near 1 are 0.004 apart;
    what is computed from its outputs does not.

    Raises:
      ValueError: ``apply`` returned anything but floating-point numbers ``[N, K]``, or
        there are not K class names.
    """
    outputs = self.apply(self.params, images)
    if not isinstance(outputs, jax.Array | np.ndarray):
      got = f"a {type(outputs).__name__}"
    elif outputs.ndim != 2 or len(outputs) != len(images) or outputs.shape[1] == 0:
      got = f"shape {outputs.shape}"
    elif not jnp.issubdtype(outputs.dtype, jnp.floating):
      got = f"type {outputs.dtype}"
    else:
      self.check_num_names(outputs.shape[1])
      return outputs.astype(np.promote_types(outputs.dtype, np.float32))
    raise ValueError(
      f"classifier {self.name!r} returned {got} for {len(images)} images; it must be "
      f"floating-point numbers [{len(images)}, K]"
    )

  def settled(self, images: Images) -> Classifier:
    """The classifier as it is now: compiled programs are found by what they call.

    Args:
      images: ``[N, H, W, C]`` such as it will get; only their shape and type count.
    """
    if not isinstance(self.apply, Settling):
      return self
    return dataclasses.replace(self, apply=self.apply.settle(images))

  def check_num_names(self, num_outputs: int) -> None:
    """Check that there is one class name per output, or none at all.

    Raises:
      ValueError: There are more or fewer.
    """
    if self.class_names and len(self.class_names) != num_outputs:
      raise ValueError(
        f"classifier {self.name!r} has {len(self.class_names)} class_names and "
        f"{num_outputs} outputs; there must be one name per output"
      )

  def class_name(self, index: int) -> str:
    """The name of a class, or e.g. ``class 7`` where there are no names."""
    return (
      self.class_names[index] if self.class_names else f"{self.output.noun} {index}"
    )

  def class_index(self, target: int | str) -> int:
    """The index of a class given by index or name.

    Args:
      target: A name, in whatever case; or an index, also as digits where no class has
        them as its name. With folders of digits as classes, ``"2"`` is the class
        called 2, wherever it stands, and ``2`` the third one.

    Raises:
      ValueError: No such class, or several of that name.
    """
    text = str(target).strip()
    names = [name.casefold() for name in self.class_names or ()]
    name = text.casefold() if isinstance(target, str) else None
    found = [i for i, known in enumerate(names) if known == name]
    if len(found) == 1:
      return found[0]
    if text.isdecimal() and not found:
      last = len(names) - 1 if names else 2**31 - 1
      index = int(text[-10:]) if not text[:-10].strip("0") else last + 1
      if index > last:
        raise ValueError(f"target is {text:.20}; allowed are 0 to {last}")
      return index
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
    or_name = " or a class name" if names else ", since it has no class_names"
    raise ValueError(
      f"target {target!r} is no class of {self.name}; allowed is a class index"
      f"{or_name}{hint}"
    )


def _checked_names(names: Any) -> tuple[str, ...]:
  """Class names as a tuple, whatever sequence they were."""
  if isinstance(names, str | bytes | Mapping | Set):
    raise ValueError(
      f"class_names is a {type(names).__name__}; it must be a list with one name per "
      "output, in the order of the outputs"
    )
  names = tuple(names)
  for name in names:
    if not isinstance(name, str):
      raise ValueError(f"class_names has the entry {name!r:.80}; names must be text")
  return names
