"""The bounded store, and pictures as the page gets them."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from cawe_jax.playground.pictures import data_url, to_webp
from cawe_jax.playground.store import Store


def test_the_least_recently_used_goes_first():
  store = Store(capacity=2)
  a, b = store.add("a", key=1), store.add("b", key=2)
  assert store.get(a) == "a"
  c = store.add("c", key=3)
  assert (store.get(a), store.get(b), store.get(c)) == ("a", None, "c")
  assert (store.find(1), store.find(2), store.find(3)) == (a, None, c)


def test_the_newest_of_a_key_is_found_also_when_an_older_one_goes():
  store = Store(capacity=2)
  old, new = store.add("old", key=1), store.add("new", key=1)
  assert store.find(1) == new
  store.add("other")
  assert store.get(old) is None
  assert store.find(1) == new
  assert store.find(None) is None


def test_tokens_are_random_and_long():
  store = Store(capacity=1)
  tokens = {store.add(i) for i in range(1000)}
  assert len(tokens) == 1000
  assert all(len(bytes.fromhex(token)) == 16 for token in tokens)


@pytest.mark.parametrize("channels", [None, 1, 3, 4])
def test_pictures_show_what_is_in_the_array(channels):
  ramp = np.linspace(-0.1, 1.1, 64)[:, None].repeat(64, 1)
  image = ramp if channels is None else ramp[..., None].repeat(channels, 2)
  opened = Image.open(io.BytesIO(to_webp(image)))
  assert opened.format == "WEBP"
  seen = np.asarray(opened.convert("RGBA" if channels == 4 else "RGB")) / 255
  visible = ramp > 0.2  # What is nearly transparent may have any colour.
  error = abs(seen[..., 0] - np.clip(ramp, 0, 1))[visible]
  assert error.max() < 0.06
  kind, data = data_url(image).split(",")
  assert kind == "data:image/webp;base64"
  assert base64.b64decode(data) == to_webp(image)
