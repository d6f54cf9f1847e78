"""The command line of a sweep: every setting can be given, and slips are one line."""

import re
import sys
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags as absl_flags
from rich.console import Console

from configs import fig7a
from experiments import axes, run
from experiments.axes import SETTINGS, expand
from experiments.keys import KEYS, check_keys
from experiments.sweep import Process

# ml_collections loads a config's file in an old way.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
EXAMPLES = {int: ("4", 4), float: ("0.5", 0.5), str: ("mine:js_top5", "mine:js_top5")}


@pytest.fixture
def parse(monkeypatch):
  """Reads a command line, and forgets it after the test."""
  known = set(absl_flags.FLAGS)

  def parsed(*options, config="configs/fig7c.py"):
    command = ["run", f"--config={config}", "--workdir=unused", *options]
    monkeypatch.setattr(sys, "argv", command)  # where ml_collections looks for keys
    run.parse(command)
    return run._CONFIG.value

  yield parsed
  absl_flags.FLAGS.unparse_flags()
  for name in set(absl_flags.FLAGS) - known:
    delattr(absl_flags.FLAGS, name)


def test_every_setting_can_be_given_for_all_for_one_method_and_as_an_axis(parse):
  examples = {name: EXAMPLES[axes.KINDS.get(name, str)] for name in SETTINGS}
  shared = {
    name: f"--config.settings.{name}={text}" for name, (text, _) in examples.items()
  }
  config = parse(
    *shared.values(),
    "--config.methods.cartoonx.draws=3",
    "--config.axes.mode=('zero', 'symmetric')",
  )
  for name, (_, value) in examples.items():
    assert config.settings[name] == value
  check_keys(config)
  jobs = {
    (job.label, job.settings["mode"], job.settings["draws"]) for job in expand(config)
  }
  assert jobs == {
    (label, mode, draws)
    for label, draws in (("CartoonX", 3), ("Pixel RDE", 4))
    for mode in ("zero", "symmetric")
  }


@pytest.mark.parametrize(
  ("option", "message"),
  [
    ("--config.setings.levels=4", "no part 'setings' .*\"settings\".* keys are name, "),
    ("--config.limit=few", "--config.limit=few: invalid literal for int"),
    ("--config.methods.cartonx.steps=4", "no part 'cartonx' Did you mean \"cartoonx\""),
  ],
)
def test_a_slip_is_one_line(option, message, parse, capsys):
  with pytest.raises(SystemExit) as ended:
    parse(option)
  assert ended.value.code == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert re.search(message, line), line


@pytest.mark.parametrize(
  ("config", "message"),
  [
    ("configs/fig7d.py", "No such file or directory: 'configs/fig7d.py'"),
    ("configs/fig7c.py:quick", "variant is 'quick'; allowed: default, smoke, paper"),
  ],
)
def test_a_config_that_cannot_be_read_is_one_line(config, message, parse, capsys):
  with pytest.raises(SystemExit) as ended:
    parse(config=config)
  assert ended.value.code == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert message in line


@pytest.mark.parametrize(
  ("path", "message"),
  [
    ("selct", r"selct is no key of a config; allowed: axes, .*, select, "),
    ("curve.draws", r"curve\.draws is no key of a config; .*, curve\.num_draws"),
    ("report.figure", r"report\.figure is no key of a config; .*report\.figures"),
  ],
)
def test_a_key_that_nothing_reads_is_refused(path, message):
  config = fig7a.get_config("smoke")
  check_keys(config)
  part, _, name = path.rpartition(".")
  (config[part] if part else config)[name] = 1
  with pytest.raises(ValueError, match=message):
    check_keys(config)


def test_a_config_that_lacks_a_key_is_refused():
  config = fig7a.get_config("smoke")
  del config.limit, config.curve
  with pytest.raises(ValueError, match=r"^the config lacks limit, curve$"):
    check_keys(config)
  config.task, config.limit = "explain", 1
  check_keys(config)


def test_every_key_is_documented():
  """In the table of the reference, and no other is."""
  text = (Path(run.__file__).parents[1] / "docs/reference/configs.md").read_text()
  keys, settings = text.split("## Settings")
  assert re.findall(r"^\| `(\w+)`", keys, re.M) == list(KEYS)
  rows = re.findall(r"^\| (`.*?) \|", settings, re.M)
  assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == set(SETTINGS)


def test_rules_of_the_environment_do_not_stop_a_sweep(monkeypatch):
  found = []

  def run_jobs(*arguments):
    found.append(jnp.asarray(np.ones(2)) + 1)

  sweep = types.SimpleNamespace(config=types.SimpleNamespace(name="tiny"), jobs=[])
  monkeypatch.setattr(run, "run_jobs", run_jobs)
  monkeypatch.setattr(run, "finish", lambda *arguments: None)
  monkeypatch.setattr(run, "_LAUNCHER", types.SimpleNamespace(value="none"))
  with jax.transfer_guard("disallow_explicit"):
    run._run(sweep, Process(0, 1), Console())
  assert len(found) == 1
