"""The figure shows every number and every mask entry, and depends on nothing else."""

import jax
import numpy as np
import pytest
from made_explanations import make_explanation, pixels
from matplotlib.colors import to_rgba
from wavelet_masks import DB3_224, wavelet_shapes

from cawe_jax.figures import explanation_figure, mask_layout
from cawe_jax.figures.layout import enlarged, mask_blocks
from cawe_jax.types import ClassNames, History


def texts(figure):
  found = list(figure.texts)
  for axes in figure.axes:
    found += axes.texts
    if axes.get_legend() is not None:
      found += axes.get_legend().get_texts()
  return [text.get_text() for text in found]


def panels(figure):
  """The five image panels by heading."""
  return {axes.texts[0].get_text(): axes for axes in figure.axes if axes.images}


def test_figure_shows_the_numbers():
  drawn = "\n".join(texts(explanation_figure(make_explanation(), target_name="tabby")))
  for text in (
    "Explanation of “tabby”",
    "tabby, p = 0.912",
    "one draw; on average keeps 87 % of p",
    "keeps 104 % of p",
    "mean 1.1 %, above zero 4.3 %",
    "0.0613 ± 0.00213",
    "0.0113 / 0.0427",
    "0.288 at λ = 20",
    "1,800",
    "28,800",
    "λ · rate",
  ):
    assert text in drawn
  assert "other terms" not in drawn
  assert "empty" not in drawn


def test_title_and_default_name():
  drawn = texts(explanation_figure(make_explanation(), title="ECCV\npreset"))
  assert "ECCV preset" in drawn
  assert "class 285, p = 0.912" in drawn


def test_panels_show_the_arrays():
  explanation = make_explanation()
  drawn = panels(explanation_figure(explanation))
  shown = {heading: axes.images[0].get_array() for heading, axes in drawn.items()}
  np.testing.assert_array_equal(shown["Image"], explanation.input_image)
  np.testing.assert_array_equal(shown["Explanation"], explanation.image[..., 0])
  np.testing.assert_array_equal(shown["Rest left out"], explanation.masked_image)
  draw = shown["Rest replaced"]
  np.testing.assert_array_equal(draw, explanation.obfuscated_image)
  mask = np.ma.filled(shown["Mask by scale and orientation"], np.nan)
  np.testing.assert_array_equal(mask, mask_layout(enlarged(explanation.mask)))


def test_a_draw_that_an_old_file_does_not_have_is_said():
  explanation = make_explanation()
  unknown = np.full_like(explanation.obfuscated_image, np.nan)
  figure = explanation_figure(explanation._replace(obfuscated_image=unknown))
  panel = panels(figure)["Rest replaced"]
  assert "n/a" in [text.get_text() for text in panel.texts]
  assert texts(figure).count("n/a") == 1
  pixels(figure)


def test_sub_bands_are_labelled():
  shapes = wavelet_shapes(DB3_224, DB3_224)
  figure = explanation_figure(make_explanation(shapes, (224, 224)))
  drawn = texts(figure)
  for label in ("A", "J=5", "J=4", "J=3", "J=2", "J=1", "H", "V", "D"):
    assert drawn.count(label) == 1
  axes = panels(figure)["Mask by scale and orientation"]
  place = {text.get_text(): text.get_position() for text in axes.texts}
  assert place["J=1"][0] > place["J=2"][0] > place["A"][0]
  assert place["H"][0] > place["V"][0]
  assert place["V"][1] > place["H"][1]


def test_letters_of_a_tiny_mask_lie_in_their_sub_bands():
  """Images of 8 x 8 pixels, where texts hung over the edge."""
  explanation = make_explanation(wavelet_shapes((4, 4), (4, 4)), (8, 8))
  figure = explanation_figure(explanation)
  pixels(figure)
  axes = panels(figure)["Mask by scale and orientation"]
  blocks, _ = mask_blocks(enlarged(explanation.mask))
  places = dict(zip("HVD", blocks[-3:], strict=True))
  for text in axes.texts:
    if text.get_text() in places:
      block = places[text.get_text()]
      inside = text.get_window_extent().transformed(axes.transData.inverted())
      assert block.columns.start <= inside.x0 < inside.x1 <= block.columns.stop - 0.5
      assert block.rows.start <= inside.y1 < inside.y0 <= block.rows.stop - 0.5


