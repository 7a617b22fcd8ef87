"""The PyTorch side of examples/bench.lua: one process measures one case in one memory layout.

bench_torch.py NET WORK THREADS WEIGHTS BATCH LAYOUT; see examples/bench.lua for what goes over the pipes.
"""
import json
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

DTYPES = {"F32": torch.float32, "I32": torch.int32, "U8": torch.uint8}


def small_cnn():
    def block(inputs, outputs):
        return [nn.Conv2d(inputs, outputs, 3), nn.BatchNorm2d(outputs), nn.ReLU()]

    model = nn.Module()
    model.backbone = nn.Sequential(*block(3, 16), *block(16, 16), nn.MaxPool2d(2), *block(16, 32), *block(32, 32),
                                   nn.MaxPool2d(2))
    model.linear = nn.Sequential(nn.Linear(512, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, 2))
    model.forward = lambda images: model.linear(torch.flatten(model.backbone(images), 1))
    return model, model.backbone[12]


class Block(nn.Module):
    """Convolutions with batch normalisation (and ReLU but for the last), a shortcut, a ReLU; PyTorch's usual names."""

    def __init__(self, convolutions, shortcut):
        super().__init__()
        self.count = len(convolutions)
        for i, convolution in enumerate(convolutions, 1):
            setattr(self, f"conv{i}", convolution)
            setattr(self, f"bn{i}", nn.BatchNorm2d(convolution.out_channels))
        if isinstance(shortcut, nn.Module):
            self.downsample = shortcut
        self.shortcut = shortcut

    def forward(self, x):
        y = x
        for i in range(1, self.count + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            if i < self.count:
                y = F.relu(y, inplace=True)
        return F.relu(y + self.shortcut(x), inplace=True)


def conv(inputs, outputs, kernel, stride=1):
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)


def resnet32():
    def block(inputs, outputs):
        stride = outputs // inputs
        pad = (outputs - inputs) // 2
        shortcut = (lambda x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, pad, pad))) if stride > 1 else (lambda x: x)
        return Block([conv(inputs, outputs, 3, stride), conv(outputs, outputs, 3)], shortcut)

    model = nn.Module()
    model.conv1, model.bn1 = conv(3, 16, 3), nn.BatchNorm2d(16)
    widths = [16, 16, 32, 64]
    for i in (1, 2, 3):
        setattr(model, f"layer{i}", nn.Sequential(block(widths[i - 1], widths[i]),
                                                  *(block(widths[i], widths[i]) for _ in range(4))))
    model.linear = nn.Linear(64, 10)

    def forward(x):
        x = F.relu(model.bn1(model.conv1(x)), inplace=True)
        x = model.layer3(model.layer2(model.layer1(x)))
        return model.linear(x.mean(dim=(2, 3)))

    model.forward = forward
    return model, model.layer3[4]


def resnet50():
    def block(inputs, width, stride):
        same = inputs == 4 * width and stride == 1
        down = None if same else nn.Sequential(conv(inputs, 4 * width, 1, stride), nn.BatchNorm2d(4 * width))
        return Block([conv(inputs, width, 1), conv(width, width, 3, stride), conv(width, 4 * width, 1)],
                     down or (lambda x: x))

    model = nn.Module()
    model.conv1, model.bn1, inputs = conv(3, 64, 7, 2), nn.BatchNorm2d(64), 64
    for i, (width, depth) in enumerate([(64, 3), (128, 4), (256, 6), (512, 3)], 1):
        blocks = [block(inputs, width, 1 if i == 1 else 2)] + [block(4 * width, width, 1) for _ in range(depth - 1)]
        setattr(model, f"layer{i}", nn.Sequential(*blocks))
        inputs = 4 * width
    model.fc = nn.Linear(2048, 1000)

    def forward(x):
        x = F.max_pool2d(F.relu(model.bn1(model.conv1(x)), inplace=True), 3, 2, 1)
        x = model.layer4(model.layer3(model.layer2(model.layer1(x))))
        return model.fc(x.mean(dim=(2, 3)))

    model.forward = forward
    return model, model.layer4[2]


# Net -> a function that gives the model and the layer whose activations make the masks.
NETS = {"small_cnn": small_cnn, "resnet32": resnet32, "resnet50": resnet50}


def load(path):
    """A safetensors file, so that torch is all this script needs."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        data = bytearray(file.read())
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        start, stop = entry["data_offsets"]
        tensors[name] = torch.frombuffer(data[start:stop], dtype=DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return tensors


def training(model, _, images, labels):
    model.train()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)

    def step():
        optimiser.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimiser.step()
        return loss.item()

    return step


def inference(model, _, images, labels):
    model.eval()

    def step():
        with torch.inference_mode():
            logits = model(images)
        return F.cross_entropy(logits, labels).item()

    return step


def masks(model, layer, images, _):
    """xGradCAM, tau = mu + 2 sigma, nearest upsampling, apply (METHOD's "paper" protocol)."""
    model.eval()
    kept = {}
    layer.register_forward_hook(lambda _, __, output: kept.update(a=output))
    height, width = images.shape[2:]

    def step():
        logits = model(images)
        (g,) = torch.autograd.grad(logits.max(dim=1).values.sum(), kept["a"])
        with torch.no_grad():
            a = kept["a"].detach()
            weights = (g * a / (a.sum(dim=(2, 3), keepdim=True) + 1e-7)).sum(dim=(2, 3), keepdim=True)
            heat = (weights * a).sum(dim=1).clamp(min=0).numpy()
        tau = heat.mean(axis=(1, 2), keepdims=True) + 2 * heat.std(axis=(1, 2), keepdims=True)
        keep = heat <= tau
        rows = np.arange(height) * heat.shape[1] // height
        columns = np.arange(width) * heat.shape[2] // width
        keep = keep[:, rows[:, None], columns[None, :]]
        masked = images * torch.from_numpy(keep)[:, None]
        return masked.mean().item()

    return step


WORKS = {"train": training, "eval": inference, "masks": masks}


def rate(step, seconds):
    """Steps per second, measured as the function of this name in bench.lua does."""
    start = time.monotonic()
    step()
    elapsed, count = time.monotonic() - start, 1
    if elapsed < seconds / 4:
        start, elapsed, count = time.monotonic(), 0, 0
    while elapsed < seconds:
        step()
        count += 1
        elapsed = time.monotonic() - start
    return count / elapsed


def peak_mb():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))


def main():
    net, work, threads, weights, batch, layout = sys.argv[1:]
    torch.set_num_threads(int(threads))
    memory_format = {"nchw": torch.contiguous_format, "channels_last": torch.channels_last}[layout]
    model, layer = NETS[net]()
    model.load_state_dict(load(weights), strict=False)
    model = model.to(memory_format=memory_format)
    data = load(batch)
    images = data["images"].permute(0, 3, 1, 2).contiguous(memory_format=memory_format)
    labels = data["labels"].long() - 1
    step = WORKS[work](model, layer, images, labels)
    print("first", step(), torch.__version__, flush=True)
    for line in sys.stdin:
        if line == "end\n":
            break
        print("rate", rate(step, float(line)) * len(images), flush=True)
    print("peak", peak_mb(), flush=True)


if __name__ == "__main__":
    main()
