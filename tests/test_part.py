"""Parts: settings are structure, arrays are data of the compiled programs."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cawe_jax import explain, perturbations, solvers
from cawe_jax.attribution.attribution import Attribution, PixelAttribution
from cawe_jax.engine import programs
from cawe_jax.initial_masks import InitialMask
from cawe_jax.methods import pixel_rde
from cawe_jax.part import Part, as_part, data, setting
from cawe_jax.recipes import fast
from cawe_jax.representations import pixel
from cawe_jax.types import Perturbation, Transform

SHAPE = (16, 16, 1)
HIDDEN = 4096  # times 256 pixels: weights of 4 MB
IMAGES = np.random.default_rng(0).random((8, *SHAPE), np.float32)
RECIPE = fast()._replace(num_steps=2)
traces = []


class completion(Part):
  """A network that completes an image; not a good one."""

  weights: Any

  def __call__(self, visible, known):
    traces.append(visible.shape)
    hidden = jnp.tanh(visible.ravel() @ self.weights)
    return visible + (1 - known) * (hidden @ self.weights.T).reshape(visible.shape)


def weights(seed):
  rng = np.random.default_rng(seed)
  return jnp.asarray(rng.normal(0, 0.01, (256, HIDDEN)), jnp.float32)


def run(classifier, part, images=IMAGES):
  method = pixel_rde(0.1, perturbation=perturbations.infill(part), recipe=RECIPE)
  return explain(classifier, images, method, key=jax.random.key(0))


@pytest.fixture(scope="module")
def classifier(make_tiny_classifier):
  return make_tiny_classifier(SHAPE)


@pytest.fixture
def seen(monkeypatch):
  """The steps' program and what it was called with."""
  original, calls = programs.segment, []

  def segment(*arguments):
    calls.append((original, arguments))
    return original(*arguments)

  monkeypatch.setattr(programs, "segment", segment)
  return calls


