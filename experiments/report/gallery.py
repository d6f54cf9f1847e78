"""A page to look through the explanations of a sweep.

One file of HTML that holds its images and asks nothing of any server. Names come from
files and checkpoints of strangers: all text is escaped, and the page's own policy
forbids scripts and anything from outside.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from cawe_jax.files.writing import atomic_write
from experiments.axes import Job
from experiments.report.images import explained_image
from experiments.report.summary import Row, known_numbers, percent, summarise
from experiments.store import Store

_QUALITY = 85  # of JPEG; a 224 x 224 explanation takes about 8 kB
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 15px/1.4 system-ui, sans-serif; margin: 2rem; color: #1d1d21; }}
section {{ border-top: 1px solid #e6e6ea; padding: 1rem 0; }}
h2 {{ font-size: 1rem; margin: 0 0 .5rem; }}
.row {{ display: flex; flex-wrap: wrap; gap: .75rem; }}
figure {{ margin: 0; width: 224px; }}
figcaption {{ font-size: .8rem; color: #6b6b73; }}
img {{ width: 224px; height: auto; display: block; }}
.wrong {{ color: #b3261e; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{introduction}</p>
{sections}
</body>
</html>
"""


def write_gallery(
  config: ConfigDict, jobs: Sequence[Job], store: Store, path: Path
) -> None:
  """Write the page: a section for each photograph, a picture for each setting."""
  rows = {(row.job, row.point): row for row in summarise(jobs, store)}
  pictures: dict[str, list[str]] = {}
  heads: dict[str, str] = {}
  for job in jobs:
    for result in store.read_results(job.name):
      name = str(result["id"])
      if result["selected"]:
        heads.setdefault(name, _head(result))
        shown = pictures.setdefault(name, [])
        if not shown:
          shown.append(_figure(result["input_image"], "photograph", "photograph"))
        shown += [
          _picture(rows[job.name, point], result, point)
          for point in range(len(job.grid))
        ]
  sections = (
    f"<section>\n{heads[name]}\n<div class='row'>\n{''.join(shown)}</div>\n</section>"
    for name, shown in pictures.items()
  )
  page = _PAGE.format(
    title=html.escape(config.name),
    introduction=html.escape(
      f"{len(pictures)} photographs of {config.data}. Sharp detail was kept because "
      "the network needs it; what is blurred or black it does not need. Heat maps are "
      "of pixels: brighter matters more."
    ),
    sections="\n".join(sections),
  )
  with atomic_write(path) as temporary:
    temporary.write_text(page)


def _head(result: dict[str, np.ndarray]) -> str:
  """What the photograph is, and what the network says."""
  said = f"{result['prediction_name']} ({result['confidence']:.2f})"
  title = f"<h2>{_escape(result['id'])}: the network says {_escape(said)}"
  if result["label"] >= 0 and result["label"] != result["prediction"]:
    title += f" <span class='wrong'>but it is {_escape(result['label_name'])}</span>"
  return f"{title}</h2>"


def _picture(row: Row, result: dict[str, np.ndarray], point: int) -> str:
  numbers = row.name
  if "rate" in result:
    numbers += (
      f": rate {100 * result['rate'][point]:.2f} %, "
      f"distortion {result['distortion'][point]:.4f}, "
      f"retained {percent(result['retained_probability'][point])}"
    )
  weak = known_numbers(result).get("retains_enough")
  note = "retains little" if weak is not None and weak[point] == 0 else ""
  if "rate" in result and result["rate"][point] == 0:
    note = "keeps nothing"
  try:
    return _figure(explained_image(result, point), row.name, numbers, note)
  except ValueError:
    return f"<figure><figcaption>{_escape(numbers)}: no image</figcaption></figure>\n"


def _figure(image: np.ndarray, alternative: str, caption: str, note: str = "") -> str:
  file = io.BytesIO()
  Image.fromarray(np.squeeze(image)).save(file, "JPEG", quality=_QUALITY)
  data = base64.b64encode(file.getvalue()).decode()
  mark = f" <span class='wrong'>{_escape(note)}</span>" if note else ""
  return (
    f"<figure><img alt='{_escape(alternative)}' src='data:image/jpeg;base64,{data}'>"
    f"<figcaption>{_escape(caption)}{mark}</figcaption></figure>\n"
  )


def _escape(text: object) -> str:
  return html.escape(str(text), quote=True)
