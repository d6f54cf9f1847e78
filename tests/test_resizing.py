"""Images are scaled and cropped by the rule that is asked for, without squashing."""

import numpy as np
import pytest
from image_files import EIGHT_BITS, NOISE, RNG, one_line
from PIL import Image

from cawe_jax.files import images


def test_resize_keeps_constants_ramps_and_averages():
  flat = images.prepare_image(np.full((100, 80), 77, np.uint8), 33)
  np.testing.assert_allclose(flat, 77 / 255, atol=1e-6)

  ramp = np.broadcast_to(np.linspace(0, 1, 97), (64, 97))
  for size in (48, (16, 200)):
    row = images.prepare_image(ramp, size)[3, :, 0]
    assert (np.diff(row) >= -1e-6).all()

  # Bicubic without antialiasing would return some of the board's squares.
  board = np.indices((256, 256)).sum(0) % 2
  grey = images.prepare_image(board.astype(np.float32), 32)
  np.testing.assert_allclose(grey[1:-1, 1:-1], 0.5, atol=0.01)

  # A smooth image shrunk eightfold is close to its box averages.
  y, x = np.mgrid[0:256, 0:256] / 256
  smooth = 0.5 + 0.4 * np.sin(6 * x) * np.cos(5 * y)
  boxes = smooth.reshape(32, 8, 32, 8).mean((1, 3))
  small = images.prepare_image(smooth, 32)[..., 0]
  np.testing.assert_allclose(small[1:-1, 1:-1], boxes[1:-1, 1:-1], atol=0.01)
  np.testing.assert_allclose(small, boxes, atol=0.05)


