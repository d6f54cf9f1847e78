"""The pickles inside PyTorch checkpoints, evaluated without ``pickle``.

A pickle is a program, and Python's unpickler will import and call whatever it names.
This interpreter has only the thirty instructions that ``torch.save`` writes (protocol
2), and these can do no more than put numbers, text, lists, dictionaries and
descriptions of tensors together. Nothing is imported, no attribute is read or set, and
the only functions are the ones below, under the names that PyTorch's files use. An
instruction or a name beyond them refuses the file.

Nor can a small file ask for much: strings and the memo take what is in the file, no
instruction copies what another made, and nothing is recursive. (Python's unpickler can
be made to reserve gigabytes by a few bytes,
https://github.com/python/cpython/issues/115952.)
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO, NamedTuple

MAX_PICKLE_BYTES = 16 * 2**20
"""One of 10,000 tensors has 1.2 MB; in memory one byte can become 72."""
# Larger ones with equal remainders modulo 2**61 - 1 would share one hash, and the time
# of a dictionary of such keys is quadratic. (Text is hashed with a secret.)
_MAX_INTEGER_KEY = 2**60
_MAX_STORAGE_KEY = 100  # Characters; the keys are decimal numbers.


class ElementType(NamedTuple):
  """Stands for a class such as ``torch.FloatStorage``; see :mod:`.element_types`."""

  name: str


class Storage(NamedTuple):
  """A row of elements that lies elsewhere in the file, by its key."""

  key: str
  element_type: str
  num_elements: int


class Tensor(NamedTuple):
  """A strided view of a storage, in elements. Nothing is checked yet."""

  storage: Any
  offset: Any
  shape: Any
  strides: Any


class Evaluated(NamedTuple):
  """What a pickle holds.

  Attributes:
    value: None, bool, int, float, str, tuple, list, dict with keys of str or int,
      :class:`Tensor`, or one of the names that files may refer to.
    storages: All that it refers to, by key.
  """

  value: Any
  storages: dict[str, Storage]


def evaluate(file: BinaryIO) -> Evaluated:
  """Evaluate the one pickle that starts at the file's position.

  Args:
    file: Open for reading in binary mode; left behind the pickle.

  Returns:
    The value and the storages that it refers to.

  Raises:
    ValueError: An instruction or a name is not among those that are read, or the pickle
      is longer than :data:`MAX_PICKLE_BYTES`.
    Exception: Damaged files raise also IndexError, TypeError and others.

  Example:
    >>> import io, pickle
    >>> evaluate(io.BytesIO(pickle.dumps({"layers": [3, 4.5, None]}, 2))).value
    {'layers': [3, 4.5, None]}
    >>> evaluate(io.BytesIO(pickle.dumps(print, 2)))
    Traceback (most recent call last):
    ValueError: refused to load '__builtin__.print': not part of a state dictionary
  """
  stack: list[Any] = []
  marks: list[int] = []
  memo: dict[int, Any] = {}
  storages: dict[str, Storage] = {}

  def since_mark() -> list[Any]:
    first = marks.pop()
    items = stack[first:]
    del stack[first:]
    return items

  argument: Any
  start = file.tell()
  for opcode, argument, _ in pickletools.genops(file):
    if file.tell() - start > MAX_PICKLE_BYTES:
      raise ValueError(f"a pickle is longer than {MAX_PICKLE_BYTES} bytes")
    match opcode.name:
      case "PROTO":
        if argument != 2:
          raise ValueError(f"pickle protocol {argument} is not read, only 2")
      case "STOP":
        return Evaluated(stack.pop(), storages)
      case "MARK":
        marks.append(len(stack))
      case "BINPUT" | "LONG_BINPUT":
        memo[argument] = stack[-1]
      case "BINGET" | "LONG_BINGET":
        stack.append(memo[argument])
      case name if name in _CONSTANTS:
        stack.append(_CONSTANTS[name])
      case name if name in _VALUES:
        stack.append(argument)
      case "EMPTY_LIST":
        stack.append([])
      case "EMPTY_DICT":
        stack.append({})
      case "TUPLE":
        stack.append(tuple(since_mark()))
      case "TUPLE1" | "TUPLE2" | "TUPLE3" as name:
        count = int(name[-1])
        stack[-count:] = [tuple(stack[-count:])]
      case "APPEND":
        _extend(stack[-2], [stack.pop()])
      case "APPENDS":
        items = since_mark()
        _extend(stack[-1], items)
      case "SETITEM":
        value, key = stack.pop(), stack.pop()
        _update(stack[-1], [(key, value)])
      case "SETITEMS":
        flat = since_mark()
        _update(stack[-1], zip(flat[::2], flat[1::2], strict=True))
      case "GLOBAL":
        stack.append(_named(argument))
      case "BINPERSID":
        storage = _storage(stack.pop())
        if storages.setdefault(storage.key, storage) != storage:
          raise ValueError(f"storage {storage.key!a} is declared in two ways")
        stack.append(storage)
      case "REDUCE":
        arguments = stack.pop()
        stack.append(_call(stack.pop(), arguments))
      case "BUILD":
        # A state dictionary carries the layers' versions as an attribute, and a
        # parameter its hooks: neither is wanted.
        stack.pop()
        if not isinstance(stack[-1], dict | Tensor):
          raise ValueError(f"attributes for a {type(stack[-1]).__name__} are refused")
      case name:
        raise ValueError(f"pickle instruction {name} is refused")
  raise ValueError("the pickle has no end")


_CONSTANTS: dict[str, Any] = {
  "NONE": None,
  "NEWTRUE": True,
  "NEWFALSE": False,
  "EMPTY_TUPLE": (),
}
_INTEGERS = ("BININT", "BININT1", "BININT2", "LONG1")
# The last two are how Python 2 wrote text.
_VALUES = (*_INTEGERS, "BINFLOAT", "BINUNICODE", "BINSTRING", "SHORT_BINSTRING")


def _extend(target: Any, items: list[Any]) -> None:
  if type(target) is not list:
    raise ValueError(f"items for a {type(target).__name__} are refused")
  target.extend(items)


def _update(target: Any, items: Iterable[tuple[Any, Any]]) -> None:
  if type(target) is not dict:
    raise ValueError(f"entries for a {type(target).__name__} are refused")
  for key, value in items:
    # Not only unwanted: the hash of a deeply nested tuple overflows C's stack.
    if not isinstance(key, str | int):
      raise ValueError(f"a key of type {type(key).__name__} is refused")
    if isinstance(key, int) and abs(key) > _MAX_INTEGER_KEY:
      raise ValueError("an integer key beyond 2**60 is refused")
    if key in target:
      raise ValueError(f"key {key!a} occurs twice")
    target[key] = value


def _storage(pid: Any) -> Storage:
  # The sixth part, in old files, is a view of another storage.
  match pid:
    case ("storage", ElementType(kind), str(key), str(), int(size)) | (
      "storage",
      ElementType(kind),
      str(key),
      str(),
      int(size),
      None,
    ) if size >= 0 and len(key) <= _MAX_STORAGE_KEY:
      return Storage(key, kind, size)
  raise ValueError("storage reference of unknown form")


def _dictionary(pairs: Any = None) -> dict[Any, Any]:
  result: dict[Any, Any] = {}
  if pairs is not None:
    # As Python 2 wrote it: a list of pairs, made for this call alone. It is used up,
    # because a file of few bytes could call for a copy of one list many times.
    if type(pairs) is not list:
      raise ValueError(f"a dictionary of a {type(pairs).__name__} is refused")
    _update(result, ((key, value) for key, value in pairs))
    pairs.clear()
  return result


def _tensor(
  storage: Any,
  offset: Any,
  shape: Any,
  strides: Any,
  requires_grad: Any = False,
  backward_hooks: Any = None,
  metadata: Any = None,
) -> Tensor:
  del requires_grad, backward_hooks
  if metadata:
    raise ValueError("a tensor with conjugated or negated elements is refused")
  return Tensor(storage, offset, shape, strides)


def _parameter(data: Any, requires_grad: Any = True, hooks: Any = None) -> Any:
  del requires_grad, hooks
  return data


_FUNCTIONS: dict[str, Callable[..., Any]] = {
  "collections OrderedDict": _dictionary,
  "torch._utils _rebuild_tensor": _tensor,
  "torch._utils _rebuild_tensor_v2": _tensor,
  "torch._utils _rebuild_parameter": _parameter,
  "torch.nn.parameter Parameter": _parameter,
}
_ELEMENT_TYPES = {
  "torch DoubleStorage": ElementType("F64"),
  "torch FloatStorage": ElementType("F32"),
  "torch HalfStorage": ElementType("F16"),
  "torch BFloat16Storage": ElementType("BF16"),
  "torch LongStorage": ElementType("I64"),
  "torch IntStorage": ElementType("I32"),
  "torch ShortStorage": ElementType("I16"),
  "torch CharStorage": ElementType("I8"),
  "torch ByteStorage": ElementType("U8"),
  "torch BoolStorage": ElementType("BOOL"),
}
_NAMES: dict[str, Any] = {**_FUNCTIONS, **_ELEMENT_TYPES}


def _named(name: str) -> Any:
  if name not in _NAMES:
    dotted = name.replace(" ", ".")[:100]
    raise ValueError(f"refused to load {dotted!a}: not part of a state dictionary")
  return _NAMES[name]


def _call(function: Any, arguments: Any) -> Any:
  if not any(function is known for known in _FUNCTIONS.values()):
    raise ValueError(f"a call of a {type(function).__name__} is refused")
  if type(arguments) is not tuple:
    raise ValueError("a call without a tuple of arguments is refused")
  return function(*arguments)
