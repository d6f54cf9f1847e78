"""Every method that Captum has, against Captum on the same weights.

A small network of our layers has a twin in PyTorch; ResNet 18 and VGG 16 are
torchvision's with random weights, converted.
"""

import importlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_networks import make_network

from cawe_jax import Classifier, attribution
from cawe_jax.attribution.gradients import noise_of_draw
from cawe_jax.attribution.local_surrogate import _draw as of_draw
from cawe_jax.attribution.local_surrogate import superpixels
from cawe_jax.classifiers import layers, registry
from cawe_jax.engine import checks

torch = pytest.importorskip("torch")
captum = pytest.importorskip("captum.attr")
oracles = importlib.import_module("experiments.oracles")
parity = importlib.import_module("experiments.parity")

pytestmark = [
  pytest.mark.slow,
  # Captum says that it sets gradients and hooks.
  pytest.mark.filterwarnings("ignore::UserWarning"),
]

SHAPE = (17, 14, 3)
KEY = jax.random.key(0)
IMAGES = np.random.default_rng(0).random((2, *SHAPE), np.float32)
TARGETS = np.array([1, 3])


class Small(nn.Module):
  """Convolutions with ReLU and max pooling, two dense layers."""

  @nn.compact
  def __call__(self, images):
    relu = layers.Activation(layers.relu)
    x = relu(layers.Convolution(6, 3, 1, 1, name="first")(images))
    x = layers.MaxPool(2, 2)(x)
    x = relu(layers.Convolution(8, 3, 2, 1, name="second")(x))
    x = relu(layers.Dense(8, name="third")(x))
    x = layers.GlobalAveragePool()(x)
    x = relu(layers.Dense(10, name="hidden")(x))
    return layers.Dense(5, name="head")(x)


def small_pair(bias=0.1):
  """The network and its twin, whose modules are used once each, as Captum wants."""
  classifier = make_network(Small(), SHAPE, bias=bias)
  modules = {
    "first": torch.nn.Conv2d(3, 6, 3, padding=1),
    "first_relu": torch.nn.ReLU(),
    "max_pool": torch.nn.MaxPool2d(2),
    "second": torch.nn.Conv2d(6, 8, 3, 2, 1),
    "second_relu": torch.nn.ReLU(),
    "third": torch.nn.Conv2d(8, 8, 1),
    "third_relu": torch.nn.ReLU(),
    "pool": torch.nn.AdaptiveAvgPool2d(1),
    "flatten": torch.nn.Flatten(),
    "hidden": torch.nn.Linear(8, 10),
    "hidden_relu": torch.nn.ReLU(),
    "head": torch.nn.Linear(10, 5),
  }
  model = torch.nn.Sequential()
  for name, module in modules.items():
    model.add_module(name, module)
  with torch.no_grad():
    for name, values in classifier.params.items():
      kernel = torch.from_numpy(np.asarray(values["kernel"]))
      weight = modules[name].weight
      order = (3, 2, 0, 1) if kernel.ndim == 4 else (1, 0)
      weight.copy_(kernel.permute(order).reshape(weight.shape))
      modules[name].bias.copy_(torch.from_numpy(np.asarray(values["bias"])))
  return classifier, model.eval()


def to_torch(images):
  return torch.from_numpy(np.array(images)).permute(0, 3, 1, 2)


def of_torch(relevance):
  """Summed over colours, ``[B, H, W]``."""
  return relevance.detach().sum(1).numpy()


def maps(method, classifier, images=IMAGES):
  (leaf,) = method(classifier, images, TARGETS, KEY)
  return np.asarray(leaf[:, 0, :, :, 0])


def assert_same(actual, expected, tolerance=1e-4):
  """Up to the rounding of some ten layers in float32, relative to the largest."""
  scale = np.abs(expected).max()
  assert scale > 0
  np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * scale)


def test_the_twins_agree():
  classifier, model = small_pair()
  outputs = model(to_torch(IMAGES)).detach().numpy()
  np.testing.assert_allclose(classifier(IMAGES), outputs, rtol=1e-4, atol=1e-5)


def test_gradient_x_input():
  classifier, model = small_pair()
  expected = captum.InputXGradient(model).attribute(
    to_torch(IMAGES), target=TARGETS.tolist()
  )
  assert_same(maps(attribution.gradient_x_input(), classifier), of_torch(expected))


@pytest.mark.parametrize("baseline", [0.0, 0.5])
def test_integrated_gradients(baseline):
  classifier, model = small_pair()
  expected, delta = captum.IntegratedGradients(model).attribute(
    to_torch(IMAGES),
    baselines=baseline,
    target=TARGETS.tolist(),
    n_steps=21,
    return_convergence_delta=True,
  )
  method = attribution.integrated_gradients(21, baseline)
  actual = maps(method, classifier)
  assert_same(actual, of_torch(expected))
  # Captum's delta is the sum of the relevance less the change of the output.
  error = attribution.completeness(
    classifier, IMAGES, TARGETS, (actual[:, None, :, :, None],), baseline
  )
  outputs = np.asarray(classifier(IMAGES) - classifier(np.full_like(IMAGES, baseline)))
  change = outputs[np.arange(2), TARGETS]
  np.testing.assert_allclose(error * np.abs(change), delta.detach(), atol=1e-5)


