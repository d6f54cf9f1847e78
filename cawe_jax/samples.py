"""Real photographs that ship inside other packages, for examples and tests.

scikit-image carries four under free licences: the cat ``chelsea`` and the cup
``coffee`` (CC0), the ``rocket`` (SpaceX, CC0) and the ``astronaut`` (NASA, public
domain). foolbox carries twenty ImageNet photographs of 512x512 pixels or more with
their labels, here ``imagenet-00`` to ``imagenet-19``. Only the files are looked up:
neither package is imported and nothing is downloaded.
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

_SCIKIT_IMAGE_FILES = {
  "astronaut": "astronaut.png",
  "chelsea": "chelsea.png",
  "coffee": "coffee.png",
  "rocket": "rocket.jpg",
}
_FOOLBOX_NAMES = tuple(f"imagenet-{number:02d}" for number in range(20))


def sample_names() -> tuple[str, ...]:
  """Names of all sample photographs, whether their packages are installed or not.

  Example:
    >>> sample_names()[:5]
    ('astronaut', 'chelsea', 'coffee', 'rocket', 'imagenet-00')
  """
  return (*_SCIKIT_IMAGE_FILES, *_FOOLBOX_NAMES)


def sample_path(name: str) -> Path:
  """File of a sample photograph.

  Args:
    name: One of :func:`sample_names`.

  Returns:
    An existing PNG or JPEG file; read it with :func:`cawe_jax.load_image`.

  Raises:
    ValueError: The name is unknown, or the package with the file is not installed.

  Example:
    >>> sample_path("chelsea").name
    'chelsea.png'
  """
  if name in _SCIKIT_IMAGE_FILES:
    package, folder, pattern = "scikit-image", "skimage", _SCIKIT_IMAGE_FILES[name]
  elif name in _FOOLBOX_NAMES:
    # On disk imagenet_<number>_<label>.jpg.
    package, folder, pattern = "foolbox", "foolbox", name.replace("-", "_") + "_*.jpg"
  else:
    raise ValueError(
      f"sample {name!r} is unknown, allowed are {', '.join(sample_names())}"
    )
  try:
    site_packages = importlib.metadata.distribution(package).locate_file("")
  except importlib.metadata.PackageNotFoundError:
    site_packages = None
  files = (
    sorted(Path(str(site_packages), folder, "data").glob(pattern))
    if site_packages is not None
    else []
  )
  if not files:
    raise ValueError(
      f"sample {name!r} needs the package {package}: pip install 'cawe-jax[samples]'"
    )
  return files[0]


def sample_label(name: str) -> int | None:
  """ImageNet label in [0, 1000) that foolbox gives a sample, from its file's name.

  Args:
    name: One of :func:`sample_names`.

  Returns:
    The label of an ``imagenet-..`` sample, None for the others, which have none.

  Raises:
    ValueError: As :func:`sample_path`.

  Example:
    >>> sample_label("imagenet-00")
    243
  """
  path = sample_path(name)
  return int(path.stem.rsplit("_", 1)[1]) if name in _FOOLBOX_NAMES else None
