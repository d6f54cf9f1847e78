"""The compiled programs: how many there are, what they hold, where they run."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from explaining import ADAM, HAAR, IMAGES, KEY, SHAPE, method
from jax.sharding import Mesh

from cawe_jax import Classifier, explain, waveletx
from cawe_jax.classifiers import convolution
from cawe_jax.engine import programs
from cawe_jax.numerics.streams import Stream
from cawe_jax.numerics.tiles import Tile


@pytest.fixture(scope="module")
def classifier(make_tiny_classifier):
  return make_tiny_classifier(SHAPE)


def test_five_programs_are_compiled_and_nothing_beside(classifier):
  names = []

  def listen(event, duration, **details):
    if event == "/jax/core/compile/backend_compile_duration":
      names.append(details["fun_name"])

  jax.clear_caches()
  jax.monitoring.register_event_duration_secs_listener(listen)
  try:
    explain(classifier, IMAGES[0], method(20.0), key=KEY)
  finally:
    jax.monitoring.unregister_event_duration_listener(listen)
  # Whatever is computed outside of them takes 10 ms to compile, again and again.
  expected = ["prepare", "start", "segment", "assess", "evaluate"]
  assert names == [f"jit({name})" for name in expected]


def test_the_network_is_traced_once_for_all_programs(classifier):
  traces = []

  def apply(params, images):
    if isinstance(images, jax.core.Tracer):
      traces.append(images.shape)
    return classifier.apply(params, images)

  own = Classifier(apply, classifier.params, SHAPE[:2])
  explain(own, IMAGES[0], method(20.0), key=KEY, rows=1)
  # Preparation, steps and looks at the end, forward and back.
  assert traces == [(1, *SHAPE)]


def convolutional(params, images):
  x = jax.nn.relu6(convolution.dense(images, params["dense"], 2))
  x = jax.nn.relu6(convolution.depthwise(x, params["depthwise"], 2))
  return x.mean((1, 2)) @ params["classifier"]


def test_the_whole_solver_exports_for_all_platforms():
  rng = np.random.default_rng(0)
  shapes = {"dense": (3, 3, 3, 8), "depthwise": (5, 5, 8), "classifier": (8, 5)}
  params = {k: jnp.asarray(rng.normal(size=s), jnp.float32) for k, s in shapes.items()}
  network = Classifier(convolutional, params, SHAPE[:2])
  several = waveletx(0.2, representation=HAAR, recipe=ADAM)
  method, tile = several.bind(SHAPE, 5), Tile(1, 2)
  mesh = Mesh(np.array(jax.devices()), ("images",))
  images = np.zeros((3, *SHAPE), np.float32)
  numbers = np.zeros(3, np.int32)

  def whole(classifier, images, targets, image_ids, weights, seed):
    problems, masks = programs.prepare(
      method,
      tile,
      mesh,
      classifier,
      jax.random.key(seed),
      programs.ToPrepare(images, targets, image_ids),
    )
    step_weights = programs.StepWeights(programs.Weights(weights, (weights,)), weights)
    carry = programs.start(method, masks, jnp.ones(3, bool))
    window = programs.Window(*map(jnp.int32, (0, 10, 10, 2)))
    carry, _ = programs.segment(
      method, tile, mesh, classifier, window, (problems, step_weights, carry)
    )
    done = programs.assess(
      method,
      tile,
      mesh,
      classifier,
      (jnp.uint32(Stream.REPORT), jnp.int32(programs.NUM_FRESH_DRAWS)),
      (problems, step_weights.weights, carry.solver.mask, carry.active),
    )
    return done.objective, carry.solver.mask

  platforms = ("cpu", "cuda", "tpu")

  # Only the classifier is a class of our own; its parameters can be exported.
  def flat_whole(params, *rest):
    return whole(Classifier(convolutional, params, SHAPE[:2]), *rest)

  exported = jax.export.export(jax.jit(flat_whole), platforms=platforms)(
    network.params, images, numbers - 1, numbers.astype(np.uint32), numbers + 0.5, 0
  )
  assert exported.platforms == platforms
  # Both ways of convolving are inside; the platform decides when it runs.
  assert "stablehlo.convolution" in exported.mlir_module()
