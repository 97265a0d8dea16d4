# Times a loop over a folder of photos with facenet-pytorch's MTCNN and a six-layer PyTorch network, whose weights do not matter for
# time, on all cores. Prints one JSON object. Run by `cargo xtask bench`: facenet_folder.py FOLDER SHARE; of SHARE photos one is taken.
import json
import pathlib
import sys
import time

import numpy
import torch
from facenet_pytorch import MTCNN
from PIL import Image
from torch import nn

layers, channels = [], 1
for wide in (64, 128, 256, 512):
    layers += [nn.Conv2d(channels, wide, 3, padding=1, bias=False), nn.BatchNorm2d(wide), nn.ReLU(), nn.MaxPool2d(2)]
    channels = wide
network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(512 * 9, 256), nn.ReLU(), nn.Linear(256, 7)).eval()
mtcnn = MTCNN(keep_all=True, min_face_size=20, post_process=False)


@torch.no_grad()
def analyze(photo):
    boxes, _, _ = mtcnn.detect(photo, landmarks=True)
    crops = [photo.crop(tuple(map(int, box))).convert("L").resize((48, 48)) for box in ([] if boxes is None else boxes)]
    if not crops:
        return []
    pixels = torch.from_numpy(numpy.stack([numpy.asarray(crop, numpy.float32) for crop in crops])[:, None]) / 255
    return torch.softmax(network((pixels - 0.508) / 0.255), 1).tolist()


if __name__ == "__main__":
    paths = sorted(pathlib.Path(sys.argv[1]).iterdir())[:: int(sys.argv[2])]
    for path in paths[:3]:
        analyze(Image.open(path).convert("RGB"))
    started = time.perf_counter()
    for path in paths:
        analyze(Image.open(path).convert("RGB"))
    print(json.dumps({"photos_per_second": len(paths) / (time.perf_counter() - started)}))
