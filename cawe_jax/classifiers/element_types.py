"""The element types that checkpoints have, by the names that safetensors gives them.

Networks compute in float32, so every floating type is read as float32: float16 and
bfloat16 exactly, float64 rounded. Integers and truth values stay what they are.
"""

from __future__ import annotations

import numpy as np

# bfloat16, which NumPy lacks, is the upper half of a float32. Bytes other than 0 and 1
# would be invalid as NumPy's bool.
_ON_DISK: dict[str, np.dtype] = {
  "F64": np.dtype("<f8"),
  "F32": np.dtype("<f4"),
  "F16": np.dtype("<f2"),
  "BF16": np.dtype("<u2"),
  "I64": np.dtype("<i8"),
  "I32": np.dtype("<i4"),
  "I16": np.dtype("<i2"),
  "I8": np.dtype("i1"),
  "U8": np.dtype("u1"),
  "BOOL": np.dtype("u1"),
}


def num_bytes(element_type: str, num_elements: int) -> int:
  """Bytes of so many elements in a file."""
  return _ON_DISK[element_type].itemsize * num_elements


def decode_elements(raw: bytes | memoryview, element_type: str) -> np.ndarray:
  r"""Numbers from a file's bytes.

  Args:
    raw: Whole elements, little-endian.
    element_type: ``F64``, ``F32``, ``F16``, ``BF16``, ``I64``, ``I32``, ``I16``,
      ``I8``, ``U8`` or ``BOOL``.

  Returns:
    A vector: float32, an integer type or bool.

  Raises:
    ValueError: Another element type, or half an element.

  Example:
    >>> decode_elements(b"\x80?@@", "BF16").tolist()
    [1.0, 3.0]
  """
  if element_type not in _ON_DISK:
    allowed = ", ".join(_ON_DISK)
    raise ValueError(f"element type {element_type!a} is not read; allowed: {allowed}")
  elements = np.frombuffer(raw, _ON_DISK[element_type])
  if element_type == "BF16":
    return (elements.astype(np.uint32) << 16).view(np.float32)
  if element_type == "BOOL":
    return elements != 0
  if element_type.startswith("F"):
    with np.errstate(over="ignore"):  # beyond float32's range is infinite, as said
      return elements.astype(np.float32, copy=False)
  return elements
