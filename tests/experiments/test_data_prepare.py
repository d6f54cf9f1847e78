"""The validation set from its tar or folder into a TFDS dataset and back."""

import hashlib
import io
import os
import signal
import socket
import subprocess
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from cawe_jax.samples import sample_label, sample_path
from experiments.data import decode_all, labels, load, prepare
from experiments.data.archive import open_validation
from experiments.data.photographs import Photograph
from experiments.data.prepared import SPLIT

ROOT = Path(__file__).parents[2]
SAMPLES = [f"imagenet-{number:02d}" for number in range(20)]
IMAGES = [sample_path(name).read_bytes() for name in SAMPLES]


def official_names():
  """For each sample the name of a validation photograph of its class."""
  names = {}
  for number in range(1, labels.NUM_VALIDATION + 1):
    name = f"ILSVRC2012_val_{number:08d}"
    names.setdefault(labels.validation_label(name), []).append(f"{name}.JPEG")
  return [names[sample_label(name)].pop(0) for name in SAMPLES]


NAMES = official_names()
IN_ORDER = sorted(zip(NAMES, IMAGES, map(sample_label, SAMPLES), strict=True))


def make_tar(path, members=None, **options):
  """A tar of the twenty photographs, or of (name or header, content) pairs."""
  with tarfile.open(path, "w", **options) as archive:
    for header, content in members or zip(NAMES, IMAGES, strict=True):
      if isinstance(header, str):
        header = tarfile.TarInfo(header)
      header.size = len(content)
      archive.addfile(header, io.BytesIO(content))
  return path


@pytest.fixture(scope="module")
def tar(tmp_path_factory):
  return make_tar(tmp_path_factory.mktemp("source") / "ILSVRC2012_img_val.tar")


@pytest.fixture(scope="module")
def dataset(tar, tmp_path_factory):
  out = tmp_path_factory.mktemp("prepared") / "imagenet"
  assert prepare.prepare(tar, out, limit=20) == 20
  return out


def test_the_tar_comes_back_byte_for_byte_in_order(dataset):
  photographs = load(f"tfds:{dataset}")
  assert [
    (f"{photograph.id}.JPEG", photograph.read(), photograph.label)
    for photograph in photographs
  ] == IN_ORDER
  assert load(f"tfds:{dataset}", 3) == photographs[:3]
  assert "tensorflow" not in sys.modules


def test_tensorflow_datasets_reads_it_as_imagenet(dataset):
  records = tfds.builder_from_directory(dataset).as_data_source(split=SPLIT)
  features = records.dataset_info.features
  assert len(records) == 20
  paths = dict(zip(NAMES, map(sample_path, SAMPLES), strict=True))
  for record, (name, _, label) in zip(records, IN_ORDER, strict=True):
    assert record["file_name"].decode() == name
    assert features["label"].int2str(record["label"]) == labels.wordnet_ids()[label]
    np.testing.assert_array_equal(record["image"], np.asarray(Image.open(paths[name])))


@pytest.mark.parametrize("layout", ["flat", "wordnet"])
def test_the_unpacked_folder_gives_the_same_dataset(layout, dataset, tmp_path):
  for name, image, label in IN_ORDER:
    parts = [] if layout == "flat" else [labels.wordnet_ids()[label]]
    folder = tmp_path.joinpath("val", *parts)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(image)
  (tmp_path / "val" / "README.txt").touch()
  assert prepare.prepare(tmp_path / "val", tmp_path / "out", limit=20) == 20
  for file in dataset.glob("*array_record*"):
    assert (tmp_path / "out" / file.name).read_bytes() == file.read_bytes()


def test_the_first_photographs_by_number(tar, tmp_path):
  assert prepare.prepare(tar, tmp_path / "out", limit=5) == 5
  expected = [name.removesuffix(".JPEG") for name, _, _ in IN_ORDER[:5]]
  assert [photograph.id for photograph in load(f"tfds:{tmp_path / 'out'}")] == expected


