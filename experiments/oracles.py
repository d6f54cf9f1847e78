"""The networks of torchvision, timm and efficientnet-lite-pytorch, with random weights.

What :mod:`experiments.parity` compares with. The weights are random but not trivial:
He's scale, so that activations neither vanish nor overflow, and random biases, batch
statistics, layer scales and position embeddings, so that whatever a conversion forgot
changes the logits. Needs ``requirements/oracles.txt``.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any, NamedTuple

from experiments.pytorch import torch

_LITE = "efficientnet_lite_pytorch"
_DECLARED: list[Any] = []


class Oracle(NamedTuple):
  """A network of another library that has the same layers as one of ours.

  Attributes:
    architecture: Our name.
    package: ``torchvision``, ``timm`` or ``efficientnet_lite_pytorch``.
    model: The library's name; timm's with the tag of the published weights.
    sizes: Sides of the images in pixels. Odd ones, so that padding is not the same on
      both sides of every map, where the network takes others than its own.
    exact: Whether it is compared in 64 bits as well; one of each family is.
  """

  architecture: str
  package: str
  model: str
  sizes: tuple[int, ...]
  exact: bool = False

  @property
  def label(self) -> str:
    """Library and model, short enough for a table."""
    return f"{self.package.partition('_')[0]} {self.model.partition('.')[0]}"

  @property
  def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each colour, from the library's own metadata."""
    match self.package:
      case "torchvision":
        weights = torchvision().models.get_model_weights(self.model)
        transform = weights["IMAGENET1K_V1"].transforms()
        return tuple(transform.mean), tuple(transform.std)
      case "timm":
        config = timm().get_pretrained_cfg(self.model)
        return tuple(config.mean), tuple(config.std)
    # The package's README: (255 x - 127) / 128.
    return (127 / 255,) * 3, (128 / 255,) * 3


_ANY, _OWN, _ODD = (224, 161), (224,), (161,)
ORACLES = (
  *(
    Oracle(name, "torchvision", name, _ANY, exact)
    for name, exact in (
      ("mobilenet_v3_small", True),
      ("mobilenet_v3_large", False),
      ("vgg16", False),
      ("vgg16_bn", True),
      ("vgg19", False),
      ("vgg19_bn", False),
      ("resnet18", False),
      ("resnet34", False),
      ("resnet50", True),
      ("convnext_tiny", True),
    )
  ),
  Oracle("vit_b_16", "torchvision", "vit_b_16", _OWN),
  *(
    Oracle(f"vit_{s}", "timm", f"vit_{s}_patch16_224.augreg_in21k_ft_in1k", _OWN)
    for s in ("tiny", "small", "base")
  ),
  *(
    Oracle(f"deit_{s}", "timm", f"deit_{s}_patch16_224.fb_in1k", _OWN, s == "tiny")
    for s in ("tiny", "small", "base")
  ),
  *(
    Oracle(f"efficientnet-lite{i}", _LITE, f"lite{i}", (size, 161), i == 0)
    for i, size in enumerate((224, 240, 260))
  ),
  # The same networks under timm's names of the tensors. timm's VGG takes images of
  # other sizes in a way of its own.
  Oracle("mobilenet_v3_small", "timm", "mobilenetv3_small_100.lamb_in1k", _ODD),
  Oracle("mobilenet_v3_large", "timm", "mobilenetv3_large_100.ra_in1k", _ODD),
  Oracle("vgg16", "timm", "vgg16.tv_in1k", _OWN),
  Oracle("vgg16_bn", "timm", "vgg16_bn.tv_in1k", _OWN),
  Oracle("resnet18", "timm", "resnet18.tv_in1k", _ODD),
  Oracle("resnet50", "timm", "resnet50.tv_in1k", _ODD),
  Oracle("convnext_tiny", "timm", "convnext_tiny.fb_in1k", _ODD),
)


def random_network(oracle: Oracle, seed: int = 0) -> torch.nn.Module:
  """The package's network in evaluation mode with random weights and statistics."""
  match oracle.package:
    case "torchvision":
      model = getattr(torchvision().models, oracle.model)(weights=None)
    case "timm":
      model = timm().create_model(oracle.model, pretrained=False)
    case _:
      module = importlib.import_module("efficientnet_lite_pytorch")
      # Without a size its padding follows the image; with one it fits that size alone.
      name = f"efficientnet-{oracle.model}"
      model = module.EfficientNet.from_name(name, image_size=None)
  return randomise(model, seed).eval().requires_grad_(False)


def randomise(model: torch.nn.Module, seed: int) -> torch.nn.Module:
  """Draw every parameter and statistic of a network anew, in place."""
  generator = torch.Generator().manual_seed(seed)

  def normal(tensor: torch.Tensor, deviation: float) -> None:
    tensor.copy_(deviation * torch.randn(tensor.shape, generator=generator))

  def uniform(tensor: torch.Tensor, low: float, high: float) -> None:
    tensor.copy_(low + (high - low) * torch.rand(tensor.shape, generator=generator))

  with torch.no_grad():
    for name, parameter in model.named_parameters():
      kind = name.rpartition(".")[2]
      if kind in ("layer_scale", "gamma"):
        uniform(parameter, 0.2, 1)
      elif kind in ("cls_token", "class_token", "pos_embed", "pos_embedding"):
        normal(parameter, 0.5)
      elif parameter.ndim > 1:
        normal(parameter, (2 / parameter[0].numel()) ** 0.5)
      elif kind == "weight":
        # A little less than 1, because residual blocks add up.
        uniform(parameter, 0.5, 1.2)
      else:
        normal(parameter, 0.2)
    for name, buffer in model.named_buffers():
      if name.endswith("running_mean"):
        normal(buffer, 0.3)
      elif name.endswith("running_var"):
        uniform(buffer, 0.5, 2)
  return model


def torchvision() -> Any:
  """Torchvision, also beside a PyTorch that its compiled extension was not made for.

  The package index has the extension for CUDA alone. Without it the package still has
  all of its networks, but its import fails, because two operators of object detection
  are not declared; here they are.
  """
  try:
    return importlib.import_module("torchvision")
  except RuntimeError as error:
    if "torchvision::nms" not in str(error):
      raise
  for name in [n for n in sys.modules if n.partition(".")[0] == "torchvision"]:
    del sys.modules[name]
  from torch import library as operators

  declared = operators.Library("torchvision", "DEF")
  for operator in ("nms", "qnms"):
    declared.define(f"{operator}(Tensor dets, Tensor scores, float limit) -> Tensor")
  _DECLARED.append(declared)  # declared as long as it lives
  return importlib.import_module("torchvision")


def timm() -> Any:
  """Timm, which imports torchvision."""
  torchvision()
  return importlib.import_module("timm")
