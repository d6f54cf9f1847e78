"""Every message between page and server, in both directions, as a schema.

A frame is JSON text with a ``type``. What is not of these shapes closes the connection
that sent it. Whether the *values* make sense (is there such an image, is the budget
possible) is asked by whoever uses them, and answered by an :class:`Error` that leaves
the connection open.

Requests carry an ``id`` that the page chooses; every answer repeats it. Pictures are
data URLs, numbers that are not finite are null.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import msgspec

MAX_FRAME_BYTES = 64 * 1024
"""Largest request; a mask of 224 x 224 pixels takes 8.2 KiB."""

Id = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
Integer = Annotated[int, msgspec.Meta(ge=1 - 2**53, le=2**53 - 1)]
"""Those that JavaScript has exactly."""
Name = Annotated[str, msgspec.Meta(max_length=64)]


class _Request(msgspec.Struct, tag_field="type", forbid_unknown_fields=True):
  id: Id


class _Answer(msgspec.Struct, tag_field="type"):
  id: int | None
  is_last: ClassVar[bool] = True


class ImageChoice(msgspec.Struct, forbid_unknown_fields=True):
  """One of the two: a sample's name or an upload's token."""

  sample: Name | None = None
  upload: Name | None = None


class Predict(_Request, tag="predict"):
  """What does the network say if only these pixels are kept?

  ``mask``: base64 of the bits of ``[H, W]``, row by row, most significant bit first.
  """

  image: ImageChoice
  mask: Annotated[str, msgspec.Meta(max_length=MAX_FRAME_BYTES)]
  filling: Name
  draws: Integer = 8
  seed: Integer = 0


class FindMask(_Request, tag="machine_mask"):
  """The best hard mask that a method finds with this budget."""

  image: ImageChoice
  method: Name
  budget: Integer
  filling: Name
  draws: Integer = 8
  seed: Integer = 0


class Explain(_Request, tag="explain"):
  """Explain an image; what is null takes the catalogue's default.

  ``fresh``: compute it even if it is known, so that its files can be downloaded.
  """

  image: ImageChoice
  method: Name
  lagrange_multiplier: float | None = None
  wavelet: Name | None = None
  levels: Integer | None = None
  perturbation: Name | None = None
  distortion: Name | None = None
  target: Integer | None = None
  budget: Integer | None = None
  seed: Integer | None = None
  fresh: bool = False


class Analyse(_Request, tag="signal"):
  """Fourier spectrum and wavelet transform of a named signal or of samples."""

  name: Name | None = None
  samples: Annotated[list[float], msgspec.Meta(max_length=1024)] | None = None
  wavelet: Name | None = None


class Cancel(_Request, tag="cancel"):
  """Stop the request with this id, whether it waits or runs."""


Request = Predict | FindMask | Explain | Analyse | Cancel


class ClassProbability(msgspec.Struct):
  """A class and how probable it is, with its standard error where it is a mean."""

  index: int
  name: str = msgspec.field(name="class")
  probability: float
  standard_error: float | None = None


class Target(msgspec.Struct):
  """The class that is explained."""

  index: int
  name: str = msgspec.field(name="class")


class TargetChange(msgspec.Struct):
  """The class that the network says of the image; its probability then and after."""

  index: int
  name: str = msgspec.field(name="class")
  before: float
  after: float


class _Assessed(_Answer):
  """What the network says under a mask.

  ``distortion``: mean over the draws of ``||p(x) - p(y)||_2`` over all classes.
  ``draws``: some of the images that the network saw; ``num_draws``: how many it saw.
  """

  budget: int
  budget_share: float
  distortion: float
  standard_error: float
  draws: list[str]
  num_draws: int
  before: list[ClassProbability]
  after: list[ClassProbability]
  target: TargetChange


class Prediction(_Assessed, tag="prediction"):
  """What the network says under the visitor's mask."""


class FoundMask(_Assessed, tag="machine_mask"):
  """The same under a method's mask; ``unit`` is what the budget counts.

  ``picture``: what the mask keeps.
  """

  unit: str
  picture: str


class Queued(_Answer, tag="queued"):
  """How many jobs come before this one; 0 when it starts."""

  position: int
  is_last: ClassVar[bool] = False


class Progress(_Answer, tag="progress"):
  """Where an optimisation is."""

  step: int
  num_steps: int
  picture: str
  rate: float
  distortion: float
  is_last: ClassVar[bool] = False


class ExplanationMade(_Answer, tag="explanation"):
  """An explanation: pictures and numbers.

  ``result`` names the files to download, null where only pictures are kept.
  ``retained_probability`` is ``score_with_noise / probability``.
  """

  result: str | None
  picture: str
  masked_picture: str
  mask_picture: str
  retained_probability: float
  rate: float
  distortion: float
  standard_error: float
  probability: float
  score_with_noise: float
  target: Target
  seconds: float
  cached: bool
  notice: str | None = None


class SignalAnalysed(_Answer, tag="signal"):
  """What :mod:`cawe_jax.playground.signal_tasks` says of a signal."""

  analysis: dict[str, Any]


class Cancelled(_Answer, tag="cancelled"):
  """The request with this id was stopped, or there was none."""


class Error(_Answer, tag="error"):
  """A request that was refused, in one line; without an id the connection closes."""

  message: str


_decoder = msgspec.json.Decoder(Request)
_encoder = msgspec.json.Encoder()


def decode(frame: str | bytes) -> Request:
  """A request from a frame.

  Raises:
    ValueError: The frame is not JSON of the schema, or too large.

  Example:
    >>> decode('{"type": "cancel", "id": 3}')
    Cancel(id=3)
    >>> decode('{"type": "cancel"}')
    Traceback (most recent call last):
    ValueError: Object missing required field `id`
  """
  size = len(frame) if isinstance(frame, bytes) else len(frame.encode())
  if size > MAX_FRAME_BYTES:
    raise ValueError(f"message has {size} bytes; allowed are {MAX_FRAME_BYTES}")
  try:
    return _decoder.decode(frame)
  except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
    raise ValueError(" ".join(str(error).split())[:200]) from None


def encode(answer: _Answer) -> str:
  """An answer as a frame.

  Example:
    >>> encode(Queued(3, position=1))
    '{"type":"queued","id":3,"position":1}'
  """
  return _encoder.encode(answer).decode()