def test_several_files(tar, dataset, tmp_path, monkeypatch):
  monkeypatch.setattr(prepare, "_RECORDS_PER_FILE", 8)
  prepare.prepare(tar, tmp_path / "out", limit=20)
  assert len(list((tmp_path / "out").glob("*array_record*"))) == 3
  photographs = load(f"tfds:{tmp_path / 'out'}")
  assert [photograph.read() for photograph in photographs] == [
    i for _, i, _ in IN_ORDER
  ]


def test_a_dataset_that_does_not_list_its_names_is_read(dataset, tmp_path):
  # As TFDS's own imagenet2012 is written.
  for file in dataset.iterdir():
    (tmp_path / file.name).write_bytes(file.read_bytes())
  (tmp_path / "metadata.json").unlink()
  found = load(f"tfds:{tmp_path}", 7)
  assert [(p.id, p.label) for p in found] == [
    (p.id, p.label) for p in load(f"tfds:{dataset}", 7)
  ]
  assert found[6].read() == IN_ORDER[6][1]


def test_damaged_photographs_are_listed_not_fatal(tmp_path):
  damaged = [IMAGES[0], IMAGES[1][:5000], b"no image", IMAGES[3]]
  tar = make_tar(tmp_path / "val.tar", zip(sorted(NAMES[:4]), damaged, strict=True))
  prepare.prepare(tar, tmp_path / "out", limit=4)
  photographs = load(f"tfds:{tmp_path / 'out'}")
  assert [photograph.read() for photograph in photographs] == damaged
  failures = []
  decoded = [p.id for p, _ in decode_all(photographs, 24, failures=failures)]
  ids = [photograph.id for photograph in photographs]
  assert decoded == [ids[0], ids[3]]
  assert [failure.id for failure in failures] == ids[1:3]


def test_a_damaged_file_of_the_dataset_is_listed_too(dataset, tmp_path):
  for file in dataset.iterdir():
    content = bytearray(file.read_bytes())
    if "array_record" in file.name:
      place = content.index(IN_ORDER[2][1][5000:5100])
      content[place : place + 100] = bytes(100)
    (tmp_path / file.name).write_bytes(content)
  failures = []
  photographs = load(f"tfds:{tmp_path}")
  assert len(list(decode_all(photographs, 24, failures=failures))) == 19
  ((failed, reason),) = failures
  assert failed == photographs[2].id
  assert "hash mismatch" in reason


def header(name=NAMES[0], **attributes):
  info = tarfile.TarInfo(name)
  for attribute, value in attributes.items():
    setattr(info, attribute, value)
  return info


@pytest.mark.parametrize(
  ("member", "message"),
  [
    (header("../../evil.JPEG"), "'../../evil.JPEG' is in it; allowed are"),
    (header(f"../{NAMES[0]}"), "is in it; allowed"),
    (header(f"/{NAMES[0]}"), "is in it; allowed"),
    (header(f"val/{NAMES[0]}"), "is in it; allowed"),
    (header("ILSVRC2012_val_00000000.JPEG"), "is in it; allowed"),
    (header("ILSVRC2012_val_00050001.JPEG"), "is in it; allowed"),
    (header(NAMES[0].replace("JPEG", "jpg")), "is in it; allowed"),
    (header(NAMES[0] + "\n"), "is in it; allowed"),
    (header(NAMES[1]), "is in it twice"),
    (header(type=tarfile.DIRTYPE), "is not a regular file"),
    (header(type=tarfile.SYMTYPE, linkname="/etc/passwd"), "is not a regular file"),
    (header(type=tarfile.LNKTYPE, linkname=NAMES[1]), "is not a regular file"),
    (header(type=tarfile.FIFOTYPE), "is not a regular file"),
    (header(type=tarfile.CHRTYPE), "is not a regular file"),
    (header(), "has 0 bytes, allowed are 1 to"),
  ],
)
def test_a_tar_with_anything_else_is_refused(member, message, tmp_path):
  members = [(NAMES[1], IMAGES[1]), (member, b"x" if "'../.." in message else b"")]
  tar = make_tar(tmp_path / "val.tar", members)
  with pytest.raises(ValueError, match=message) as error:
    prepare.prepare(tar, tmp_path / "out", limit=1)
  assert "\n" not in str(error.value)
  assert {path.name for path in tmp_path.iterdir()} == {"val.tar"}


