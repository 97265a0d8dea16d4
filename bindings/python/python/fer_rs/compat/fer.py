"""`FER` as the package `fer` (25.10) has it. Change `from fer.fer import FER` to `from fer_rs.compat.fer import FER`.

Arrays are BGR, as OpenCV gives them. Detector and network are those of `fer_rs`.
"""

from __future__ import annotations

from typing import Any

import numpy

from fer_rs import Analysis
from fer_rs.compat._pictures import analyzer, picture


class InvalidImage(Exception):
    """The picture cannot be read, as `fer.exceptions.InvalidImage`."""


class FER:
    """Finds faces and their emotions.

    Args:
        cascade_file: Not supported.
        mtcnn: Whether boxes are lists, as with fer's MTCNN, or numpy arrays, as with its Haar cascade. The detector is the same.
        tfserving: Not supported.
        min_face_size: Without mtcnn, faces whose longer side has fewer pixels are left out.

    The other arguments belong to fer's detector and network and change nothing.
    """

    def __init__(
        self,
        cascade_file: str | None = None,
        mtcnn: bool = False,
        tfserving: bool = False,
        use_tflite: bool = True,
        scale_factor: float = 1.1,
        min_face_size: int = 50,
        min_neighbors: int = 5,
        offsets: tuple[int, int] = (10, 10),
    ) -> None:
        if cascade_file is not None:
            raise NotImplementedError("fer_rs has its own detector and reads no cascade_file")
        if tfserving:
            raise NotImplementedError("fer_rs runs its network in this process and does not call TensorFlow Serving")
        self._mtcnn = mtcnn
        self._min_side = 0 if mtcnn else min_face_size

    def detect_emotions(self, img: Any, face_rectangles: Any = None) -> list[dict[str, Any]]:
        """The faces of a picture: `[{"box": [x, y, width, height], "emotions": {"angry": 0.02, …}}]`.

        Args:
            img: A path, a data URI, or a numpy array of uint8 in BGR.
            face_rectangles: Not supported.

        Raises:
            InvalidImage: If the picture cannot be read.
        """
        if face_rectangles is not None:
            raise NotImplementedError(
                "fer_rs finds the faces itself; for a face that is cut out already there is fer_rs.Analyzer().classify"
            )
        try:
            analysis = analyzer().analyze(picture(img), bgr=True)
        except (OSError, TypeError, ValueError) as error:
            raise InvalidImage(f"Failed to load image: {error}") from error
        return self._faces(analysis)

    def batch_detect_emotions(self, imgs: list[Any]) -> list[list[dict[str, Any]]]:
        """`detect_emotions` for each picture of a list, on all threads."""
        try:
            analyses = analyzer().analyze_batch(map(picture, imgs), bgr=True)
        except (OSError, TypeError, ValueError) as error:
            raise InvalidImage(f"Failed to load image: {error}") from error
        return [self._faces(analysis) for analysis in analyses]

    def find_faces(self, img: Any, bgr: bool = True) -> list[Any]:
        """The boxes of the faces."""
        return [face["box"] for face in self._faces(analyzer().analyze(picture(img), bgr=bgr))]

    def top_emotion(self, img: Any) -> tuple[str | None, float | None]:
        """The emotion with the highest probability of the first face, and that probability; `(None, None)` without a face."""
        faces = self.detect_emotions(img)
        if not faces:
            return None, None
        emotions: dict[str, float] = faces[0]["emotions"]
        return max(emotions.items(), key=lambda item: item[1])

    def _faces(self, analysis: Analysis) -> list[dict[str, Any]]:
        faces = []
        for face in analysis.faces:
            box: Any = [round(side) for side in face.box]
            if max(box[2:]) < self._min_side:
                continue
            if not self._mtcnn:
                box = numpy.array(box, numpy.int32)
            emotions = {emotion: round(probability, 2) for emotion, probability in face.emotions.items()}
            faces.append({"box": box, "emotions": emotions})
        return faces
