"""Attribution methods that CartoonX is compared with, all called alike.

``attribution(classifier, images, targets, key)`` returns a relevance: larger numbers
for entries that matter more, in the shape of a mask. Targets are by default the
predicted classes.
"""

from cawe_jax.attribution.attribution import Attribution, Relevance
from cawe_jax.attribution.class_activation import grad_cam, guided_grad_cam
from cawe_jax.attribution.gradients import (
  completeness,
  gradient_x_input,
  integrated_gradients,
  smooth_grad,
  var_grad,
)
from cawe_jax.attribution.guided_relu import guided_backprop
from cawe_jax.attribution.local_surrogate import lime
from cawe_jax.attribution.random_masks import rise
from cawe_jax.attribution.random_order import random_ranking
from cawe_jax.attribution.relevance_propagation import lrp

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