def sparse_tar(path):
  """A header that promises a hundred gigabytes of zeros (GNU's sparse format)."""
  records = {
    "GNU.sparse.major": "0",
    "GNU.sparse.minor": "1",
    "GNU.sparse.map": "0,1",
    "GNU.sparse.size": str(10**11),
  }
  with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
    info = header(pax_headers=records, size=1)
    archive.addfile(info, io.BytesIO(b"x"))


def test_a_sparse_member_is_refused(tmp_path):
  sparse_tar(tmp_path / "val.tar")
  with (
    pytest.raises(ValueError, match="not a regular file"),
    open_validation(tmp_path / "val.tar"),
  ):
    pass


def test_a_large_member_is_refused(tmp_path, monkeypatch):
  monkeypatch.setattr("experiments.data.archive.MAX_FILE_BYTES", len(IMAGES[0]) - 1)
  tar = make_tar(tmp_path / "val.tar", [(NAMES[0], IMAGES[0])])
  with pytest.raises(ValueError, match=f"{len(IMAGES[0])} bytes, allowed are 1 to"):
    prepare.prepare(tar, tmp_path / "out", limit=1)


def test_a_truncated_or_damaged_tar_is_refused(tar, tmp_path):
  whole = tar.read_bytes()
  with tarfile.open(tar) as archive:
    fifth = archive.getmembers()[5]
  cut = {
    "in a file": fifth.offset_data + 700,
    "in a header": fifth.offset + 100,
    "between files": fifth.offset,
  }
  for content in [
    *(whole[:length] for length in cut.values()),
    # A header that is not one: without its last check the rest would be lost silently.
    whole[: fifth.offset] + b"x" * 512 + whole[fifth.offset + 512 :],
    b"no tar",
    b"",
  ]:
    (tmp_path / "val.tar").write_bytes(content)
    with pytest.raises(ValueError, match=r"truncated or damaged|no uncompressed tar"):
      prepare.prepare(tmp_path / "val.tar", tmp_path / "out", limit=2)
  assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ({"limit": None}, "has 20 of the 50000 photographs; --limit prepares a part"),
    ({"limit": 21}, "has 20 of the 21 photographs"),
    ({"limit": 0}, r"limit is 0; it must be in \[1, 50000\]"),
    ({"source": "nowhere.tar"}, "'nowhere.tar': No such file"),
    ({"source": os.devnull}, "neither a file nor a folder"),
    ({"out": "nowhere/out"}, "the folder above does not exist"),
    ({"out": "."}, "exists and is no prepared dataset"),
  ],
)
def test_arguments_are_refused_in_one_line(
  arguments, message, tar, tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  Path("mine.txt").touch()
  with pytest.raises(ValueError, match=message) as error:
    prepare.prepare(**{"source": tar, "out": "out", "limit": 20} | arguments)
  assert "\n" not in str(error.value)
  assert os.listdir() == ["mine.txt"]


def test_an_unpacked_folder_that_is_wrong_is_refused(tmp_path):
  name, image, label = IN_ORDER[0]
  path = tmp_path / "val" / labels.wordnet_ids()[label] / name
  path.parent.mkdir(parents=True)

  def refused(match):
    with pytest.raises(ValueError, match=match):
      prepare.prepare(tmp_path / "val", tmp_path / "out", limit=1)

  path.touch()
  refused("is empty")
  path.write_bytes(image)
  (path.parent / "other.JPEG").write_bytes(image)
  refused("'other.JPEG' is in it; allowed")
  os.rename(path.parent / "other.JPEG", tmp_path / "val" / name)
  refused("is in it twice")
  (tmp_path / "val" / name).unlink()
  os.rename(path.parent, tmp_path / "val" / "n01440764")
  refused(f"in folder 'n01440764', but its class is {labels.wordnet_ids()[label]}")


def test_a_full_disk_is_seen_before_anything_is_written(tar, tmp_path, monkeypatch):
  needed = sum(map(len, IMAGES))
  free = needed - 1
  monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=free))
  with pytest.raises(ValueError, match=f"needs {needed} bytes, {needed - 1} are free"):
    prepare.prepare(tar, tmp_path / "out", limit=20)
  assert not list(tmp_path.iterdir())
  free = needed
  assert prepare.prepare(tar, tmp_path / "out", limit=20) == 20


