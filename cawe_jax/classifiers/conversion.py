"""Published PyTorch tensors to Flax parameters, every name and shape checked.

A network says in a :data:`Layout` which tensors become the parameters of which of its
layers. What those tensors must look like follows from the module's own parameters, so
one function converts every network and nothing is dropped silently: a tensor that is
missing, extra or misshapen is an error that names it.

Three things that follow a matrix product at inference are folded into it, which is
exact: batch normalisation, ConvNeXt's layer scale, and the bias before either. The
arithmetic of folding is done in 64 bits.
"""

from __future__ import annotations

import collections
import functools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

Shape = tuple[int, ...]
_MANY = 6
_COUNTERS = (".num_batches_tracked", "n_averaged")


class Source(NamedTuple):
  """Names of the tensors that become one layer, or one parameter outside of layers.

  Attributes:
    weight: The kernel, a layer normalisation's scale, or the parameter itself.
    bias: Or None where there is none, which is a bias of 0.
    norm: Prefix of the batch normalisation that follows.
    epsilon: What it adds to the variance.
    scale: A factor per output channel that follows.
  """

  weight: str
  bias: str | None = None
  norm: str | None = None
  epsilon: float = 1e-5
  scale: str | None = None


Layout = dict[str, Source]
"""By path in the module: ``stage_0_block_1/conv2``, a layer, or a parameter."""


def plain(prefix: str, scale: str | None = None) -> Source:
  """A layer with weight and bias, for example ``plain("fc")``."""
  return Source(f"{prefix}.weight", f"{prefix}.bias", scale=scale)


def folded(
  prefix: str, norm: str, epsilon: float = 1e-5, *, with_bias: bool = False
) -> Source:
  """A convolution and the batch normalisation after it."""
  bias = f"{prefix}.bias" if with_bias else None
  return Source(f"{prefix}.weight", bias, norm, epsilon)


@functools.cache
def parameter_shapes(module: nn.Module, input_size: int) -> dict[str, Shape]:
  """Shapes of a module's parameters by path; nothing is computed.

  Args:
    module: A network.
    input_size: Side of its images in pixels.

  Returns:
    ``{"stem/kernel": (3, 3, 3, 32), ...}``.
  """
  images = jax.ShapeDtypeStruct((1, input_size, input_size, 3), jnp.float32)
  variables = jax.eval_shape(module.init, jax.random.key(0), images)
  flat = flatten_dict(variables["params"], sep="/")
  return {path: leaf.shape for path, leaf in flat.items()}


def expected_tensors(
  layout: Layout, shapes: Mapping[str, Shape]
) -> dict[str, tuple[Shape, ...]]:
  """What a checkpoint must hold.

  Args:
    layout: The names.
    shapes: The shapes of the module's parameters, from :func:`parameter_shapes`.

  Returns:
    By tensor name its shape; several where a matrix may come as a 1 x 1 convolution or
    the like. The first is the shape in which PyTorch multiplies.

  Raises:
    ValueError: The layout does not name exactly the module's layers.
  """
  leaves = _leaves_by_layer(shapes)
  if leaves.keys() != layout.keys():
    wrong = sorted(leaves.keys() ^ layout.keys())
    raise ValueError(f"layout and module differ in the layers {', '.join(wrong)}")
  expected = {}
  for layer, source in layout.items():
    kind = _kind(leaves[layer])
    shape = shapes[f"{layer}/{kind}" if kind else layer]
    channels = shape[-1:]
    expected[source.weight] = _weight_shapes(shape) if kind == "kernel" else (shape,)
    if source.bias:
      expected[source.bias] = (channels,)
    if source.norm:
      for part in ("weight", "bias", "running_mean", "running_var"):
        expected[f"{source.norm}.{part}"] = (channels,)
    if source.scale:
      expected[source.scale] = (channels, (*channels, 1, 1))
  return expected


