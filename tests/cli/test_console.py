"""What is printed is what was meant: no markup, no emoji, no wrapped lines."""

import io
import json
import sys
import time
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np

from cawe_jax.classifiers import Classifier
from cawe_jax.cli import console
from cawe_jax.cli.command import main
from cawe_jax.cli.console import Messages, describe, duration, estimate_seconds
from cawe_jax.cli.lines import MAX_CHARACTERS, one_line, path_line
from cawe_jax.cli.results import Result, make_report
from cawe_jax.types import Explanation


def test_names_are_printed_as_they_are(capsys):
  # rich would turn `:coffee:` into an emoji and `[bold]` into markup.
  line = "sample:coffee: [bold]espresso[/bold] " + "long " * 60 + "end"
  Messages(quiet=False).say(line)
  assert capsys.readouterr().err == line + "\n"


def test_quiet_prints_errors_only_and_each_in_one_line(capsys):
  messages = Messages(quiet=True)
  messages.say("hidden")
  messages.error("image ':coffee:'\n  is [bad]")
  assert capsys.readouterr().err == "cawe: error: image ':coffee:' is [bad]\n"


def test_duration():
  assert [duration(s) for s in (5, 99, 100, 5999, 6000)] == [
    "5 s",
    "99 s",
    "2 min",
    "100 min",
    "1.7 h",
  ]


def test_the_estimate_grows_with_the_evaluations_and_the_network():
  def network(width):
    weights = jnp.ones((16 * 16 * 3, width))
    return Classifier(lambda w, x: x.reshape(len(x), -1) @ w, weights, 16)

  shape = (16, 16, 3)
  small = estimate_seconds(network(10), shape, 10)
  # Ten and a thousand times the operations; the machine's rate, measured anew for each
  # estimate, may vary threefold.
  assert estimate_seconds(network(10), shape, 100) > 3 * small
  assert estimate_seconds(network(10_000), shape, 10) > 100 * small


def explained(score, with_noise, without_noise, probability):
  known = np.nan if probability is None else probability
  numbers = dict.fromkeys(Explanation._fields, 0.01) | {
    "target": 1,
    "num_steps": 7,
    "lagrange_multiplier": 20.0,
  }
  return Explanation(**numbers)._replace(
    score=score,
    score_with_noise=with_noise,
    score_without_noise=without_noise,
    probability=known,
    retained_probability=with_noise / known,
    explanation_probability=without_noise / known,
  )


REGRESSION = explained(31.237, 30.81, -2.5, None)
LABEL = explained(0.8, 0.6, 0.4, 0.8)


def test_the_line_of_a_finished_image():
  line = describe("x.png", "age in years", REGRESSION)
  assert line.startswith("x.png: age in years (value 31.24)  λ 20  rate 1.00 %")
  assert line.endswith("rest replaced 30.81")
  assert "p =" not in line
  assert "retained" not in line
  line = describe("x.png", "sunny", LABEL)
  assert line.startswith("x.png: sunny (p = 0.80)")
  assert line.endswith("retained 75 %")


def test_the_line_says_where_the_mask_may_not_be_the_best():
  assert "best mask" not in describe("x.png", "sunny", LABEL)
  tiny = LABEL._replace(distortion=3.217e-5, distortion_standard_error=0.0)
  assert "distortion 3.2e-05 ± 0.0000 " in describe("x.png", "sunny", tiny)
  line = describe("x.png", "sunny", LABEL._replace(should_go=0.05))
  assert line.endswith(
    "perhaps not the best mask: by the gradient on fresh draws, kept entries should "
    "go; try more than 7 steps"
  )
  report = make_report(LABEL, Result({"seed": 0}, "sunny", {}, 1.0, 1.0, {}))
  assert report["should_go"] == report["gap_standard_error"] == 0.01


def test_two_remarks_are_told_from_each_other(monkeypatch):
  monkeypatch.setattr(console.emptiness, "notice", lambda found: "It is empty.")
  monkeypatch.setattr(console.optimality, "doubt", lambda found: "Perhaps not best.")
  line = describe("x.png", "sunny", LABEL)
  assert line.endswith("  it is empty; perhaps not best")


def test_the_report_has_the_scores():
  result = Result({"seed": 0}, "age", {}, 1.0, 1.0, {})
  report = json.loads(json.dumps(make_report(REGRESSION, result), allow_nan=False))
  assert report["score"] == 31.237
  assert (report["score_with_noise"], report["score_without_noise"]) == (30.81, -2.5)
  for name in ("probability", "retained_probability", "explanation_probability"):
    assert report[name] is None
  report = make_report(LABEL, result)
  assert report["score"] == report["probability"] == 0.8
  assert report["retained_probability"] == np.float64(0.6) / 0.8


def test_a_name_cannot_command_the_terminal(capsys):
  messages = Messages(quiet=False)
  name = "a\x1b[31m\x07b\r\x9bc\ud800 \u202ed"
  messages.say(name)
  messages.error(name)
  escaped = r"a\x1b[31m\x07b \x9bc\ud800 \u202ed"
  said = capsys.readouterr().err.splitlines()
  assert said == [escaped, f"cawe: error: {escaped}"]
  assert main(["explain", "x\x1b]0;title\x07.png", "--preset", "\x1b[2J"]) == 2
  assert "\x1b" not in capsys.readouterr().err


def test_a_path_is_as_it_is_except_for_a_terminal(monkeypatch):
  assert path_line("a\x1b[2J.png") == "a\x1b[2J.png"
  monkeypatch.setattr("sys.stdout.isatty", lambda: True)
  assert path_line("a\x1b[2J.png") == "a\\x1b[2J.png"


def test_no_line_is_endless():
  line = one_line("start " + "x" * 10**7 + " end")
  assert len(line) == MAX_CHARACTERS
  assert line.startswith("start x")
  assert line.endswith("x end")
  assert one_line("x" * MAX_CHARACTERS) == "x" * MAX_CHARACTERS


def test_the_bar_says_what_comes_after_the_last_step(monkeypatch):
  monkeypatch.setenv("FORCE_COLOR", "1")
  monkeypatch.setenv("COLUMNS", "200")
  log = io.StringIO()
  monkeypatch.setattr(sys, "stderr", log)
  history = SimpleNamespace(objective=np.ones((1, 2)), rate=np.ones((1, 2)))
  with Messages(quiet=False).progress("photo.png", 2) as callback:
    for step, is_said in ((1, False), (2, True)):
      callback(SimpleNamespace(step=step, num_steps=2, history=history))
      time.sleep(0.3)  # the bar is drawn ten times a second
      assert ("judging the mask" in log.getvalue()) == is_said
