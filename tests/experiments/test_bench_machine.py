"""How the benchmark measures: seconds, floors, pairs, and the forms of a network."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from cawe_jax.classifiers import convolution
from experiments.bench import accelerator, machine, pairs


def test_the_ratio_is_of_neighbours():
  # Medians alone would give 30 / 10; each pair says 2 but for one.
  measured = pairs.Pairs([20.0, 30.0, 60.0], [10.0, 15.0, 10.0], [1.0, 1.0, 1.0])
  assert measured.ratio == 2.0


def test_the_table_of_pairs_has_medians_and_multiples_of_the_floor(capsys):
  pairs.report(pairs.Pairs([20.0, 40.0], [10.0, 10.0], [8.0, 8.0]), floor=5.0)
  lines = capsys.readouterr().out.splitlines()
  assert lines[-2].split() == ["median", "30.0", "10.0", "8.0", "3.00"]
  assert lines[-1].split() == ["x", "floor", "6.0", "2.0", "1.6"]


def test_seconds_are_wall_time():
  # A sleep lasts at least as long as asked; a busy machine may add to it, hence twice
  # the longer one above.
  short, long = (machine.seconds(lambda t=t: time.sleep(t)) for t in (0.02, 0.5))
  assert 0.02 <= short < 0.5 <= long < 1.0


def test_the_machine_is_named_with_versions():
  line = machine.describe()
  assert f"jax {__import__('jax').__version__}" in line
  assert "cpu device" in line


def test_a_package_that_is_not_installed_is_absent(monkeypatch):
  def version(name):
    raise machine.importlib.metadata.PackageNotFoundError(name)

  monkeypatch.setattr(machine.importlib.metadata, "version", version)
  assert machine.versions() == dict.fromkeys(
    ("jax", "torch", "pytorch-wavelets"), "absent"
  )


def grouped_convolutions(platform):
  x, kernel = jnp.ones((1, 8, 8, 4)), jnp.ones((3, 3, 4))
  gradient = jax.jit(jax.grad(lambda x: jnp.sum(convolution.depthwise(x, kernel))))
  lowered = gradient.trace(x).lower(lowering_platforms=(platform,))
  return lowered.as_text().count("feature_group_count = 4")


@pytest.mark.parametrize(("form", "shifted"), [("grouped", False), ("shifted", True)])
def test_the_form_of_depthwise_layers_is_set_inside_and_only_there(form, shifted):
  with accelerator.form_of_windows(form):
    for platform in ("cpu", "cuda"):
      assert (grouped_convolutions(platform) == 0) == shifted
  assert grouped_convolutions("cpu") == 0


def test_the_floor_is_the_time_of_large_products(monkeypatch):
  calls = []

  def timings(run, repeats):
    calls.append(np.asarray(run()))
    return [0.9, 0.8]

  monkeypatch.setattr(machine, "timings", timings)
  # Eight products of 2 * 2048^3 operations in 0.8 s are 172 GFLOP a second.
  rate = 8 * 2 * 2048**3 / 0.8 / 1e9
  assert machine.floor_milliseconds() == pytest.approx(1e3 * machine.GFLOP / rate)
  assert calls[0].shape == (2048, 2048)
  assert np.isfinite(calls[0]).all()


def test_the_network_is_measured_in_every_precision_and_form(capsys):
  accelerator.report_network(tiny.make_classifier(), rows=2, floor=1e-5, repeats=1)
  _, _, head, *rows = capsys.readouterr().out.splitlines()
  assert head.split() == ["depthwise", "ms/row", "x", "floor", "MiB/row"]
  assert [row.split()[:2] for row in rows] == [
    [precision, form]
    for precision in ("float32", "TF32", "bfloat16")
    for form in ("grouped", "shifted")
  ]
  assert all(float(row.split()[3]) > 0 for row in rows)
