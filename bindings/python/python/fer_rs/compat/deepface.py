"""`analyze` as `DeepFace.analyze` of the package `deepface` (0.0.103) has it, for the action `emotion`.

Change `from deepface import DeepFace` to `from fer_rs.compat import deepface as DeepFace`. Arrays are BGR, as OpenCV gives them.
Detector and network are those of `fer_rs`. Scores are plain floats where DeepFace has numpy's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy

from fer_rs import Analysis, Face
from fer_rs.compat._pictures import analyzer, picture

_OTHER_ACTIONS = ("age", "gender", "race")


class FaceNotDetected(ValueError):
    """The picture has no face, as `deepface.modules.exceptions.FaceNotDetected`."""


class ImgNotFound(ValueError):
    """The file cannot be read, as `deepface.modules.exceptions.ImgNotFound`."""


class UnimplementedError(ValueError):
    """DeepFace knows no such action, as `deepface.modules.exceptions.UnimplementedError`."""


def analyze(
    img_path: Any,
    actions: str | Sequence[str] = ("emotion",),
    enforce_detection: bool = True,
    detector_backend: str = "opencv",
    align: bool = True,
    expand_percentage: int = 0,
    silent: bool = False,
    anti_spoofing: bool = False,
) -> list[Any]:
    """The faces of a picture, with scores from 0 to 100.

    Args:
        img_path: A path, a data URI, a binary file, a numpy array of uint8 in BGR, or a list of these, which all threads analyse.
        actions: Only "emotion", which is the default here.
        enforce_detection: Without a face, raise FaceNotDetected; otherwise classify the whole picture, with a confidence of 0.
        detector_backend: "skip" classifies the whole picture. All other names mean the detector of fer_rs.
        align: Changes nothing: the network of fer_rs is trained on faces that are not aligned.
        expand_percentage: Only 0.
        silent: Changes nothing.
        anti_spoofing: Only False.

    Returns:
        A dict for each face with the keys emotion, dominant_emotion, region and face_confidence; for a list of pictures, a list of
        these lists.

    Raises:
        FaceNotDetected: If a picture has no face.
        ImgNotFound: If a file cannot be read.
        NotImplementedError: For what fer_rs does not do, such as the action "age".
    """
    _check(actions, expand_percentage, anti_spoofing)
    many = isinstance(img_path, list) or (isinstance(img_path, numpy.ndarray) and img_path.ndim == 4)
    pictures = [picture(image) for image in (img_path if many else [img_path])]
    if detector_backend == "skip":
        answers = [[_whole(image)] for image in pictures]
    else:
        analyses = _analyses(pictures)
        answers = [_answer(image, analysis, enforce_detection) for image, analysis in zip(pictures, analyses)]
    return answers if many else answers[0]


def _check(actions: str | Sequence[str], expand_percentage: int, anti_spoofing: bool) -> None:
    for action in (actions,) if isinstance(actions, str) else actions:
        if action in _OTHER_ACTIONS:
            raise NotImplementedError(f'fer_rs does not do the action "{action}"; give actions=["emotion"]')
        if action != "emotion":
            raise UnimplementedError(f"Invalid action passed ({action!r}). The only valid action is `emotion`.")
    if not actions:
        raise ValueError("`actions` must be a list of strings.")
    if expand_percentage:
        raise NotImplementedError("fer_rs cuts faces out as its network was trained; expand_percentage must be 0")
    if anti_spoofing:
        raise NotImplementedError("fer_rs has no anti-spoofing; anti_spoofing must be False")


def _analyses(pictures: list[Any]) -> list[Analysis]:
    try:
        return analyzer().analyze_batch(pictures, bgr=True)
    except OSError as error:
        raise ImgNotFound(f"Confirm that {error.filename or error} exists") from error


def _answer(image: Any, analysis: Analysis, enforce_detection: bool) -> list[dict[str, Any]]:
    if analysis.faces:
        return [_face(face, analysis) for face in analysis.faces]
    if enforce_detection:
        raise FaceNotDetected(
            f"Face could not be detected in {analysis.source or 'the picture'}. Please confirm that the picture is a face photo or "
            "consider to set enforce_detection param to False."
        )
    return [_whole(image, analysis)]


def _face(face: Face, analysis: Analysis) -> dict[str, Any]:
    assert analysis.width and analysis.height
    x, y, width, height = (round(side) for side in face.box)
    x, y = max(0, x), max(0, y)
    # DeepFace names the eyes as the person has them, fer_rs as they are seen in the picture.
    left, right = face.landmarks.right_eye, face.landmarks.left_eye
    region = {
        "x": x,
        "y": y,
        "w": min(analysis.width - x - 1, width),
        "h": min(analysis.height - y - 1, height),
        "left_eye": (round(left[0]), round(left[1])),
        "right_eye": (round(right[0]), round(right[1])),
    }
    return _scores(face.emotions) | {"region": region, "face_confidence": round(face.confidence, 2)}


def _whole(image: Any, analysis: Analysis | None = None) -> dict[str, Any]:
    """The whole picture as one face."""
    try:
        analysis = analysis or analyzer().analyze(image, bgr=True)
        emotions = analyzer().classify(image, bgr=True)
    except OSError as error:
        raise ImgNotFound(f"Confirm that {error.filename or error} exists") from error
    assert analysis.width and analysis.height
    size = {"w": analysis.width - 1, "h": analysis.height - 1}
    region = {"x": 0, "y": 0, **size, "left_eye": None, "right_eye": None}
    return _scores(emotions) | {"region": region, "face_confidence": 0.0}


def _scores(emotions: dict[str, float]) -> dict[str, Any]:
    scores = {emotion: 100 * probability for emotion, probability in emotions.items()}
    return {"emotion": scores, "dominant_emotion": max(scores, key=scores.__getitem__)}


def _other(name: str) -> Any:
    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise NotImplementedError(f"fer_rs recognises expressions and no persons: it has no {name}")

    return refuse


verify, find, represent, stream, extract_faces, build_model = map(
    _other, ("verify", "find", "represent", "stream", "extract_faces", "build_model")
)