@pytest.mark.parametrize("name", ["smooth_grad", "var_grad"])
def test_noisy_gradients(name):
  """Captum draws noise of its own, so it gets ours, and its gradients are averaged."""
  classifier, model = small_pair()
  num_samples, sigma = 7, 0.1
  ids = checks.check_ids(None, IMAGES)
  keys = jax.vmap(jax.random.fold_in, (None, 0))(KEY, ids)
  saliency = captum.Saliency(model)
  gradients = []
  for draw in range(num_samples):
    noise = jax.vmap(lambda key: noise_of_draw(key, draw, SHAPE))(keys)  # noqa: B023
    noisy = to_torch(IMAGES + sigma * noise)
    gradients.append(saliency.attribute(noisy, TARGETS.tolist(), abs=False).numpy())
  gradients = np.stack(gradients)
  if name == "smooth_grad":
    expected = np.abs(gradients.mean(0)).sum(1)
  else:
    expected = gradients.var(0).sum(1)
  method = getattr(attribution, name)(num_samples, sigma)
  assert_same(maps(method, classifier), expected)


def test_smooth_grad_with_captums_own_noise():
  """In distribution: the means of many draws agree to five standard errors."""
  classifier, model = small_pair()
  num_samples, sigma = 300, 0.1
  torch.manual_seed(0)
  tunnel = captum.NoiseTunnel(captum.Saliency(model))
  arguments = {"nt_samples": num_samples, "stdevs": sigma, "abs": False}
  target = TARGETS.tolist()
  mean = tunnel.attribute(
    to_torch(IMAGES), nt_type="smoothgrad", target=target, **arguments
  )
  variance = tunnel.attribute(
    to_torch(IMAGES), nt_type="vargrad", target=target, **arguments
  )
  expected = mean.detach().abs().sum(1).numpy()
  error = (2 * variance.detach() / num_samples).sqrt().sum(1).numpy()
  actual = maps(attribution.smooth_grad(num_samples, sigma), classifier)
  assert np.all(np.abs(actual - expected) < 5 * error + 1e-6)
  # A variance's standard error depends on the kurtosis, which few kinks make large; in
  # total over the image they agree.
  total = variance.detach().sum((1, 2, 3)).numpy()
  ours = maps(attribution.var_grad(num_samples, sigma), classifier).sum((1, 2))
  np.testing.assert_allclose(ours, total, rtol=0.2)


def test_guided_backprop():
  classifier, model = small_pair()
  expected = captum.GuidedBackprop(model).attribute(
    to_torch(IMAGES), target=TARGETS.tolist()
  )
  assert_same(maps(attribution.guided_backprop(), classifier), of_torch(expected))


def upsampled(coarse):
  return torch.nn.functional.interpolate(
    coarse, SHAPE[:2], mode="bilinear", align_corners=False
  )


def test_grad_cam():
  classifier, model = small_pair()
  coarse = captum.LayerGradCam(model, model.third_relu).attribute(
    to_torch(IMAGES), target=TARGETS.tolist(), relu_attributions=True
  )
  expected = of_torch(upsampled(coarse))
  assert_same(maps(attribution.grad_cam(), classifier), expected)


def test_guided_grad_cam():
  classifier, model = small_pair()
  expected = captum.GuidedGradCam(model, model.third_relu).attribute(
    to_torch(IMAGES), target=TARGETS.tolist(), interpolate_mode="bilinear"
  )
  assert_same(maps(attribution.guided_grad_cam(), classifier), of_torch(expected))


