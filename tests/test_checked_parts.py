"""A part that breaks its contract is named before anything is compiled."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from objectives import instance_of

import cawe_jax as cawe
from cawe_jax import distortions, initial_masks, perturbations, representations
from cawe_jax.methods import contracts
from cawe_jax.part import name_of, setting
from cawe_jax.types import Perturbation, Representation, Transform

SHAPE = (16, 16, 3)
WEIGHTS = np.random.default_rng(0).normal(size=(768, 7)).astype(np.float32)
CLASSIFIER = cawe.Classifier(lambda w, x: x.reshape(len(x), -1) @ w, WEIGHTS, 16)


def cut(image):
  return image[None, :8], image[None, 8:]


def join(coefficients):
  return jnp.concatenate([leaf[0] for leaf in coefficients])


class halves(Transform):
  """Rows above and below the middle, as two leaves; with something wrong."""

  analysis: Callable = setting(default=cut)
  synthesis: Callable = setting(default=join)
  mask_shapes: tuple = setting(default=((1, 8, 16, 1), (1, 8, 16, 1)))
  name = "halves()"

  def bind(self, image_shape):
    return Halves(self, image_shape, self.mask_shapes)


class Halves(Representation):
  def analysis(self, image):
    return self.transform.analysis(image)

  def synthesis(self, coefficients):
    return self.transform.synthesis(coefficients)


class perturbation(Perturbation):
  function: Callable = setting()
  name = "mine()"

  def sample(self, key, state, masked):
    return self.function(key, state, masked)


def explain(**parts):
  method = cawe.pixel_rde()._replace(**({"representation": halves()} | parts))
  recipe = method.recipe._replace(num_steps=1)
  image = np.full(SHAPE, 0.5, np.float32)
  key = jax.random.key(0)
  return cawe.explain(CLASSIFIER, image, method._replace(recipe=recipe), key=key)


def test_shapes_may_be_lists():
  shapes = [[1, 8, 16, 1], [1, 8, 16, 1]]
  found = explain(representation=halves(mask_shapes=shapes))
  assert [leaf.shape for leaf in found.mask] == list(map(tuple, shapes))


def test_the_parts_from_which_mistakes_are_made_are_right():
  explain()
  explain(perturbation=perturbation(lambda key, state, masked: masked.kept))
  contracts.check_inverse(halves()(SHAPE))


REPRESENTATIONS = {
  "no tuple": (
    {"analysis": lambda image: image[None]},
    r"analysis of an image of shape \(16, 16, 3\) returned float32\[1, 16, 16, 3\]; "
    r"must be \(float32\[1, 8, 16, 3\], float32\[1, 8, 16, 3\]\)$",
  ),
  "no axis of orientations": (
    {"analysis": lambda image: (image[:8], image[8:])},
    r"analysis of .* returned \(float32\[8, 16, 3\], float32\[8, 16, 3\]\); must be",
  ),
  "a leaf too many": (
    {"analysis": lambda image: (image[None, :8], image[None, 8:], image[None])},
    r"analysis of .* returned .*; must be",
  ),
  "as many channels as the image always": (
    {
      "analysis": lambda image: tuple(
        half.reshape(1, 8, 16, 3) for half in (image[:8], image[8:])
      )
    },
    r"analysis of an image of shape \(16, 16, 1\) failed with TypeError: .*reshape",
  ),
  "an image with orientations": (
    {"synthesis": lambda leaves: jnp.concatenate(leaves, axis=1)},
    r"synthesis of coefficients with 3 channel\(s\) returned float32\[1, 16, 16, 3\]; "
    r"must be float32\[16, 16, 3\]$",
  ),
  "a mask of all channels": (
    {"mask_shapes": ((1, 8, 16, 3), (1, 8, 16, 3))},
    r"mask_shapes has \(1, 8, 16, 3\); allowed is \(orientations, h, w, 1\)$",
  ),
  "a mask that would be broadcast": (
    {"mask_shapes": ((1, 1, 16, 1), (1, 8, 16, 1))},
    r"analysis of .* returned .*; must be \(float32\[1, 1, 16, 3\]",
  ),
}


@pytest.mark.parametrize("mistake", REPRESENTATIONS)
def test_a_representation_is_named(mistake):
  changes, message = REPRESENTATIONS[mistake]
  with pytest.raises(ValueError, match=rf"^representation 'halves\(\)': {message}"):
    explain(representation=halves(**changes))


def test_a_synthesis_that_is_no_inverse():
  wrong = halves(synthesis=lambda leaves: jnp.concatenate([x[0] for x in leaves[::-1]]))
  with pytest.raises(ValueError, match=r"differs from the image by up to 0\.9"):
    contracts.check_inverse(wrong(SHAPE))


SAMPLES = {
  "one array": (
    lambda key, state, masked: masked.kept[0],
    r"returned float32\[1, 8, 16, 3\]",
  ),
  "a list": (
    lambda key, state, masked: list(masked.kept),
    r"returned \[float32\[1, 8, 16",
  ),
  "a leaf too few": (
    lambda key, state, masked: masked.kept[:1],
    r"returned \(float32\[1, 8",
  ),
  "one channel": (
    lambda key, state, masked: masked.mask,
    r"returned \(float32\[1, 8, 16, 1\], float32\[1, 8, 16, 1\]\); must be",
  ),
  "integers": (
    lambda key, state, masked: tuple(x.astype(int) for x in masked.kept),
    r"returned \(int32\[1, 8",
  ),
  "an error": (lambda key, state, masked: state[0], "failed with IndexError"),
}


@pytest.mark.parametrize("mistake", SAMPLES)
def test_a_perturbation_is_named(mistake):
  sample, message = SAMPLES[mistake]
  with pytest.raises(ValueError, match=rf"^perturbation 'mine\(\)': sample {message}"):
    explain(perturbation=perturbation(sample))


def vector(clean_logits, logits, target):
  return (logits - clean_logits) ** 2


def of_two(clean_logits, logits):
  return jnp.sum((logits - clean_logits) ** 2)


def boolean(clean_logits, logits, target):
  return jnp.argmax(logits) == target


@pytest.mark.parametrize(
  ("distortion", "message"),
  [
    (vector, r"returned float32\[\d+\]; must be float32\[\]$"),
    (boolean, r"returned bool\[\]; must be float32\[\]$"),
    (of_two, "failed with TypeError: of_two.* takes 2 positional arguments but 3"),
  ],
)
def test_a_distortion_is_named(distortion, message):
  with pytest.raises(
    ValueError, match=f"^distortion '{distortion.__name__}' {message}"
  ):
    explain(distortion=distortion)


def test_a_penalty_is_named():
  def all_entries(mask, explanation):
    return mask[0]

  message = (
    r"^penalty 'all_entries' returned float32\[1, 8, 16, 1\]; must be float32\[\]"
  )
  with pytest.raises(ValueError, match=message):
    explain(penalties=(all_entries,), penalty_weights=(1.0,))


@pytest.mark.parametrize(
  ("parts", "message"),
  [
    (
      {"representation": halves()(SHAPE)},
      "representation is a Representation, which is",
    ),
    ({"representation": representations.pixel}, "representation is <.*; it must be a"),
    ({"perturbation": perturbations.blur}, "perturbation is <.*: call it"),
  ],
)
def test_what_is_no_part_is_refused(parts, message):
  with pytest.raises(ValueError, match=f"^{message}"):
    explain(**parts)


@pytest.mark.parametrize("distortion", [distortions.kl, distortions.l2])
def test_the_librarys_own_pass(distortion):
  contracts.check_distortion(distortion, 7)


def test_a_partial_function_may_have_a_name_of_its_own():
  part = functools.partial(max, default=np.arange(40))
  assert "\n" not in name_of(part)
  part.__name__ = "largest"
  assert name_of(part) == "largest"


@pytest.mark.parametrize("make", [initial_masks.random, initial_masks.ones])
def test_masks_are_float32_in_programs_of_64_bits_too(make):
  with jax.enable_x64(True):
    instance = instance_of(None, representations.pixel()((4, 4, 1)))
    (mask,) = make().make(jax.random.key(0), instance)
  assert mask.dtype == np.float32