def convert(
  tensors: Mapping[str, np.ndarray],
  layouts: Mapping[str, Layout],
  shapes: Mapping[str, Shape],
  *,
  name: str = "network",
  dtype: Any = np.float32,
) -> dict[str, np.ndarray]:
  """A module's parameters from a checkpoint's tensors.

  Args:
    tensors: Names and arrays as PyTorch saves them. The counters of batches and of
      averaged models, which only training uses, may be among them.
    layouts: By whose names they are. The one that knows most of the tensors is taken.
    shapes: The shapes of the module's parameters, from :func:`parameter_shapes`.
    name: What errors call the network.
    dtype: The type of the result.

  Returns:
    Arrays by path, of exactly the given shapes.

  Raises:
    ValueError: Tensors are missing, extra or misshapen, the first are listed; or one
      has integers, NaN, infinite numbers or negative variances.
  """
  tensors = {
    key: value for key, value in tensors.items() if not key.endswith(_COUNTERS)
  }
  whose, layout = max(
    layouts.items(),
    key=lambda item: len(expected_tensors(item[1], shapes).keys() & tensors.keys()),
  )
  expected = expected_tensors(layout, shapes)
  _check(tensors, expected, f"checkpoint for {name!r} ({whose} names)")
  _check_values(tensors, f"checkpoint for {name!r}")
  leaves = _leaves_by_layer(shapes)
  params: dict[str, np.ndarray] = {}
  for layer, source in layout.items():
    kind = _kind(leaves[layer])
    if kind is None:
      arrays = {layer: tensors[source.weight]}
    else:
      factor, bias = _factor_and_bias(tensors, source, shapes[f"{layer}/bias"])
      weight = tensors[source.weight]
      if kind == "kernel":
        weight = _transposed(weight, shapes[f"{layer}/kernel"], factor)
      arrays = {f"{layer}/{kind}": weight, f"{layer}/bias": bias}
    for path, array in arrays.items():
      params[path] = np.array(array, dtype, order="C")
  check_parameters(params, shapes, f"parameters converted for {name!r}")
  return params


def common_prefix(names: Iterable[str], expected: Iterable[str]) -> str:
  """What wrappers put before every name, e.g. ``module.`` or ``backbone.``.

  Args:
    names: The names of a checkpoint's tensors.
    expected: Names that a network's tensors have.

  Returns:
    The prefix with which most of the expected names are there; empty if that is none.

  Example:
    >>> common_prefix(["module.fc.weight", "module.fc.bias"], ["fc.weight", "fc.bias"])
    'module.'
  """
  names, expected = set(names), set(expected)
  # A name ends with an expected one at a dot, so that each has few candidates.
  counts = collections.Counter(
    name[:start]
    for name in names
    for start in [0, *(i + 1 for i, letter in enumerate(name) if letter == ".")]
    if name[start:] in expected
  )
  return max(counts, key=lambda prefix: (counts[prefix], -len(prefix)), default="")


def check_parameters(
  params: Mapping[str, np.ndarray], shapes: Mapping[str, Shape], what: str
) -> None:
  """Check that a module's parameters have their names and shapes.

  Args:
    params: Arrays by path.
    shapes: The shapes of the module's parameters, from :func:`parameter_shapes`.
    what: What the error calls them.

  Raises:
    ValueError: Parameters are missing, extra or misshapen, the first are listed; or one
      has integers, NaN or infinite numbers.
  """
  _check(params, {path: (shape,) for path, shape in shapes.items()}, what)
  _check_values(params, what)


def _leaves_by_layer(shapes: Mapping[str, Shape]) -> dict[str, set[str]]:
  """``{"stem": {"kernel", "bias"}, "class_token": set(), ...}``."""
  layers: dict[str, set[str]] = {}
  for path in shapes:
    layer, _, leaf = path.rpartition("/")
    if leaf in ("kernel", "scale", "bias"):
      layers.setdefault(layer, set()).add(leaf)
    else:
      layers[path] = set()
  return layers


def _kind(leaves: set[str]) -> str | None:
  """What a layer's weight is called; None for a parameter outside of layers."""
  return next((kind for kind in ("kernel", "scale") if kind in leaves), None)


def _weight_shapes(kernel: Shape) -> tuple[Shape, ...]:
  """PyTorch's shapes of what becomes a kernel of this shape."""
  match kernel:
    case (channels, features):
      return (features, channels), (features, channels, 1, 1)
    case (k, _, channels):
      return ((channels, 1, k, k),)
    case (k, _, channels, features):
      return (features, channels, k, k), (features, channels * k * k)
  raise ValueError(f"no layer has a kernel of shape {kernel}")


