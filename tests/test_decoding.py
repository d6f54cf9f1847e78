"""Hostile image files end in one line, soon, and take nothing with them."""

import os
import signal
import subprocess
import sys
import time

import hostile_images
import numpy as np
import pytest
from image_files import NOISE, encode, one_line

from cawe_jax.files import decoding, images
from cawe_jax.files.decoding import Decoder

SLOW_FILES = [
  hostile_images.shared_tiles,
  hostile_images.plain_comments,
  hostile_images.jpeg_segments,
  hostile_images.jpeg_scans,
]


@pytest.fixture(scope="module")
def decoder():
  with Decoder(1.5) as decoder:
    yield decoder


@pytest.mark.parametrize("size", [24, (20, 36)])
@pytest.mark.parametrize("resize", [None, images.Resize(40, "bilinear")])
def test_it_decodes_what_the_library_decodes(decoder, tmp_path, size, resize):
  path = tmp_path / "noise.png"
  path.write_bytes(encode(NOISE))
  expected = images.prepare_image(images.load_image(path), size, resize)
  np.testing.assert_array_equal(decoder.load(path, size, resize), expected)
  found = decoder.decode(path.read_bytes(), "noise", size, resize)
  np.testing.assert_array_equal(found, expected)
  assert found.flags.writeable


def test_what_the_library_refuses_is_refused_in_its_words(decoder, tmp_path):
  for data in (b"dear diary", encode(NOISE)[:100], encode(NOISE[:3])):
    with pytest.raises(ValueError, match=r"^image ") as expected:
      images.decode_to_size(data, "x", 24)
    with pytest.raises(ValueError, match=r"^image ") as found:
      decoder.decode(data, "x", 24)
    assert one_line(found) == one_line(expected)
  with pytest.raises(ValueError, match="no such file"):
    decoder.load(tmp_path / "none.png", 24)
  with pytest.raises(ValueError, match=r"allowed are JPEG, PNG\)"):
    decoder.decode(encode(NOISE, "GIF"), "x.gif", 24, formats=["JPEG", "PNG"])


@pytest.mark.parametrize("make", SLOW_FILES)
def test_what_takes_too_long_is_given_up(decoder, make):
  data = make()
  start = time.monotonic()
  with pytest.raises(ValueError, match=r"takes more than 1\.5 s to decode") as error:
    decoder.decode(data, "slow", 24)
  one_line(error)
  # Without the limit each takes from half a minute to hours.
  assert time.monotonic() - start < 10
  # The next image gets a process of its own.
  assert decoder.decode(encode(NOISE), "noise", 24).shape == (24, 24, 3)


def test_fifty_million_transparent_pixels_are_decoded_within_the_limits():
  with Decoder(60) as decoder:
    image = decoder.decode(hostile_images.wide_transparency(), "wide", 24)
  np.testing.assert_array_equal(image, 1)  # Transparent is white.


@pytest.fixture
def start_with(monkeypatch):
  """Has the next decoder run a line before it answers."""

  def change(line):
    start = decoding._START.replace("decoding.answer", f"{line}\ndecoding.answer")
    monkeypatch.setattr(decoding, "_START", start)

  return change


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux alone")
def test_what_takes_too_much_memory_is_given_up(start_with):
  start_with("decoding.MAX_BYTES = 2**28")
  with (
    Decoder(60) as decoder,
    pytest.raises(ValueError, match="takes more than 256 MiB of memory") as error,
  ):
    decoder.decode(hostile_images.wide_transparency(), "wide", 24)
  one_line(error)


def test_a_decoder_that_crashes_is_one_line(start_with):
  start_with("import os; decoding.images.decode_to_size = lambda *a: os._exit(9)")
  with Decoder(60) as decoder:
    with pytest.raises(ValueError, match="ended with status 9") as error:
      decoder.decode(encode(NOISE), "noise", 24)
    one_line(error)


def test_a_decoder_that_was_killed_is_started_again(decoder):
  decoder._process.kill()
  decoder._process.wait()
  assert decoder.decode(encode(NOISE), "noise", 24).shape == (24, 24, 3)


def test_it_does_not_import_jax(start_with):
  start_with("if 'jax' in sys.modules: raise ImportError")
  with Decoder(60) as decoder:
    assert decoder.decode(encode(NOISE), "noise", 24).shape == (24, 24, 3)


INTERRUPTED = """
import signal
import hostile_images
from cawe_jax.files.decoding import Decoder

# A shell starts what is in the background without it.
signal.signal(signal.SIGINT, signal.default_int_handler)
data = hostile_images.shared_tiles()
with Decoder(60) as decoder:
  print(decoder._process.pid, flush=True)
  decoder.decode(data, "slow", 24)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_ends_both_processes_at_once():
  process = subprocess.Popen(
    [sys.executable, "-c", INTERRUPTED],
    env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  child = int(process.stdout.readline())
  start = time.monotonic()
  process.send_signal(signal.SIGINT)
  _, error = process.communicate(timeout=30)
  assert time.monotonic() - start < 10  # Its own limit is 60.
  assert error.endswith("KeyboardInterrupt\n")
  with pytest.raises(ProcessLookupError):
    os.kill(child, 0)
