"""What both packages take as a picture, and the analyzer that their shims share."""

from __future__ import annotations

import base64
import binascii
import functools
from typing import Any

from fer_rs import Analyzer


@functools.cache
def analyzer() -> Analyzer:
    """One analyzer for the process, opened at its first use."""
    return Analyzer()


def picture(image: Any) -> Any:
    """The picture in a form that `Analyzer.analyze` takes; data URIs are decoded and files are read.

    Raises:
        NotImplementedError: If it is an address, because nothing is downloaded here.
        ValueError: If a data URI is not valid.
    """
    if hasattr(image, "read"):
        return image.read()
    if not isinstance(image, str):
        return image
    if image.lower().startswith(("http://", "https://")):
        raise NotImplementedError("fer_rs downloads nothing; fetch the picture and give its bytes")
    if not image.startswith("data:image/"):
        return image
    try:
        return base64.b64decode(image.split(",", 1)[1], validate=True)
    except (IndexError, binascii.Error) as error:
        raise ValueError("the data URI holds no base64") from error
