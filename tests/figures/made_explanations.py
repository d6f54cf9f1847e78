"""An explanation whose numbers are written down, and a figure's pixels."""

import numpy as np
from wavelet_masks import wavelet_shapes

from cawe_jax.types import Explanation, History


def make_explanation(shapes=None, size=(15, 17), channels=3, **changes):
  rng = np.random.default_rng(0)
  shapes = wavelet_shapes((5, 5, 7), (6, 6, 8)) if shapes is None else shapes
  history = History(
    objective=np.array([20.5, 8.25, 2.5, np.nan]),
    distortion=np.array([0.0, 0.25, 0.5, np.nan]),
    rate=np.array([1.0, 0.4, 0.1, np.nan]),
    lagrange_multiplier=np.array([20.0, 20.0, 20.0, np.nan]),
    penalties={},
  )
  fields = dict(
    mask=tuple(rng.random(shape, np.float32) ** 8 for shape in shapes),
    image=rng.random((*size, 1)),
    masked_image=rng.random((*size, channels)),
    obfuscated_image=rng.random((*size, channels)),
    input_image=rng.random((*size, channels)),
    target=np.int32(285),
    score=0.9123,
    score_with_noise=0.7946,
    score_without_noise=0.9506,
    probability=0.9123,
    rate=0.01132,
    rate_l0=0.0427,
    distortion=0.06134,
    distortion_standard_error=0.00213,
    retained_probability=0.871,
    explanation_probability=1.042,
    objective=0.2877,
    should_go=0.001,
    should_return=-0.002,
    gap_standard_error=0.004,
    lagrange_multiplier=20.0,
    num_steps=1800,
    model_evaluations=28800,
    history=history,
  )
  return Explanation(**{**fields, **changes})


def pixels(figure):
  figure.canvas.draw()
  return np.asarray(figure.canvas.buffer_rgba()).copy()
