"""Files that the tests of the shell write and read."""

import json

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

NAMES = ("ant", "bee", "cat", "dog", "eel")
SIZE = 32
# So small a multiplier that it is better to keep something than nothing.
QUICK = [
  "--wavelet=haar",
  "--levels=2",
  "--steps=4",
  "--draws=2",
  "--lagrange-multiplier=0.01",
]


def write_photo(path, seed):
  pixels = np.random.default_rng(seed).integers(0, 256, (40, 36, 3), np.uint8)
  Image.fromarray(pixels).save(path)
  return path


def write_figure(explanation, report, path):
  """In the place of the real one, which takes a second."""
  mark = PngInfo()
  mark.add_text("Software", "cawe_jax")
  Image.new("L", (1, 1)).save(path, pnginfo=mark)


def names_in(folder):
  return sorted(path.name for path in folder.iterdir())


def report_of(folder, stem="photo"):
  return json.loads((folder / f"{stem}.json").read_text())
