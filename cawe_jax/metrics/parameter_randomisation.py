"""The sanity check: does an explanation notice that the network has forgotten?

The parameters are randomised layer by layer from the output back to the image, each
stage on top of the last, and every stage's relevance is compared with the trained
network's. A method whose relevance stays alike explains the image, not the network.

Randomised here means shuffled: the entries of each array change places, so that every
moment of its distribution stays, and with it the scale of the activations.

Nothing is known of names or modules. A layer begins at a parameter with two axes or
more (a kernel) and has the vectors that follow (its bias, its norm); the order is that
in which parameters first meet something computed from the image, read off the
network's program. A dictionary's own order would not do, since JAX sorts its keys.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from cawe_jax.classifiers.classifier import Classifier
from cawe_jax.engine import checks
from cawe_jax.metrics.ranks import Relevance, check_axes
from cawe_jax.metrics.stability import rank_correlation
from cawe_jax.numerics.ambient import own_rules
from cawe_jax.types import Array, Images, Key


class AttributeFn(Protocol):
  """An :class:`~cawe_jax.attribution.Attribution`, or a function called like one."""

  def __call__(
    self, classifier: Classifier, images: Images, targets: Any, key: Key, /
  ) -> Relevance:
    """The relevance of every entry.

    Args:
      classifier: A network with parameters of its own at every stage.
      images: Float in [0, 1].
      targets: As they were given.
      key: Decides whatever is random in it.
    """
    ...


class ModelRandomisation(NamedTuple):
  """Agreement with the trained network's relevance, stage by stage.

  Attributes:
    stages: Path of the last parameter that a stage reached with two axes or more, from
      the output back to the image; S names.
    correlation: Spearman's correlation of the absolute relevance, ``[B, S]``; NaN where
      it is constant. Near 0 is as it should be.
  """

  stages: tuple[str, ...]
  correlation: np.ndarray


@own_rules()
def model_randomisation(
  attribute_fn: AttributeFn,
  classifier: Classifier,
  images: Images,
  targets: Any,
  key: Key,
  num_stages: int = 10,
) -> ModelRandomisation:
  """Compare relevances while the network is randomised from its output back.

  Args:
    attribute_fn: What is checked; it gets the same key at every stage.
    classifier: The trained network, whose ``params`` are its parameters.
    images: ``[B, H, W, C]``, float in [0, 1].
    targets: Explained class of each image; the same at every stage.
    key: Decides the shuffles, and is handed on.
    num_stages: Into how many stages the layers are divided; at most one per layer.

  Returns:
    The correlation after each stage; the last has all layers randomised.

  Raises:
    ValueError: The classifier has no parameters; ``num_stages`` is below 1; the
      relevance has leaves of different numbers of images.

  Example:
    >>> linear = lambda w, images: images.reshape(len(images), -1) @ w
    >>> classifier = Classifier(linear, jnp.arange(8.0).reshape(4, 2), 2)
    >>> def gradient(classifier, images, targets, key):
    ...   of_target = lambda x: classifier(x)[:, targets].sum()
    ...   return (jax.grad(of_target)(images)[:, None],)
    >>> images = jnp.ones((1, 2, 2, 1))
    >>> found = model_randomisation(gradient, classifier, images, 0, jax.random.key(1))
    >>> found.stages, found.correlation.shape, bool(found.correlation[0, 0] < 0.9)
    (('params',), (1, 1), True)

  References:
    Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018, Sec. 3.
  """
  batch = checks.check_images(images)
  key = checks.check_key(key)
  if num_stages < 1:
    raise ValueError(f"num_stages is {num_stages}; it must be at least 1")
  layers = parameter_layers(classifier, batch.shape[1:])
  stages = [
    stage for stage in np.array_split(np.arange(len(layers)), num_stages) if len(stage)
  ]
  paths, structure = jax.tree.flatten_with_path(classifier.params)
  parameters = [leaf for _, leaf in paths]
  shuffle_key, attribute_key = jax.random.split(key)

  def absolute(parameters: list[Array]) -> Relevance:
    params = jax.tree.unflatten(structure, parameters)
    network = dataclasses.replace(classifier, params=params)
    return jax.tree.map(abs, attribute_fn(network, batch, targets, attribute_key))

  original = absolute(parameters)
  check_axes("relevance", original)
  names, correlations = [], []
  for stage in stages:
    for i in (i for layer in stage for i in layers[-1 - layer]):
      parameters[i] = _shuffled(parameters[i], jax.random.fold_in(shuffle_key, i))
    path, _ = paths[layers[-1 - stage[-1]][0]]
    names.append(jax.tree_util.keystr(path, simple=True, separator="/") or "params")
    correlations.append(rank_correlation(original, absolute(parameters)))
  return ModelRandomisation(tuple(names), np.stack(correlations, axis=1))


def parameter_layers(
  classifier: Classifier, image_shape: tuple[int, int, int]
) -> list[list[int]]:
  """Layers from the image to the output, each as indices of leaves of ``params``.

  Parameters that the outputs do not depend on are left out, and so are integers.

  Args:
    classifier: The network; it is traced, not run.
    image_shape: ``(H, W, C)``.

  Raises:
    ValueError: The classifier has no parameters.

  Example:
    >>> def network(params, images):
    ...   hidden = images.reshape(len(images), -1) @ params["z"]
    ...   return hidden @ params["a"] + params["b"]
    >>> params = {"a": jnp.ones((3, 2)), "b": jnp.ones(2), "z": jnp.ones((4, 3))}
    >>> parameter_layers(Classifier(network, params, 2), (2, 2, 1))
    [[2], [0, 1]]
  """
  image = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
  program = jax.make_jaxpr(classifier.apply)(classifier.params, image)
  leaves = jax.tree.leaves(classifier.params)
  meetings: dict[int, None] = {}
  inputs = [*(frozenset({i}) for i in range(len(leaves))), _FROM_IMAGE]
  _read(program.jaxpr, inputs, meetings)
  layers: list[list[int]] = []
  for i in meetings:
    if not jnp.issubdtype(leaves[i].dtype, jnp.floating):
      continue
    if not layers or leaves[i].ndim >= 2:
      layers.append([])
    layers[-1].append(i)
  if not layers:
    raise ValueError(
      f"classifier {classifier.name!r} has no parameters in params to randomise"
    )
  return layers


Source = frozenset[int] | None
"""The parameters that a value of a program was computed from."""

_FROM_IMAGE = None
"""The source of a value that was computed from the image."""


def _read(
  program: Any, inputs: list[Source], meetings: dict[int, None]
) -> list[Source]:
  """Note, in order, the parameters that meet the image; the sources of the outputs.

  ``program`` is a jaxpr. Programs inside (`jit`, custom derivatives, `scan`) are read
  where their inputs are the equation's own.
  """
  # Variables by identity; what is not among them is a constant.
  known = dict(zip(map(id, program.invars), inputs, strict=True))

  def source(variable: Any) -> Source:
    return known.get(id(variable), frozenset())

  for equation in program.eqns:
    sources = [source(variable) for variable in equation.invars]
    parameters = [i for s in sources if s is not _FROM_IMAGE for i in sorted(s)]
    inner = _inner_program(equation)
    outputs: list[Source]
    if inner is not None:
      outputs = _read(inner, sources, meetings)
    elif _FROM_IMAGE in sources:
      meetings.update(dict.fromkeys(parameters))
      outputs = [_FROM_IMAGE] * len(equation.outvars)
    else:
      outputs = [frozenset(parameters)] * len(equation.outvars)
    known.update(zip(map(id, equation.outvars), outputs, strict=True))
  return [source(variable) for variable in program.outvars]


def _inner_program(equation: Any) -> Any:
  """The jaxpr that an equation runs on its own inputs, or None."""
  for value in equation.params.values():
    inner = getattr(value, "jaxpr", value)
    if hasattr(inner, "eqns") and len(inner.invars) == len(equation.invars):
      return inner
  return None


def _shuffled(parameter: Array, key: Array) -> Array:
  # NumPy's, because jax.random compiles a sort for every shape.
  rng = np.random.default_rng(np.ravel(jax.random.key_data(key)))
  flat = np.ravel(parameter)
  return jnp.asarray(flat[rng.permutation(flat.size)].reshape(np.shape(parameter)))
