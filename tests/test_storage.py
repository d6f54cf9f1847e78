"""What is saved comes back bit for bit, and bad files are refused in one line."""

import io
import json
import os
import pickle
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cawe_jax.files import storage
from cawe_jax.files import writing as files
from cawe_jax.types import ClassNames, Explanation, History

MASK_SHAPES = ((1, 3, 4, 1), (3, 3, 4, 1), (3, 5, 6, 1))


def make_explanation(batch=(), seed=0):
  rng = np.random.default_rng(seed)
  array = lambda *shape: jnp.asarray(rng.random((*batch, *shape)), jnp.float32)  # noqa: E731
  count = lambda value: jnp.full(batch, value, jnp.int32)  # noqa: E731
  history = array(7).at[..., 5:].set(jnp.nan)
  return Explanation(
    mask=tuple(array(*shape) for shape in MASK_SHAPES),
    image=array(7, 9, 1),
    masked_image=array(7, 9, 3),
    obfuscated_image=array(7, 9, 3),
    input_image=array(7, 9, 3),
    target=count(285),
    score=array(),
    score_with_noise=array(),
    score_without_noise=array(),
    probability=array(),
    rate=array(),
    rate_l0=array(),
    distortion=array(),
    distortion_standard_error=array(),
    retained_probability=jnp.full(batch, jnp.nan),
    explanation_probability=array(),
    objective=array(),
    should_go=array(),
    should_return=array(),
    gap_standard_error=array(),
    lagrange_multiplier=array(),
    num_steps=count(5),
    model_evaluations=count(80),
    history=History(
      objective=history,
      distortion=array(7),
      rate=array(7).astype(jnp.float16),
      lagrange_multiplier=array(7),
      penalties={"spatial_l1": array(7), "total variation/2": array(7)},
    ),
  )


def assert_same(actual, expected):
  assert jax.tree.structure(actual) == jax.tree.structure(expected)
  for left, right in zip(
    jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True
  ):
    right = np.asarray(right)
    assert type(left) is np.ndarray
    assert (left.dtype, left.shape) == (right.dtype, right.shape)
    assert left.tobytes() == right.tobytes()


def test_class_names_come_back(tmp_path):
  named = make_explanation()._replace(class_names=ClassNames(("a", "ß", "c, d")))
  storage.save(tmp_path / "named.npz", named)
  found = storage.load(tmp_path / "named.npz")
  assert_same(found, named)
  assert found._replace(target=2).target_name == "c, d"
  # Without names, and of a file whose target has none, it is the number.
  assert found.target_name == make_explanation().target_name == "class 285"
  with np.load(tmp_path / "named.npz") as arrays:
    damaged = dict(arrays) | {"class_names": np.array('{"0": "a"}')}
  np.savez(tmp_path / "damaged.npz", **damaged)
  with pytest.raises(ValueError, match="'class_names' is not a JSON list of names"):
    storage.load(tmp_path / "damaged.npz")


def test_files_without_scores_have_probabilities(tmp_path):
  # What the first release wrote.
  explanation = make_explanation()._replace(
    probability=np.float32(0.8),
    retained_probability=np.float32(0.75),
    explanation_probability=np.float32(0.5),
  )
  path = tmp_path / "old.npz"
  storage.save(path, explanation)
  added = ("score", "score_with_noise", "score_without_noise", "lagrange_multiplier")
  scores = dict.fromkeys(added)
  rewrite(path, **scores)
  found = storage.load(path)
  assert found.score == np.float32(0.8)
  np.testing.assert_allclose(found.score_with_noise, 0.6, rtol=1e-6)
  np.testing.assert_allclose(found.score_without_noise, 0.4, rtol=1e-6)
  assert not found.is_regression
  assert found.lagrange_multiplier == explanation.history.lagrange_multiplier[-1]
  assert_same(
    found._replace(**{n: np.asarray(getattr(explanation, n)) for n in scores}),
    explanation,
  )


def rewrite(path, **changes):
  """Replaces arrays of an archive; None removes one."""
  with np.load(path) as archive:
    arrays = {**archive, **changes}
  np.savez(path, **{name: a for name, a in arrays.items() if a is not None})


@pytest.fixture
def path(tmp_path):
  storage.save(tmp_path / "cat.npz", make_explanation(), {"wavelet": "db3"})
  return tmp_path / "cat.npz"


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_round_trip_is_bit_for_bit(tmp_path, batch):
  explanation = make_explanation(batch)
  storage.save(tmp_path / "a.npz", explanation)
  assert_same(storage.load(tmp_path / "a.npz"), explanation)


def test_unusual_values_and_types_survive(tmp_path):
  odd = np.array([np.nan, -np.nan, np.inf, -0.0, 5e-324, 1, 2], np.float64)
  history = make_explanation().history._replace(objective=odd, penalties={})
  explanation = make_explanation()._replace(
    history=history, mask=(np.ones((1, 2, 2, 1), bool),), num_steps=np.int64(2**40)
  )
  storage.save(tmp_path / "a.npz", explanation)
  assert_same(storage.load(tmp_path / "a.npz"), explanation)


