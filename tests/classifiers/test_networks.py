"""What holds for every network: known sizes, one layer vocabulary, images apart."""

import ast
import inspect
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict

from cawe_jax import classifier_names
from cawe_jax.classifiers import (
  conversion,
  convnext,
  efficientnet_lite,
  layers,
  mobilenet_v3,
  registry,
  resnet,
  vgg,
  vision_transformer,
)
from cawe_jax.classifiers.efficientnet_lite import EfficientNetLite
from cawe_jax.classifiers.resnet import BasicBlock, Bottleneck, ResNet

SLOW = pytest.mark.slow
FAMILIES = (convnext, efficientnet_lite, mobilenet_v3, resnet, vgg, vision_transformer)

# Parameters as published: torchvision's documentation; timm's results table and the
# EfficientNet-Lite authors' round to 10,000 and 100,000.
NUM_PARAMETERS = {
  "efficientnet-lite0": (4.7e6, 1e5),
  "efficientnet-lite1": (5.4e6, 1e5),
  "efficientnet-lite2": (6.1e6, 1e5),
  "mobilenet_v3_small": (2_542_856, 0),
  "mobilenet_v3_large": (5_483_032, 0),
  "vgg16": (138_357_544, 0),
  "vgg16_bn": (138_365_992, 0),
  "vgg19": (143_667_240, 0),
  "vgg19_bn": (143_678_248, 0),
  "resnet18": (11_689_512, 0),
  "resnet34": (21_797_672, 0),
  "resnet50": (25_557_032, 0),
  "vit_tiny": (5.72e6, 1e4),
  "vit_small": (22.05e6, 1e4),
  "vit_base": (86.57e6, 1e4),
  "vit_b_16": (86_567_656, 0),
  "deit_tiny": (5.72e6, 1e4),
  "deit_small": (22.05e6, 1e4),
  "deit_base": (86.57e6, 1e4),
  "convnext_tiny": (28_589_128, 0),
}

SMALL = {
  "mobilenet_v3": mobilenet_v3.MobileNetV3(mobilenet_v3.SMALL[:4], 16, num_classes=5),
  "resnet": ResNet(BasicBlock, (1, 1, 1, 1), num_classes=5),
  "resnet with bottlenecks": ResNet(Bottleneck, (1, 1, 1, 1), num_classes=5),
  "vision transformer": vision_transformer.VisionTransformer(
    24, 3, depth=2, input_size=48, num_classes=5
  ),
  "convnext": convnext.ConvNeXt((1, 1, 1, 1), (8, 8, 16, 16), num_classes=5),
  "efficientnet-lite": EfficientNetLite(0.25, 0.5, num_classes=5),
}


def random_parameters(module, input_size):
  """He's scale for the kernels; scales and biases of order 1."""
  rng = np.random.default_rng(0)
  flat = {
    path: rng.normal(0, (2 / max(math.prod(shape[:-1]), 9)) ** 0.5, shape)
    for path, shape in conversion.parameter_shapes(module, input_size).items()
  }
  arrays = {path: jnp.asarray(array, jnp.float32) for path, array in flat.items()}
  return {"params": unflatten_dict(arrays, sep="/")}


@pytest.mark.parametrize("name", classifier_names())
def test_number_of_parameters(name):
  published, rounding = NUM_PARAMETERS[name]
  counted = registry.count_parameters(name)
  assert abs(counted - published) <= rounding / 2
  assert registry.num_parameters(name) == counted


def test_every_network_is_in_the_table():
  assert NUM_PARAMETERS.keys() == set(classifier_names())


@pytest.mark.parametrize("name", ["vgg16", "vgg19_bn"])
@pytest.mark.parametrize("size", [(224, 224), (33, 50)])
def test_vgg_takes_any_size(name, size):
  info = registry.classifier_info(name)
  images = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
  logits, _ = jax.eval_shape(info.module.init_with_output, jax.random.key(0), images)
  assert logits.shape == (2, 1000)


