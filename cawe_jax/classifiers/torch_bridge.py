"""Classifiers from PyTorch modules: a bridge, exact but slow.

The compiled program calls back into Python for every tile, where PyTorch evaluates the
network; the gradient is PyTorch's own. The bridge costs copies between the two
libraries, a wait at every call, and a second forward pass: a callback may not keep the
graph of the first one until the gradient is asked for. How
much that is stands in docs/guides/classifiers.md. A network with published weights is
faster from its name, any other once written in JAX.

On a CPU JAX's usual callback waits for a copy of its arguments that needs a thread of
the pool whose threads wait for the callbacks; with several devices that is for ever
(https://github.com/jax-ml/jax/issues/24255, 25861). There a callback gets the buffers
themselves.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.outputs import Output, softmax
from cawe_jax.types import Array


def from_torch(
  module: Any,
  input_size: int | tuple[int, int],
  *,
  class_names: Sequence[str] | None = None,
  name: str | None = None,
  output: Output = softmax(),
) -> Classifier:
  """A classifier from a PyTorch module, as it is now, evaluated by PyTorch.

  The classifier has a copy in evaluation mode with frozen parameters, on the module's
  device; the module itself is not touched. Programs that call it can neither be
  exported nor kept in the compilation cache.

  Args:
    module: A ``torch.nn.Module`` from images ``[N, C, H, W]`` in [0, 1], float32, to
      outputs ``[N, K]``.
    input_size: ``(H, W)`` that the network was made for, or one int for both.
    class_names: One name per output, or None.
    name: By default the module's class.
    output: What the outputs mean, e.g. :func:`cawe_jax.classifiers.sigmoid`.

  Raises:
    ValueError: ``module`` is no ``torch.nn.Module``.

  Example:
    >>> from torch import nn  # doctest: +SKIP
    >>> module = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))  # doctest: +SKIP
    >>> from_torch(module, 8)(jnp.ones((3, 8, 8, 3))).shape  # doctest: +SKIP
    (3, 2)
  """
  import torch

  if not isinstance(module, torch.nn.Module):
    raise ValueError(
      f"module is a {type(module).__name__}; it must be a torch.nn.Module"
    )
  frozen = copy.deepcopy(module).eval().requires_grad_(False)
  names: Any = class_names  # the classifier makes a tuple of it
  name = name or type(module).__name__
  return Classifier(_Torch(frozen), (), input_size, names, name, output)


@dataclass(frozen=True)
class _Torch:
  """Equal to another only if it has the same module object."""

  module: Any

  def __call__(self, params: tuple[()], images: Array) -> Array:
    # How many outputs there are only the network knows.
    blank = np.zeros((1, *images.shape[1:]), np.float32)
    num_outputs = _forward(self.module, blank).shape[1:]
    outputs = _evaluate(self.module, num_outputs, images.astype(jnp.float32))
    return outputs.astype(images.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _evaluate(module: Any, num_outputs: tuple[int, ...], images: Array) -> Array:
  return _call(functools.partial(_forward, module), (len(images), *num_outputs), images)


def _evaluate_forward(
  module: Any, num_outputs: tuple[int, ...], images: Array
) -> tuple[Array, Array]:
  return _evaluate(module, num_outputs, images), images


def _evaluate_backward(
  module: Any, num_outputs: tuple[int, ...], images: Array, cotangent: Array
) -> tuple[Array]:
  backward = functools.partial(_backward, module)
  return (_call(backward, images.shape, images, cotangent),)


_evaluate.defvjp(_evaluate_forward, _evaluate_backward)


def _call(
  fn: Callable[..., np.ndarray], shape: tuple[int, ...], *arrays: Array
) -> Array:
  """``fn`` of NumPy arrays, called whenever the compiled program comes by."""
  # Experimental, so that only those who use the bridge depend on it.
  from jax.experimental.buffer_callback import buffer_callback

  result = jax.ShapeDtypeStruct(shape, jnp.float32)

  def in_place(context: Any, out: Any, *buffers: Any) -> None:
    np.asarray(out)[...] = fn(*buffers)

  return jax.lax.platform_dependent(
    *arrays,
    cpu=buffer_callback(in_place, result, vmap_method="sequential"),
    default=lambda *arrays: jax.pure_callback(
      fn, result, *arrays, vmap_method="sequential"
    ),
  )


def _forward(module: Any, images: Any) -> np.ndarray:
  import torch

  with torch.no_grad():
    outputs = module(_to_torch(module, images))
  return _to_numpy(outputs)


def _backward(module: Any, images: Any, cotangent: Any) -> np.ndarray:
  import torch

  with torch.enable_grad():
    inputs = _to_torch(module, images).requires_grad_()
    outputs = module(inputs)
    weights = torch.tensor(np.asarray(cotangent), device=outputs.device)
    (gradient,) = torch.autograd.grad(outputs, inputs, weights.to(outputs.dtype))
  return _to_numpy(gradient.movedim(1, -1))


def _to_torch(module: Any, images: Any) -> Any:
  """``[N, H, W, C]`` to ``[N, C, H, W]`` on the module's device."""
  import torch

  device = next((p.device for p in module.parameters()), torch.device("cpu"))
  # A copy: JAX's buffers are read-only.
  return torch.tensor(np.asarray(images), device=device).movedim(-1, 1)


def _to_numpy(tensor: Any) -> np.ndarray:
  return tensor.detach().to("cpu").float().contiguous().numpy()
