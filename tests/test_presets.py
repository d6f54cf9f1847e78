"""Methods by name: the published numbers, and that every pair is made or refused."""

import itertools
import json
import re

import pytest

from cawe_jax import Method, cartoonx, preset, waveletx
from cawe_jax.methods.names import METHODS, RECIPES
from cawe_jax.representations import pixel, wavelet

PUBLISHED = {
  "eccv2022": {"step_size": 1e-3, "num_steps": 2000, "num_draws": 64},
  "cvpr2023": {"step_size": 1e-1, "num_steps": 300, "num_draws": 16},
}
LABEL, MISSING = "automatic", "maximise_label"
GAUSSIAN, UNIFORM = "adaptive_gaussian()", "adaptive_uniform()"
# Multiplier, noise, distortion, and the weights of further penalties.
PAPERS = {
  ("cartoonx", "eccv2022"): (20, GAUSSIAN, LABEL, {}),
  ("pixel-rde", "eccv2022"): (4, GAUSSIAN, LABEL, {}),
  ("cartoonx", "cvpr2023"): (1, UNIFORM, LABEL, {}),
  ("waveletx", "cvpr2023"): (2, UNIFORM, MISSING, {"spatial_l1": 10}),
  ("pixel-rde", "cvpr2023"): (1, UNIFORM, MISSING, {}),
}


@pytest.mark.parametrize(("method", "name"), PAPERS)
def test_published_numbers(method, name):
  settings = preset(method, name).settings()
  multiplier, noise, distortion, weights = PAPERS[method, name]
  assert settings["name"] == method
  assert settings["lagrange_multiplier"] == multiplier
  assert settings["perturbation"] == noise
  assert settings["distortion"] == distortion
  assert (
    dict(zip(settings["penalties"], settings["penalty_weights"], strict=True))
    == weights
  )
  recipe = settings["recipe"]
  assert recipe.items() >= PUBLISHED[name].items()
  assert recipe["initial_mask"] == "constant(value=1.0)"
  assert recipe["solver"].startswith("adam(b1=0.9, b2=0.999")
  assert recipe["schedule"] == "constant()"
  assert recipe["stopping"] == "never()"
  wavelet = "wavelet('db3', levels=5, mode='zero')"
  pixels = method == "pixel-rde"
  assert settings["representation"] == ("pixel()" if pixels else wavelet)


@pytest.mark.parametrize(("method", "name"), list(itertools.product(METHODS, RECIPES)))
def test_every_pair_is_made_or_refused_in_one_line(method, name):
  if name in PUBLISHED and (method, name) not in PAPERS:
    with pytest.raises(ValueError, match=f"'{name}' has no method '{method}'") as error:
      preset(method, name)
    message = str(error.value)
    assert "\n" not in message
    assert all(m in message for m, n in PAPERS if n == name)
    return
  made = preset(method, name)
  assert isinstance(made, Method)
  settings = made.settings()
  assert json.loads(json.dumps(settings, allow_nan=False)) == settings
  assert settings["name"] == method
  assert settings["recipe"]["name"] == name
  assert set(settings) == set(Method._fields)
  # Equal arguments share their compiled programs.
  again = preset(method, name)
  assert made.bind((224, 224, 3), 5) == again.bind((224, 224, 3), 5)


def test_fast_is_faster_than_default():
  for method in METHODS:
    fast, default = (preset(method, name).recipe for name in ("fast", "default"))
    assert fast.num_steps * fast.num_draws < default.num_steps * default.num_draws
  assert preset("cartoonx") == preset("cartoonx", "default")


@pytest.mark.parametrize(
  ("arguments", "message", "allowed"),
  [
    (("shapley",), "method 'shapley' is unknown", METHODS),
    (("cartoonx", "best"), "preset 'best' is unknown", RECIPES),
  ],
)
def test_unknown_names_list_what_is_allowed(arguments, message, allowed):
  with pytest.raises(ValueError, match=re.escape(message)) as error:
    preset(*arguments)
  assert all(name in str(error.value) for name in allowed)
  assert "\n" not in str(error.value)


@pytest.mark.parametrize("make", [cartoonx, waveletx])
def test_wavelets_are_described_as_in_the_shell(make):
  described = make(wavelet="haar", levels=2, mode="periodization").representation
  assert described == wavelet("haar", 2, "periodization")
  assert make(levels=3).representation == wavelet(levels=3)
  assert make().representation == wavelet()
  assert make(representation=pixel()).representation == pixel()
  with pytest.raises(ValueError, match="wavelet 'harr' is unknown"):
    make(wavelet="harr")
  with pytest.raises(ValueError, match="levels is 2 beside a representation"):
    make(levels=2, representation=pixel())