def test_curves_are_the_history():
  penalised = make_explanation().history._replace(
    objective=np.array([21.5, 9.25, 3.5, np.nan]), penalties={"tv": np.ones(4)}
  )
  figure = explanation_figure(make_explanation(history=penalised))
  drawn = [line for axes in figure.axes for line in axes.lines]
  # Every curve twice: the steps as they were, faint and unnamed, and their mean.
  faint, named = drawn[::2], drawn[1::2]
  assert all(line.get_alpha() < 0.5 for line in faint)
  lines = {mean.get_label(): line for mean, line in zip(named, faint, strict=True)}
  nan = np.nan
  expected = {
    "objective": [21.5, 9.25, 3.5, nan],
    "distortion": [nan, 0.25, 0.5, nan],  # a zero has no place on a log axis
    "λ · rate": [20, 8, 2, nan],
    "other terms": [1.5, 1, 1, nan],
    "rate": [1, 0.4, 0.1, nan],
  }
  assert set(lines) == set(expected)
  for name, values in expected.items():
    np.testing.assert_allclose(lines[name].get_ydata(), values)
  assert all(line.axes.get_yscale() == "log" for line in lines.values())
  assert "other terms" in texts(figure)


@pytest.mark.parametrize(
  ("changes", "notice"),
  [
    (
      # Nothing is λ · rate less than the objective, 0.1984; half of it is the cost of
      # 12 % of its 287 entries at 0.84.
      {"rate": 9e-5, "objective": 0.2002},
      "The mask keeps (almost) nothing, since keeping nothing costs 0.2, and keeping "
      "more than 0.99 % costs more at λ = 20: try a multiplier of 0.84.",
    ),
    (
      {"retained_probability": 0.03},
      "Weak explanation: the mask found at λ = 20 keeps only 3 % of p.",
    ),
    (
      {"explanation_probability": 0.02},
      "With the rest left out, the masked image keeps only 2 % of p.",
    ),
    (
      # Of an objective of 0.2877; a nearly empty mask is not called the optimum then.
      {"should_return": 0.09, "rate": 9e-5},
      "Perhaps not the best mask: by the gradient on fresh draws, dropped entries "
      "should return; try more than 1800 steps.",
    ),
  ],
)
def test_a_mask_that_keeps_little_is_announced(changes, notice):
  assert notice in texts(explanation_figure(make_explanation(**changes)))


def test_the_figure_knows_the_names_of_classes():
  names = ClassNames(tuple(f"name {i}" for i in range(300)))
  drawn = texts(explanation_figure(make_explanation(class_names=names)))
  assert "Explanation of “name 285”" in drawn
  assert "name 285, p = 0.912" in drawn


def test_a_pixel_mask_is_a_heat_map():
  explanation = make_explanation([(1, 15, 17, 1)], channels=1)
  figure = explanation_figure(explanation)
  np.testing.assert_array_equal(
    panels(figure)["Mask"].images[0].get_array(), explanation.mask[0][0, ..., 0]
  )
  assert not {"A", "H", "J=1"} & set(texts(figure))
  assert pixels(figure).shape[1] == 1925


def test_a_mask_of_ones_own_representation_is_drawn():
  counts = (*range(1, 9), *range(7, 0, -1))
  explanation = make_explanation([(n, 4, 5, 1) for n in counts])
  figure = explanation_figure(explanation)
  shown = panels(figure)["Mask, leaf by leaf"].images[0].get_array()
  np.testing.assert_array_equal(
    np.ma.filled(shown, np.nan), mask_layout(enlarged(explanation.mask))
  )
  assert not {"A", "H", "V", "D", "J=1"} & set(texts(figure))
  assert pixels(figure).shape[1] == 1925


def test_nothing_finite_still_draws():
  nan = np.full(3, np.nan)
  explanation = make_explanation(
    history=History(nan, nan, nan, nan, {}),
    score=np.nan,
    score_with_noise=np.nan,
    probability=np.nan,
    retained_probability=np.nan,
    explanation_probability=np.nan,
    distortion=np.inf,
    objective=np.nan,
  )
  figure = explanation_figure(explanation)
  drawn = texts(figure)
  assert "class 285, p = n/a" in drawn
  assert "one draw; on average p = n/a" in drawn
  assert "n/a at λ = 20" in drawn
  assert drawn.count("n/a") == 2  # in place of the curves
  pixels(figure)


def test_a_regression_shows_its_value():
  explanation = make_explanation(
    target=np.int32(1),
    score=31.24,
    score_with_noise=30.8,
    score_without_noise=-2.51,
    probability=np.nan,
    retained_probability=np.nan,
    explanation_probability=np.nan,
  )
  drawn = texts(explanation_figure(explanation))
  assert "output 1, value 31.2" in drawn
  assert "one draw; on average value 30.8" in drawn
  assert "value -2.51" in drawn
  assert "Explanation of “output 1”" in drawn
  assert not any("p = " in text or " of p" in text for text in drawn)
  named = texts(explanation_figure(explanation, target_name="age in years"))
  assert "age in years, value 31.2" in named