def _transposed(weight: np.ndarray, kernel: Shape, factor: Any) -> np.ndarray:
  """PyTorch's output channels are first, ours last."""
  features = weight.shape[0]
  weight = weight * np.reshape(factor, (-1,) + (1,) * (weight.ndim - 1))
  match kernel:
    case (_, _):
      return weight.reshape(features, -1).T
    case (k, _, _):
      return weight.reshape(features, k, k).transpose(1, 2, 0)
    case (k, _, channels, _):
      return weight.reshape(features, channels, k, k).transpose(2, 3, 1, 0)
  raise ValueError(f"no layer has a kernel of shape {kernel}")


def _factor_and_bias(
  tensors: Mapping[str, np.ndarray], source: Source, shape: Shape
) -> tuple[Any, np.ndarray]:
  """What the weight is multiplied by, and the bias after everything that follows."""
  factor: Any = np.float32(1)
  bias = tensors[source.bias] if source.bias else np.zeros(shape, np.float32)
  if source.norm:
    gamma, beta, mean, variance = (
      tensors[f"{source.norm}.{part}"].astype(np.float64)
      for part in ("weight", "bias", "running_mean", "running_var")
    )
    factor = gamma / np.sqrt(variance + source.epsilon)
    bias = beta + (bias - mean) * factor
  if source.scale:
    scale = tensors[source.scale].astype(np.float64).reshape(-1)
    factor, bias = factor * scale, bias * scale
  return factor, bias


def _check(
  tensors: Mapping[str, np.ndarray],
  expected: Mapping[str, tuple[Shape, ...]],
  what: str,
) -> None:
  misshapen = [
    f"{name} is {tensors[name].shape}, allowed: {' or '.join(map(str, allowed))}"
    for name, allowed in expected.items()
    if name in tensors and tensors[name].shape not in allowed
  ]
  problems = {
    "missing": [name for name in expected if name not in tensors],
    "unexpected": [name for name in tensors if name not in expected],
    "misshapen": misshapen,
  }
  if any(problems.values()):
    lists = (f"{kind}: {_some(found)}" for kind, found in problems.items() if found)
    raise ValueError(f"{what}: {'; '.join(lists)}")


def _check_values(tensors: Mapping[str, np.ndarray], what: str) -> None:
  """Refuse tensors that hold integers, NaN, infinite numbers or negative variances.

  No trained network has them. Outputs do not tell: a ResNet with one weight that is NaN
  returns finite logits when it is compiled for a CPU.
  """
  for name, tensor in tensors.items():
    if not jnp.issubdtype(tensor.dtype, jnp.floating):
      raise ValueError(
        f"{what}: {name} has type {tensor.dtype}; weights are floating-point numbers, "
        "those of a quantised network with their scales multiplied in"
      )
    bad = tensor.size - np.count_nonzero(np.isfinite(tensor))
    if bad:
      raise ValueError(
        f"{what}: {name} has {bad} NaN or infinite numbers among {tensor.size}"
      )
    if name.endswith(".running_var") and tensor.size and tensor.min() < 0:
      raise ValueError(
        f"{what}: {name} has variances down to {float(tensor.min()):.4g}; none is "
        "negative"
      )


def _some(names: list[str]) -> str:
  """Enough of a list to see what it is of."""
  rest = len(names) - _MANY
  shown = ", ".join(names[:_MANY])
  return f"{shown} and {rest} more" if rest > 0 else shown


def num_published_parameters(layout: Layout, shapes: Mapping[str, Shape]) -> int:
  """How many numbers the published network learned, before anything was folded."""
  trained: Iterable[tuple[Shape, ...]] = (
    allowed
    for name, allowed in expected_tensors(layout, shapes).items()
    if not name.endswith((".running_mean", ".running_var"))
  )
  return sum(math.prod(allowed[0]) for allowed in trained)


LayoutFn = Callable[[Any], Layout]
"""From a module to the names of its tensors."""
