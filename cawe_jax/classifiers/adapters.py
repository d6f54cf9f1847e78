"""Classifiers from networks of other libraries, a few lines each.

An adapter makes the ``apply`` of a :class:`~cawe_jax.Classifier`. What it is made from
is compared by value, so that a network that is adapted again needs no other program.

Three things are the caller's: the network takes images in [0, 1] (put the normalisation
into it), it returns logits (or say what with ``output``), and it treats each image by
itself (:func:`check_classifier` tries).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from cawe_jax.classifiers.classifier import Apply, Classifier, Settling
from cawe_jax.numerics.ambient import own_rules, promotion
from cawe_jax.objective import Classifier as Network
from cawe_jax.outputs import Output, softmax
from cawe_jax.types import BatchOfOutputs, Images

Size = int | tuple[int, int]

# A program as text shows the addresses of its rules of differentiation, which differ
# each time.
_ADDRESS = re.compile(r"0x[0-9a-f]+")


def from_function(
  fn: Network,
  input_size: Size,
  *,
  class_names: Sequence[str] | None = None,
  name: str = "function",
  output: Output = softmax(),
) -> Classifier:
  """A classifier from a JAX function of images.

  Arrays that the function closes over become constants of the compiled programs, which
  therefore serve these weights alone and take longer to compile. Every call that
  explains traces the function anew, so that weights that have changed in the meantime
  count. Where they are at hand, ``Classifier(apply, params, input_size)`` is as short
  and has neither cost.

  Args:
    fn: Images ``[N, H, W, C]`` in [0, 1] to outputs ``[N, K]``.
    input_size: ``(H, W)`` that the network was made for, or one int for both.
    class_names: One name per output, or None.
    name: For settings and figures.
    output: What the outputs mean, e.g. :func:`cawe_jax.classifiers.sigmoid`.

  Example:
    >>> import jax.numpy as jnp
    >>> brightness = lambda images: jnp.stack([images.mean((1, 2, 3))] * 2, axis=1)
    >>> from_function(brightness, 8)(jnp.ones((3, 8, 8, 1))).shape
    (3, 2)
  """
  return _make(_Function(fn), (), input_size, class_names, name, output)


def from_linen(
  module: nn.Module,
  variables: Mapping[str, Any],
  input_size: Size,
  *,
  arguments: Mapping[str, Any] | None = None,
  class_names: Sequence[str] | None = None,
  name: str | None = None,
  output: Output = softmax(),
) -> Classifier:
  """A classifier from a Flax linen module.

  No collection is mutable: a batch normalisation that would update its running
  statistics, because it is in training mode, is an error of Flax.

  Args:
    module: Its call takes images ``[N, H, W, C]`` in [0, 1].
    variables: What ``module.init`` returned or training left: all collections, with
      ``params``, ``batch_stats``, ... They are copied, so that a later training step
      may donate them.
    input_size: As for :func:`from_function`.
    arguments: Further keyword arguments of the call, e.g. ``{"train": False}``.
    class_names: As for :func:`from_function`.
    name: By default the module's class.
    output: As for :func:`from_function`.

  Raises:
    ValueError: ``variables`` has no ``params``: it may be the parameters themselves.

  Example:
    >>> import jax.numpy as jnp
    >>> module = nn.Sequential([lambda x: x.reshape(len(x), -1), nn.Dense(2)])
    >>> variables = module.init(jax.random.key(0), jnp.ones((1, 8, 8, 3)))
    >>> from_linen(module, variables, 8)(jnp.ones((3, 8, 8, 3))).shape
    (3, 2)
  """
  if variables and "params" not in variables:
    raise ValueError(
      f"variables has the collections {', '.join(map(str, variables))}; it must have "
      "params, as what module.init returns"
    )
  apply = _Linen(module, tuple(sorted((arguments or {}).items())))
  name = name or type(module).__name__
  params = jax.tree.map(jnp.copy, dict(variables))
  return _make(apply, params, input_size, class_names, name, output)


def from_nnx(
  model: nnx.Module,
  input_size: Size,
  *,
  class_names: Sequence[str] | None = None,
  name: str | None = None,
  output: Output = softmax(),
) -> Classifier:
  """A classifier from a Flax NNX module, as it is now.

  The classifier has a copy of the arrays, in evaluation mode (``eval()``: no dropout,
  running statistics of batch normalisation); the model itself is not touched, and can
  be trained on.

  Args:
    model: Its call takes images ``[N, H, W, C]`` in [0, 1].
    input_size: As for :func:`from_function`.
    class_names: As for :func:`from_function`.
    name: By default the module's class.
    output: As for :func:`from_function`.

  Example:
    >>> import jax.numpy as jnp
    >>> layer = nnx.Linear(192, 2, rngs=nnx.Rngs(0))
    >>> model = nnx.Sequential(lambda x: x.reshape(len(x), -1), layer)
    >>> from_nnx(model, 8)(jnp.ones((3, 8, 8, 3))).shape
    (3, 2)
  """
  copy = nnx.clone(model)
  copy.eval()
  graph, state = nnx.split(copy)
  # A clone shares the arrays, which a training step may donate.
  state = jax.tree.map(jnp.copy, state)
  name = name or type(model).__name__
  return _make(_Nnx(graph), state, input_size, class_names, name, output)


def nnx_model(classifier: Classifier) -> nnx.Module | None:
  """A new copy of the model that :func:`from_nnx` was given; None of other classifiers.

  Example:
    >>> nnx_model(from_function(lambda images: images.mean((1, 2)), 8)) is None
    True
  """
  apply = classifier.apply
  return nnx.merge(apply.graph, classifier.params) if isinstance(apply, _Nnx) else None


def check_one_shape(images: Any) -> None:
  """Refuse lists of images of several shapes, of which NumPy makes no array.

  Raises:
    ValueError: One line with two of the shapes.

  Example:
    >>> check_one_shape([np.zeros((8, 8, 3)), np.ones((8, 8, 3))])
  """
  if not isinstance(images, list | tuple):
    return
  shapes = list(dict.fromkeys(map(np.shape, images)))
  if len(shapes) > 1:
    raise ValueError(
      f"images has images of shapes {shapes[0]} and {shapes[1]}; all of a batch must "
      "have one shape"
    )


@own_rules()
def check_classifier(classifier: Classifier, images: Images) -> None:
  """Try what no type can promise, on real images.

  Args:
    classifier: Any.
    images: At least two different ones, ``[N, H, W, C]`` in [0, 1].

  Raises:
    ValueError: A parameter or an output is NaN or infinite; or outputs are the same for
      all images; or an image's depend on its company, as with batch normalisation in
      training mode, or change from call to call, as with dropout.
  """
  check_one_shape(images)
  if np.ndim(images) != 4 or len(images) < 2:
    raise ValueError(
      f"images has shape {np.shape(images)}; it must be [N, H, W, C] with N at least 2"
    )
  # A compiled network may lose the NaN of a parameter, and give numbers.
  for path, leaf in jax.tree.leaves_with_path(classifier.params):
    if (
      jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)
      and not jnp.isfinite(leaf).all()
    ):
      raise ValueError(
        f"classifier {classifier.name!r} has NaN or infinite numbers in its parameter "
        f"{jax.tree_util.keystr(path)}"
      )
  run = jax.jit(lambda classifier, images: classifier(images))
  together = np.asarray(run(classifier, images))
  alone = np.concatenate(
    [run(classifier, images[i : i + 1]) for i in range(len(images))]
  )
  who = f"classifier {classifier.name!r}"
  if not np.isfinite(together).all():
    raise ValueError(f"{who} returned NaN or infinite outputs; they must be finite")
  # Another batch size may round otherwise, in bfloat16 to 8 bits.
  spread = np.ptp(together)
  change = np.abs(together - alone).max()
  if change > 0.02 * spread + 1e-5 * np.abs(together).max():
    raise ValueError(
      f"{who} returned other outputs for an image alone than among others (by up to "
      f"{change:.3g}); it must treat each image by itself: is it in evaluation mode?"
    )
  if (together == together[:1]).all():
    raise ValueError(
      f"{who} returned the same outputs for all {len(images)} images; nothing can be "
      "explained"
    )


def _make(
  apply: Apply,
  params: Any,
  input_size: Size,
  class_names: Sequence[str] | None,
  name: str,
  output: Output,
) -> Classifier:
  # The classifier makes a tuple of any sequence, and refuses what is none.
  names: Any = class_names
  return Classifier(apply, params, input_size, names, name, output)


@dataclass(frozen=True)
class _Function(Settling):
  fn: Network
  state: str = ""

  def __call__(self, params: tuple[()], images: Images) -> BatchOfOutputs:
    return self.fn(images)

  def settle(self, images: Images) -> _Function:
    """Told from others by all that the function computes with, as traced anew."""
    with promotion():
      # A function of its own, since JAX remembers what it has traced.
      traced = jax.make_jaxpr(lambda images: self.fn(images))(
        jax.ShapeDtypeStruct((1, *images.shape[1:]), images.dtype)
      )
    digest = hashlib.sha256(_ADDRESS.sub("", str(traced.jaxpr)).encode())
    for constant in traced.consts:
      digest.update(np.asarray(constant).tobytes())
    return replace(self, state=digest.hexdigest())


@dataclass(frozen=True)
class _Linen:
  module: nn.Module
  arguments: tuple[tuple[str, Any], ...]

  def __call__(self, params: Any, images: Images) -> Any:
    return self.module.apply(params, images, mutable=False, **dict(self.arguments))


@dataclass(frozen=True)
class _Nnx:
  graph: nnx.GraphDef

  def __call__(self, params: nnx.State, images: Images) -> BatchOfOutputs:
    return nnx.merge(self.graph, params)(images)
