"""The compiled programs: how many there are, what they hold, where they run."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from explaining import ADAM, HAAR, IMAGES, KEY, SHAPE, compiled, method
from jax.sharding import Mesh

from cawe_jax import Classifier, explain, waveletx
from cawe_jax.classifiers import convolution
from cawe_jax.engine import judging, programs, session
from cawe_jax.numerics.tiles import Tile, Which


@pytest.fixture(scope="module")
def classifier(make_tiny_classifier):
  return make_tiny_classifier(SHAPE)


SEARCH = ["prepare", "start", "segment"]
JUDGEMENT = ["render", "penalise", "draw", "worth", "forward"]


def test_these_programs_are_compiled_and_nothing_beside(classifier):
  jax.clear_caches()
  with compiled() as names:
    explain(classifier, IMAGES[0], method(20.0), key=KEY)
  # Whatever is computed outside of them takes 10 ms to compile, again and again. What
  # outputs are worth is asked of those of draws, of which a tile may have more than
  # two, and of those of two pictures.
  expected = [*SEARCH, *JUDGEMENT]
  assert sorted(names) in (sorted(expected), sorted([*expected, "worth"]))


def test_another_method_does_not_compile_the_networks_program_again(classifier):
  explain(classifier, IMAGES[0], method(20.0), key=KEY)
  other = waveletx(0.2, representation=HAAR, recipe=ADAM)
  for recipe in (ADAM, ADAM._replace(num_draws=3)):
    with compiled() as names:
      explain(classifier, IMAGES[0], other._replace(recipe=recipe), key=KEY)
    assert "segment" in names
    assert "forward" not in names


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
    active = jnp.ones(3, bool)
    stacks = jnp.repeat(images[:, None], tile.draws, axis=1)
    asked = (classifier, 2), (stacks, active)
    logits = judging.forward(mesh, (tile,), *asked)[:, 0]
    problems, masks = programs.prepare(
      mesh,
      (),
      (method, jax.random.key(seed)),
      programs.ToPrepare(images, logits, targets, image_ids),
    )
    step_weights = programs.StepWeights(programs.Weights(weights, (weights,)), weights)
    carry = programs.start(mesh, (), method, (masks, active))
    window = programs.Window.of(0, 10, 10, 2)
    carry, *_ = programs.segment(
      mesh, (tile,), (method, classifier, window), (problems, step_weights, carry)
    )
    which = Which(*2 * [jnp.arange(tile.draws, dtype=jnp.uint32)])
    judged = problems, carry.solver.mask, carry.active
    images = judging.draw(mesh, (tile,), (method, which, 2), judged).images
    outputs = judging.forward(mesh, (tile,), (classifier, 2), (images, active))
    said = problems.clean_logits, problems.target, outputs
    worth = judging.worth(mesh, (), method.objective.reading, said)
    return worth, carry.solver.mask

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


def test_long_runs_alone_have_two_calls_of_the_network(classifier, monkeypatch):
  """Each is compiled by itself, which pays where a run is long."""
  monkeypatch.setitem(session._CALLS, jax.default_backend(), 2)
  tiles = []

  def segment(mesh, shapes, *arguments):
    tiles.extend(shapes)
    raise InterruptedError

  monkeypatch.setattr(programs, "segment", segment)
  for num_steps in (199, 200):
    recipe = ADAM._replace(num_steps=num_steps, num_draws=2)
    with pytest.raises(InterruptedError):
      explain(classifier, IMAGES[0], method(20.0, recipe=recipe), key=KEY)
  assert [tile.calls for tile in tiles] == [1, 2]
