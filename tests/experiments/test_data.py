"""Photographs of a folder and of foolbox: which, what they show, what is refused."""

import importlib.resources
import os
import re
import tempfile
from pathlib import Path, PurePath

import grain
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cawe_jax.files import images
from cawe_jax.samples import sample_path
from experiments.data import Failure, Photograph, decode_all, labels, load, shard
from experiments.data.folder import list_folder
from experiments.data.sharding import grain_shard


def fill(folder, names, content=b"x"):
  for name in names:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def listed(folder):
  return {photograph.id: photograph.label for photograph in list_folder(folder)[0]}


def tfds_words(name):
  folder = importlib.resources.files("tensorflow_datasets") / "datasets/imagenet2012"
  return (folder / name).read_text().split()


def test_labels_are_those_of_tensorflow_datasets():
  wordnet_ids = tfds_words("labels.txt")
  assert labels.wordnet_ids() == tuple(wordnet_ids)
  assert [labels.wordnet_label(name) for name in wordnet_ids] == list(range(1000))
  of_validation = tfds_words("validation_labels.txt")
  assert len(of_validation) == labels.NUM_VALIDATION
  for number, wordnet_id in enumerate(of_validation, 1):
    label = labels.validation_label(f"ILSVRC2012_val_{number:08d}")
    assert wordnet_ids[label] == wordnet_id


@pytest.mark.parametrize(
  ("path", "label"),
  [
    ("n01484850_great_white_shark.JPEG", 2),
    ("n01484850.JPEG", 2),
    ("n01484850/17.jpg", 2),
    ("n01484850-shark/deep/17.jpg", 2),
    # The file's name before the folder's, the inner folder's before the outer's.
    ("n01440764/n01484850_1.jpg", 2),
    ("n01440764/n01484850/1.jpg", 2),
    ("tench/ILSVRC2012_val_00000001.JPEG", 65),
    # No class of the 1000, or no WordNet id at all: the next name is asked.
    ("tench/n00007846_1.jpg", 0),
    ("tench/n014848501_1.jpg", 0),
    ("tench/xn01484850.jpg", 0),
    ("n00007846/1.jpg", None),
    ("ILSVRC2012_val_00050001.JPEG", None),
    ("ILSVRC2012_val_1.JPEG", None),
    # Names of classes: curated and WordNet's, in any spelling, folders only.
    ("Great_White-Shark/1.jpg", 2),
    ("tinca tinca/1.jpg", 0),
    ("tench.jpg", None),
    ("tenches/1.jpg", None),
    # Two classes are called so: a bird and a machine.
    ("crane/1.jpg", None),
    ("crane bird/1.jpg", 134),
    ("holiday/1.jpg", None),
  ],
)
def test_label_of_path(path, label):
  assert labels.label_of_path(PurePath(path)) == label


def test_folder_is_listed_in_order_with_its_own_name(tmp_path, monkeypatch):
  folder = tmp_path / "n01484850"
  fill(folder, ["b/2.PNG", "a.jpeg", "tench/10.webp", "tench/9.jpg", "b/1.jpg"])
  expected = {"a": 2, "b-1": 2, "b-2": 2, "tench-10": 0, "tench-9": 0}
  assert list(listed(folder).items()) == list(expected.items())
  monkeypatch.chdir(folder)
  assert listed(".") == expected
  first = list_folder(folder).photographs[0]
  assert first.source == folder / "a.jpeg"
  assert first.read() == b"x"


def test_what_is_ignored_is_listed_with_the_reason(tmp_path):
  fill(tmp_path, ["a.jpg", "notes.txt", ".hidden.jpg", ".thumbnails/a.jpg", "jpg"])
  (tmp_path / "empty.jpg").touch()
  os.mkfifo(tmp_path / "pipe.jpg")
  (tmp_path / "broken.jpg").symlink_to("nowhere")
  (tmp_path / "loop").symlink_to(tmp_path)
  (tmp_path / "link.jpg").symlink_to("a.jpg")
  with (tmp_path / "large.jpg").open("wb") as file:
    file.truncate(images.MAX_FILE_BYTES + 1)  # No such blocks are written.
  photographs, ignored = list_folder(tmp_path)
  assert [photograph.id for photograph in photographs] == ["a", "link"]
  reasons = dict(ignored)
  assert reasons.pop("large.jpg").startswith(f"{images.MAX_FILE_BYTES + 1} bytes")
  assert reasons == {
    ".hidden.jpg": "hidden",
    ".thumbnails": "hidden",
    "broken.jpg": "cannot be read (No such file or directory)",
    "empty.jpg": "empty",
    "jpg": "not an image by its suffix",
    "loop": "a link to a folder",
    "notes.txt": "not an image by its suffix",
    "pipe.jpg": "not a regular file",
  }


def test_ids_that_would_be_alike_differ(tmp_path):
  names = ["a-b.jpg", "a/b.jpg", "a/b.png", "A-B.jpg", "ä.jpg", "ö.jpg", "-rf.jpg"]
  fill(tmp_path, names)
  ids = list(listed(tmp_path))
  assert len({name.casefold() for name in ids}) == len(names)
  assert "A-B" in ids  # the first in order has the plain name
  assert not any(name.startswith("-") for name in ids)


part = st.text(st.characters(exclude_characters="/\0", codec="utf-8"), max_size=5)
# No folder has the name of a file.
path = st.builds(
  lambda folders, name, suffix: "/".join([*folders, name + suffix]),
  st.lists(part.map(lambda text: "a" + text.replace(".", "")), max_size=2),
  part | st.sampled_from(["x" * 99, "x" * 150, "X" * 150 + "y"]),
  st.sampled_from([".jpg", ".JPEG", ".png"]),
)


