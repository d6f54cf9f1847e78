"""Results of sweeps that nobody ran: numbers at random, names that could do harm."""

import numpy as np
from ml_collections import ConfigDict

from configs import common
from experiments.axes import expand
from experiments.report.figures import FIGURES
from experiments.store import open_store

HOSTILE = "<script>alert('x')</script> | a\\b & \"c\" $x$"
POINTS, STEPS, IMAGES = 2, 3, 4
TIMING = {"compile_seconds": 1.5, "num_points": POINTS, "devices": ["cpu"]}


def common_keys(number, selected=True):
  return {
    "id": np.array(f"{HOSTILE}{number}"),
    "label": np.int64(3),
    "label_name": np.array(HOSTILE),
    "prediction": np.int64(3 if number else 4),
    "prediction_name": np.array("tench"),
    "confidence": np.float32(0.5),
    "selected": np.bool_(selected),
  }


def explained(rng, number):
  scalars = ("rate", "rate_l0", "distortion", "objective", "explanation_probability")
  return {
    **common_keys(number),
    **{name: rng.random(POINTS, np.float32) for name in scalars},
    "retained_probability": np.float32([0.5, np.nan]),
    "input_image": rng.integers(0, 256, (8, 9, 3), np.uint8),
    "explanation": rng.integers(0, 256, (POINTS, 8, 9), np.uint8),
    "mask/0": rng.random((POINTS, 1, 4, 5, 1), np.float32),
    "mask/1": rng.random((POINTS, 3, 4, 5, 1), np.float32),
    "history/objective": np.float32([[1, 2, np.nan], [number, 5, np.nan]]),
  }


def curved(rng, number):
  fraction = np.array([0.0, 0.01, 0.1, 0.5, 1.0])
  shape = (POINTS, len(fraction))
  return {
    **common_keys(number),
    "fraction": fraction,
    "distortion": rng.random(shape, np.float32),
    "score": rng.random(shape, np.float32),
    "energy": np.tile(fraction**0.5, (POINTS, 1)),
    "bits": np.tile(np.array([0, 1e3, 2e3, 5e3, 1e4]), (POINTS, 1)) * (1 + number),
    "area": rng.random(POINTS),
  }


def make_config(task, **parts):
  config = common.base("planted", "default")
  config.task = task
  config.methods = {"a": {"label": HOSTILE}, "b": {"label": "B"}}
  config.axes = {"lagrange_multiplier": (2.0, 4.0)}
  config.curve = {"mask": "keep", "distortion": "l2"}
  return ConfigDict(config.to_dict() | parts)


def plant(folder, make, config):
  jobs = expand(config)
  photographs = [(f"p{i}", 3) for i in range(IMAGES + 2)]
  store = open_store(folder, {}, photographs)
  rng = np.random.default_rng(0)
  results = {}
  for job in jobs:
    results[job.name] = [make(rng, i) for i in range(IMAGES)]
    for i, arrays in enumerate(results[job.name]):
      store.write_result(job.name, i, arrays)
    store.write_result(job.name, IMAGES, common_keys(IMAGES, selected=False))
    store.write_timing(job.name, 0, {**TIMING, "seconds": 6.0, "num_images": 3})
    store.write_timing(job.name, 1, {**TIMING, "seconds": 2.0, "num_images": 1})
  store.write_error(IMAGES + 1, HOSTILE, f"bad: {HOSTILE}")
  return jobs, store, results


def plant_explanations(tmp_path):
  config = make_config("explain", report={"figures": tuple(FIGURES), "num_panels": 2})
  config.report.figures = ("panels", "trade_off", "by_axis", "runtime")
  jobs, store, results = plant(tmp_path, explained, config)
  return config, jobs, store, results


def plant_curves(tmp_path):
  config = make_config("curves", report={"figures": ("curves",)})
  return config, *plant(tmp_path, curved, config)
