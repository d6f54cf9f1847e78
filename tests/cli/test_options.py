"""Every option of ``cawe explain``: what it changes, where it does not apply."""

import pytest

from cawe_jax import distortions, initial_masks, perturbations, preset, stopping
from cawe_jax.cli.options import make_parser
from cawe_jax.cli.wishes import make_method
from cawe_jax.methods.names import (
  DISTORTIONS,
  INITIAL_MASKS,
  METHODS,
  PERTURBATIONS,
  RECIPES,
  REPRESENTATIONS,
)
from cawe_jax.representations import pixel, wavelet


def parse(*arguments):
  return make_parser().parse_args(["explain", "photo.jpg", *arguments])


def method_of(*arguments):
  return make_method(parse(*arguments))


def changes(*arguments, method="cartoonx", name="default"):
  """The settings that differ from the preset's, those of the recipe as they are."""
  plain = preset(method, name)
  made = method_of("--method", method, "--preset", name, *arguments)
  fields = {
    key: value for key, value in made._asdict().items() if value != getattr(plain, key)
  }
  recipe = fields.pop("recipe", plain.recipe)
  return fields | {
    key: value
    for key, value in recipe._asdict().items()
    if value != getattr(plain.recipe, key)
  }


def test_no_option_means_the_preset():
  assert method_of() == preset("cartoonx")
  assert method_of("--preset", "fast") == preset("cartoonx", "fast")
  assert method_of("--method", "waveletx", "--preset", "cvpr2023") == preset(
    "waveletx", "cvpr2023"
  )


# Options, the method that they are for, and all that they change.
CHANGES = [
  (["--lagrange-multiplier", "7.5"], "cartoonx", {"lagrange_multiplier": 7.5}),
  (["--lagrange-multiplier", "0"], "pixel-rde", {"lagrange_multiplier": 0.0}),
  (["--perturbation", "blur:3"], "cartoonx", {"perturbation": perturbations.blur(3.0)}),
  (["--perturbation", "zeros"], "pixel-rde", {"perturbation": perturbations.zeros()}),
  (["--distortion", "kl"], "waveletx", {"distortion": distortions.kl}),
  (["--wavelet", "haar"], "cartoonx", {"representation": wavelet("haar")}),
  (["--levels", "3"], "waveletx", {"representation": wavelet(levels=3)}),
  (["--mode", "symmetric"], "cartoonx", {"representation": wavelet(mode="symmetric")}),
  (
    ["--wavelet", "sym4", "--levels", "2", "--mode", "periodic"],
    "cartoonx",
    {"representation": wavelet("sym4", levels=2, mode="periodic")},
  ),
  (
    ["--representation", "cawe_jax.representations:pixel"],
    "waveletx",
    {"representation": pixel()},
  ),
  (["--representation", "pixel"], "cartoonx", {"representation": pixel()}),
  (
    ["--initial-mask", "constant:0.5"],
    "pixel-rde",
    {"initial_mask": initial_masks.constant(0.5)},
  ),
  (["--spatial-l1", "3"], "waveletx", {"penalty_weights": (3.0,)}),
  (["--total-variation", "0"], "smooth-pixel-rde", {"penalty_weights": (0.0,)}),
  (["--steps", "17"], "cartoonx", {"num_steps": 17}),
  (["--draws", "9"], "cartoonx", {"num_draws": 9}),
  (["--step-size", "0.03"], "pixel-rde", {"step_size": 0.03}),
  (["--stop", "0.05"], "cartoonx", {"stopping": stopping.plateau(tolerance=0.05)}),
]
# Options that change no method but what is done with it.
OTHERS = {
  "images": (["second.jpg"], ["photo.jpg", "second.jpg"]),
  "out": (["--out", "results"], "results"),
  "classifier": (["--classifier", "x"], "x"),
  "weights": (["--weights", "x.pth"], "x.pth"),
  "target": (["--target", "7", "tabby"], ["7", "tabby"]),
  "seed": (["--seed", "3"], 3),
  "batch_size": (["--batch-size", "2"], 2),
  "force": (["--force"], True),
  "quiet": (["--quiet"], True),
  "entry": (["--entry", "state_dict_ema"], "state_dict_ema"),
  "class_names": (["--class-names", "names.txt"], "names.txt"),
  "retain": (["--retain", "0.9"], 0.9),
  "budget": (["--budget", "12"], 12),
  "metric": (["--metric", "agreement"], ["agreement"]),
  "confidence": (["--confidence", "0.9"], 0.9),
}


@pytest.mark.parametrize(("options", "method", "expected"), CHANGES)
def test_an_option_changes_what_it_names_and_nothing_else(options, method, expected):
  assert changes(*options, method=method) == expected


@pytest.mark.parametrize("name", OTHERS)
def test_options_of_the_call(name):
  arguments, expected = OTHERS[name]
  options = parse(*arguments)
  assert getattr(options, name) == expected
  assert make_method(options) == preset("cartoonx")


def test_every_option_is_tested():
  of_methods = {
    text.removeprefix("--").replace("-", "_")
    for options, _, _ in CHANGES
    for text in options[::2]
  }
  known = {*of_methods, *OTHERS, "method", "preset", "command"}
  assert vars(parse()).keys() == known


def test_options_change_published_presets_too():
  assert changes("--steps", "5", name="eccv2022") == {"num_steps": 5}


