"""Records what the packages `fer` and `deepface` answer, so that the tests of `fer_rs.compat` need neither.

    pip install fer==25.10.3        # in one virtual environment
    python record.py fer PHOTO fer.json
    pip install deepface==0.0.103   # in another
    python record.py deepface PHOTO deepface.json

PHOTO is `assets/samples/astronaut.png`. The names of the types stand beside the values. DeepFace downloads its networks when they are
first used. Where it cannot, its emotion network is replaced here by fixed scores, which changes nothing of the answer's shape.
"""

import json
import sys

import numpy


def described(value):
    """The value with the names of its types: `"float 0.5"`, `{"tuple": [...]}`; a dict as it is."""
    kind = type(value).__name__
    if type(value) is dict:
        return {key: described(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, numpy.ndarray)):
        return {kind: [described(item) for item in value]}
    return f"{kind} {value}"


def failure(call):
    """The exception's classes, the nearest first, and its message."""
    try:
        call()
    except Exception as error:
        return {"classes": [kind.__name__ for kind in type(error).__mro__[:-3]], "message": str(error)}
    return None


def record_fer(photo):
    import cv2
    import fer
    from fer.fer import FER

    pixels, plain = cv2.imread(photo), numpy.full((90, 120, 3), 120, numpy.uint8)
    recorded = {"version": fer.__version__}
    for name, detector in (("haar", FER()), ("mtcnn", FER(mtcnn=True))):
        recorded[name] = {
            "detect_emotions": described(detector.detect_emotions(pixels)),
            "top_emotion": described(detector.top_emotion(pixels)),
            "batch_detect_emotions": described(detector.batch_detect_emotions([pixels, plain])),
            "without a face": {
                "detect_emotions": described(detector.detect_emotions(plain)),
                "top_emotion": described(detector.top_emotion(plain)),
            },
            "missing file": failure(lambda: detector.detect_emotions("missing.jpg")),
        }
    return recorded


class Fixed:
    """Stands in for DeepFace's emotion network."""

    def predict(self, _):
        return numpy.array([0.02, 0.01, 0.03, 0.7, 0.04, 0.05, 0.15], numpy.float32)


def record_deepface(photo):
    import deepface
    from deepface import DeepFace
    from deepface.modules import modeling

    weights = "its own"
    try:
        modeling.build_model(task="facial_attribute", model_name="Emotion")
    except ValueError:
        weights, build_model = "fixed scores", modeling.build_model
        modeling.build_model = lambda task, **name: (
            Fixed() if task == "facial_attribute" else build_model(task=task, **name)
        )
    plain = numpy.full((90, 120, 3), 120, numpy.uint8)
    only = {"actions": ["emotion"]}
    return {
        "version": deepface.__version__,
        "emotion network": weights,
        "analyze": described(DeepFace.analyze(photo, **only)),
        "analyze of a list": described(DeepFace.analyze([photo, photo], **only)),
        "without a face": failure(lambda: DeepFace.analyze(plain, **only)),
        "without a face, not enforced": described(DeepFace.analyze(plain, enforce_detection=False, **only)),
        "missing file": failure(lambda: DeepFace.analyze("missing.jpg", **only)),
        "unknown action": failure(lambda: DeepFace.analyze(photo, actions=["mood"])),
    }


if __name__ == "__main__":
    package, photo, output = sys.argv[1:]
    recorded = {"fer": record_fer, "deepface": record_deepface}[package](photo)
    with open(output, "w") as file:
        json.dump(recorded, file, indent=1)
        file.write("\n")
