# The server that `cargo xtask load` compares fer-serve with, written as small projects do: threaded Flask, facenet-pytorch's
# MTCNN and a six-layer PyTorch network, whose weights do not matter for time.
# Usage: flask_server.py PORT THREADS; 0 threads selects PyTorch's default.
import io
import sys

import numpy
import torch
from facenet_pytorch import MTCNN
from flask import Flask, jsonify, request
from PIL import Image
from torch import nn

port, threads = int(sys.argv[1]), int(sys.argv[2])
if threads:
    torch.set_num_threads(threads)
layers, channels = [], 1
for wide in (64, 128, 256, 512):
    layers += [nn.Conv2d(channels, wide, 3, padding=1, bias=False), nn.BatchNorm2d(wide), nn.ReLU(), nn.MaxPool2d(2)]
    channels = wide
network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(512 * 9, 256), nn.ReLU(), nn.Linear(256, 7)).eval()
mtcnn = MTCNN(keep_all=True, min_face_size=20, post_process=False)
app = Flask(__name__)


@app.get("/healthz")
def healthz():
    return jsonify(status="ok")


@app.post("/v1/analyze")
@torch.no_grad()
def analyze():
    photo = Image.open(io.BytesIO(request.get_data())).convert("RGB")
    boxes, _, _ = mtcnn.detect(photo, landmarks=True)
    faces = []
    for box in [] if boxes is None else boxes:
        grey = photo.crop(tuple(int(side) for side in box)).convert("L").resize((48, 48))
        pixels = torch.from_numpy(numpy.asarray(grey, numpy.float32)).reshape(1, 1, 48, 48) / 255
        shares = torch.softmax(network((pixels - 0.508) / 0.255), 1)[0]
        faces.append({"box": [float(side) for side in box], "emotions": shares.tolist()})
    return jsonify(faces=faces)


app.run("127.0.0.1", port, threaded=True)
