"""Tolerances beyond rounding are argued for where they are."""

import re
from pathlib import Path

TESTS = Path(__file__).parent
TOLERANCE = re.compile(r"\b(?:rtol|atol|rel|abs)=\s*(\d[\d.e-]*)")
ROUNDING = 1e-4
"""Of whole networks and searches in 32 bits; docs/contributing.md has the others."""
NEAR = 8
"""So many lines above, a comment or a docstring says why."""


def test_a_tolerance_larger_than_rounding_has_its_reason_beside_it():
  bare = []
  for path in sorted(TESTS.rglob("*.py")):
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines):
      largest = max(map(float, TOLERANCE.findall(line)), default=0)
      near = "\n".join(lines[max(number - NEAR, 0) : number + 2])
      if largest > ROUNDING and "#" not in near and '"""' not in near:
        bare.append(f"{path.relative_to(TESTS)}:{number + 1}: {line.strip()}")
  assert not bare, "\n".join(bare)
