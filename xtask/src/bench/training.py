# Times training steps of a network from configs/models in PyTorch (f32, channels_last) and prints one JSON object. Run by
# `cargo xtask bench`: training.py MODEL.json BATCH STEPS THREADS
import json
import sys
import time

import torch
from torch import nn

spec, batch, steps = json.load(open(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(int(sys.argv[4]))
torch.manual_seed(1)
channels, side = spec["input"]["channels"], spec["input"]["height"]
features, layers = 0, []
for layer in spec["layers"]:
    kind = layer["kind"]
    if kind == "conv":
        padding = layer["kernel"] // 2 if layer.get("padding", "same") == "same" else 0
        bias = layer.get("bias", True)
        layers.append(nn.Conv2d(channels, layer["channels"], layer["kernel"], padding=padding, bias=bias))
        channels, side = layer["channels"], side + 2 * padding - layer["kernel"] + 1
    elif kind == "batch_norm":
        layers.append(nn.BatchNorm1d(features) if features else nn.BatchNorm2d(channels))
    elif kind == "relu":
        layers.append(nn.ReLU())
    elif kind == "max_pool":
        layers.append(nn.MaxPool2d(layer["size"]))
        side //= layer["size"]
    elif kind == "flatten":
        layers.append(nn.Flatten())
        features = channels * side * side
    elif kind == "dropout":
        layers.append(nn.Dropout(layer["rate"]))
    elif kind == "dense":
        layers.append(nn.Linear(features, layer["units"], bias=layer.get("bias", True)))
        features = layer["units"]
    else:
        sys.exit(f"this script does not support the layer kind {kind}")
network = nn.Sequential(*layers).to(memory_format=torch.channels_last)
optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)
loss = nn.CrossEntropyLoss(label_smoothing=0.1)
side = spec["input"]["height"]
faces = torch.randn(batch, spec["input"]["channels"], side, side).to(memory_format=torch.channels_last)
labels = torch.randint(0, features, (batch,))
for step in range(steps + 3):
    if step == 3:
        started = time.perf_counter()
    optimizer.zero_grad()
    loss(network(faces), labels).backward()
    optimizer.step()
parameters = sum(parameter.numel() for parameter in network.parameters())
seconds = time.perf_counter() - started
print(json.dumps({"images_per_second": batch * steps / seconds, "parameters": parameters}))
