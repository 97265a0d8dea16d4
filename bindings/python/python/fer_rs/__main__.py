"""The command `fer`, which the wheel installs; `python -m fer_rs` is the same."""

from __future__ import annotations

import os
import sys

from fer_rs import _fer_rs, _onnxruntime


def main() -> int:
    """Runs the command with the arguments of this process."""
    if "ORT_DYLIB_PATH" not in os.environ and (library := _onnxruntime.library()):
        os.environ["ORT_DYLIB_PATH"] = str(library)
    return _fer_rs.main(["fer", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
