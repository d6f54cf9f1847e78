"""Compiled programs: bounded, and given up by those who leave."""

import asyncio
import contextlib
import itertools
import threading

import jax
from visits import explain

from cawe_jax.playground import programs, tasks
from cawe_jax.playground.answers import Answers
from cawe_jax.playground.jobs import Caller
from cawe_jax.playground.programs import MAX_SETTINGS, Programs
from experiments.bench import page_memory


def test_programs_of_only_so_many_settings_are_kept():
  jax.clear_caches()
  double = jax.jit(lambda settings, x: settings * x, static_argnums=0)
  bounded = Programs()
  kept = []
  for settings in range(50):
    with bounded.using(settings):
      double(settings, 1.0)
    kept.append(double._cache_size())
  assert max(kept) == MAX_SETTINGS
  # Of the last ones nothing is dropped while they alone are used.
  for settings in range(49, 47, -1):
    with bounded.using(settings):
      pass
    assert double._cache_size() == kept[-1]


def test_memory_is_returned_once_for_each_new_setting(monkeypatch):
  returned = []
  monkeypatch.setattr(programs, "_return_memory", lambda: returned.append(None))
  bounded = Programs()
  for setting, count in (("first", 1), ("first", 1), ("second", 2), ("first", 2)):
    with bounded.using(setting):
      pass
    assert len(returned) == count


def test_the_page_says_which_settings_it_uses(page, monkeypatch):
  used = []
  monkeypatch.setattr(Programs, "using", noting(used))
  monkeypatch.setattr(tasks, "explain", refuse)
  changes = [
    {},
    {"lagrange_multiplier": 3.0, "seed": 5},
    {"perturbation": "zeros"},
    {"distortion": "kl"},
    {"budget": 7},
    {"method": "cartoonx"},
    {"method": "cartoonx", "wavelet": "haar"},
    {"method": "cartoonx", "levels": 1},
  ]
  for change in changes:
    assert page.ask(explain() | change)[-1]["type"] == "error"
  # The multiplier and the seed are data of the same programs.
  assert used[0] == used[1]
  assert len(set(used)) == len(changes) - 1


def test_the_benchmark_of_memory_asks_for_other_programs_each_time(
  client, page, monkeypatch
):
  used = []
  monkeypatch.setattr(Programs, "using", noting(used))
  monkeypatch.setattr(tasks, "explain", refuse)
  catalogue = client.get("/catalogue.json").json()
  for number, wish in enumerate(itertools.islice(page_memory._wishes(catalogue), 50)):
    asked = {"type": "explain", "id": number, "image": {"sample": "first"}, **wish}
    assert page.ask(asked)[-1]["message"] == "not now"
  assert len(set(used)) == len(used) == 50
  assert page.ask(page_memory._drawing(catalogue))[-1]["type"] == "prediction"


def noting(used):
  @contextlib.contextmanager
  def using(self, settings):
    used.append(settings)
    yield

  return using


def refuse(*arguments):
  raise ValueError("not now")


def test_who_leaves_has_nothing_more_compiled(settings):
  """A compiler cannot be interrupted; what comes after its present part can."""
  traced, started, let = [], threading.Event(), threading.Event()

  def work(check):
    started.set()
    let.wait(10)
    for i in range(5):
      jax.jit(lambda x, i=i: traced.append(i) or i * x)(1.0)

  async def test():
    found = Answers(settings)
    async with found.open():
      left = found._run_network(Caller("here", 1), "left", work, lambda position: None)
      leaving = asyncio.create_task(left)
      await asyncio.to_thread(started.wait, 10)
      leaving.cancel()
      await asyncio.wait({leaving})
      let.set()
      following = found._run_network(
        Caller("here", 2), "next", lambda check: "next", lambda position: None
      )
      assert await asyncio.wait_for(following, 10) == "next"

  asyncio.run(test())
  assert traced == [0]
