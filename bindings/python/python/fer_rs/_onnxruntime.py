"""Finds the shared library of ONNX Runtime in the package `onnxruntime`, without importing that package."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

_PATTERNS = ("libonnxruntime.so*", "libonnxruntime*.dylib", "onnxruntime.dll")

_OLDEST = (1, 24)


def library() -> Path | None:
    """The library, or None if the package is not installed or older than 1.24."""
    try:
        spec = importlib.util.find_spec("onnxruntime")
    except (ImportError, ValueError):
        return None
    for folder in spec.submodule_search_locations or () if spec else ():
        for pattern in _PATTERNS:
            for file in sorted((Path(folder) / "capi").glob(pattern)):
                version = re.search(r"(\d+)\.(\d+)", file.name)
                if version is None or tuple(map(int, version.groups())) >= _OLDEST:
                    return file
    return None
