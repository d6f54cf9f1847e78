"""The bridge to PyTorch: values, gradients and explanations equal PyTorch's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from processes import run_python, with_devices

from cawe_jax import Classifier, explain, pixel_rde
from cawe_jax.classifiers import check_classifier, from_torch, in_bfloat16
from cawe_jax.recipes import fast

SIZE = (10, 12)
IMAGES = np.random.default_rng(0).random((3, *SIZE, 3), np.float32)


@pytest.fixture(scope="module")
def torch():
  return pytest.importorskip("torch")


@pytest.fixture(scope="module")
def module(torch):
  torch.manual_seed(0)
  nn = torch.nn
  module = nn.Sequential(
    nn.Conv2d(3, 6, (3, 5), stride=2),
    nn.BatchNorm2d(6),
    nn.Tanh(),
    nn.Dropout(0.5),
    nn.Flatten(),
    nn.Linear(6 * 4 * 4, 5),
  )
  norm = module[1]
  torch.nn.init.normal_(norm.running_mean)
  torch.nn.init.uniform_(norm.running_var, 0.5, 2)
  torch.nn.init.normal_(module[5].weight)  # so that it depends on the image
  return module.train()


def in_torch(torch, module, images, weights):
  """Outputs and the gradient of their weighted sum, channels first."""
  module.eval()
  inputs = torch.tensor(np.moveaxis(images, -1, 1).copy(), requires_grad=True)
  outputs = module(inputs)
  (gradient,) = torch.autograd.grad(outputs, inputs, torch.tensor(weights))
  module.train()
  return outputs.detach().numpy(), np.moveaxis(gradient.numpy(), 1, -1)


@pytest.mark.slow
def test_values_and_gradients(torch, module):
  classifier = from_torch(module, SIZE)
  weights = np.random.default_rng(1).normal(size=(3, 5)).astype(np.float32)
  outputs, gradient = in_torch(torch, module, IMAGES, weights)
  value = lambda images: jnp.sum(classifier(images) * weights)  # noqa: E731
  # The same library and the same numbers; only its memory layout differs.
  close = {"rtol": 1e-5, "atol": 1e-6}
  np.testing.assert_allclose(classifier(jnp.asarray(IMAGES)), outputs, **close)
  np.testing.assert_allclose(jax.grad(value)(IMAGES), gradient, **close)
  np.testing.assert_allclose(jax.jit(jax.grad(value))(IMAGES), gradient, **close)
  check_classifier(classifier, IMAGES)


@pytest.mark.slow
def test_the_module_is_not_touched(torch, module):
  before = {name: value.clone() for name, value in module.state_dict().items()}
  classifier = from_torch(module, SIZE)
  first = classifier(jnp.asarray(IMAGES))
  assert module.training
  assert all(p.requires_grad and p.grad is None for p in module[0].parameters())
  for name, value in module.state_dict().items():
    assert torch.equal(value, before[name]), name
  with torch.no_grad():
    module[5].bias += 1
  np.testing.assert_array_equal(classifier(jnp.asarray(IMAGES)), first)
  with torch.no_grad():
    module[5].bias -= 1


def native(module):
  """The same network in JAX, with the module's arrays."""
  conv, norm, _, _, _, head = (m for m in module)
  to_jax = lambda x: jnp.asarray(x.detach().numpy())  # noqa: E731
  params = (
    to_jax(conv.weight),
    to_jax(conv.bias),
    to_jax(norm.running_mean),
    to_jax(norm.running_var),
    to_jax(head.weight),
    to_jax(head.bias),
  )

  def apply(params, images):
    kernel, bias, mean, variance, weight, shift = params
    x = jnp.moveaxis(images, -1, 1)
    x = jax.lax.conv_general_dilated(x, kernel, (2, 2), "VALID")
    x = x + bias[:, None, None]
    x = (x - mean[:, None, None]) / jnp.sqrt(variance[:, None, None] + 1e-5)
    return jnp.tanh(x).reshape(len(x), -1) @ weight.T + shift

  return Classifier(apply, params, SIZE)


@pytest.mark.slow
def test_an_explanation_through_the_bridge(module):
  method = pixel_rde(0.01, recipe=fast()._replace(num_steps=40))
  key = jax.random.key(0)
  found = explain(from_torch(module, SIZE), IMAGES, method, key=key)
  expected = explain(native(module), IMAGES, method, key=key)
  np.testing.assert_array_equal(found.target, expected.target)
  np.testing.assert_allclose(found.probability, expected.probability, rtol=1e-4)
  # The same draws; rounding differs, and steps that divide by the noise amplify it.
  np.testing.assert_allclose(found.objective, expected.objective, rtol=0.02, atol=1e-4)
  # On the way the gradient mattered: the masks are neither empty nor as they began.
  np.testing.assert_allclose(
    found.history.rate[:, :10], expected.history.rate[:, :10], rtol=1e-3
  )
  assert np.all((found.history.rate[:, -1] > 0.01) & (found.history.rate[:, -1] < 0.9))


@pytest.mark.slow
def test_many_devices_and_large_arrays_do_not_deadlock():
  code = """
import faulthandler
faulthandler.dump_traceback_later(200, exit=True)
import jax, numpy as np, torch
import cawe_jax as cawe
from cawe_jax.classifiers import from_torch
from cawe_jax.recipes import fast
assert jax.device_count() == 4
nn = torch.nn
net = nn.Sequential(nn.Conv2d(3, 4, 7, stride=7), nn.Flatten(), nn.Linear(4 * 1024, 3))
method = cawe.pixel_rde(0.1, recipe=fast()._replace(num_steps=2, num_draws=8))
images = np.random.default_rng(0).random((4, 224, 224, 3), np.float32)
key = jax.random.key(0)
found = cawe.explain(from_torch(net, 224), images, method, key=key, rows=8)
assert np.isfinite(found.objective).all()
"""
  done = run_python(code, XLA_FLAGS=with_devices(4))
  assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_errors_are_clear(torch, module):
  with pytest.raises(
    ValueError, match=r"module is a int; it must be a torch\.nn\.Module"
  ):
    from_torch(3, SIZE)
  maps = from_torch(torch.nn.Conv2d(3, 2, 3), SIZE, name="maps")
  with pytest.raises(ValueError, match=r"'maps' returned shape \(3, 2, 8, 10\)"):
    maps(jnp.asarray(IMAGES))
  # PyTorch computes in its own types.
  half = in_bfloat16(from_torch(module, SIZE))(jnp.asarray(IMAGES))
  np.testing.assert_allclose(half, from_torch(module, SIZE)(IMAGES), atol=0.05)
