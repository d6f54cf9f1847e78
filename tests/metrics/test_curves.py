"""Areas and common axes against NumPy and SciPy."""

import numpy as np
import pytest
import scipy.integrate
import scipy.interpolate

from cawe_jax.metrics import area_under_curve, on_axis

RNG = np.random.default_rng(0)
X = np.sort(RNG.random((3, 8)), axis=1)
Y = RNG.normal(size=(3, 8))


def test_area_is_the_trapezoidal_mean():
  expected = scipy.integrate.trapezoid(Y, X, axis=1) / np.ptp(X, axis=1)
  np.testing.assert_allclose(area_under_curve(X, Y), expected, rtol=1e-12)
  shared = scipy.integrate.trapezoid(Y, X[0], axis=1) / np.ptp(X[0])
  np.testing.assert_allclose(area_under_curve(X[0], Y), shared, rtol=1e-12)
  one = area_under_curve(X[1], Y[1])
  assert one.shape == ()
  np.testing.assert_allclose(one, expected[1], rtol=1e-12)


def test_area_on_an_interval_is_that_of_the_interpolated_line():
  start, stop = X[:, 0].max() + 0.01, X[:, -1].min() - 0.02
  found = area_under_curve(X, Y, (start, stop))
  for x, y, area in zip(X, Y, found, strict=True):
    inside = x[(x > start) & (x < stop)]
    points = np.concatenate([[start], inside, [stop]])
    line = scipy.interpolate.interp1d(x, y)(points)
    expected = scipy.integrate.trapezoid(line, points) / (stop - start)
    np.testing.assert_allclose(area, expected, rtol=1e-12)


def test_parts_of_an_interval_add_up():
  x, y = [0.0, 1.0, 1.0, 4.0], [2.0, 2.0, 0.0, 3.0]  # with a jump
  parts = area_under_curve(x, y, (0, 1)) + 3 * area_under_curve(x, y, (1, 4))
  assert area_under_curve(x, y, (0, 1)) == 2
  np.testing.assert_allclose(parts / 4, area_under_curve(x, y), rtol=1e-12)


def test_scale_and_place_of_the_axis_do_not_matter():
  np.testing.assert_allclose(
    area_under_curve(1000 * X - 7, Y), area_under_curve(X, Y), rtol=1e-9
  )


def test_common_places_are_interpolated():
  axis = np.linspace(X[:, 0].max(), X[:, -1].min(), 5)
  found = on_axis(X, Y, axis)
  for x, y, row in zip(X, Y, found, strict=True):
    np.testing.assert_allclose(row, scipy.interpolate.interp1d(x, y)(axis), rtol=1e-9)
  assert on_axis(X[0], Y[0], axis).shape == (5,)


@pytest.mark.parametrize(
  ("x", "y", "interval", "message"),
  [
    ([0.0, 1.0], [0.0, 1.0, 2.0], None, "x has shape"),
    (X, Y[0], None, "x has shape"),
    ([0.0], [1.0], None, "x has 1 points"),
    ([0.0, 2.0, 1.0], [0.0] * 3, None, "x decreases"),
    ([0.0, np.nan], [0.0] * 2, None, "x decreases or is not finite"),
    ([1.0, 1.0], [0.0] * 2, None, "x has no length"),
    ([0.0, 1.0], [0.0] * 2, (0.5, 2.0), r"interval is \(0.5, 2.0\); every curve"),
    ([0.0, 1.0], [0.0] * 2, (0.7, 0.5), "interval is"),
    ([0.0, 1.0], [0.0] * 2, (0.5, 0.5), "x has no length"),
  ],
)
def test_bad_curves_are_refused(x, y, interval, message):
  with pytest.raises(ValueError, match=message) as error:
    area_under_curve(x, y, interval)
  assert "\n" not in str(error.value)


def test_bad_places_are_refused():
  with pytest.raises(ValueError, match="interval is"):
    on_axis([0.0, 1.0], [0.0, 1.0], [0.5, 1.5])
  with pytest.raises(ValueError, match="axis has shape"):
    on_axis([0.0, 1.0], [0.0, 1.0], [])
