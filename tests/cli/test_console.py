"""What is printed is what was meant: no markup, no emoji, no wrapped lines."""

import jax.numpy as jnp

from cawe_jax.classifiers import Classifier
from cawe_jax.cli.console import Messages, duration, estimate_seconds


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
