"""The shims answer in the shapes that `recorded/record.py` recorded from the real packages."""

import base64
import json
import pathlib

import numpy
import pytest
from PIL import Image

from fer_rs.compat import deepface
from fer_rs.compat.fer import FER, InvalidImage

RECORDED = pathlib.Path(__file__).parent / "recorded"
PLAIN = numpy.full((90, 120, 3), 120, numpy.uint8)


def recorded(package):
    return json.loads((RECORDED / f"{package}.json").read_text())


def shape(answer):
    """The answer with types in the place of values, as `recorded/record.py` describes it."""
    if isinstance(answer, dict):
        return {key: shape(value) for key, value in answer.items()}
    if isinstance(answer, (list, tuple, numpy.ndarray)):
        return {type(answer).__name__: [shape(value) for value in answer]}
    return type(answer).__name__


def recorded_shape(value):
    """A recording without its values. DeepFace's numbers of numpy are plain ones here."""
    if isinstance(value, dict):
        return {key: recorded_shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [recorded_shape(item) for item in value]
    return value.split(" ")[0].replace("float32", "float")


@pytest.fixture(scope="module")
def bgr(pixels):
    return pixels[:, :, ::-1].copy()


@pytest.mark.parametrize("detector", ["haar", "mtcnn"])
def test_fer(bgr, sample, detector):
    expected = recorded("fer")[detector]
    fer = FER(mtcnn=detector == "mtcnn")
    assert shape(fer.detect_emotions(bgr)) == recorded_shape(expected["detect_emotions"])
    assert shape(fer.top_emotion(bgr)) == recorded_shape(expected["top_emotion"])
    assert shape(fer.batch_detect_emotions([bgr, PLAIN])) == recorded_shape(expected["batch_detect_emotions"])
    nobody = expected["without a face"]
    assert shape(fer.detect_emotions(PLAIN)) == recorded_shape(nobody["detect_emotions"])
    assert shape(fer.top_emotion(PLAIN)) == recorded_shape(nobody["top_emotion"])
    with pytest.raises(InvalidImage, match="Failed to load image"):
        fer.detect_emotions("missing.jpg")
    # The same face at about the same place, and the same emotion.
    face, theirs = fer.detect_emotions(sample)[0], expected["detect_emotions"]["list"][0]
    sides = [int(side.split(" ")[1]) for side in next(iter(theirs["box"].values()))]
    centre = [place + side / 2 for place, side in zip(face["box"][:2], face["box"][2:])]
    assert centre == pytest.approx([place + side / 2 for place, side in zip(sides[:2], sides[2:])], abs=20)
    assert fer.top_emotion(sample)[0] == "happy"
    assert all(probability == round(probability, 2) for probability in face["emotions"].values())
    assert len(fer.find_faces(bgr)) == 1


def test_fer_refuses_what_it_cannot_do(sample):
    for arguments in ({"cascade_file": "faces.xml"}, {"tfserving": True}):
        with pytest.raises(NotImplementedError):
            FER(**arguments)
    with pytest.raises(NotImplementedError, match="classify"):
        FER().detect_emotions(sample, face_rectangles=[(1, 2, 3, 4)])
    with pytest.raises(NotImplementedError, match="downloads nothing"):
        FER().detect_emotions("https://example.org/photo.jpg")
    assert FER(min_face_size=400).detect_emotions(sample) == []


def test_deepface(bgr, sample):
    expected = recorded("deepface")
    only = {"actions": ["emotion"]}
    answer = deepface.analyze(sample, **only)
    assert shape(answer) == recorded_shape(expected["analyze"])
    assert shape(deepface.analyze([sample, sample], **only)) == recorded_shape(expected["analyze of a list"])
    free = deepface.analyze(PLAIN, enforce_detection=False, **only)
    assert shape(free) == recorded_shape(expected["without a face, not enforced"])
    assert free[0]["region"] == {"x": 0, "y": 0, "w": 119, "h": 89, "left_eye": None, "right_eye": None}
    assert free[0]["face_confidence"] == 0
    for failure, call in {
        "without a face": lambda: deepface.analyze(PLAIN, **only),
        "missing file": lambda: deepface.analyze("missing.jpg", **only),
        "unknown action": lambda: deepface.analyze(sample, actions=["mood"]),
    }.items():
        with pytest.raises(ValueError) as error:
            call()
        assert [kind.__name__ for kind in type(error.value).__mro__[:-3]] == expected[failure]["classes"]
    assert sum(answer[0]["emotion"].values()) == pytest.approx(100, abs=0.01)
    assert answer[0]["dominant_emotion"] == "happy"
    theirs = expected["analyze"]["list"][0]["region"]
    eyes = {name: [int(place.split(" ")[1]) for place in theirs[name]["tuple"]] for name in ("left_eye", "right_eye")}
    for name, place in eyes.items():
        assert answer[0]["region"][name] == pytest.approx(place, abs=12), name
    assert len(deepface.analyze(bgr)) == 1
    uri = "data:image/png;base64," + base64.b64encode(pathlib.Path(sample).read_bytes()).decode()
    with open(sample, "rb") as file:
        assert deepface.analyze(uri) == deepface.analyze(file) == answer
    assert deepface.analyze(numpy.stack([bgr, bgr])) == [deepface.analyze(bgr)] * 2
    whole = deepface.analyze(Image.open(sample), detector_backend="skip")
    assert shape(whole) == recorded_shape(expected["without a face, not enforced"])


def test_deepface_refuses_what_it_cannot_do(sample):
    for arguments in (
        {"actions": ["emotion", "age"]},
        {"actions": "gender"},
        {"expand_percentage": 10},
        {"anti_spoofing": True},
    ):
        with pytest.raises(NotImplementedError, match="fer_rs"):
            deepface.analyze(sample, **arguments)
    for other in (deepface.verify, deepface.represent, deepface.find):
        with pytest.raises(NotImplementedError, match="no persons"):
            other(sample, sample)
    with pytest.raises(ValueError, match="list of strings"):
        deepface.analyze(sample, actions=[])
    with pytest.raises(ValueError, match="base64"):
        deepface.analyze("data:image/png;base64,?")
    with pytest.raises(NotImplementedError, match="downloads nothing"):
        deepface.analyze("http://example.org/photo.jpg")
