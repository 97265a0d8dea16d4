# Times another package on the first photos of a folder or the first frames of a video, and prints one JSON object. Run by
# `cargo xtask bench`: tables.py PEER INPUT COUNT; PEER is fer, deepface or facenet, COUNT the number of photos or frames.
import itertools
import json
import os
import pathlib
import sys
import tempfile
import time

# fer loads TensorFlow before PyTorch, and the two work together only in the other order.
import facenet_pytorch  # noqa: F401
import cv2

peer, source, count = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3])
# What the packages print is no part of the answer.
answer, sys.stdout = sys.stdout, sys.stderr
temporary = tempfile.TemporaryDirectory()
note = None


def pictures():
    if source.is_dir():
        paths = sorted(map(str, source.iterdir()))
        yield from map(cv2.imread, paths[:count])
    else:
        video = cv2.VideoCapture(str(source))
        for _ in range(count):
            yield video.read()[1]


def loop():
    return sum(len(analyze(picture)) for picture in pictures())


def fer_video():
    from fer.classes import Video

    # Without these arguments it also draws into a copy of the video and of each frame.
    files = dict(save_frames=False, save_video=False, annotate_frames=False, zip_images=False)
    video = Video(str(source), outdir=temporary.name)
    return len(video.analyze(detector, display=False, output="pandas", max_results=count, **files))


def deepface():
    global note
    weights = pathlib.Path(os.environ.get("DEEPFACE_HOME", pathlib.Path.home()), ".deepface/weights")
    if not list(weights.glob("facial_expression_model_weights.*")):
        # DeepFace downloads them from GitHub. Random ones take as long.
        os.environ.update(DEEPFACE_HOME=temporary.name, DEEPFACE_BACKEND_ENGINE="tensorflow")
        from deepface.commons import weight_utils

        weight_utils.download_weights_if_necessary = lambda **_: ""
        weight_utils.load_model_weights = lambda model, weight_file: model
        note = "its emotion network has random weights, because its own are not on this machine"
    from deepface import DeepFace

    return lambda picture: DeepFace.analyze(picture, actions=["emotion"], enforce_detection=False, silent=True)


run = loop
if peer == "fer":
    from fer.fer import FER

    detector = FER(mtcnn=True)
    analyze = detector.detect_emotions
    run = loop if source.is_dir() else fer_video
elif peer == "deepface":
    analyze = deepface()
else:
    from facenet_folder import analyze as analyze_photo
    from PIL import Image

    analyze = lambda picture: analyze_photo(Image.fromarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)))

# The first picture takes longer.
for picture in itertools.islice(pictures(), 2):
    analyze(picture)
started = time.perf_counter()
faces = run()
seconds = time.perf_counter() - started
assert faces >= count, f"it found {faces} faces in {count} pictures"
print(json.dumps({"per_second": count / seconds, "note": note}), file=answer)
