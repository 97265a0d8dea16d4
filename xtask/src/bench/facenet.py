# Times facenet-pytorch's MTCNN on one photo and one thread, and prints one JSON object. Run by `cargo xtask bench`:
# facenet.py PHOTO REPETITIONS
import json
import statistics
import sys
import time

import torch
from facenet_pytorch import MTCNN
from PIL import Image

torch.set_num_threads(1)
photo, repeat = Image.open(sys.argv[1]).convert("RGB"), int(sys.argv[2])
mtcnn = MTCNN(keep_all=True, min_face_size=20, post_process=False)
times = []
for run in range(repeat + 3):
    started = time.perf_counter()
    boxes, _, _ = mtcnn.detect(photo, landmarks=True)
    if run >= 3:
        times.append(1000 * (time.perf_counter() - started))
print(json.dumps({"faces": len(boxes), "detect_ms": statistics.median(times)}))
