"""Write the ImageNet validation set as a dataset of tensorflow-datasets.

    python -m experiments.data.prepare --source ILSVRC2012_img_val.tar --out DIR
    python -m experiments.data.prepare --source FOLDER --out DIR --limit 1000

The photographs are stored as they are, byte for byte, by their official numbers, with
the features of TFDS's own ``imagenet2012``. That builder needs TensorFlow; a
``GeneratorBasedBuilder`` of one's own does too as soon as there is more than a gigabyte
to shuffle. So the records are written in order by ``SequentialWriter``, one image in
memory at a time.

Everything is written to a folder beside ``DIR``, which becomes ``DIR`` in one step at
the end. An interrupted preparation leaves no ``DIR`` and is started again by the same
command; a finished one is not repeated.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from rich.console import Console
from rich.progress import track

from experiments.data.archive import Member, open_validation
from experiments.data.labels import NUM_VALIDATION, wordnet_ids
from experiments.data.photographs import Photograph
from experiments.data.prepared import FILE_NAMES, SPLIT, open_prepared

_RECORDS_PER_FILE = 1000  # Some 130 MB.


def prepare(
  source: str | os.PathLike[str],
  out: str | os.PathLike[str],
  limit: int | None = None,
) -> int:
  """Prepare the validation set, or its first photographs.

  Args:
    source: The official tar, or the folder unpacked from it.
    out: Folder to create; the one above it exists.
    limit: How many photographs, in [1, 50000]; None demands all 50,000.

  Returns:
    The number of photographs written; 0 if ``out`` has them already.

  Raises:
    ValueError: The source is not as :func:`experiments.data.archive.open_validation`
      says or too small, the disk is, or ``out`` has other contents.
  """
  out = Path(out).absolute()
  if limit is not None and not 1 <= limit <= NUM_VALIDATION:
    raise ValueError(f"limit is {limit}; it must be in [1, {NUM_VALIDATION}]")
  if not out.parent.is_dir():
    raise ValueError(f"out {str(out)!r}: the folder above does not exist")
  with open_validation(source) as photographs:
    wanted = limit or NUM_VALIDATION
    if len(photographs) < wanted:
      raise ValueError(
        f"source {str(source)!r} has {len(photographs)} of the {wanted} photographs; "
        "--limit prepares a part"
      )
    photographs = photographs[:wanted]
    if _is_prepared(out, photographs):
      return 0
    _check_space(out.parent, photographs)
    staging = out.with_name(f".{out.name}.incomplete")
    shutil.rmtree(staging, ignore_errors=True)  # Of a process that was killed.
    staging.mkdir()
    try:
      _write(photographs, staging)
      _synchronise(staging)
      os.rename(staging, out)
    except (OSError, RuntimeError) as error:  # The latter of array_record.
      raise ValueError(f"preparation failed: {' '.join(str(error).split())}") from None
    finally:
      shutil.rmtree(staging, ignore_errors=True)
  return len(photographs)


def main(arguments: Sequence[str] | None = None) -> int:
  """The command; 1 if it failed, for a reason of one line."""
  parser = argparse.ArgumentParser(
    prog="python -m experiments.data.prepare", description=__doc__.splitlines()[0]
  )
  parser.add_argument(
    "--source", required=True, help="ILSVRC2012_img_val.tar, or the unpacked folder"
  )
  parser.add_argument("--out", required=True, help="folder to create")
  parser.add_argument("--limit", type=int, help="only the first photographs")
  options = parser.parse_args(arguments)
  try:
    count = prepare(options.source, options.out, options.limit)
  except ValueError as error:
    print(f"prepare: error: {error}", file=sys.stderr)
    return 1
  except KeyboardInterrupt:
    print("prepare: interrupted; nothing was written", file=sys.stderr)
    return 130
  done = f"{count} photographs written" if count else "prepared already"
  print(f"{done}; use them as tfds:{options.out}")
  return 0


def _is_prepared(out: Path, photographs: Sequence[Photograph]) -> bool:
  """Whether the folder holds these photographs; an error if it holds others."""
  if not out.exists() or (out.is_dir() and not any(out.iterdir())):
    return False
  try:
    found = [photograph.id for photograph in open_prepared(out)]
  except ValueError:
    raise ValueError(f"out {str(out)!r} exists and is no prepared dataset") from None
  if found != [photograph.id for photograph in photographs]:
    raise ValueError(
      f"out {str(out)!r} holds {len(found)} other photographs; remove it or choose "
      "another folder"
    )
  return True


def _check_space(folder: Path, photographs: Iterable[Photograph]) -> None:
  needed = sum(_num_bytes(photograph) for photograph in photographs)
  free = shutil.disk_usage(folder).free
  if needed > free:
    raise ValueError(f"out needs {needed} bytes, {free} are free in {str(folder)!r}")


def _num_bytes(photograph: Photograph) -> int:
  source = photograph.source
  assert isinstance(source, Member | Path)
  return source.info.size if isinstance(source, Member) else source.stat().st_size


def _write(photographs: Sequence[Photograph], folder: Path) -> None:
  features = tfds.features.FeaturesDict(
    {
      "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
      "label": tfds.features.ClassLabel(names=wordnet_ids()),
      "file_name": tfds.features.Text(),
    }
  )
  names = [f"{photograph.id}.JPEG" for photograph in photographs]
  info = tfds.core.DatasetInfo(
    builder=tfds.core.DatasetIdentity(
      name="imagenet2012_validation",
      version=tfds.core.Version("1.0.0"),
      data_dir=str(folder),
      module_name=__name__,
    ),
    description="The ImageNet 2012 validation set, by official number.",
    features=features,
    disable_shuffling=True,
    metadata=tfds.core.MetadataDict({FILE_NAMES: names}),
  )
  writer = tfds.core.SequentialWriter(
    info, _RECORDS_PER_FILE, file_format="array_record"
  )
  writer.initialize_splits([SPLIT])
  writer.add_examples({SPLIT: _examples(photographs)})
  writer.close_all()


def _examples(photographs: Sequence[Photograph]) -> Iterator[dict[str, Any]]:
  console = Console(stderr=True)
  # A log gets no bar.
  hidden = not console.is_terminal
  for photograph in track(photographs, "writing", console=console, disable=hidden):
    yield {
      "image": photograph.read(),
      "label": photograph.label,
      "file_name": f"{photograph.id}.JPEG",
    }


def _synchronise(folder: Path) -> None:
  """The content reaches the disk before the name does."""
  for path in folder.iterdir():
    with path.open("rb") as file:
      os.fsync(file.fileno())


if __name__ == "__main__":
  sys.exit(main())
