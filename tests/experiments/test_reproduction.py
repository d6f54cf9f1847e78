"""The tables of docs/reproduction.md say what the runs' own tables say."""

import csv
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
SECTIONS = re.split(r"^## ", (DOCS / "reproduction.md").read_text(), flags=re.M)[1:]
COLUMNS = {
  "rate, %": ("rate", 100),
  "share above zero, %": ("rate_l0", 100),
  "distortion": ("distortion", 1),
  "retained": ("retained_probability", 1),
  "retain half": ("retains_enough", 1),
  **{
    name: (f"metrics.retained_under_{name.lower()}", 1)
    for name in ("Gaussian", "zeros", "mean", "blur", "infill")
  },
  "area": ("area", 1),
  "evaluations": ("evaluations", 1),
  "seconds": ("seconds_per_explanation", 1),
  "seconds per 1000 evaluations": ("seconds_per_1000_evaluations", 1),
  **{f"at {p} %": (f"distortion_at_{p}_%", 1) for p in (1, 5, 10, 50)},
}


def runs(section):
  """Folders of the runs whose commands a section has: the config's name, or its own."""
  found = re.findall(r"--config=configs/(\w+)\.py[^`]*?--workdir=(\w+)", section)
  return [name if folder == "DIR" else folder for name, folder in found]


def tables():
  """Every table that a run printed: section, folder of the run, head and rows."""
  for section in SECTIONS:
    title = section.partition("\n")[0]
    names = runs(section)
    blocks = re.findall(r"((?:^\|.*\n)+)", section, flags=re.M)
    assert len(blocks) <= len(names), title
    for name, block in zip(names, blocks, strict=False):
      lines = [
        [cell.strip() for cell in line.strip("|\n").split("|")]
        for line in block.splitlines()
      ]
      yield pytest.param(name, lines[0], lines[2:], id=title)


def plain(text):
  """A setting's name without what is spelled one way here and another there."""
  number = re.fullmatch(r"\d+", text)
  return f"{text}.0" if number else text.lower().replace("-", " ")


def find(rows, key, method):
  """The one row of a setting or a method."""
  found = [
    row
    for row in rows
    if (method is None or row["method"] == method)
    and plain(key)
    in [plain(v) for k, v in row.items() if k.startswith("axes.") or k == "method"]
  ]
  assert len(found) == 1, (key, method)
  return found[0]


@pytest.mark.parametrize(("name", "head", "lines"), list(tables()))
def test_every_cell_is_the_runs_own(name, head, lines):
  with (DOCS / "results" / name / "table.csv").open(newline="") as file:
    rows = list(csv.DictReader(file))
  assert len(lines) * max(1, sum(c.endswith("rate, %") for c in head)) == len(rows)
  for line in lines:
    method = None
    for title, cell in zip(head[1:], line[1:], strict=True):
      if ": " in title:
        method, _, title = title.partition(": ")
      column, scale = COLUMNS[title]
      row = find(rows, line[0], method)
      numbers = [row[column]]
      if "±" in cell:
        numbers.append(row[f"{column}_standard_error"])
      printed = [part.strip() for part in cell.split("±")]
      for text, number in zip(printed, numbers, strict=True):
        if text == "":
          assert number == ""
          continue
        digits = len(text.partition(".")[2])
        # Halves may be rounded up or down.
        assert abs(float(text) - scale * float(number)) <= 0.5000001 * 10**-digits, (
          title,
          line[0],
        )


def test_every_run_has_a_section():
  """What is kept of a run is said somewhere, and what is said was kept."""
  said = {name for section in SECTIONS for name in runs(section)}
  kept = {path.parent.name for path in (DOCS / "results").glob("*/table.csv")}
  assert said == kept
  assert all("**Verdict" in section for section in SECTIONS)