def test_weights_of_a_part_are_arguments_held_once(classifier, seen):
  found = run(classifier, completion(weights(0)))
  other = run(classifier, completion(weights(1)))
  assert not np.array_equal(found.mask[0], other.mask[0])
  program, arguments = seen[0]
  lowered = program.lower(*arguments)
  constants = re.findall(r'dense<"0x([0-9A-Fa-f]*)"', lowered.as_text())
  assert max((len(hexadecimal) // 2 for hexadecimal in constants), default=0) < 1e5
  size = lowered.compile().memory_analysis().argument_size_in_bytes
  # Eight images, masks and memories of 256 entries are a few kilobytes each.
  assert 4 * 256 * HIDDEN < size < 1.2 * 4 * 256 * HIDDEN


def test_other_weights_compile_nothing(classifier):
  run(classifier, completion(weights(0)))
  traces.clear()
  run(classifier, completion(weights(1)))
  assert traces == []
  run(classifier, completion(weights(2).astype(jnp.bfloat16).astype(jnp.float32)))
  assert traces == []


class learned(InitialMask):
  """A starting mask that a matrix makes of the image and of what is known of it."""

  weights: Any

  def make(self, key, instance):
    score = instance.image.ravel() @ self.weights[:, : instance.outputs.shape[0]]
    share = jax.nn.sigmoid(score[instance.target] + instance.outputs.max())
    shapes = instance.representation.mask_shapes
    return tuple(jnp.full(shape, share, jnp.float32) for shape in shapes)


def test_a_starting_mask_sees_the_image_and_the_network(classifier):
  recipe = RECIPE._replace(initial_mask=learned(weights(3)))
  method = pixel_rde(0.1, recipe=recipe)
  found = explain(classifier, IMAGES, method, key=jax.random.key(0))
  outputs = np.asarray(classifier(IMAGES))
  flat = IMAGES.reshape(8, -1) @ np.asarray(weights(3))[:, :5]
  score = flat[np.arange(8), outputs.argmax(1)] + outputs.max(1)
  # The rate of the mask before the first step; 32-bit sums of 256 products.
  np.testing.assert_allclose(
    found.history.rate[:, 0], 1 / (1 + np.exp(-score)), rtol=1e-4
  )


def test_settings_are_compared_by_value():
  assert perturbations.blur(5) == perturbations.blur(5.0)
  assert hash(perturbations.blur(5)) == hash(perturbations.blur(5.0))
  assert perturbations.blur(5) != perturbations.blur(6)
  assert perturbations.zeros() != perturbations.mean()
  assert perturbations.scaled_gaussian([1, 2]) == perturbations.scaled_gaussian(
    np.array([1.0, 2.0])
  )
  # A list cannot be hashed, as a program's structure must be.
  made = perturbations.scaled_gaussian([1, 2])
  assert hash(made) == hash(perturbations.scaled_gaussian((1.0, 2.0)))
  assert made.factors == (1.0, 2.0)
  first, second = solvers.aligned(outlier=3), solvers.aligned(outlier=3.0)
  assert first == second
  assert first.name == second.name
  assert solvers.aligned().name == solvers.aligned(outlier=2).name


def test_whole_numbers_are_what_a_setting_declares():
  """From text, as in ``--representation blocks:4``, all numbers come as floats."""

  class blocks(Part):
    side: int = setting(default=8)
    sides: tuple[int, ...] = setting(default=())
    most: int | None = setting(default=None)
    overlap: float = setting(default=0)

  made = blocks(4.0, [2.0, 3], 5.0, 1)
  assert made == blocks(4, (2, 3), 5, 1.0)
  assert made.name == "blocks(side=4, sides=(2, 3), most=5, overlap=1.0)"
  assert blocks(2.5).side == 2.5  # for the part's own check to refuse


def test_arrays_have_a_default_that_is_one_array():
  stored = np.arange(3.0)

  class learned(Part):
    weights: Any = data(default=stored)

  assert learned().weights is stored
  assert learned() == learned()
  assert learned() != learned(np.arange(3.0))
  assert jax.tree.leaves(learned())[0] is stored


def test_a_program_of_one_class_is_never_run_for_another():
  # If their class is not among what is compared, some of three hundred are mistaken for
  # others: JAX's cache looks at a part of a hash before it compares.
  classes = [type("numbered", (Part,), {"number": i}) for i in range(300)]
  compiled = jax.jit(lambda part: part.number * jnp.ones(()))
  assert [int(compiled(cls())) for cls in classes] == list(range(300))
  shapes = [jax.eval_shape(lambda p: jnp.ones(p.number), cls()) for cls in classes]
  assert [shape.shape for shape in shapes] == [(i,) for i in range(300)]


def test_equal_settings_of_another_class_are_another_structure():
  class of_ones_own(Part):
    sigma: float = setting()

  blur = jax.tree.structure(perturbations.blur(5.0))
  assert blur == jax.tree.structure(perturbations.blur(5))
  assert blur != jax.tree.structure(of_ones_own(5.0))


def test_arrays_are_compared_by_identity():
  one = weights(0)
  assert completion(one) == completion(one)
  assert completion(one) != completion(one + 0)


@pytest.mark.parametrize(
  ("kind", "method"),
  [
    (Perturbation, "sample"),
    (Transform, "bind"),
    (InitialMask, "make"),
    (solvers.Descent, "chain"),
    (Attribution, "attribute"),
    (PixelAttribution, "term"),
  ],
)
def test_a_part_without_what_its_kind_must_have_cannot_be_made(kind, method):
  class unfinished(kind):
    pass

  with pytest.raises(TypeError, match=f"abstract .*{method}"):
    unfinished()


def test_a_part_cannot_be_changed():
  with pytest.raises(AttributeError):
    perturbations.blur(5).sigma = 6.0


def test_names_tell_settings_and_inner_parts_but_no_arrays():
  class twice(Part):
    inner: Part
    count: int = setting(default=2)

  assert twice(perturbations.blur(1)).name == "twice(count=2, inner=blur(sigma=1.0))"
  assert completion(weights(0)).name == "completion()"
  assert perturbations.infill().name == "infill(inpainter=harmonic)"


def test_checks_run_when_a_part_is_made_and_with_tracers():
  class positive(Part):
    data: Any
    value: float = setting(default=1.0)

    def check(self):
      if self.value <= 0:
        raise ValueError(f"value is {self.value}; it must be above 0")

  with pytest.raises(ValueError, match=r"value is -1\.0"):
    positive(jnp.ones(3), -1)
  doubled = jax.jit(lambda part: jax.tree.map(lambda x: 2 * x, part))
  assert doubled(positive(jnp.ones(3))).data.tolist() == [2, 2, 2]


def test_a_function_becomes_a_part_and_a_pytree_stays_one():
  assert as_part(max) == as_part(max) != as_part(min)
  part = completion(weights(0))
  assert as_part(part) is part
  assert pixel() == as_part(pixel())
