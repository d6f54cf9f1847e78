"""Areas under curves, and curves on a common axis."""

from __future__ import annotations

import numpy as np

from cawe_jax.types import Array


def area_under_curve(
  x: Array, y: Array, interval: tuple[float, float] | None = None
) -> np.ndarray:
  """Area under broken lines by the trapezoidal rule, divided by the axis's length.

  It is the mean height, so that curves over other axes compare; curves over an axis of
  their own (energy, bits) compare on an interval that all of them cover.

  Args:
    x: ``[P]``, or one axis for each image, ``[B, P]``; not decreasing.
    y: ``[P]`` or ``[B, P]``.
    interval: ``(start, stop)`` within every axis; by default each curve's own range.

  Returns:
    One value per image ``[B]``, or a scalar for one curve, float64.

  Raises:
    ValueError: An axis that decreases or is not finite, has no length, or does not
      cover the interval; fewer than two points; shapes that do not fit.

  Example:
    >>> float(area_under_curve([0.0, 1.0, 3.0], [0.0, 1.0, 1.0]))
    0.8333333333333334
    >>> float(area_under_curve([0.0, 1.0, 3.0], [0.0, 1.0, 1.0], (0.5, 1.0)))
    0.75
  """
  x, y = _check_curves(x, y)
  start, stop = x[..., :1], x[..., -1:]
  if interval is not None:
    _check_covered(x, *interval)
    start, stop = np.full_like(start, interval[0]), np.full_like(stop, interval[1])
  if np.any(start >= stop):
    raise ValueError(f"x has no length: it goes from {start.min()} to {stop.min()}")
  left, right = x[..., :-1], x[..., 1:]
  low, high = np.clip(left, start, stop), np.clip(right, start, stop)
  # A line's mean over a part of it is its value in that part's middle.
  width = right - left
  share = ((low + high) / 2 - left) / np.where(width > 0, width, 1)
  middle = y[..., :-1] + share * np.diff(y, axis=-1)
  return np.sum((high - low) * middle, axis=-1) / (stop - start)[..., 0]


def on_axis(x: Array, y: Array, axis: Array) -> np.ndarray:
  """Broken lines read off at common places, e.g. to average over images.

  Args:
    x: ``[P]`` or ``[B, P]``; not decreasing.
    y: ``[P]`` or ``[B, P]``.
    axis: Places ``[Q]`` that every ``x`` covers.

  Returns:
    ``[Q]`` or ``[B, Q]``, float64.

  Raises:
    ValueError: As for :func:`area_under_curve`.

  Example:
    >>> on_axis([0.0, 2.0], [[0.0, 1.0], [4.0, 0.0]], [0.5, 1.0]).tolist()
    [[0.25, 0.5], [3.0, 2.0]]
  """
  x, y = _check_curves(x, y)
  axis = np.asarray(axis, np.float64)
  if axis.ndim != 1 or not axis.size:
    raise ValueError(f"axis has shape {axis.shape}; it must be [Q], not empty")
  _check_covered(x, axis.min(), axis.max())
  flat_x, flat_y = (v.reshape(-1, v.shape[-1]) for v in (x, y))
  rows = [np.interp(axis, *pair) for pair in zip(flat_x, flat_y, strict=True)]
  return np.reshape(rows, (*y.shape[:-1], axis.size))


def _check_curves(x: Array, y: Array) -> tuple[np.ndarray, np.ndarray]:
  x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
  if x.ndim not in (1, y.ndim) or y.ndim not in (1, 2) or x.shape[-1:] != y.shape[-1:]:
    raise ValueError(
      f"x has shape {x.shape} and y {y.shape}; they must be [P] or [B, P]"
    )
  if x.shape[-1] < 2:
    raise ValueError(f"x has {x.shape[-1]} points; a curve has at least 2")
  if not np.isfinite(x).all() or np.any(np.diff(x, axis=-1) < 0):
    raise ValueError("x decreases or is not finite; it must be finite and increase")
  x, y = np.broadcast_arrays(x, y)
  return x, y


def _check_covered(x: np.ndarray, start: float, stop: float) -> None:
  first, last = x[..., 0].max(), x[..., -1].min()
  if not first <= start <= stop <= last:
    raise ValueError(
      f"interval is ({start}, {stop}); every curve covers ({first}, {last})"
    )