def scaled_then_cropped(channel, size, resize):
  """torchvision's rule step by step: scale everything, round, crop the centre."""
  height, width = channel.shape
  short, long = sorted((height, width))
  new_long = int(resize.size * long / short)
  new_width, new_height = (
    (resize.size, new_long) if width <= height else (new_long, resize.size)
  )
  filters = {"bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC}
  scaled = np.asarray(
    Image.fromarray(channel).resize((new_width, new_height), filters[resize.filter])
  )
  top = round((new_height - size) / 2.0)
  left = round((new_width - size) / 2.0)
  return scaled[top : top + size, left : left + size]


@pytest.mark.parametrize("name", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
  ("shape", "size", "shorter"),
  [
    ((101, 67), 32, 37),  # The longer side becomes 55.76, the rest 23 and 5 pixels.
    ((67, 101), 32, 37),
    ((51, 34), 48, 55),  # Enlarged.
    ((64, 64), 21, 24),
    ((97, 50), 50, 50),  # Nothing but a crop, after 23.5 pixels.
    ((33, 250), 17, 30),
    ((40, 40), 40, 40),
  ],
)
def test_the_published_rule(shape, size, shorter, name):
  resize = images.Resize(shorter, name)
  # Contrast so low that no overshoot is clipped, as 8 bits are after each pass.
  pixels = RNG.integers(64, 192, (*shape, 3), np.uint8)
  result = images.prepare_image(pixels, size, resize)
  assert result.shape == (size, size, 3)
  for channel in range(3):
    exact = scaled_then_cropped(
      pixels[..., channel].astype(np.float32) / 255, size, resize
    )
    # The same sums with weights computed from a box: 32-bit rounding of pixels.
    np.testing.assert_allclose(result[..., channel], exact, rtol=0, atol=2e-5)
    # As torchvision does it, on 8 bits, which are rounded after each of two passes;
    # the second can enlarge the first's half level by the kernel's overshoot, 1.3.
    coarse = scaled_then_cropped(pixels[..., channel], size, resize)
    np.testing.assert_allclose(
      255 * result[..., channel], coarse, rtol=0, atol=0.5 * 1.3 + 0.5 + 0.02
    )


def test_the_published_rule_differs_from_the_default():
  """Its frame is the point: a resize to 256 shows less of the photograph."""
  photograph = RNG.random((90, 70), dtype=np.float32)
  default = images.prepare_image(photograph, 32)
  for other in (images.Resize(37, "bicubic"), images.Resize(32, "bilinear")):
    assert np.abs(images.prepare_image(photograph, 32, other) - default).max() > 0.05
  # Where nothing is truncated the two are one.
  square = images.Resize(32, "bicubic")
  np.testing.assert_array_equal(
    images.prepare_image(photograph[:64, :64], 32, square),
    images.prepare_image(photograph[:64, :64], 32),
  )


def test_a_long_strip_takes_little_memory(monkeypatch):
  asked = []
  original = Image.Image.resize

  def resize(self, size, *arguments, **options):
    asked.append(size)
    return original(self, size, *arguments, **options)

  monkeypatch.setattr(Image.Image, "resize", resize)
  strip = np.zeros((16, 1_000_000), np.float32)
  images.prepare_image(strip, 224, images.Resize(256, "bilinear"))
  # Scaled as a whole it would be 256 x 16 million pixels: 16 GB a channel.
  assert asked == [(224, 224)] * 3


@pytest.mark.parametrize(
  ("resize", "message"),
  [
    (images.Resize(31, "bicubic"), r"resize.size must be in \[32, 4096\] .*got 31"),
    (images.Resize(9999, "bicubic"), r"resize.size must be in .*got 9999"),
    (images.Resize(40, "nearest"), "must be one of bilinear, bicubic, got 'nearest'"),
  ],
)
def test_bad_rules(resize, message):
  with pytest.raises(ValueError, match=message) as error:
    images.prepare_image(NOISE, 32, resize)
  one_line(error)


def test_overshoot_is_clipped():
  step = np.zeros((20, 20), np.float32)
  step[:, 10:] = 1
  image = images.prepare_image(step, 40)
  assert image.min() == 0
  assert image.max() == 1
  assert image.dtype == np.float32


def test_nothing_is_squashed():
  """A square stays a square, whatever the shapes of the image and the result."""
  for shape, size in [((60, 200), 40), ((200, 60), (40, 90)), ((90, 70), (30, 60))]:
    image = np.zeros(shape, np.float32)
    middle = [slice(n // 2 - 8, n // 2 + 8) for n in shape]
    image[tuple(middle)] = 1
    result = images.prepare_image(image, size)[..., 0]
    height, width = (size, size) if isinstance(size, int) else size
    assert result.shape == (height, width)
    scale = max(height / shape[0], width / shape[1])
    rows, columns = result.max(1).sum(), result.max(0).sum()
    # Half a pixel at either end.
    np.testing.assert_allclose([rows, columns], 16 * scale, atol=1.0)
    centre = [
      (axis * result.sum(1 - i)).sum() / result.sum()
      for i, axis in enumerate((np.arange(height) + 0.5, np.arange(width) + 0.5))
    ]
    np.testing.assert_allclose(centre, [height / 2, width / 2], atol=scale)


def test_without_scaling_the_centre_is_cropped_exactly():
  image = images.prepare_image(NOISE, (20, 20))
  np.testing.assert_array_equal(image, EIGHT_BITS[2:22])
  odd = images.prepare_image(NOISE[:21], (20, 20))
  np.testing.assert_array_equal(odd, EIGHT_BITS[:20])
  wide = images.prepare_image(NOISE[:17, :20], (17, 17))
  np.testing.assert_array_equal(wide, EIGHT_BITS[:17, 1:18])
  np.testing.assert_array_equal(images.prepare_image(NOISE, (24, 20)), EIGHT_BITS)


def test_extreme_aspect_ratio():
  assert images.prepare_image(np.zeros((16, 30_000), np.uint8), 224).shape[0] == 224


def test_arrays_of_all_kinds_agree():
  grey = NOISE[..., 0]
  expected = images.prepare_image(grey, 16)
  for same in (
    grey[..., None],
    np.repeat(grey[..., None], 3, -1),
    grey / 255.0,
    grey.astype(np.uint16) * 257,
    Image.fromarray(grey),
  ):
    np.testing.assert_allclose(images.prepare_image(same, 16), expected, atol=1e-6)


@pytest.mark.parametrize(
  ("image", "message"),
  [
    (np.zeros((20, 20, 600)), r"C up to 512, got \[20, 20, 600\]"),
    (np.zeros((2, 20, 20, 3)), r"got \[2, 20, 20, 3\]"),
    (np.zeros((20, 20), np.int64), "uint8, uint16 or float"),
    (np.full((20, 20), 255.0), r"in \[0, 1\], got values from 255.0 to 255.0"),
    (np.full((20, 20), np.nan), r"in \[0, 1\], got values from nan"),
    (np.zeros((20, 3)), "3 x 20 pixels"),
    (np.zeros((0, 0)), "0 x 0 pixels"),
    (Image.new("L", (1, 1)), "1 x 1 pixels"),
  ],
)
def test_bad_arrays(image, message):
  with pytest.raises(ValueError, match=message) as error:
    images.prepare_image(image, 32)
  one_line(error)


@pytest.mark.parametrize(
  "size", [0, -3, 3, 4097, True, 2.5, "224", (32,), (32, 32, 3), (32, 0), None]
)
def test_bad_sizes(size):
  with pytest.raises(ValueError, match=r"size must be .* in \[4, 4096\], got") as error:
    images.prepare_image(NOISE, size)
  one_line(error)
