"""Shapes in signatures: held in every run of the tests, and in no user's process."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError, install_import_hook
from objectives import instance_of
from processes import run_python

from cawe_jax import (
  Classifier,
  distortions,
  initial_masks,
  inpainting,
  objective,
  outputs,
  penalties,
  perturbations,
  schedules,
  solvers,
  stopping,
)
from cawe_jax.attribution import gradient_x_input
from cawe_jax.attribution.samples import Batch
from cawe_jax.numerics import ambient
from cawe_jax.representations import wavelet
from cawe_jax.types import Masked

SHAPE = (8, 6, 3)
IMAGE = np.full(SHAPE, 0.5, np.float32)
KEY = jax.random.key(0)
HAAR = wavelet("haar", levels=1)(SHAPE)
COEFFICIENTS = HAAR.analysis(IMAGE)
MASK = tuple(jnp.ones(shape) for shape in HAAR.mask_shapes)
# Only its last leaf has two channels.
TWO_CHANNELS = (*MASK[:-1], jnp.ones((3, 4, 3, 2)))
LOGITS = jnp.zeros(5)
BATCH = Batch(IMAGE[None], jnp.zeros(1, int), jax.random.split(KEY, 1))
LINEAR = Classifier(lambda w, x: x.reshape(len(x), -1) @ w, jnp.ones((144, 2)), 8)


class of_no_shape(initial_masks.InitialMask):
  def make(self, key, instance):
    return initial_masks.uniform(jnp.zeros(2), instance.representation)


WRONG = {
  "analysis": lambda: HAAR.analysis(IMAGE[..., 0]),
  "synthesis": lambda: HAAR.synthesis(TWO_CHANNELS),
  "perturbation": lambda: perturbations.adaptive_gaussian().sample(
    jnp.zeros(3), (), Masked(MASK, COEFFICIENTS, HAAR)
  ),
  "blurred image": lambda: perturbations.gaussian_blur(IMAGE[0], 1.0),
  "inpainter": lambda: inpainting.harmonic(IMAGE, IMAGE),
  "distortion": lambda: distortions.l2(LOGITS, LOGITS[:1], 0),
  "penalty": lambda: penalties.spatial_l1(MASK, IMAGE),
  "rate": lambda: penalties.rate(TWO_CHANNELS),
  "output": lambda: outputs.softmax().score(LOGITS[None], 0),
  "target": lambda: outputs.softmax().score(LOGITS, 0.5),
  "initial mask": lambda: of_no_shape().make(KEY, instance_of(IMAGE, HAAR)),
  "schedule": lambda: schedules.linear_decay().step_size(LOGITS, 0.1),
  "stopping": lambda: stopping.never().update((), LOGITS, 0.5),
  "solver": lambda: solvers.adam().init((jnp.ones((2, 3)), jnp.ones((1, 3)))),
  "mix": lambda: objective.mix(MASK, COEFFICIENTS, TWO_CHANNELS),
  "attribution": lambda: gradient_x_input().term(LINEAR, BATCH, jnp.zeros((1, 1), int)),
  "classifier": lambda: LINEAR(IMAGE),
}


@pytest.mark.parametrize("call", WRONG.values(), ids=WRONG)
def test_a_wrong_shape_is_an_error_in_tests(call):
  with pytest.raises(TypeCheckError):
    call()


FORGETFUL = """
from cawe_jax.types import Coefficients, Image, Mask

def analysis(image: Image) -> Coefficients:
  return (image,)

def mask(image: Image) -> Mask:
  return (image[None, ..., 0],)

def synthesis(coefficients: Coefficients) -> Image:
  return coefficients[0][0]
"""


def test_a_result_without_an_axis_is_an_error_in_tests(tmp_path, monkeypatch):
  (tmp_path / "forgetful.py").write_text(FORGETFUL)
  monkeypatch.syspath_prepend(tmp_path)
  with install_import_hook("forgetful", "checked_shapes.check"):
    import forgetful
  for wrong in (forgetful.analysis, forgetful.mask):
    with pytest.raises(TypeCheckError):
      wrong(IMAGE)
  assert forgetful.synthesis((IMAGE[None],)).shape == SHAPE


def test_in_fast_tests_types_and_ranks_meet_only_where_the_code_says_how(request):
  if "not slow" not in request.config.getoption("markexpr"):
    # With slow tests among them, all have the rules that users have.
    assert jax.config.jax_numpy_dtype_promotion == "standard"
    assert jax.config.jax_numpy_rank_promotion == "allow"
    return
  with pytest.raises(jax.dtypes.TypePromotionError):
    jnp.zeros(2, jnp.int32) + jnp.zeros(2, jnp.float32)
  with pytest.raises(ValueError, match="rank_promotion"):
    jnp.zeros((2, 2)) + jnp.zeros(2)
  # Inside public functions, too.
  with ambient.own_rules(), pytest.raises(jax.dtypes.TypePromotionError):
    jnp.zeros(2, jnp.int32) + jnp.zeros(2, jnp.float32)


def test_numbers_are_arrays_without_axes():
  assert schedules.continuation(3).multiplier(0, 20) == 60
  assert distortions.squared_l2(LOGITS, LOGITS, 0) == 0


USERS = """
import jax.numpy as jnp
from cawe_jax import distortions
print(distortions.squared_l2(jnp.zeros(2), jnp.zeros(1), 0))
"""


def test_nothing_is_checked_in_a_users_process(tmp_path):
  with pytest.raises(TypeCheckError):
    distortions.squared_l2(jnp.zeros(2), jnp.zeros(1), 0)
  result = run_python(USERS, cwd=tmp_path)
  # Two probabilities of 1/2 are compared with a single one of 1.
  assert (result.stdout, result.stderr) == ("0.5\n", "")
