"""Weights from the Hugging Face hub, by repository and file name.

The library ``huggingface_hub`` (extra ``hub``) downloads and keeps the files. What is
added here is that a machine without a network learns so within seconds: the library
itself would try again for half a minute, with a line for each attempt.
"""

from __future__ import annotations

import queue
import ssl
import threading
import urllib.error
import urllib.request
from pathlib import Path

_PROBE_SECONDS = 5.0


def download(
  repository: str, file_name: str = "model.safetensors", revision: str = "main"
) -> Path:
  """Download a file once; later calls find it on disk and need no network.

  No token is sent, also if the user has one: the files wanted here are public.

  Args:
    repository: Owner and name, ``timm/resnet18.tv_in1k``.
    file_name: A file of the repository.
    revision: A branch, tag or commit.

  Returns:
    The file in the library's cache (``$HF_HOME``). What is in it is for the reader to
    check; :func:`cawe_jax.files.checksums.sha256` gives its checksum.

  Raises:
    ValueError: The library is not installed, the hub cannot be reached, or it has no
      such file; each in one line that names the file and says what to do.
  """
  by_hand = f"download {file_name} yourself and give it as weights (--weights FILE)"
  try:
    from huggingface_hub import constants, hf_hub_download
  except ImportError:
    raise ValueError(
      f"a download from https://huggingface.co/{repository} needs the package "
      f"huggingface_hub (pip install 'cawe-jax[hub]'); or {by_hand}"
    ) from None
  except RuntimeError:
    raise ValueError(
      f"https://huggingface.co/{repository} is not asked, since the user has no home "
      f"folder to keep files in; set HF_HOME to a folder, or {by_hand}"
    ) from None
  address = f"{constants.ENDPOINT}/{repository}"
  if path := downloaded(repository, file_name, revision):
    return path
  if constants.HF_HUB_OFFLINE:
    raise ValueError(f"{address} is not asked (HF_HUB_OFFLINE is set); {by_hand}")
  reason = _why_unreachable(constants.ENDPOINT)
  if reason:
    raise ValueError(f"{address} cannot be reached ({reason}); {by_hand}")
  try:
    return Path(hf_hub_download(repository, file_name, revision=revision, token=False))
  # Of the library's own, its HTTP library's (another from version to version), OSError.
  except Exception as error:
    detail = " ".join(str(error).split())[:200] or type(error).__name__
    raise ValueError(
      f"{address}: {file_name} cannot be downloaded ({detail}); {by_hand}"
    ) from None


def downloaded(
  repository: str, file_name: str = "model.safetensors", revision: str = "main"
) -> Path | None:
  """Where :func:`download` has put a file before, or None; asks no network."""
  try:
    from huggingface_hub import hf_hub_download
  except (ImportError, RuntimeError):  # the latter where there is no home folder
    return None
  try:
    return Path(
      hf_hub_download(repository, file_name, revision=revision, local_files_only=True)
    )
  except FileNotFoundError:
    return None


def _why_unreachable(endpoint: str) -> str | None:
  """The reason, or None if anything answers, be it that nothing is there.

  In a thread, because looking up a name and trying one address after the other take no
  time limit as a whole.
  """
  answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()
  ask = threading.Thread(target=lambda: answers.put(_answer(endpoint)), daemon=True)
  ask.start()
  try:
    return answers.get(timeout=_PROBE_SECONDS)
  except queue.Empty:
    return f"no answer within {_PROBE_SECONDS:g} s"


def _answer(endpoint: str) -> str | None:
  """Asks through the proxy that the environment names, as the library does."""
  request = urllib.request.Request(endpoint, method="HEAD")
  try:
    with urllib.request.urlopen(request, timeout=_PROBE_SECONDS):
      return None
  except urllib.error.HTTPError as error:
    error.close()
    return None
  except urllib.error.URLError as error:
    # The library may trust other certificates.
    if isinstance(error.reason, ssl.SSLError):
      return None
    return getattr(error.reason, "strerror", None) or str(error.reason)
  except Exception as error:  # HTTP's own errors are of many types
    return str(error) or type(error).__name__
