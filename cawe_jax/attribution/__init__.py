"""Attribution methods that CartoonX is compared with, all called alike.

``attribution(classifier, images, targets, key)`` returns a relevance: larger numbers
for entries that matter more, in the shape of a mask.
"""

from cawe_jax.attribution.attribution import Attribution, Relevance
from cawe_jax.attribution.grad_cam import grad_cam, guided_grad_cam
from cawe_jax.attribution.gradients import (
  completeness,
  gradient_x_input,
  integrated_gradients,
  smooth_grad,
  var_grad,
)
from cawe_jax.attribution.guided_backprop import guided_backprop
from cawe_jax.attribution.lime import lime
from cawe_jax.attribution.lrp import lrp
from cawe_jax.attribution.random_ranking import random_ranking
from cawe_jax.attribution.rise import rise

__all__ = [
  "Attribution",
  "Relevance",
  "completeness",
  "grad_cam",
  "gradient_x_input",
  "guided_backprop",
  "guided_grad_cam",
  "integrated_gradients",
  "lime",
  "lrp",
  "random_ranking",
  "rise",
  "smooth_grad",
  "var_grad",
]