# Every family is compiled whole; two of them are in the fast set.
@pytest.mark.parametrize(
  "name",
  [
    pytest.param(name, marks=() if name in ("resnet", "vision transformer") else SLOW)
    for name in SMALL
  ],
)
def test_an_image_alone_and_in_a_batch(name):
  module = SMALL[name]
  images = jax.random.uniform(jax.random.key(0), (3, 48, 48, 3))
  params = random_parameters(module, 48)

  @jax.jit
  def run(images):
    def total(images):
      logits = module.apply(params, images)
      return logits[:, 2].sum(), logits

    gradient, logits = jax.grad(total, has_aux=True)(images)
    return logits, gradient

  logits, gradient = run(images)
  assert logits.shape == (3, 5)
  assert logits.dtype == gradient.dtype == jnp.float32
  assert np.all(np.isfinite(logits))
  # Every image matters, and every colour of it.
  assert np.all(np.linalg.norm(gradient, axis=(1, 2)) > 0)
  alone_logits, alone_gradient = run(images[1:2])
  # Products of other shapes sum in another order: up to a hundred layers' rounding,
  # and a ReLU that switches where rounding decides carries some 1e-2 of a gradient.
  np.testing.assert_allclose(alone_logits[0], logits[1], rtol=1e-3, atol=1e-5)
  difference = np.linalg.norm(alone_gradient[0] - gradient[1])
  assert difference < 5e-2 * np.linalg.norm(gradient[1])


def test_a_vision_transformer_says_which_size_it_takes():
  module = SMALL["vision transformer"]
  with pytest.raises(ValueError, match=r"images are 48 x 64; .* takes 48 x 48 alone"):
    jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 48, 64, 3)))


def test_images_can_be_too_small():
  images = jnp.zeros((1, 3, 30, 3))
  with pytest.raises(ValueError, match=r"too small.* 3 x 30 .* 4 x 4") as error:
    jax.eval_shape(SMALL["convnext"].init, jax.random.key(0), images)
  assert "\n" not in str(error.value)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.__name__.split(".")[-1])
def test_networks_are_made_of_layers_alone(family):
  """A bare function of JAX in a network would be invisible to interceptors."""
  tree = ast.parse(inspect.getsource(family))
  names = {
    f"{node.value.id}.{node.attr}"
    for node in ast.walk(tree)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
  }
  used = {name for name in names if name.partition(".")[0] in ("jax", "jnp", "nn")}
  # Joining the class token to the others computes nothing.
  allowed = {
    "nn.Module",
    "nn.compact",
    "nn.initializers",
    "jnp.concatenate",
    "jnp.tile",
  }
  assert used <= allowed


INTERCEPTED = (pytest.param("resnet18", marks=SLOW), "efficientnet-lite0")


@pytest.fixture(scope="module", params=INTERCEPTED)
def network(request):
  """A published architecture, its random parameters and images."""
  module = registry.classifier_info(request.param).module
  images = jax.random.uniform(jax.random.key(0), (2, 32, 32, 3))
  return module, random_parameters(module, 224), images


def test_the_last_feature_map_is_found_by_class(network):
  module, params, images = network

  @jax.jit
  def run(images):
    maps = []

    def keep(layer, args, kwargs, context):
      if isinstance(context.module, layers.GlobalAveragePool):
        maps.append(args[0])
      return layer(*args, **kwargs)

    with nn.intercept_methods(keep):
      return module.apply(params, images), maps

  logits, (feature_map,) = run(images)
  # Five halvings of 32 pixels.
  assert feature_map.shape[:3] == (2, 1, 1)
  head = params["params"]["classifier"]
  expected = feature_map.mean((1, 2)) @ head["kernel"] + head["bias"][None]
  np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)


