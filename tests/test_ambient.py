"""What callers set of JAX for code of their own neither stops nor changes anything."""

import contextlib
import warnings

import jax
import numpy as np
import pytest

from cawe_jax import (
  Classifier,
  attribution,
  explain,
  metrics,
  perturbations,
  pixel_rde,
  preset,
)
from cawe_jax.classifiers import check_classifier
from cawe_jax.numerics import ambient
from cawe_jax.representations import pixel

SHAPE = (6, 5, 1)
IMAGES = np.random.default_rng(0).random((2, *SHAPE), np.float32)
RELEVANCE = (np.random.default_rng(1).random((2, 1, *SHAPE), np.float32),)
KEY = jax.random.key(0)
# Its last segment is not full, its history has blanks.
RECIPE = preset("pixel-rde", "default").recipe._replace(num_steps=13, num_draws=2)


def explain_images(classifier):
  return explain(classifier, IMAGES, pixel_rde(0.1, recipe=RECIPE), key=KEY)


def attribute(classifier):
  return attribution.smooth_grad(3)(classifier, IMAGES, 1, KEY)


def attribute_without_gradients(classifier):
  return attribution.rise(4)(classifier, IMAGES, 1, KEY)


def curve(classifier):
  return metrics.rate_distortion_curve(
    classifier, IMAGES, RELEVANCE, pixel(), key=KEY, fractions=(0, 0.5, 1), num_draws=2
  )


def agreement(classifier):
  constant = (np.ones_like(RELEVANCE[0]),)
  return metrics.rank_correlation(constant, RELEVANCE)


RUNS = [explain_images, attribute, attribute_without_gradients, curve, agreement]


@pytest.fixture(scope="module", autouse=True)
def as_users_run():
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(ambient, "promotion_inside", ambient.promotion)
    yield


@pytest.fixture(scope="module")
def classifier(make_tiny_classifier):
  return make_tiny_classifier(SHAPE)


@pytest.fixture(scope="module")
def expected(classifier):
  return {run: run(classifier) for run in RUNS}


def mesh(**options):
  return jax.make_mesh((1,), ("batch",), **options)


@contextlib.contextmanager
def old_mesh():
  with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    entered = jax.sharding.Mesh(jax.devices(), ("images",))
    entered.__enter__()
  yield
  entered.__exit__(None, None, None)


@contextlib.contextmanager
def configured(name, value):
  before = getattr(jax.config, name)
  jax.config.update(name, value)
  yield
  jax.config.update(name, before)


# Those that the library runs without.
RULES = {
  "set_mesh": lambda: jax.set_mesh(mesh()),
  "set_mesh, automatic": lambda: jax.set_mesh(
    mesh(axis_types=(jax.sharding.AxisType.Auto,))
  ),
  "with mesh": old_mesh,
  "numpy_dtype_promotion": lambda: jax.numpy_dtype_promotion("strict"),
  "numpy_rank_promotion": lambda: jax.numpy_rank_promotion("raise"),
  "transfer_guard": lambda: jax.transfer_guard("disallow_explicit"),
  "debug_nans": lambda: jax.debug_nans(True),
  "debug_infs": lambda: jax.debug_infs(True),
}
# Those that it is run under.
CHOICES = {
  "default_device": lambda: jax.default_device(jax.devices()[0]),
  "default_matmul_precision": lambda: jax.default_matmul_precision("highest"),
  "default_prng_impl": lambda: jax.default_prng_impl("rbg"),
  "enable_checks": lambda: configured("jax_enable_checks", True),
  "threefry_partitionable": lambda: jax.threefry_partitionable(True),
  "debug_key_reuse": lambda: jax.debug_key_reuse(True),
  "legacy_prng_key": lambda: configured("jax_legacy_prng_key", "error"),
  "check_tracer_leaks": lambda: jax.checking_leaks(),
  "enable_x64": lambda: jax.enable_x64(True),
}


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("rule", RULES)
def test_rules_for_the_callers_code_do_not_reach_the_librarys(
  rule, run, classifier, expected
):
  with RULES[rule]():
    found = run(classifier)
  jax.tree.map(np.testing.assert_array_equal, found, expected[run])


def test_a_network_of_others_may_mix_types_and_ranks(classifier):
  def mixing(params, images):
    return classifier.apply(params, images) * jax.numpy.arange(5)

  mixed = Classifier(mixing, classifier.params, SHAPE[:2])
  method = attribution.gradient_x_input()
  with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
    check_classifier(mixed, IMAGES)
    (found,) = method(mixed, IMAGES, 2, KEY)
  (plain,) = method(classifier, IMAGES, 2, KEY)
  np.testing.assert_allclose(found, 2 * plain, rtol=1e-5)  # rounded in other places


@pytest.mark.parametrize(
  "choice",
  # Under each of them everything is compiled anew: one is in the fast set.
  [
    pytest.param(choice, marks=() if choice == "enable_x64" else pytest.mark.slow)
    for choice in CHOICES
  ],
)
def test_the_callers_choices_change_nothing_but_rounding(choice, classifier, expected):
  with CHOICES[choice]():
    found = {run: run(classifier) for run in RUNS}
  # Thirteen steps of products of some dozen terms, in other orders or 64 bits.
  for run in RUNS:
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5),
      found[run],
      expected[run],
    )


@pytest.mark.slow
@pytest.mark.usefixtures("quickly_compiled")
def test_without_compilation(classifier):
  # A single draw and a single step, each operation by itself.
  black = perturbations.zeros()
  recipe = RECIPE._replace(num_steps=1)
  method = pixel_rde(0.1, perturbation=black, recipe=recipe)
  image, relevance = IMAGES[:1], (RELEVANCE[0][:1],)

  def run():
    return (
      explain(classifier, image, method, key=KEY),
      attribution.gradient_x_input()(classifier, image, 1, KEY),
      metrics.rate_distortion_curve(
        classifier,
        image,
        relevance,
        pixel(),
        key=KEY,
        perturbation=black,
        fractions=(0.5,),
        num_draws=1,
      ),
    )

  with jax.disable_jit():
    found = run()
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-4, 1e-5), found, run())


def test_a_pixel_map_obeys_no_rules_of_the_callers():
  mask = (np.ones((2, 1, *SHAPE), np.float32),)
  expected = metrics.pixel_map(mask, pixel(), SHAPE[:2], num_draws=1)
  with jax.transfer_guard("disallow_explicit"), jax.numpy_dtype_promotion("strict"):
    found = metrics.pixel_map(mask, pixel(), SHAPE[:2], num_draws=1)
  np.testing.assert_array_equal(found[0], expected[0])
  with pytest.raises(ValueError, match=r"image_shape is \(6, 5, 1\); it must"):
    metrics.pixel_map(mask, pixel(), SHAPE)


@pytest.mark.parametrize(
  "function", [attribution.gradient_x_input(), attribution.rise(4), check_classifier]
)
def test_images_of_two_shapes_are_one_line(function, classifier):
  images = [IMAGES[0], IMAGES[1][:-1]]
  with pytest.raises(ValueError, match=r"images of shapes \(6, 5, 1\) and \(5, 5, 1\)"):
    function(classifier, images)
  with pytest.raises(ValueError, match=r"^method is pixel\(\); it must be a Method"):
    explain(classifier, IMAGES, pixel(), key=KEY)