def test_a_class_that_is_not_predicted_has_no_share_to_keep():
  explanation = make_explanation(
    score=4e-19,
    probability=4e-19,
    score_with_noise=0.27,
    score_without_noise=0.98,
    retained_probability=np.nan,
    explanation_probability=np.nan,
  )
  drawn = texts(explanation_figure(explanation, target_name="nine"))
  for text in ("nine, p = 4e-19", "one draw; on average p = 0.27", "p = 0.98"):
    assert text in drawn
  assert not [text for text in drawn if "n/a" in text]


def test_an_empty_history_still_draws():
  empty = np.zeros(0)
  history = History(empty, empty, empty, empty, {})
  pixels(explanation_figure(make_explanation(history=history, num_steps=0)))


@pytest.mark.parametrize("size", [(20, 60), (60, 20)])
def test_nothing_leaves_the_page_or_overlaps(size):
  """Long names, a mask of another shape and all terms at once."""
  h, w = size
  history = make_explanation().history._replace(penalties={"tv": np.ones(4)})
  explanation = make_explanation(
    wavelet_shapes((h // 4, h // 4, h // 2), (w // 4, w // 4, w // 2)),
    size,
    rate=1.23e-5,
    rate_l0=2.34e-5,
    distortion=1.23e-5,
    distortion_standard_error=1.23e-5,
    history=history,
  )
  name = "lesser panda, red panda,\n$bear_cat^ " * 9
  figure = explanation_figure(explanation, target_name=name, title=name)
  pixels(figure)
  renderer = figure.canvas.get_renderer()
  found = list(figure.texts)
  for axes in figure.axes:
    found += axes.texts
    found += axes.get_legend().get_texts() if axes.get_legend() else []
  boxes = [text.get_window_extent(renderer) for text in found if text.get_text()]
  assert len(boxes) > 20
  for i, box in enumerate(boxes):
    assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1, found[i]
    assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1, found[i]
    assert box.count_overlaps(boxes) == 1, found[i]


def test_a_batch_is_refused():
  batch = jax.tree.map(lambda leaf: np.stack([leaf, leaf]), make_explanation())
  with pytest.raises(ValueError, match=r"explanation: got an input_image of rank 4"):
    explanation_figure(batch)
  explanation_figure(jax.tree.map(lambda leaf: leaf[1], batch))


def test_gaps_are_neutral():
  axes = panels(explanation_figure(make_explanation()))["Mask by scale and orientation"]
  red, green, blue, alpha = axes.images[0].cmap.get_bad()
  assert np.ptp([red, green, blue]) < 0.03
  assert alpha == 1
  assert to_rgba((red, green, blue)) != axes.images[0].cmap(0.0)


@pytest.mark.parametrize(
  ("channels", "bands", "said"),
  [
    (1, None, ""),
    (2, None, ", mean of 2 bands"),
    (3, None, ""),
    (4, None, ", mean of 4 bands"),
    (13, None, ", mean of 13 bands"),
    (2, (0, 1, 1), ", bands 0, 1, 1"),
    (3, (2, 1, 0), ", bands 2, 1, 0"),
    (13, (12, 2, 1), ", bands 12, 2, 1"),
  ],
)
def test_images_of_any_number_of_channels_are_drawn(channels, bands, said):
  e = make_explanation(channels=channels)
  figure = explanation_figure(e, bands=bands)
  drawn = {
    "Image": e.input_image,
    "Rest left out": e.masked_image,
    "Rest replaced": e.obfuscated_image,
  }
  for heading, image in drawn.items():
    shown = panels(figure)[heading + said].images[0].get_array()
    if bands is not None:
      expected = np.stack([image[..., band] for band in bands], axis=-1)
    else:
      expected = image if channels == 3 else image.sum(-1) / channels
    np.testing.assert_allclose(shown, expected, rtol=1e-12)
  assert panels(figure)["Explanation"].images[0].get_array().shape == (15, 17)
  assert pixels(figure).std() > 0


@pytest.mark.parametrize(
  "bands", [(0, 1), (0, 1, 4), (-1, 0, 1), (0, 1.0, 2), 3, "012", (0, 1, 2, 3)]
)
def test_bands_that_are_none_are_named(bands):
  with pytest.raises(ValueError, match=r"bands is .*each from 0 to 3") as error:
    explanation_figure(make_explanation(channels=4), bands=bands)
  assert "\n" not in str(error.value)
