"""A search under inpainting, on a photograph and a real network."""

import jax
import numpy as np
import pytest

from cawe_jax import cartoonx, explain, load_classifier, load_image, recipes
from cawe_jax.perturbations import infill
from cawe_jax.samples import sample_path


@pytest.mark.slow
def test_few_coefficients_keep_a_prediction():
  # Gradients differ from each other by what the mask has moved and by nothing else, and
  # are millions of times longer as soon as the hole is large.
  classifier = load_classifier("efficientnet-lite0")
  image = load_image(sample_path("coffee"), size=classifier.input_size)
  method = cartoonx(
    20.0, recipe=recipes.fast()._replace(num_steps=75), perturbation=infill()
  )
  found = explain(classifier, image, method, key=jax.random.key(0))
  # Everything lost weighs .6 and more; .02 to .04 was seen.
  assert found.objective < 0.1
  assert 0 < found.rate < 0.005
  assert np.isfinite(found.history.objective).sum() == 75