def test_lime():
  """Captum draws superpixels of its own, so it gets ours; scikit-learn solves."""
  classifier, model = small_pair()
  linear_model = importlib.import_module("captum._utils.models.linear_model")
  num_samples, width, ridge = 40, 0.25, 0.5
  # Noise has no superpixels.
  colours = np.random.default_rng(1).random((2, 4, 4, 3))
  images = np.kron(colours, np.ones((1, 5, 4, 1)))[:, :17, :14].astype(np.float32)
  labels, exists, mean_images = superpixels(images, 12)
  ids = checks.check_ids(None, images)
  keys = jax.vmap(jax.random.fold_in, (None, 0))(KEY, ids)
  expected = []
  for i, image in enumerate(to_torch(images)):
    count = int(exists[i].sum())

    def shown(original, i=i, count=count, **ignored):
      for draw in range(num_samples):
        row = np.array(of_draw(keys[i], draw, exists[i]), np.int64)[:count]
        yield torch.from_numpy(row)[None]

    def similarity(original, perturbed, row, **ignored):
      ones = torch.ones(row.shape)
      cosine = torch.nn.functional.cosine_similarity(row.float(), ones)
      return torch.exp(-((1 - cosine) ** 2) / (2 * width**2))

    lime = captum.Lime(
      lambda x: model(x).softmax(1),
      linear_model.SkLearnLinearModel("linear_model.Ridge", alpha=ridge),
      similarity,
      shown,
    )
    expected.append(
      lime.attribute(
        image[None],
        target=int(TARGETS[i]),
        baselines=to_torch(mean_images)[i : i + 1],
        feature_mask=torch.from_numpy(labels[i].astype(np.int64))[None, None],
        n_samples=num_samples,
      )[0, 0].numpy()
    )
  method = attribution.lime(num_samples, 12, width, ridge)
  assert len(np.unique(expected[0])) > 4
  # Normal equations in float32 against a factorisation in float64.
  assert_same(maps(method, classifier, images), np.stack(expected), 1e-3)


@pytest.mark.parametrize(("gamma", "bias"), [(0.0, 0.1), (0.25, 0.0), (1.0, 0.0)])
def test_lrp(gamma, bias):
  """Captum down to the first layer's outputs; from there z-box, which it has not.

  Captum does not strengthen biases where it strengthens weights, as the papers do, so
  with gamma there are none.
  """
  classifier, model = small_pair(bias)
  rules = importlib.import_module("captum.attr._utils.lrp_rules")
  epsilon = 1e-6
  for name, module in model.named_children():
    if name in ("second", "third") and gamma:
      module.rule = rules.GammaRule(gamma)
    elif not isinstance(module, torch.nn.ReLU):
      module.rule = rules.EpsilonRule(epsilon)
  x = to_torch(IMAGES)
  relevance = captum.LayerLRP(model, model.first).attribute(x, TARGETS.tolist())

  weight = model.first.weight.detach()
  gate = torch.ones_like(x, requires_grad=True)

  def convolve(images, weight):
    return torch.nn.functional.conv2d(images, weight, padding=1)

  shares = (
    convolve(gate * x, weight)
    - convolve(gate * torch.zeros_like(x), weight.clamp(min=0))
    - convolve(gate * torch.ones_like(x), weight.clamp(max=0))
  )
  per_unit = (relevance / (shares + epsilon)).detach()
  (expected,) = torch.autograd.grad((shares * per_unit).sum(), gate)
  actual = maps(attribution.lrp(epsilon, gamma), classifier)
  assert_same(actual, of_torch(expected), 1e-3)


@pytest.fixture(scope="module", params=["resnet18", "vgg16"])
def published(request):
  """A network of torchvision's in 64 bits, where no rounding switches a ReLU."""
  oracle = next(o for o in oracles.ORACLES if o.label == f"torchvision {request.param}")
  network = parity.make_network(oracle)
  model = network.model.double()
  for module in model.modules():
    if isinstance(module, torch.nn.ReLU):
      module.inplace = False
  mean, deviation = (
    torch.tensor(n, dtype=torch.float64)[:, None, None] for n in oracle.normalisation
  )
  module = registry.classifier_info(request.param).module

  def apply(params, images):
    return module.apply({"params": params}, images)

  normalised = torch.nn.Sequential(Normalise(mean, deviation), model)
  return Classifier(apply, network.params, 49, name=request.param), normalised, model


class Normalise(torch.nn.Module):
  def __init__(self, mean, deviation):
    super().__init__()
    self.mean, self.deviation = mean, deviation

  def forward(self, x):
    return (x - self.mean) / self.deviation


@pytest.mark.parametrize("name", ["gradient_x_input", "guided_backprop", "grad_cam"])
def test_published_networks(name, published):
  classifier, normalised, model = published
  image = np.random.default_rng(3).random((1, 49, 49, 3))
  x = to_torch(image).requires_grad_()
  target = int(normalised(x).argmax())
  match name:
    case "gradient_x_input":
      expected = of_torch(captum.InputXGradient(normalised).attribute(x, target=target))
    case "guided_backprop":
      expected = of_torch(captum.GuidedBackprop(normalised).attribute(x, target=target))
    case _:
      last = model.layer4 if classifier.name == "resnet18" else model.features
      coarse = captum.LayerGradCam(normalised, last).attribute(
        x, target=target, relu_attributions=True
      )
      expected = of_torch(
        torch.nn.functional.interpolate(coarse, (49, 49), mode="bilinear")
      )
  with jax.enable_x64(True):
    method = getattr(attribution, name)()
    (leaf,) = method(classifier, image, target, KEY)
    assert leaf.dtype == jnp.float64
  assert_same(np.asarray(leaf[:, 0, :, :, 0]), expected, 1e-8)