def test_many_leaves_keep_their_order(tmp_path):
  mask = tuple(np.full((1, 1, 1, 1), i / 12, np.float32) for i in range(12))
  storage.save(tmp_path / "a.npz", make_explanation()._replace(mask=mask))
  assert_same(storage.load(tmp_path / "a.npz").mask, mask)


def test_the_file_has_readable_names(path):
  with np.load(path, allow_pickle=False) as archive:
    assert {"mask/0", "mask/2", "image", "history/objective"} <= set(archive.files)
    assert "history/penalties/spatial_l1" in archive.files
    assert archive["format_version"] == 1
    assert json.loads(str(archive["metadata"])) == {"wavelet": "db3"}


def test_equal_contents_give_equal_bytes(path, tmp_path):
  storage.save(tmp_path / "b.npz", make_explanation(), {"wavelet": "db3"})
  assert (tmp_path / "b.npz").read_bytes() == path.read_bytes()


def test_the_path_is_taken_literally(tmp_path):
  storage.save(str(tmp_path / "no_suffix"), make_explanation())
  assert os.listdir(tmp_path) == ["no_suffix"]


def test_metadata_round_trip(tmp_path):
  metadata = {
    "name": "Katze \u2603\x00",
    "levels": [1, 2.5, None],
    "nested": {"a": True},
  }
  storage.save(tmp_path / "a.npz", make_explanation(), metadata)
  assert storage.load_metadata(tmp_path / "a.npz") == metadata
  storage.save(tmp_path / "a.npz", make_explanation())
  assert storage.load_metadata(tmp_path / "a.npz") == {}


@pytest.mark.parametrize("metadata", [{"a": object()}, {"a": np.ones(2)}, ["a"]])
def test_metadata_that_json_cannot_hold_are_refused(tmp_path, metadata):
  with pytest.raises(ValueError, match="metadata: "):
    storage.save(tmp_path / "a.npz", make_explanation(), metadata)
  assert not list(tmp_path.iterdir())


def test_types_that_numpy_cannot_store_are_refused(tmp_path):
  explanation = make_explanation()._replace(image=jnp.zeros((2, 2, 1), jnp.bfloat16))
  with pytest.raises(ValueError, match="explanation: 'image' has type bfloat16"):
    storage.save(tmp_path / "a.npz", explanation)


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failure_while_writing_leaves_the_old_file(path, monkeypatch, error):
  def write_half(file, **arrays):
    file.write(b"half")
    raise error

  before = path.read_bytes()
  monkeypatch.setattr(np, "savez_compressed", write_half)
  with pytest.raises(type(error)):
    storage.save(path, make_explanation(seed=1))
  assert os.listdir(path.parent) == [path.name]
  assert path.read_bytes() == before


def test_atomic_write_keeps_folder_suffix_and_permissions(tmp_path):
  target, plain = tmp_path / "figure.png", tmp_path / "plain"
  plain.touch()
  with files.atomic_write(target) as temporary:
    assert (temporary.parent, temporary.suffix) == (tmp_path, ".png")
    assert not temporary.exists()
    temporary.write_bytes(b"new")
    assert not target.exists()
  assert target.read_bytes() == b"new"
  assert target.stat().st_mode == plain.stat().st_mode


@pytest.mark.parametrize("other", [{"a": 1}, None, (1, 2)])
def test_only_explanations_are_saved(other, tmp_path):
  with pytest.raises(ValueError, match=rf"explanation is a {type(other).__name__}; it"):
    storage.save(tmp_path / "a.npz", other)
  assert not list(tmp_path.iterdir())


def test_atomic_write_follows_a_link(tmp_path):
  target, link = tmp_path / "there" / "a.txt", tmp_path / "link.txt"
  target.parent.mkdir()
  link.symlink_to(target)
  for content in ("first", "second"):
    with files.atomic_write(link) as temporary:
      temporary.write_text(content)
    assert link.is_symlink()
    assert target.read_text() == content
  assert [path.name for path in target.parent.iterdir()] == ["a.txt"]


def test_atomic_write_names_a_bad_target(tmp_path):
  with (
    pytest.raises(FileNotFoundError, match=r"folder .*nowhere' does not exist"),
    files.atomic_write(tmp_path / "nowhere" / "a.npz"),
  ):
    pass
  with (
    pytest.raises(IsADirectoryError, match="is a folder"),
    files.atomic_write(tmp_path),
  ):
    pass
  with pytest.raises(FileNotFoundError), files.atomic_write(tmp_path / "unwritten"):
    pass
  assert not list(tmp_path.iterdir())


class Bomb:
  """Unpickling this would create a file."""

  def __init__(self, marker):
    self.marker = marker

  def __reduce__(self):
    return open, (str(self.marker), "w")


@pytest.mark.parametrize("name", ["image", "mask/0", "format_version", "metadata"])
def test_a_malicious_file_is_refused_without_unpickling(path, tmp_path, name):
  marker = tmp_path / "exploded"
  payload = np.empty((), object)
  payload[()] = Bomb(marker)
  np.savez(path, **{**dict(np.load(path)), name: payload})
  reader = storage.load_metadata if name == "metadata" else storage.load
  with pytest.raises(ValueError, match=r"cat\.npz: not a readable"):
    reader(path)
  assert not marker.exists()


