"""A sweep's folder: what is there is done, and another sweep is not let in."""

import json

import numpy as np
import pytest

from experiments.store import differences, open_store

SETTINGS = {"axes": {"seed": (0, 1)}, "methods": {"a": {"steps": 3}}, "data": "x"}
PHOTOGRAPHS = [("n01/a b.jpg", 3), ("n02/c.jpg", None)]


@pytest.fixture
def store(tmp_path):
  return open_store(tmp_path / "new" / "run", SETTINGS, PHOTOGRAPHS)


def test_a_result_is_read_as_it_was_written(store):
  arrays = {"id": np.array("n01/a b.jpg"), "rate": np.float32([0.5, np.nan])}
  assert store.num_left(["job"]) == 2
  store.write_result("job", 0, arrays)
  assert store.is_done("job", 0)
  assert not store.is_done("job", 1)
  assert not store.is_done("other", 0)
  assert store.num_left(["job", "other"]) == 3
  (found,) = store.read_results("job")
  assert found.keys() == arrays.keys()
  for name, array in arrays.items():
    np.testing.assert_array_equal(found[name], array)
  first = store.result_path("job", 0).read_bytes()
  store.write_result("job", 0, arrays)
  assert store.result_path("job", 0).read_bytes() == first


def test_an_interrupted_write_leaves_nothing_that_counts(store):
  class Killed(BaseException):
    pass

  class Bad:
    def __array__(self, *args, **kwargs):
      raise Killed

  with pytest.raises(Killed):
    store.write_result("job", 0, {"good": np.zeros(3), "bad": Bad()})
  assert not store.is_done("job", 0)
  assert store.read_results("job") == []


def test_what_a_killed_run_left_half_written_goes_in_the_end(store):
  store.write_result("job", 0, {"id": np.array("a")})
  half = store.result_path("job", 1).with_name(".00001-x-0123abcd.npz")
  half.write_bytes(b"PK")
  assert not store.is_done("job", 1)
  assert len(store.read_results("job")) == 1
  store.remove_leftovers()
  assert not half.exists()
  assert store.is_done("job", 0)


def test_an_image_that_fails_is_not_waited_for(store):
  store.write_error(1, "n02/c.jpg", "truncated")
  assert store.read_errors() == [{"id": "n02/c.jpg", "error": "truncated"}]
  assert store.num_left(["job"]) == 1
  store.clear_error(1)
  assert store.num_left(["job"]) == 2


def test_timings_come_back_in_order(store):
  store.write_timing("job", 10, {"seconds": 2.0})
  store.write_timing("job", 9, {"seconds": 1.0})
  assert [t["seconds"] for t in store.read_timings("job")] == [1.0, 2.0]


def test_equal_settings_are_let_in_again(store):
  again = open_store(store.folder, json.loads(json.dumps(SETTINGS)), PHOTOGRAPHS)
  assert again == store


def test_other_settings_are_refused_key_by_key(store):
  changed = {"axes": {"seed": (0, 2)}, "methods": {"a": {}, "b": {"steps": 3}}}
  with pytest.raises(ValueError, match=r"holds a run with another config\.json") as e:
    open_store(store.folder, changed, PHOTOGRAPHS)
  message = str(e.value)
  assert "\n" not in message
  for part in (
    "axes.seed: [0, 1] there, [0, 2] now",
    "methods.a.steps: 3 there, (not set) now",
    "methods.b.steps: (not set) there, 3 now",
    'data: "x" there, (not set) now',
  ):
    assert part in message


def test_other_photographs_are_refused(store):
  with pytest.raises(ValueError, match=r'photographs\.json.*1\.id: "n02/c.jpg" there'):
    open_store(store.folder, SETTINGS, [PHOTOGRAPHS[0], ("n02/d.jpg", None)])


def test_equal_values_do_not_differ():
  assert differences(SETTINGS, dict(SETTINGS)) == []


@pytest.mark.parametrize("kept", [0, 100])
def test_a_damaged_result_is_named(kept, store):
  store.write_result("job", 0, {"id": np.array("a"), "rate": np.zeros(1000)})
  path = store.result_path("job", 0)
  path.write_bytes(path.read_bytes()[:kept])
  for read in (
    lambda: store.read_results("job"),
    lambda: store.photograph_sha256(["job"], 0),
  ):
    with pytest.raises(
      ValueError, match=rf"^result '{path}' is damaged; remove it, and"
    ):
      read()


def test_damaged_files_of_json_are_named(store):
  store.write_timing("job", 0, {"seconds": 1.0})
  store.write_error(1, "c", "truncated")
  for name, read in {
    "timings/job/00000.json": lambda: store.read_timings("job"),
    "errors/00001-n02_c.jpg.json": store.read_errors,
    "photographs.json": lambda: open_store(store.folder, SETTINGS, PHOTOGRAPHS),
    "config.json": lambda: open_store(store.folder, SETTINGS, PHOTOGRAPHS),
  }.items():
    (store.folder / name).write_text("")
    with pytest.raises(ValueError, match=rf"^'{store.folder / name}' is damaged or of"):
      read()