def guided(function):
  """The activation with guided backpropagation's rule (Springenberg et al., 2015)."""

  @jax.custom_vjp
  def activation(x):
    return function(x)

  def forward(x):
    return jax.vjp(function, x)

  def backward(vjp, gradient):
    return vjp(jnp.maximum(gradient, 0))

  activation.defvjp(forward, backward)
  return activation


def test_every_backward_rule_can_be_replaced(network):
  module, params, images = network
  kinds = {layers.relu, layers.relu6}
  replaced = []

  def rule(layer, args, kwargs, context):
    target = context.module
    if isinstance(target, layers.Activation) and target.function in kinds:
      replaced.append(target)
      return guided(target.function)(*args)
    return layer(*args, **kwargs)

  def logit(images):
    return module.apply(params, images)[:, 7].sum()

  def guided_logit(images):
    with nn.intercept_methods(rule):
      return logit(images)

  both = [jax.value_and_grad(f) for f in (logit, guided_logit)]
  (plain_value, plain_gradient), (value, gradient) = jax.jit(
    lambda images: [f(images) for f in both]
  )(images)
  # ResNet18 has a stem and 8 blocks of two; EfficientNet-Lite0 a stem, 16 blocks of two
  # of which one does not expand, and a head.
  expected = {ResNet: 1 + 8 * 2, EfficientNetLite: 1 + 16 * 2 - 1 + 1}
  assert len(replaced) == expected[type(module)]
  np.testing.assert_allclose(value, plain_value, rtol=1e-4)
  assert np.linalg.norm(gradient - plain_gradient) > 0.1 * np.linalg.norm(gradient)


def test_squeeze_and_excitation_is_not_the_last_feature_map():
  info = registry.classifier_info("mobilenet_v3_small")
  classes = []

  def note(layer, args, kwargs, context):
    if isinstance(context.module, layers.SpatialMean):
      classes.append(type(context.module))
    return layer(*args, **kwargs)

  with nn.intercept_methods(note):
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    jax.eval_shape(info.module.init, jax.random.key(0), images)
  # Table 2 of the paper has nine blocks with squeeze-and-excitation.
  assert classes == [layers.SpatialMean] * 9 + [layers.GlobalAveragePool]


def test_attention_in_closed_form():
  """One head, one query at a time, in NumPy."""
  rng = np.random.default_rng(0)
  tokens = rng.normal(size=(1, 4, 6)).astype(np.float32)
  module = layers.Attention(num_heads=2)
  params = module.init(jax.random.key(0), tokens)["params"]
  params = jax.tree.map(
    lambda p: jnp.asarray(rng.normal(size=p.shape), jnp.float32), params
  )
  joint, out = params["query_key_value"], params["projection"]
  product = tokens[0] @ joint["kernel"] + joint["bias"][None]
  query, key, value = np.split(product, 3, axis=1)
  mixed = np.zeros((4, 6))
  for head in (slice(0, 3), slice(3, 6)):
    for i in range(4):
      scores = np.exp(key[:, head] @ query[i, head] / math.sqrt(3))
      mixed[i, head] = scores / scores.sum() @ value[:, head]
  expected = mixed @ out["kernel"] + out["bias"][None]
  actual = module.apply({"params": params}, tokens)[0]
  # Scores of order 10 in 32 bits go through the exponential.
  np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
  "layer",
  [
    layers.Convolution(2, 3),
    layers.DepthwiseConvolution(3),
    layers.PatchConvolution(2, 2),
    layers.Dense(2),
    layers.Attention(2),
  ],
  ids=lambda layer: type(layer).__name__,
)
def test_initialisers_draw_nothing(layer):
  # Flax traces them at every use of a parameter.
  x = np.zeros((1, 8, 4), np.float32)
  x = x if isinstance(layer, layers.Attention) else x[..., None].repeat(4, -1)
  assert "random_bits" not in str(jax.make_jaxpr(layer.init)(jax.random.key(0), x))
