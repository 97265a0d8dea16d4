"""Facial expression recognition: finds faces in photos, videos and Arrow batches and guesses their expressions.

>>> import fer_rs
>>> analyzer = fer_rs.Analyzer()
>>> for face in analyzer.analyze("photo.jpg").faces:
...     print(face.dominant_emotion, face.emotions, face.box)

The values are guesses at the labels that people would give to expressions. They are often wrong, error rates differ between groups
of people, and they say nothing about what somebody feels.
"""

from fer_rs._fer_rs import Analyzer, FaceTable, Video, __version__, to_arrow
from fer_rs._results import EMOTIONS, Analysis, Batch, Box, Face, Landmarks
from fer_rs._spark import SPARK_SCHEMA

__all__ = [
    "EMOTIONS",
    "SPARK_SCHEMA",
    "Analysis",
    "Analyzer",
    "Batch",
    "Box",
    "Face",
    "FaceTable",
    "Landmarks",
    "Video",
    "__version__",
    "to_arrow",
]
