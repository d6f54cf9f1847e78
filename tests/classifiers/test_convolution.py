"""The convolutions against XLA's own, values and both gradients."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from cawe_jax.classifiers import convolution

RNG = np.random.default_rng(0)
NUM_IMAGES, CHANNELS, FEATURES = 2, 3, 4
# Odd, not square, and smaller than stride times kernel.
SIZES = [(9, 7), (8, 5)]
CASES = [
  (kernel_size, stride, SIZES[(kernel_size + stride) % 2])
  for kernel_size in (1, 3, 5)
  for stride in (1, 2, 3)
]


# PyTorch's usual padding, none, and one that differs on every side.
PADDED_CASES = [
  ("depthwise", 7, 1, 3),
  ("depthwise", 3, 2, 1),
  ("depthwise", 5, 2, 0),
  ("depthwise", 2, 3, ((2, 0), (1, 3))),
  ("dense", 7, 2, 3),
  ("dense", 3, 1, ((2, 0), (1, 3))),
]


def native(x, kernel, stride, groups, padding="SAME"):
  return jax.lax.conv_general_dilated(
    x,
    kernel,
    (stride, stride),
    padding,
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=groups,
    precision="highest",
  )


def native_depthwise(x, kernel, stride, padding="SAME"):
  return native(x, kernel[:, :, None], stride, CHANNELS, padding)


def native_dense(x, kernel, stride, padding="SAME"):
  return native(x, kernel, stride, 1, padding)


KINDS = {
  "depthwise": (convolution.depthwise, native_depthwise, (CHANNELS,)),
  "dense": (convolution.dense, native_dense, (CHANNELS, FEATURES)),
}


def normal(*shape):
  return jnp.asarray(RNG.normal(size=shape), jnp.float32)


@pytest.mark.parametrize(("kernel_size", "stride", "size"), CASES)
@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_native_convolution(kind, kernel_size, stride, size):
  ours, theirs, channels = KINDS[kind]
  x = normal(NUM_IMAGES, *size, CHANNELS)
  kernel = normal(kernel_size, kernel_size, *channels)
  output = check_equal(
    lambda x, w: ours(x, w, stride), lambda x, w: theirs(x, w, stride), x, kernel
  )
  height, width = (-(-side // stride) for side in size)
  assert output.shape == (NUM_IMAGES, height, width, channels[-1])


def check_equal(ours, theirs, x, kernel):
  output = jax.eval_shape(theirs, x, kernel)
  weight = normal(*output.shape)

  def compiled(function):
    def total(x, kernel):
      y = function(x, kernel)
      return jnp.sum(weight * y), y

    return jax.jit(jax.grad(total, (0, 1), has_aux=True))(x, kernel)

  actual, expected = compiled(ours), compiled(theirs)
  # Sums of at most 7 * 7 * 4 (value, input) or 2 * 9 * 7 (kernel) products of order 1
  # in another order: relative steps of 6e-8.
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-5),
    actual,
    expected,
  )
  return actual[1]


@pytest.mark.parametrize(("kind", "kernel_size", "stride", "padding"), PADDED_CASES)
def test_explicit_padding(kind, kernel_size, stride, padding):
  ours, theirs, channels = KINDS[kind]
  x = normal(NUM_IMAGES, 9, 8, CHANNELS)
  kernel = normal(kernel_size, kernel_size, *channels)
  pairs = ((padding, padding),) * 2 if isinstance(padding, int) else padding
  check_equal(
    lambda x, w: ours(x, w, stride, padding),
    lambda x, w: theirs(x, w, stride, pairs),
    x,
    kernel,
  )


@pytest.mark.parametrize("size", [(8, 4), (9, 7)], ids=["whole", "rest"])
def test_patches_are_a_convolution_without_overlap(size):
  def theirs(x, kernel):
    return native(x, kernel, 4, 1, "VALID")

  x, kernel = normal(NUM_IMAGES, *size, CHANNELS), normal(4, 4, CHANNELS, FEATURES)
  check_equal(convolution.patches, theirs, x, kernel)


@pytest.mark.parametrize(
  ("run", "parts"),
  [
    (lambda x: convolution.dense(x, normal(7, 7, 3, 1), 2, 0), ["5 x 6", "7 x 7"]),
    (lambda x: convolution.depthwise(x, normal(3, 3, 3), 1, "FULL"), ["'FULL'"]),
    (lambda x: convolution.patches(x, normal(8, 8, 3, 1)), ["5 x 6", "8 x 8"]),
  ],
  ids=["window", "padding", "patch"],
)
def test_what_cannot_be_convolved(run, parts):
  with pytest.raises(ValueError, match=r"padding|small") as error:
    run(jnp.zeros((1, 5, 6, 3)))
  assert all(part in str(error.value) for part in parts)


@pytest.mark.parametrize("kind", KINDS)
def test_exports_for_all_platforms(kind):
  ours, _, channels = KINDS[kind]
  kernel = normal(3, 3, *channels)

  def total(x):
    return jnp.sum(ours(x, kernel, 2) ** 2)

  x = jax.ShapeDtypeStruct((2, 9, 7, CHANNELS), jnp.float32)
  exported = jax.export.export(
    jax.jit(jax.grad(total)), platforms=("cpu", "cuda", "tpu")
  )(x)
  assert set(exported.platforms) == {"cpu", "cuda", "tpu"}
  data = normal(2, 9, 7, CHANNELS)
  # The same operations, compiled twice.
  np.testing.assert_allclose(exported.call(data), jax.grad(total)(data), rtol=1e-5)


@pytest.mark.parametrize(
  ("kernel_size", "platform", "is_native"),
  [
    (3, "cpu", False),
    (7, "cpu", False),
    (3, "cuda", False),
    (5, "cuda", False),
    (7, "cuda", True),
    (3, "tpu", True),
  ],
)
def test_depthwise_takes_the_form_that_was_faster(kernel_size, platform, is_native):
  x = jax.ShapeDtypeStruct((2, 9, 7, CHANNELS), jnp.float32)
  kernel = normal(kernel_size, kernel_size, CHANNELS)
  gradient = jax.jit(jax.grad(lambda x: jnp.sum(convolution.depthwise(x, kernel, 1))))
  for run in (jax.jit(lambda x: convolution.depthwise(x, kernel, 1)), gradient):
    text = jax.export.export(run, platforms=(platform,))(x).mlir_module()
    assert ("stablehlo.convolution" in text) == is_native


@pytest.mark.parametrize(
  ("kernel_size", "platform", "is_native"),
  [(3, "cpu", False), (3, "cuda", False), (7, "cuda", True), (3, "tpu", True)],
)
def test_so_does_the_gradient_of_a_stride(kernel_size, platform, is_native):
  x = jax.ShapeDtypeStruct((2, 9, 7, 3), jnp.float32)
  kernel = normal(kernel_size, kernel_size, 3, 4)
  # Linear, so that the forward convolution is not needed.
  gradient = jax.jit(jax.grad(lambda x: jnp.sum(convolution.dense(x, kernel, 2))))
  text = jax.export.export(gradient, platforms=(platform,))(x).mlir_module()
  assert ("stablehlo.convolution" in text) == is_native


def test_the_input_gradient_can_be_batched():
  kernel = normal(3, 3, CHANNELS)
  x = normal(3, 2, 9, 7, CHANNELS)

  def gradient(x):
    return jax.grad(lambda x: jnp.sum(convolution.depthwise(x, kernel, 2) ** 2))(x)

  together = jax.jit(jax.vmap(gradient))(x)
  one_by_one = jnp.stack([jax.jit(gradient)(each) for each in x])
  # As above.
  np.testing.assert_allclose(together, one_by_one, rtol=1e-5, atol=2e-5)
