"""What `explain` refuses, each in one line."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from explaining import ADAM, HAAR, IMAGES, KEY, SGD, SHAPE, method

from cawe_jax import (
  Classifier,
  distortions,
  explain,
  explain_path,
  explain_retaining,
  initial_masks,
  penalties,
  perturbations,
  solvers,
  waveletx,
)
from cawe_jax.engine import checks
from cawe_jax.engine.session import Session
from cawe_jax.metrics import confidence_bounds
from cawe_jax.obfuscations import obfuscate
from cawe_jax.part import setting


@pytest.fixture(scope="module")
def classifier(make_tiny_classifier):
  return make_tiny_classifier(SHAPE)


def nan_always(params, images):
  return jnp.full((len(images), 5), jnp.nan)


def nan_where_dark(params, images):
  # NaN below a mean of 0.3: not on an image, but on what little of it a mask keeps.
  level = jnp.sqrt(images.mean((1, 2, 3)) - 0.3)
  return jnp.stack([level, -level], axis=1)


def nan_gradient(clean_logits, logits, target):
  # 0, but the gradient of the root there is infinite, times 0.
  return jnp.sqrt(0 * logits[target])


def nan_distortion(clean_logits, logits, target):
  return jnp.nan * logits[target]


@pytest.mark.parametrize(
  ("apply", "line"),
  [
    (nan_always, r"^classifier 'broken' returned NaN .*logits for image\(s\) 0; .*$"),
    (nan_where_dark, r"NaN between steps 0 and .*classifier 'broken'.*$"),
  ],
)
def test_a_network_that_returns_nan_is_refused(apply, line):
  broken = Classifier(apply, jnp.zeros(1), SHAPE[:2], name="broken")
  # One step of this size empties the mask: 20 * 60 / 1110 > 1.
  hasty = method(20.0, SGD._replace(step_size=60.0), perturbation=perturbations.zeros())
  with pytest.raises(ValueError, match=line):
    explain(broken, np.clip(IMAGES[0], 0.2, 1), hasty, key=KEY)


def nan_without_light(params, images):
  """As networks that divide by the norm of their image."""
  level = images.mean((1, 2, 3)) / jnp.where(images.max() > 0, 1, jnp.nan)
  return jnp.stack([level, -level], axis=1)


def test_a_mask_whose_distortion_is_nan_is_not_reported():
  broken = Classifier(nan_without_light, jnp.zeros(1), SHAPE[:2], name="broken")
  dark = method(perturbation=perturbations.zeros())
  session = Session(
    broken, IMAGES[:1], dark, key=KEY, targets=None, image_ids=None, rows=None
  )
  masks = jax.tree.map(lambda leaf: np.zeros_like(leaf), session.initial_masks)
  line = r"^the distortion of the mask of image\(s\) 0 is NaN: classifier 'broken'"
  with pytest.raises(ValueError, match=line):
    session.assess(masks)
  with pytest.raises(ValueError, match=line):
    confidence_bounds(broken, IMAGES[:1], masks, dark, key=KEY)
  # The empty one among the candidates is no reason to lose the mask that was found.
  found = explain(broken, IMAGES[0], dark._replace(lagrange_multiplier=0.01), key=KEY)
  assert found.rate > 0
  assert np.isfinite(found.distortion)


@pytest.mark.parametrize("distortion", [nan_gradient, nan_distortion])
def test_all_parts_that_may_have_returned_nan_are_named(classifier, distortion):
  parts = method(distortion=distortion, perturbation=perturbations.zeros())._replace(
    penalties=(penalties.spatial_l1,), penalty_weights=(1.0,)
  )
  with pytest.raises(ValueError, match=r"^the mask or its objective is NaN") as error:
    explain(classifier, IMAGES[0], parts, key=KEY)
  line = str(error.value)
  for suspect in (
    f"distortion {distortion.__name__}",
    "penalty spatial_l1",
    "perturbation zeros()",
    "representation wavelet('haar'",
    "solver projected",
    f"classifier {classifier.name!r} (finite on the images, ",
    "sqrt or norm at 0",
  ):
    assert suspect in line
  assert "\n" not in line


def with_recipe(**options):
  return method(recipe=ADAM._replace(**options))


class twice(initial_masks.InitialMask):
  entry: float = setting()

  def make(self, key, instance):
    shapes = instance.representation.mask_shapes
    return tuple(jnp.full(shape, self.entry) for shape in shapes)


class short(initial_masks.InitialMask):
  def make(self, key, instance):
    return (np.ones((1, 2, 2, 1), np.float32),)


BAD_METHODS = {
  "lagrange_multiplier is -1": lambda: method(-1.0),
  "lagrange_multiplier is nan": lambda: method(float("nan")),
  "lagrange_multiplier is inf": lambda: method(float("inf")),
  "weight of spatial_l1 is -2": lambda: waveletx(
    1.0, -2.0, representation=HAAR, recipe=ADAM
  ),
  "penalty_weights has 0 entries": lambda: method()._replace(
    penalties=(penalties.spatial_l1,)
  ),
  "step_size is 0": lambda: with_recipe(step_size=0.0),
  "step_size is nan": lambda: with_recipe(step_size=float("nan")),
  "num_steps is 0": lambda: with_recipe(num_steps=0),
  "num_steps is 2.5": lambda: with_recipe(num_steps=2.5),
  "num_draws is 0": lambda: with_recipe(num_draws=0),
  "num_draws is -3": lambda: with_recipe(num_draws=-3),
  "contrast is (0.5, 0.5); it must be two numbers": lambda: with_recipe(
    contrast=(0.5, 0.5)
  ),
  "contrast is (-0.1, 1)": lambda: with_recipe(contrast=(-0.1, 1)),
  "contrast is (0, nan)": lambda: with_recipe(contrast=(0, float("nan"))),
  "contrast is 0.9": lambda: with_recipe(contrast=0.9),
  "initial_mask is <function": lambda: with_recipe(initial_mask=initial_masks.zeros),
  "solver is <class": lambda: with_recipe(solver=solvers.adam),
  "schedule is 'linear'": lambda: with_recipe(schedule="linear"),
  "stopping is None; it must be a cawe_jax.stopping.Stopping": lambda: with_recipe(
    stopping=None
  ),
  "initial_mask 'short()' returned (float32[1, 2, 2, 1],)": lambda: with_recipe(
    initial_mask=short()
  ),
  "initial_mask 'twice(entry=2.0)' has entries outside [0, 1]": lambda: with_recipe(
    initial_mask=twice(2.0)
  ),
  "initial_mask 'twice(entry=nan)' has entries outside [0, 1], or NaN": (
    lambda: with_recipe(initial_mask=twice(float("nan")))
  ),
  "penalties has two that are called spatial_l1": lambda: method()._replace(
    penalties=(penalties.spatial_l1,) * 2, penalty_weights=(1.0, 1.0)
  ),
}


@pytest.mark.parametrize("message", BAD_METHODS)
def test_methods_are_checked(message, classifier):
  refused(message, classifier, IMAGES, BAD_METHODS[message]())


def refused(message, classifier, images, bad_method, **options):
  with pytest.raises(ValueError, match=re.escape(message)) as error:
    explain(classifier, images, bad_method, key=KEY, **options)
  assert "\n" not in str(error.value)


HOLE = IMAGES.copy()
HOLE[0, 0, 0, 0] = np.nan
BAD_IMAGES = {
  "images has shape (17, 20)": IMAGES[0, :, :, 0],
  "images has shape (0, 17, 20, 3)": IMAGES[:0],
  "images has type uint8": (255 * IMAGES).astype(np.uint8),
  "images has values in": 2 * IMAGES,
  "images has images of shapes (17, 20, 3) and (16, 20, 3); all of a batch": [
    IMAGES[0],
    IMAGES[1, 1:],
  ],
  "images has 1 values that are NaN or infinite": HOLE,
  "images has values in [-": -IMAGES,
  "images has masked values; fill them in": np.ma.masked_less(IMAGES, 0.1),
}


@pytest.mark.parametrize("message", BAD_IMAGES)
def test_images_are_checked(message, classifier):
  refused(message, classifier, BAD_IMAGES[message], method())


MASK = tuple(np.ones((3, *shape), np.float32) for shape in HAAR(SHAPE).mask_shapes)
BAD_OPTIONS = [
  ("target is 5; allowed are 0 to 4", {"targets": 5}),
  ("targets is [0, -7, 1]; it must be at least 0", {"targets": [0, -7, 1]}),
  ("targets is -1; it must be at least 0", {"targets": -1}),
  ("targets is [0, 1]", {"targets": [0, 1]}),
  ("targets is 1.5", {"targets": 1.5}),
  ("image_ids is -1", {"image_ids": -1}),
  ("image_ids is 4294967296", {"image_ids": 2**32}),
  ("image_ids is [1]", {"image_ids": [1]}),
  ("initial_masks has leaves", {"initial_masks": MASK[:1]}),
  (
    "initial_masks is one array of shape (17, 20)",
    {"initial_masks": IMAGES[0, ..., 0]},
  ),
  ("initial_masks has entries outside", {"initial_masks": (2 * MASK[0], *MASK[1:])}),
  (
    "initial_masks has entries outside",
    {"initial_masks": (np.nan * MASK[0], *MASK[1:])},
  ),
  ("rows is 0", {"rows": 0}),
  ("rows is 1.5; it must be an integer", {"rows": 1.5}),
  ("rows is True; it must be an integer", {"rows": True}),
  ("rows is 'a'; it must be an integer", {"rows": "a"}),
  ("rows is -1", {"rows": -1}),
]


@pytest.mark.parametrize(("message", "options"), BAD_OPTIONS)
def test_options_are_checked(message, options, classifier):
  refused(message, classifier, IMAGES, method(), **options)


@pytest.mark.parametrize("multiplier", ["20", None, True, [1.0, 2.0, None]])
def test_multipliers_must_be_numbers(multiplier, classifier):
  given = method()._replace(lagrange_multiplier=multiplier)
  line = f"lagrange_multiplier is {multiplier!r}; it must be finite and at least 0"
  refused(line, classifier, IMAGES, given)


@pytest.mark.parametrize("retain", ["0.9", True, 0, 1.5, float("nan")])
def test_what_is_to_be_retained_must_be_a_share(retain, classifier):
  with pytest.raises(ValueError, match=f"^retain is {retain!r}; it must be above 0"):
    explain_retaining(classifier, IMAGES, method(), retain, key=KEY)


def test_keys_must_be_one():
  keys = jax.random.split(KEY, 2)
  with pytest.raises(ValueError, match=r"^key has shape \(2,\); it must be one key"):
    checks.check_key(keys)


def test_an_explanation_is_no_mask(classifier):
  found = explain(classifier, IMAGES[0], method(), key=KEY)
  with pytest.raises(ValueError, match="masks is an Explanation; it must be the mask"):
    obfuscate(classifier, IMAGES[0], found, method(), key=KEY)


@pytest.mark.parametrize(
  "transform",
  [jax.jit, jax.grad, lambda f: lambda x: jax.vmap(f)(x[None])],
  ids=["jit", "grad", "vmap"],
)
def test_it_cannot_be_a_part_of_a_program(transform, classifier):
  def rate(image):
    return explain(classifier, image, method(), key=KEY).rate

  with pytest.raises(ValueError, match=r"^this function runs compiled programs by it"):
    transform(rate)(IMAGES[0])


def test_label_squared_error_is_for_the_predicted_class(classifier):
  predicted = int(np.argmax(classifier(jnp.asarray(IMAGES[:1]))))
  strict = method(distortion=distortions.label_squared_error)
  other = (predicted + 1) % 5
  refused("use maximise_probability", classifier, IMAGES[0], strict, targets=other)
  options = {"key": KEY, "image_ids": None, "rows": None}
  for allowed in (predicted, None):
    session = Session(classifier, IMAGES[:1], strict, targets=allowed, **options)
    assert session.problems.target.tolist() == [predicted]


def test_multipliers_must_be_one_per_image(classifier):
  refused("lagrange_multiplier", classifier, IMAGES, method(np.ones(2, np.float32)))


def test_a_path_takes_one_image_and_at_least_one_multiplier(classifier):
  with pytest.raises(ValueError, match="image has shape"):
    explain_path(classifier, IMAGES, method(), [1.0], key=KEY)
  with pytest.raises(ValueError, match="lagrange_multipliers"):
    explain_path(classifier, IMAGES[0], method(), [], key=KEY)


def test_a_raw_key_is_refused_in_one_line(classifier):
  with pytest.raises((TypeError, ValueError), match="key") as error:
    explain(classifier, IMAGES, method(), key=0)
  assert "\n" not in str(error.value)


def of_probabilities(fewest):
  """Of two classes, the second of which is impossible for every image."""

  def network(params, images):
    certain = jnp.where(images.mean((1, 2, 3)) > 0, 1.0, 0.5)
    return jnp.log(jnp.maximum(jnp.stack([certain, 1 - certain], axis=1), fewest))

  return Classifier(network, (), SHAPE[:2], name="probabilities")


def test_the_logarithm_of_an_exact_0_is_refused_with_what_helps():
  refused("jnp.log(jnp.maximum(p, 1e-30))", of_probabilities(0), IMAGES, method())
  options = {"key": KEY, "image_ids": None, "rows": None, "targets": None}
  problems = Session(of_probabilities(1e-30), IMAGES, method(), **options).problems
  # The softmax of the logarithm is the probability itself.
  found = jnp.exp(problems.clean_logits[: len(IMAGES)])
  np.testing.assert_allclose(found, [[1, 0]] * len(IMAGES), atol=1e-6)


def test_one_output_is_refused_with_what_makes_two_classes_of_it():
  single = Classifier(lambda params, x: x.mean((1, 2))[:, :1], (), SHAPE[:2])
  refused("[0, z] for two classes", single, IMAGES, method())