@pytest.mark.parametrize("error", [OSError("gone"), KeyboardInterrupt()])
def test_a_failed_preparation_leaves_nothing(error, tar, tmp_path, monkeypatch, capsys):
  read, count = Photograph.read, iter(range(100))

  def fail_at_ten(photograph):
    if next(count) == 10:
      raise error
    return read(photograph)

  arguments = ["--source", str(tar), "--out", str(tmp_path / "out"), "--limit", "20"]
  with monkeypatch.context() as patch:
    patch.setattr(Photograph, "read", fail_at_ten)
    assert prepare.main(arguments) == (1 if isinstance(error, OSError) else 130)
  assert not list(tmp_path.iterdir())
  assert capsys.readouterr().err.startswith("prepare: ")
  assert prepare.main(arguments) == 0
  assert capsys.readouterr().out.startswith("20 photographs written; use them as tfds:")
  assert prepare.main(arguments) == 0
  assert capsys.readouterr().out.startswith("prepared already")
  assert prepare.main([*arguments[:-1], "19"]) == 1
  assert "holds 20 other photographs" in capsys.readouterr().err


def start(code, *arguments, **options):
  environment = os.environ | {"PYTHONPATH": str(ROOT)}
  command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
  return subprocess.Popen(command, env=environment, text=True, **options)


@pytest.mark.slow
def test_a_killed_preparation_is_started_again(tar, tmp_path):
  code = """if True:
    import os, signal, sys
    from experiments.data import prepare
    from experiments.data.photographs import Photograph
    read, count = Photograph.read, iter(range(100))
    def killed(photograph):
      if next(count) == 10:
        os.kill(os.getpid(), signal.SIGKILL)
      return read(photograph)
    Photograph.read = killed
    prepare.prepare(*sys.argv[1:], limit=20)
  """
  assert start(code, tar, tmp_path / "out").wait(120) == -signal.SIGKILL
  assert [path.name for path in tmp_path.iterdir()] == [".out.incomplete"]
  assert prepare.prepare(tar, tmp_path / "out", limit=20) == 20
  assert [path.name for path in tmp_path.iterdir()] == ["out"]
  photographs = load(f"tfds:{tmp_path / 'out'}")
  assert [photograph.read() for photograph in photographs] == [
    i for _, i, _ in IN_ORDER
  ]


@pytest.mark.slow
def test_two_jax_processes_share_the_photographs(dataset):
  code = """if True:
    import hashlib, sys
    import jax
    address, index, folder = sys.argv[1:]
    jax.distributed.initialize(address, num_processes=2, process_id=int(index))
    from experiments.data import load, shard
    from experiments.data.sharding import grain_shard
    photographs = load(f"tfds:{folder}", 19)
    part = list(grain_shard(photographs))
    assert part == shard(photographs, jax.process_index(), jax.process_count())
    assert "tensorflow" not in sys.modules
    for photograph in part:
      print(photograph.id, hashlib.sha256(photograph.read()).hexdigest())
  """
  with socket.socket() as free:
    free.bind(("localhost", 0))
    address = f"localhost:{free.getsockname()[1]}"
  processes = [
    start(code, address, index, dataset, stdout=subprocess.PIPE) for index in range(2)
  ]
  outputs = [process.communicate(timeout=120)[0].split("\n") for process in processes]
  assert [process.returncode for process in processes] == [0, 0]
  lines = [[line for line in output if line] for output in outputs]
  assert list(map(len, lines)) == [10, 9]
  assert sorted(lines[0] + lines[1]) == [
    f"{name.removesuffix('.JPEG')} {hashlib.sha256(image).hexdigest()}"
    for name, image, _ in IN_ORDER[:19]
  ]
