"""What the configs of all figures and tables share.

``get_config`` of each takes a variant: none (EfficientNet-Lite0 at its own 224 pixels
on the photographs of foolbox, with the fastest recipe that is good enough),
``smoke`` (two small photographs, a few steps, two values of each axis: does everything
work together?) and ``paper`` (the published setting, which wants a GPU, the weights of
MobileNetV3-Small and prepared ImageNet data).

Times of smokes are measured from the first to the last, with nothing compiled before
the first and a cache of compiled programs that all share: 470 s of processor time in
all.
"""

from __future__ import annotations

from ml_collections import ConfigDict, config_dict

VARIANTS = ("default", "smoke", "paper")

NUM_COMPARED = 4
"""Photographs where a setting is varied; the paper shows one."""

IMAGENET = "tfds:imagenet_validation"
"""Where the paper variants look for data: see ``experiments.data.prepare``."""


def base(name: str, variant: str) -> ConfigDict:
  """A config without methods and axes.

  Args:
    name: The name of the sweep, which is that of its file.
    variant: One of ``VARIANTS``.

  Raises:
    ValueError: Another variant.
  """
  if variant not in VARIANTS:
    raise ValueError(f"variant is {variant!r}; allowed: {', '.join(VARIANTS)}")
  config = ConfigDict()
  config.name = name
  config.task = "explain"
  config.data = "foolbox"
  config.limit = 20
  config.select = "all"
  config.batch_size = 1  # each photograph is written as soon as it is done
  config.settings = {
    "classifier": "efficientnet-lite0",
    "image_size": config_dict.placeholder(int),
    "preset": "fast",
    "steps": config_dict.placeholder(int),
    "draws": config_dict.placeholder(int),
    "step_size": config_dict.placeholder(float),
    "lagrange_multiplier": config_dict.placeholder(float),
    "seed": 0,
  }
  config.methods = ConfigDict()
  config.axes = ConfigDict()
  config.metrics = ()
  # What is drawn: see experiments.report. It decides no number either.
  config.report = {"figures": ("panels",), "num_panels": 4}
  # For submitit, whose names these are.
  config.launch = {
    "timeout_min": 24 * 60,
    "cpus_per_task": config_dict.placeholder(int),
    "gpus_per_node": config_dict.placeholder(int),
    "mem_gb": config_dict.placeholder(int),
    "slurm_partition": config_dict.placeholder(str),
    "slurm_array_parallelism": config_dict.placeholder(int),
  }
  if variant == "smoke":
    config.limit, config.batch_size = 2, 2
    # So few steps that the published multipliers would leave nothing to look at.
    config.settings.steps, config.settings.lagrange_multiplier = 24, 1.0
    # The smallest side that has five levels of db3.
    config.settings.image_size = 160
  if variant == "paper":
    config.data, config.limit, config.batch_size = IMAGENET, 100, 8
    config.settings.classifier = "mobilenet_v3_small"
    config.settings.image_size = 256
    config.settings.preset = "eccv2022"
  return config


def curves(name: str, variant: str, mask: str) -> ConfigDict:
  """Fig. 7a and 7b: what the most relevant entries are worth, method by method.

  Args:
    name: As for :func:`base`.
    variant: As for :func:`base`.
    mask: ``keep`` or ``randomise`` the most relevant entries.
  """
  config = base(name, variant)
  config.task = "curves"
  config.report.figures = ("curves",)
  config.curve = {
    "mask": mask,
    "distortion": "l2",
    "num_draws": 8,
    "fractions": (),  # none: steps of 1 % below 10 %, then of 5 %
  }
  config.methods.cartoonx = {"label": "CartoonX", "method": "cartoonx"}
  rankings = {
    "integrated_gradients": "Integrated Gradients",
    "grad_cam": "Grad-CAM",
    "random_wavelets": "Random wavelets",
  }
  if variant == "smoke":
    config.curve.num_draws = 2
    config.curve.fractions = (0.0, 0.01, 0.1, 0.5, 1.0)
  else:
    config.methods.pixel_rde = {"label": "Pixel RDE", "method": "pixel-rde"}
    rankings |= {
      "smooth_grad": "SmoothGrad",
      "guided_backprop": "Guided Backprop",
      "lrp": "LRP",
      "guided_grad_cam": "Guided Grad-CAM",
      "lime": "LIME",
      "random_pixels": "Random pixels",
    }
  if variant == "paper":
    # For networks with ReLU alone, which MobileNetV3 is not.
    for key in ("guided_backprop", "lrp", "guided_grad_cam"):
      del rankings[key]
    config.curve.num_draws = 1
    config.curve.fractions = tuple(i / 20 for i in range(21))
  for key, label in rankings.items():
    config.methods[key] = {"label": label, "ranking": key.replace("_", "-")}
  return config