@pytest.mark.parametrize(
  ("method", "option", "owners"),
  [
    ("pixel-rde", "--wavelet=haar", "cartoonx, waveletx"),
    ("pixel-rde", "--representation=mine:fog", "cartoonx, waveletx"),
    ("smooth-pixel-rde", "--levels=2", "cartoonx, waveletx"),
    ("pixel-rde", "--mode=zero", "cartoonx, waveletx"),
    ("cartoonx", "--spatial-l1=1", "waveletx"),
    ("cartoonx", "--total-variation=1", "smooth-pixel-rde"),
    ("waveletx", "--total-variation=0", "smooth-pixel-rde"),
  ],
)
def test_options_that_do_not_apply_are_refused(method, option, owners):
  name = option.partition("=")[0]
  with pytest.raises(ValueError, match=f"option {name} .*'{method}'.*{owners}"):
    method_of("--method", method, option)


@pytest.mark.parametrize(
  ("option", "value", "allowed"),
  [
    ("method", "shapley", METHODS),
    ("preset", "best", RECIPES),
    ("perturbation", "snow", PERTURBATIONS),
    ("distortion", "l3", DISTORTIONS),
    ("wavelet", "db333", ["db3", "haar"]),
    ("mode", "mirror", ["zero", "symmetric"]),
  ],
)
def test_unknown_names_list_what_is_allowed(option, value, allowed):
  with pytest.raises(ValueError, match=f"{option} '{value}'") as error:
    method_of(f"--{option}", value)
  assert "\n" not in str(error.value)
  assert all(name in str(error.value) for name in allowed)


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["--steps", "0"], "--steps is 0"),
    (["--draws", "-1"], "--draws is -1"),
    (["--batch-size", "0"], "--batch-size is 0"),
    (["--seed", "-1"], "--seed is -1"),
    (["--seed", "4294967296"], "--seed is 4294967296"),
    (["--retain", "0"], "--retain is 0.0"),
    (["--retain", "1.01"], "--retain is 1.01"),
    (["--retain", "nan"], "--retain is nan"),
    (["--budget", "0"], "--budget is 0"),
    (["--confidence", "0"], "--confidence is 0.0; it must be above 0 and below 1"),
    (["--confidence", "95"], "--confidence is 95.0"),
    (["--confidence", "nan"], "--confidence is nan"),
    (["--confidence", "0.9", "--metric", "bounds"], "the same bounds"),
    (["--levels", "0"], "levels is 0"),
    (["--lagrange-multiplier", "nan"], "lagrange_multiplier is nan"),
    (["--lagrange-multiplier=-1"], "lagrange_multiplier is -1.0"),
    (["--lagrange-multiplier", "inf"], "lagrange_multiplier is inf"),
    (["--method", "waveletx", "--spatial-l1=-2"], "weight of spatial_l1 is -2.0"),
    (["--step-size", "0"], "step_size is 0.0"),
    (["--step-size", "nan"], "step_size is nan"),
    (["--stop=-1"], "tolerance is -1.0"),
    (
      ["--representation", "mine:fog", "--levels", "2"],
      "option --representation 'mine:fog' does not go with --levels",
    ),
    (["--perturbation", "blur:x"], "after the colon come numbers"),
    (["--perturbation", "blur:1,2"], "blur takes sigma after the colon"),
    (["--perturbation", "zeros:1"], "zeros takes nothing after the colon"),
    (["--perturbation", "infill:5"], "infill takes nothing after the colon"),
    (["--perturbation", "constant"], "constant takes value after the colon"),
    (["--perturbation", "scaled-gaussian"], "factors"),
  ],
)
def test_numbers_out_of_range_are_refused(arguments, message):
  with pytest.raises(ValueError, match=message) as error:
    method_of(*arguments)
  assert "\n" not in str(error.value)


@pytest.mark.parametrize(
  "arguments",
  [
    ["--steps", "many"],
    ["--retain", "0.9", "--budget", "3"],
    ["--lagrange-multiplier", "1", "--retain", "0.9"],
    ["--colour"],
  ],
)
def test_what_cannot_be_parsed_ends_with_code_2(arguments, capsys):
  with pytest.raises(SystemExit) as error:
    parse(*arguments)
  assert error.value.code == 2
  assert "error: " in capsys.readouterr().err


def test_perturbations_take_their_numbers_after_a_colon():
  made = [
    method_of("--perturbation", text).perturbation
    for text in ("constant:0.25", "scaled-gaussian:1,0.5", "blur")
  ]
  assert made == [
    perturbations.constant(0.25),
    perturbations.scaled_gaussian((1.0, 0.5)),
    perturbations.blur(),
  ]


def test_every_name_of_the_table_is_known():
  for name in DISTORTIONS:
    made = method_of("--distortion", name).distortion
    assert made is getattr(distortions, name.replace("-", "_"))
  for name in set(PERTURBATIONS) - {"constant", "scaled-gaussian"}:
    factory = getattr(perturbations, name.replace("-", "_"))
    assert method_of("--perturbation", name).perturbation == factory()


def test_help_names_every_choice(capsys):
  with pytest.raises(SystemExit) as error:
    parse("--help")
  assert error.value.code == 0
  text = " ".join(capsys.readouterr().out.split())
  for name in (
    *METHODS,
    *RECIPES,
    *PERTURBATIONS,
    *DISTORTIONS,
    *REPRESENTATIONS,
    *INITIAL_MASKS,
  ):
    # argparse may break a line at a hyphen.
    assert name in text.replace("- ", "-")
