"""What an analysis returns: plain dataclasses, which can be compared, copied and pickled.

Coordinates are pixels of the upright picture; x grows to the right and y downwards. Probabilities are from 0 to 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from fer_rs._fer_rs import FaceTable, to_arrow

EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""Names of the seven emotions, in the order of all results."""


class Box(NamedTuple):
    """A bounding box in pixels."""

    x: float
    """Left edge."""
    y: float
    """Top edge."""
    width: float
    height: float


class Landmarks(NamedTuple):
    """Five points as (x, y) in pixels. Left and right are as seen in the picture."""

    left_eye: tuple[float, float]
    right_eye: tuple[float, float]
    nose: tuple[float, float]
    mouth_left: tuple[float, float]
    mouth_right: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Face:
    """A face: where it is and which expression it shows."""

    box: Box
    confidence: float
    """The detector's probability that this is a face."""
    landmarks: Landmarks
    emotions: dict[str, float]
    """The probability of each emotion; they add up to 1. In a video they are smoothed over time."""
    dominant_emotion: str
    """The emotion with the highest probability."""
    uncertain: bool
    """Whether no emotion has more than half of the probability."""
    track_id: int | None = None
    """The same number for one face over all frames of a video; None for a photo."""
    raw_emotions: dict[str, float] | None = None
    """The probabilities of this frame before smoothing; None for a photo."""


@dataclass(frozen=True, slots=True)
class Analysis:
    """Everything about one photo or frame."""

    source: str | None
    """The path as it was given; None for bytes and arrays."""
    width: int | None
    """Width of the upright picture in pixels; None if it could not be analysed."""
    height: int | None
    """Height of the upright picture in pixels; None if it could not be analysed."""
    faces: list[Face]
    """The most confident detection comes first. Empty if no face was found."""
    frame: int | None = None
    """Number of the frame among those that were taken, counted from 1; None for a photo."""
    timestamp_ms: int | None = None
    """Time of the frame in milliseconds since the start of its video; None for a photo."""
    error: str | None = None
    """Why the picture could not be analysed; None if it was. Only `analyze_batch(…, on_error="keep")` sets it."""

    def to_arrow(self) -> FaceTable:
        """The faces as an Arrow table, with one row each, or one row if there is no face or an error."""
        return to_arrow([self])


class Batch(list[Analysis]):
    """The analyses of a batch, in the order of its pictures."""

    def to_arrow(self) -> FaceTable:
        """The rows of all pictures as one Arrow table."""
        return to_arrow(self)