def npy_bytes():
  buffer = io.BytesIO()
  np.save(buffer, np.ones(3))
  return buffer.getvalue()


@pytest.mark.parametrize(
  "content",
  [b"", b"not an archive", npy_bytes(), pickle.dumps({"a": 1}), b"PK\x03\x04" * 9],
  ids=["empty", "text", "npy", "pickle", "half a zip"],
)
def test_what_is_no_npz_is_refused(tmp_path, content):
  (tmp_path / "a.npz").write_bytes(content)
  for reader in (storage.load, storage.load_metadata):
    with pytest.raises(ValueError, match=r"a\.npz: not a readable") as caught:
      reader(tmp_path / "a.npz")
    assert "\n" not in str(caught.value)


def test_a_damaged_array_is_refused(path):
  with zipfile.ZipFile(path) as archive:
    start = archive.getinfo("image.npy").header_offset + 60
  content = bytearray(path.read_bytes())
  content[start : start + 20] = b"\xff" * 20
  path.write_bytes(content)
  with pytest.raises(ValueError, match=r"cat\.npz: not a readable"):
    storage.load(path)


def test_a_missing_file_is_a_missing_file(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"none\.npz"):
    storage.load(tmp_path / "none.npz")


@pytest.mark.parametrize(
  ("version", "message"),
  [
    (2, r"cat\.npz: format_version 2 is newer than 1, .* update cawe_jax"),
    (0, r"cat\.npz: format_version 0, allowed: 1"),
    ([1], "is not one integer"),
    ("1", "is not one integer"),
    (None, r"lacks \['format_version'\]"),
  ],
)
def test_other_format_versions_are_refused(path, version, message):
  rewrite(path, format_version=version)
  for reader in (storage.load, storage.load_metadata):
    with pytest.raises(ValueError, match=message):
      reader(path)


@pytest.mark.parametrize("name", ["rate", "mask/1", "history/rate", "image"])
def test_a_missing_array_is_named(path, name):
  rewrite(path, **{name: None})
  # Without leaf 1 of 3, two leaves are left, so that 'mask/1' is what lacks.
  with pytest.raises(ValueError, match=rf"cat\.npz: .* lacks \['{name}'\]"):
    storage.load(path)


def test_a_file_without_a_mask_is_refused(path):
  rewrite(path, **{f"mask/{i}": None for i in range(len(MASK_SHAPES))})
  with pytest.raises(ValueError, match=r"lacks \['mask/0'\]"):
    storage.load(path)


@pytest.mark.parametrize("text", ["[1]", "{", ""])
def test_metadata_of_another_kind_are_refused(path, text):
  rewrite(path, metadata=np.array(text))
  with pytest.raises(ValueError, match="'metadata' is not a JSON object"):
    storage.load_metadata(path)
  storage.load(path)  # the explanation itself is fine


def test_the_multiplier_of_an_old_file_is_that_of_the_last_step(tmp_path):
  explanation = make_explanation(batch=(3,))
  multipliers = np.full((3, 7), np.nan, np.float32)
  multipliers[0, :3], multipliers[1, :2] = [3, 2, 1], [3, 2]
  history = explanation.history._replace(lagrange_multiplier=multipliers)
  path = tmp_path / "old.npz"
  storage.save(path, explanation._replace(history=history))
  rewrite(path, lagrange_multiplier=None)
  found = storage.load(path).lagrange_multiplier
  np.testing.assert_array_equal(found, np.float32([1, 2, np.nan]))


def test_of_an_old_file_it_is_not_known_how_near_the_optimum_it_is(tmp_path):
  path = tmp_path / "old.npz"
  storage.save(path, make_explanation(batch=(3,)))
  names = ("should_go", "should_return", "gap_standard_error")
  rewrite(path, **dict.fromkeys(names))
  for name in names:
    found = getattr(storage.load(path), name)
    np.testing.assert_array_equal(found, np.full(3, np.nan, np.float32))


def test_an_old_file_does_not_show_what_the_network_saw(tmp_path):
  path = tmp_path / "old.npz"
  storage.save(path, make_explanation(batch=(3,)))
  rewrite(path, obfuscated_image=None)
  found = storage.load(path).obfuscated_image
  assert found.shape == make_explanation(batch=(3,)).masked_image.shape
  assert np.isnan(found).all()


@pytest.mark.parametrize("history", ["a string", 1.0, 3])
def test_a_history_that_is_no_curve_gives_no_multiplier(history, tmp_path):
  path = tmp_path / "cat.npz"
  storage.save(path, make_explanation())
  changes = {"history/lagrange_multiplier": np.array(history)}
  rewrite(path, lagrange_multiplier=None, **changes)
  with pytest.raises(ValueError, match=r"cat\.npz: .* lacks \['lagrange_multiplier'\]"):
    storage.load(path)