@settings(max_examples=30, deadline=None)
@given(st.sets(path, min_size=1, max_size=8))
def test_ids_are_unique_and_safe_for_all_names(names):
  with tempfile.TemporaryDirectory() as folder:
    fill(Path(folder), names)
    photographs, ignored = list_folder(folder)
    assert list_folder(folder).photographs == photographs
  hidden = {entry.id for entry in ignored}
  assert {str(p.source.relative_to(folder)) for p in photographs} == names - hidden
  ids = [photograph.id for photograph in photographs]
  assert len({name.casefold() for name in ids}) == len(ids)
  for name in ids:
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,119}", name)


def test_foolbox_is_the_twenty_samples():
  photographs = load("foolbox")
  assert len(photographs) == 20
  assert photographs[3] == Photograph("imagenet-03", 990, sample_path("imagenet-03"))
  assert photographs[3].read() == sample_path("imagenet-03").read_bytes()
  assert load("foolbox", 3) == photographs[:3]
  assert load("foolbox", 100) == photographs


def test_samples_are_photographs_by_name():
  found = load("sample:coffee, imagenet-03,chelsea", 2)
  assert found == [
    Photograph("coffee", None, sample_path("coffee")),
    Photograph("imagenet-03", 990, sample_path("imagenet-03")),
  ]


def test_load_of_a_folder_logs_what_it_ignores(tmp_path, caplog):
  fill(tmp_path, ["b.jpg", "a.jpg", "1.txt", "2.txt", "3.txt", "4.txt"])
  photographs = load(str(tmp_path), 1)
  assert photographs == [Photograph("a", None, tmp_path / "a.jpg")]
  assert "1.txt (not an image by its suffix)" in caplog.text
  assert "and 1 more" in caplog.text


@pytest.mark.parametrize(
  ("name", "limit", "message"),
  [
    (
      "nowhere",
      None,
      "'nowhere'; allowed are 'foolbox', 'sample:NAME,NAME', an existing folder and "
      "'tfds:DIR'",
    ),
    ("", None, "''; allowed"),
    ("file.jpg", None, "allowed"),
    ("empty", None, r"'empty' holds no images \(0 files ignored\)"),
    ("sample:tea", None, "sample 'tea' is unknown, allowed are astronaut"),
    ("sample:coffee,coffee", None, "'sample:coffee,coffee'; it names 'coffee' twice"),
    ("foolbox", 0, "limit is 0; it must be at least 1"),
    ("tfds:empty", None, "'empty' has no split 'validation' in ArrayRecord files"),
    ("tfds:nowhere", None, "'nowhere' has no split"),
  ],
)
def test_load_refuses_in_one_line(name, limit, message, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  Path("empty").mkdir()
  Path("file.jpg").write_bytes(b"x")
  with pytest.raises(ValueError, match=message) as error:
    load(name, limit)
  assert "\n" not in str(error.value)
  assert error.value.__cause__ is None


def test_listing_what_is_no_folder(tmp_path):
  fill(tmp_path, ["a.jpg"])
  with pytest.raises(ValueError, match="is not a folder"):
    list_folder(tmp_path / "a.jpg")
  with pytest.raises(ValueError, match="does not exist"):
    list_folder(tmp_path / "b")


def test_what_cannot_be_decoded_is_listed_and_the_rest_is_not_lost(tmp_path):
  good = sample_path("imagenet-00").read_bytes()
  fill(tmp_path, ["a.jpg", "e.jpg"], good)
  fill(tmp_path, ["b.jpg"], good[: len(good) // 2])
  fill(tmp_path, ["c.jpg"], b"no image")
  fill(tmp_path, ["d.jpg"])
  photographs = load(str(tmp_path))
  (tmp_path / "d.jpg").unlink()  # after it was listed
  failures = []
  rule = images.Resize(40, "bilinear")
  decoded = list(decode_all(photographs, (24, 32), rule, failures=failures))
  assert [photograph.id for photograph, _ in decoded] == ["a", "e"]
  expected = images.load_image(sample_path("imagenet-00"), (24, 32), rule)
  for _, image in decoded:
    np.testing.assert_array_equal(image, expected)
  assert [failure.id for failure in failures] == ["b", "c", "d"]
  reasons = [failure.reason for failure in failures]
  assert "truncated or damaged" in reasons[0]
  assert "not an image" in reasons[1]
  assert "No such file" in reasons[2]
  assert isinstance(failures[0], Failure)


def test_a_wrong_size_is_no_fault_of_the_photographs():
  failures = []
  with pytest.raises(ValueError, match="size must be"):
    next(decode_all(load("foolbox"), 3, failures=failures))
  assert failures == []


@pytest.mark.parametrize("count", [1, 2, 3, 7, 25])
def test_shards_are_disjoint_complete_and_those_of_grain(count):
  photographs = load("foolbox")
  parts = [shard(photographs, index, count) for index in range(count)]
  assert sorted(p.id for part in parts for p in part) == [p.id for p in photographs]
  assert max(map(len, parts)) - min(map(len, parts)) <= 1
  for index, part in enumerate(parts):
    options = grain.sharding.ShardOptions(index, count)
    assert list(grain_shard(photographs, options)) == part


@pytest.mark.parametrize(("index", "count"), [(2, 2), (-1, 2), (0, 0)])
def test_a_process_that_does_not_exist(index, count):
  with pytest.raises(ValueError, match=f"process_index is {index} of process_count"):
    shard(load("foolbox"), index, count)
