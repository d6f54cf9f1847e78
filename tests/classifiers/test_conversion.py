"""Checkpoints to parameters: folding in closed form, every name and shape checked."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict

from cawe_jax.classifiers import conversion, layers
from cawe_jax.classifiers.conversion import Source, folded, plain

RNG = np.random.default_rng(0)
EPSILON = 0.1


class Small(nn.Module):
  """One layer of each kind that a checkpoint can hold."""

  @nn.compact
  def __call__(self, x):
    x = layers.Convolution(4, 3, 1, 1, name="full")(x)
    x = layers.DepthwiseConvolution(3, 1, 1, name="depthwise")(x)
    x = layers.Dense(5, name="pointwise")(x)
    x = layers.LayerNorm(name="norm")(x.reshape(len(x), -1))
    return layers.Dense(2, name="head")(x + self.param("offset", nn.zeros, (80,))[None])


MODULE, SIZE = Small(), 4
SHAPES = conversion.parameter_shapes(MODULE, SIZE)
LAYOUT = {
  "full": folded("conv", "bn", EPSILON, with_bias=True),
  "depthwise": folded("dw", "dw_bn", EPSILON),
  "pointwise": plain("pw", scale="gamma"),
  "norm": plain("ln"),
  "offset": Source("offset"),
  "head": plain("fc"),
}
OTHER_LAYOUT = LAYOUT | {"full": plain("first")}


def make_tensors():
  shapes = {
    "conv.weight": (4, 3, 3, 3),
    "conv.bias": (4,),
    "dw.weight": (4, 1, 3, 3),
    "pw.weight": (5, 4, 1, 1),
    "pw.bias": (5,),
    "gamma": (5, 1, 1),
    "ln.weight": (80,),
    "ln.bias": (80,),
    "offset": (80,),
    "fc.weight": (2, 80),
    "fc.bias": (2,),
  }
  for norm in ("bn", "dw_bn"):
    for part in ("weight", "bias", "running_mean", "running_var"):
      shapes[f"{norm}.{part}"] = (4,)
  tensors = {name: RNG.normal(size=shape) for name, shape in shapes.items()}
  for norm in ("bn", "dw_bn"):
    tensors[f"{norm}.running_var"] = RNG.uniform(0.5, 2, 4)
  return {name: value.astype(np.float32) for name, value in tensors.items()}


def convert(tensors, **layouts):
  return conversion.convert(tensors, layouts or {"own": LAYOUT}, SHAPES)


def test_converted_parameters_compute_what_the_tensors_say():
  tensors = make_tensors()
  params = convert(tensors | {"bn.num_batches_tracked": np.int64(3)})
  t = {name: value.astype(np.float64) for name, value in tensors.items()}
  image = RNG.normal(size=(SIZE, SIZE, 3))

  def correlate(x, kernel):
    """Every channel with its window of 3 x 3 at every pixel, zeros outside."""
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    views = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (0, 1))
    return views * kernel

  def normalised(x, norm):
    mean, variance = t[f"{norm}.running_mean"], t[f"{norm}.running_var"]
    return (x - mean) / np.sqrt(variance + EPSILON) * t[f"{norm}.weight"] + t[
      f"{norm}.bias"
    ]

  full = [correlate(image, kernel).sum((2, 3, 4)) for kernel in t["conv.weight"]]
  x = normalised(np.stack(full, -1) + t["conv.bias"], "bn")
  x = normalised(correlate(x, t["dw.weight"][:, 0]).sum((3, 4)), "dw_bn")
  x = (x @ t["pw.weight"][:, :, 0, 0].T + t["pw.bias"]) * t["gamma"][:, 0, 0]
  x = x.reshape(-1)
  x = (x - x.mean()) / np.sqrt(x.var() + 1e-6) * t["ln.weight"] + t["ln.bias"]
  expected = t["fc.weight"] @ (x + t["offset"]) + t["fc.bias"]

  variables = {"params": unflatten_dict(params, sep="/")}
  actual = MODULE.apply(variables, jnp.asarray(image[None], jnp.float32))[0]
  # Sums of at most 80 products of order 1 in 32 bits.
  np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)
  assert {name: array.shape for name, array in params.items()} == SHAPES
  assert all(array.dtype == np.float32 for array in params.values())


def test_folding_is_done_in_64_bits():
  tensors = make_tensors()
  params = convert(tensors)
  t = {name: value.astype(np.float64) for name, value in tensors.items()}
  factor = t["bn.weight"] / np.sqrt(t["bn.running_var"] + EPSILON)
  bias = (t["conv.bias"] - t["bn.running_mean"]) * factor + t["bn.bias"]
  kernel = np.einsum("oihw,o->hwio", t["conv.weight"], factor)
  # Rounded once, at the end: half a step of 32 bits.
  np.testing.assert_allclose(params["full/kernel"], kernel, rtol=2**-24)
  np.testing.assert_allclose(params["full/bias"], bias, rtol=2**-23)


def test_a_matrix_may_come_as_a_convolution():
  tensors = make_tensors()
  other = tensors | {
    "pw.weight": tensors["pw.weight"].reshape(5, 4),
    "gamma": tensors["gamma"].reshape(5),
    "fc.weight": tensors["fc.weight"].reshape(2, 80, 1, 1),
  }
  jax.tree.map(np.testing.assert_array_equal, convert(tensors), convert(other))


def test_a_map_is_flattened_channels_first():
  """PyTorch's order of what becomes a kernel over a whole map."""

  class Head(nn.Module):
    @nn.compact
    def __call__(self, x):
      return layers.PatchConvolution(2, 4, name="head")(x)

  shapes = conversion.parameter_shapes(Head(), 4)
  weight = RNG.normal(size=(2, 3 * 4 * 4)).astype(np.float32)
  tensors = {"fc.weight": weight, "fc.bias": np.zeros(2, np.float32)}
  params = conversion.convert(tensors, {"own": {"head": plain("fc")}}, shapes)
  image = RNG.normal(size=(4, 4, 3)).astype(np.float32)
  actual = Head().apply({"params": unflatten_dict(params, sep="/")}, image[None])
  expected = weight @ image.transpose(2, 0, 1).reshape(-1)
  # Sums of 48 products of order 1 in 32 bits.
  np.testing.assert_allclose(actual[0, 0, 0], expected, rtol=1e-5, atol=1e-5)


