"""The Python of docs/guides/classifiers.md runs as it stands, on small networks.

The networks that the page calls yours are made here. Recipes are cut to a few steps of
a small wavelet, which compile sooner: what is tested is that the lines fit together and
explain that network.
"""

import os
import re
import shutil
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import cawe_jax
from cawe_jax import recipes, representations
from cawe_jax.classifiers import check_classifier, converted, registry
from cawe_jax.samples import sample_path

# The small networks are unsure of their classes, and few steps empty some masks.
pytestmark = [
  pytest.mark.slow,
  pytest.mark.filterwarnings("ignore::cawe_jax.EmptyMaskWarning"),
]
GUIDE = Path(__file__).parent.parent / "docs" / "guides" / "classifiers.md"
SIZE = 224


def blocks():
  """The Python blocks by the heading they stand under."""
  found: dict[str, list[str]] = {}
  for section in re.split(r"^#+ ", GUIDE.read_text(), flags=re.MULTILINE)[1:]:
    heading, _, text = section.partition("\n")
    python = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    if python:
      found[heading] = python
  return found


BLOCKS = blocks()
WEIGHTS = np.random.default_rng(0).normal(size=(8, 8, 3, 3)).astype(np.float32)


def network(images):
  """Three sums over averages of 28 x 28 pixels."""
  pooled = images.reshape(len(images), 8, 28, 8, 28, 3).mean((2, 4))
  return jnp.einsum("nhwc,hwck->nk", pooled, WEIGHTS)


def function():
  return {"network": network}


def linen():
  class Module(nn.Module):
    @nn.compact
    def __call__(self, images, train):
      x = nn.BatchNorm(use_running_average=not train)(images)
      return nn.Dense(3)(nn.avg_pool(x, (28, 28), (28, 28)).reshape(len(x), -1))

  images = jnp.ones((1, SIZE, SIZE, 3))
  return {
    "module": Module(),
    "variables": Module().init(jax.random.key(0), images, train=False),
  }


def nnx_model():
  class Model(nnx.Module):
    def __init__(self, rngs):
      self.norm = nnx.BatchNorm(3, rngs=rngs)
      self.head = nnx.Linear(192, 3, rngs=rngs)

    def __call__(self, images):
      x = nn.avg_pool(self.norm(images), (28, 28), (28, 28))
      return self.head(x.reshape(len(x), -1))

  return {"model": Model(nnx.Rngs(0))}


def torch_module():
  torch = pytest.importorskip("torch")
  torch.manual_seed(0)
  layers = torch.nn
  return {
    "torch_module": layers.Sequential(
      layers.AvgPool2d(28),
      layers.BatchNorm2d(3),
      layers.Flatten(),
      layers.Linear(192, 3),
    )
  }


def own_weights():
  name = "mobilenet_v3_small"
  rng = np.random.default_rng(0)
  params = {
    # Of about the size that keeps activations where they are.
    path: rng.normal(0, (2 / max(1, np.prod(shape[:-1]))) ** 0.5, shape).astype("f4")
    for path, shape in registry.parameter_shapes(name).items()
  }
  converted.save_converted(
    "weights.safetensors", converted.Converted(name, "0" * 64, params)
  )
  return {}


def equinox():
  eqx = pytest.importorskip("equinox")
  layers = [
    eqx.nn.AvgPool2d(28, 28),
    eqx.nn.Dropout(0.5),
    eqx.nn.Lambda(jnp.ravel),
    eqx.nn.Linear(192, 3, key=jax.random.key(0)),
  ]
  return {"equinox_model": eqx.nn.Sequential(layers)}


def haiku():
  hk = pytest.importorskip("haiku")

  def fn(images, is_training):
    norm = hk.BatchNorm(create_scale=True, create_offset=True, decay_rate=0.9)
    x = hk.avg_pool(norm(images, is_training), (28, 28, 1), (28, 28, 1), "VALID")
    return hk.Linear(3)(x.reshape(len(x), -1))

  transformed = hk.without_apply_rng(hk.transform_with_state(fn))
  images = jnp.ones((1, SIZE, SIZE, 3))
  params, state = transformed.init(jax.random.key(0), images, is_training=True)
  return {"transformed": transformed, "params": params, "state": state}


def keras():
  # Read once, when Keras is imported, which only this test does.
  os.environ["KERAS_BACKEND"] = "jax"
  keras = pytest.importorskip("keras")
  layers = keras.layers
  model = keras.Sequential(
    [
      keras.Input((SIZE, SIZE, 3)),
      layers.AveragePooling2D(28),
      layers.BatchNormalization(),
      layers.Dropout(0.5),
      layers.Flatten(),
      layers.Dense(3),
    ]
  )
  return {"keras_model": model}


YOURS = {
  "A function": function,
  "Flax linen": linen,
  "Flax NNX": nnx_model,
  "PyTorch": torch_module,
  "A published architecture with your weights": own_weights,
  "Equinox": equinox,
  "Haiku": haiku,
  "Keras 3": keras,
  "Outputs": function,
}


def test_every_block_is_run():
  assert {"Any classifier", *YOURS, "Numerics by backend"} == BLOCKS.keys()


@pytest.fixture
def run(monkeypatch, tmp_path):
  """Runs the blocks under a heading after the page's first one; their names."""
  monkeypatch.chdir(tmp_path)
  short = recipes.default()._replace(num_steps=2)
  monkeypatch.setattr(recipes, "default", lambda: short)
  small = representations.wavelet("haar", levels=1)
  monkeypatch.setattr(representations, "wavelet", lambda: small)
  shutil.copy(sample_path("chelsea"), "photo.jpg")

  def run(heading, **names):
    for block in BLOCKS["Any classifier"] + BLOCKS[heading]:
      exec(compile(block, f"{GUIDE}: {heading}", "exec"), names)
    return names

  return run


@pytest.mark.parametrize("heading", YOURS)
def test_blocks_run(heading, run, capsys):
  names = run(heading, **YOURS[heading]())
  classifier = names["classifier"]
  image = cawe_jax.load_image("photo.jpg", size=classifier.input_size)
  check_classifier(classifier, jnp.stack([image, image[::-1]]))
  if "explanation" not in names:  # Equinox, Haiku, Keras
    return
  explanation = names["explanation"]
  size = classifier.input_size
  assert explanation.image.shape == (size, size, 1)
  outputs = classifier(image[None])[0]
  target = int(explanation.target)
  if heading == "Outputs":  # ends with the regression
    assert explanation.score == pytest.approx(float(outputs[target]), rel=1e-4)
    assert np.isnan(explanation.probability)
    assert len(capsys.readouterr().out.split()) == 5
    return
  assert explanation.probability == pytest.approx(
    float(jax.nn.softmax(outputs)[target]), rel=1e-4
  )
  if "save_figure" in "".join(BLOCKS[heading]):
    assert Path("explanation.png").stat().st_size > 10_000


def test_numerics(run):
  image = np.random.default_rng(0).random((SIZE, SIZE, 3), np.float32)
  classifier = cawe_jax.classifiers.from_function(network, SIZE)
  given = {"classifier": classifier, "image": image, "method": cawe_jax.cartoonx()}
  names = run("Numerics by backend", **given)
  assert names["explanation"].target == 0
  assert names["fast_classifier"].name == "function (bfloat16)"
