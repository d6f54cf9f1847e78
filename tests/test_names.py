"""One table of names: it has every part, and nothing but parts."""

import inspect
import itertools

import pytest
from components import GIVEN

from cawe_jax import distortions, initial_masks, perturbations, representations
from cawe_jax.initial_masks import InitialMask
from cawe_jax.methods import Method, names
from cawe_jax.part import Part
from cawe_jax.types import Perturbation, Transform

KINDS = {
  "perturbation": (names.PERTURBATIONS, perturbations, Perturbation),
  "representation": (names.REPRESENTATIONS, representations, Transform),
  "initial mask": (names.INITIAL_MASKS, initial_masks, InitialMask),
}
# Parts of numbers for each class, which no text could give.
NAMELESS = {"class_weighted_l2"}


def dashed(name):
  return name.replace("_", "-")


@pytest.mark.parametrize("kind", KINDS)
def test_every_part_has_a_name(kind):
  table, module, base = KINDS[kind]
  classes = {
    dashed(name)
    for name, value in vars(module).items()
    if inspect.isclass(value) and issubclass(value, base) and name.islower()
    if not name.startswith("_")
  }
  # Short names of a setting, such as ones() for constant(1), are functions.
  assert classes <= table.keys(), "a class has no row in cawe_jax/methods/names.py"
  for name in table:
    made = names.parse(kind, table, name + GIVEN.get(name, ""))
    assert isinstance(made, base)


def test_every_distortion_has_a_name():
  public = {
    name: value
    for name, value in vars(distortions).items()
    if getattr(value, "__module__", "") == distortions.__name__
    and not name.startswith("_")
  }
  named = {dashed(name) for name in public.keys() - NAMELESS}
  assert named == names.DISTORTIONS.keys(), "see cawe_jax/methods/names.py"
  for name, row in names.DISTORTIONS.items():
    assert row.make is public[name.replace("-", "_")]


@pytest.mark.parametrize("name", names.METHODS)
def test_methods_are_what_their_rows_say(name):
  row = names.METHODS[name]
  made = row.make()
  assert isinstance(made, Method)
  assert made.name == name
  assert [dashed(p.__name__) for p in made.penalties] == list(map(dashed, row.weights))
  wavelets = made.representation == representations.wavelet()
  assert row.any_representation == wavelets
  assert ("wavelet" in row.entries) == wavelets


@pytest.mark.parametrize("table", [names.PERTURBATIONS, names.DISTORTIONS])
def test_what_the_page_offers_wants_no_numbers(table):
  for name, row in table.items():
    assert not (row.on_page and name in GIVEN)


def test_titles_tell_parts_apart():
  tables = (names.PERTURBATIONS, names.REPRESENTATIONS, names.INITIAL_MASKS)
  for row in itertools.chain(*(table.values() for table in tables)):
    assert row.title[0].isupper()
    assert not row.title.endswith(".")
  for table in tables:
    assert len({row.title for row in table.values()}) == len(table)


def test_numbers_follow_a_colon():
  made = names.parse("perturbation", names.PERTURBATIONS, "scaled-gaussian:1,0.5")
  assert made == perturbations.scaled_gaussian((1.0, 0.5))
  assert names.parse("start", names.INITIAL_MASKS, "constant:1") == initial_masks.ones()


def test_parts_of_a_mixture_follow_a_colon():
  made = names.parse(
    "perturbation", names.PERTURBATIONS, "mixture:adaptive-gaussian,constant:0.5,zeros"
  )
  noise, grey = perturbations.adaptive_gaussian(), perturbations.constant(0.5)
  assert made == perturbations.mixture((noise, grey, perturbations.zeros()))
  alone = names.parse("perturbation", names.PERTURBATIONS, "mixture")
  assert alone == perturbations.mixture()


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("mixture:snow", "perturbation 'snow' is unknown; allowed: adaptive-gaussian, "),
    ("mixture:zeros,", "perturbation '' is unknown"),
    ("mixture:zeros,2", "perturbation '2' is unknown"),
    ("snow", "perturbation 'snow' is unknown; allowed: adaptive-gaussian, "),
    ("blur:1,2", "blur takes sigma after the colon"),
    ("mean:1", "mean takes nothing after the colon"),
    ("constant", "constant takes value after the colon"),
    ("scaled-gaussian", "scaled-gaussian takes factors after the colon"),
    ("blur:wide", "after the colon come numbers"),
    ("blur:0", "sigma is 0"),
  ],
)
def test_what_does_not_fit_is_refused(text, message):
  with pytest.raises(ValueError, match=message):
    names.parse("perturbation", names.PERTURBATIONS, text)


def test_a_part_is_called_as_the_class_that_makes_it():
  for table, module, base in KINDS.values():
    for name, row in table.items():
      if inspect.isclass(row.make):
        assert issubclass(row.make, Part)
        assert issubclass(row.make, base)
        assert row.make is getattr(module, name.replace("-", "_"))