def test_everything_that_is_wrong_is_listed():
  tensors = make_tensors()
  del tensors["conv.bias"], tensors["ln.weight"]
  tensors |= {
    "dw.weight": np.zeros((4, 3, 3), np.float32),
    "fc.bias": np.zeros(7, np.float32),
    "aux.weight": np.zeros(1, np.float32),
    "bn.momentum": np.zeros((), np.float32),
  }
  with pytest.raises(ValueError, match="network") as error:
    convert(tensors)
  message = str(error.value)
  assert "\n" not in message
  missing, unexpected, misshapen = message.split("; ")
  assert missing.endswith("missing: conv.bias, ln.weight")
  assert unexpected == "unexpected: aux.weight, bn.momentum"
  assert misshapen == (
    "misshapen: dw.weight is (4, 3, 3), allowed: (4, 1, 3, 3), "
    "fc.bias is (7,), allowed: (2,)"
  )


@pytest.mark.parametrize(
  ("name", "change", "message"),
  [
    ("dw.weight", lambda x: x.astype(np.int8), "dw.weight has type int8; weights are"),
    ("fc.bias", lambda x: x * [np.nan, 1], "fc.bias has 1 NaN or infinite .* among 2"),
    ("bn.weight", lambda x: x / 0, "bn.weight has 4 NaN or infinite numbers"),
    ("bn.running_var", lambda x: -x, "bn.running_var has variances down to -"),
  ],
)
def test_tensors_that_no_trained_network_has_are_refused(name, change, message):
  tensors = make_tensors()
  with np.errstate(divide="ignore"):
    tensors[name] = change(tensors[name])
  with pytest.raises(ValueError, match=f"^checkpoint for 'network': {message}"):
    convert(tensors)


def test_the_layout_is_recognised_by_the_names():
  tensors = make_tensors()
  expected = convert(tensors)
  layouts = {"other": OTHER_LAYOUT, "own": LAYOUT}
  actual = conversion.convert(tensors, layouts, SHAPES)
  jax.tree.map(np.testing.assert_array_equal, actual, expected)
  del tensors["fc.bias"]
  with pytest.raises(ValueError, match=r"own names\): missing: fc.bias$"):
    conversion.convert(tensors, layouts, SHAPES)


def test_a_layout_must_cover_the_module():
  short = {name: source for name, source in LAYOUT.items() if name != "norm"}
  with pytest.raises(ValueError, match="differ in the layers norm"):
    convert(make_tensors(), own=short)


def test_checked_parameters():
  params = convert(make_tensors())
  conversion.check_parameters(params, SHAPES, "weights")
  params["head/kernel"] = params["head/kernel"].T
  del params["head/bias"]
  with pytest.raises(ValueError, match=r"missing: head/bias; misshapen: head/kernel"):
    conversion.check_parameters(params, SHAPES, "weights")
  params = convert(make_tensors()) | {"head/bias": np.full(2, np.nan, np.float32)}
  with pytest.raises(ValueError, match=r"^weights: head/bias has 2 NaN or infinite"):
    conversion.check_parameters(params, SHAPES, "weights")
