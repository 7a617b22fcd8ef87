"""The other side of examples/bench.lua: one process measures one case with one rival.

bench_torch.py NET WORK THREADS WEIGHTS BATCH RIVAL; see examples/bench.lua for what goes over the pipes.
bench_torch.py --rivals prints the names of the rivals that are installed here.

nchw and channels_last are PyTorch as it runs by itself (eager), in its two memory layouts; compile is torch.compile in
channels_last, frozen for inference; onnxruntime and openvino run the same net after its export, in float32.
"""
import importlib.util
import json
import os
import shutil
import sys
import tempfile
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


class Same(nn.Conv2d):
    """Padded so that the output has ceil(size / stride) pixels; what is uneven goes right and below (TensorFlow)."""

    def forward(self, x):
        pads = []
        for axis in (3, 2):
            size, kernel, stride = x.shape[axis], self.kernel_size[axis - 2], self.stride[axis - 2]
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        if pads[0] == pads[1] == pads[2] == pads[3]:
            return F.conv2d(x, self.weight, None, self.stride, pads[0], 1, self.groups)
        return F.conv2d(F.pad(x, pads), self.weight, None, self.stride, 0, 1, self.groups)


class Inverted(nn.Module):
    """Wider, depthwise, narrower; beside a shortcut where nothing changes shape."""

    def __init__(self, inputs, outputs, kernel, stride, expand):
        super().__init__()
        inside = inputs * expand
        if expand > 1:
            self._expand_conv, self._bn0 = conv(inputs, inside, 1), norm(inside)
        self._depthwise_conv = Same(inside, inside, kernel, stride, groups=inside, bias=False)
        self._bn1 = norm(inside)
        self._project_conv, self._bn2 = conv(inside, outputs, 1), norm(outputs)
        self.expands, self.adds = expand > 1, stride == 1 and inputs == outputs

    def forward(self, x):
        y = F.relu6(self._bn0(self._expand_conv(x)), inplace=True) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)), inplace=True)
        y = self._bn2(self._project_conv(y))
        return x + y if self.adds else y


def norm(channels):
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def efficientnet_lite0():
    stages = [(1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112),
              (4, 5, 2, 6, 192), (1, 3, 1, 6, 320)]
    model, blocks, inputs = nn.Module(), [], 32
    model._conv_stem, model._bn0 = Same(3, 32, 3, 2, bias=False), norm(32)
    for count, kernel, stride, expand, width in stages:
        for i in range(count):
            blocks.append(Inverted(inputs, width, kernel, stride if i == 0 else 1, expand))
            inputs = width
    model._blocks = nn.Sequential(*blocks)
    model._conv_head, model._bn1, model._relu1 = conv(320, 1280, 1), norm(1280), nn.ReLU6()
    model._fc = nn.Linear(1280, 1000)

    def forward(x):
        x = model._blocks(F.relu6(model._bn0(model._conv_stem(x)), inplace=True))
        x = model._relu1(model._bn1(model._conv_head(x)))
        return model._fc(x.mean(dim=(2, 3)))

    model.forward = forward
    return model, model._relu1


# Net -> a function that gives the model and the layer whose activations make the masks.
NETS = {"small_cnn": small_cnn, "resnet32": resnet32, "resnet50": resnet50, "efficientnet_lite0": efficientnet_lite0}


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


class Whole(nn.Module):
    """The net as a module whose forward is a method, which is what compilers and exporters look at."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, images):
        return self.net(images)


def eager(model, _, __):
    return model


def compiled(model, _, __):
    import torch._inductor.config as inductor

    inductor.freezing = not model.training
    if os.environ.get("MASKTUNE_ISA") == "avx2":
        inductor.cpp.simdlen = 256
    return torch.compile(Whole(model))


def by_onnxruntime(model, images, threads):
    import onnxruntime

    images = images.contiguous()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "net.onnx")
        torch.onnx.export(Whole(model), (images,), path, dynamo=False, opset_version=17)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name, pixels = session.get_inputs()[0].name, images.numpy()
    return lambda _: torch.from_numpy(session.run(None, {name: pixels})[0])


def by_openvino(model, images, threads):
    import openvino

    images = images.contiguous()
    net = openvino.convert_model(Whole(model), example_input=images)
    net.reshape(list(images.shape))
    request = openvino.Core().compile_model(net, "CPU", {
        "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY",
    }).create_infer_request()
    pixels = images.numpy()
    return lambda _: torch.from_numpy(request.infer([pixels])[0])


# Rival -> what makes of a model a function of images; and what it needs beside torch: a module, or one of some programs.
RIVALS = {
    "nchw": (eager, None),
    "channels_last": (eager, None),
    "compile": (compiled, ("c++", "g++", "clang++")),
    "onnxruntime": (by_onnxruntime, "onnxruntime"),
    "openvino": (by_openvino, "openvino"),
}


def is_installed(needs):
    if isinstance(needs, str):
        return importlib.util.find_spec(needs) is not None
    return needs is None or any(shutil.which(program) for program in needs)


def training(model, _, images, labels, prepare):
    model.train()
    net = prepare(model, images)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)

    def step():
        optimiser.zero_grad()
        loss = F.cross_entropy(net(images), labels)
        loss.backward()
        optimiser.step()
        return loss.item()

    return step


def inference(model, _, images, labels, prepare):
    model.eval()
    net = prepare(model, images)

    def step():
        with torch.no_grad():
            logits = net(images)
        return F.cross_entropy(logits, labels).item()

    return step


def masks(model, layer, images, _, __):
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


WORKS = {"train": training, "eval": inference, "latency": inference, "masks": masks}


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
    if sys.argv[1] == "--rivals":
        print(*(name for name, (_, needs) in RIVALS.items() if is_installed(needs)))
        return
    net, work, threads, weights, batch, rival = sys.argv[1:]
    torch.set_num_threads(int(threads))
    memory_format = torch.contiguous_format if rival == "nchw" else torch.channels_last
    model, layer = NETS[net]()
    model.load_state_dict(load(weights), strict=False)
    model = model.to(memory_format=memory_format)
    data = load(batch)
    images = data["images"].permute(0, 3, 1, 2).contiguous(memory_format=memory_format)
    labels = data["labels"].long() - 1
    make = RIVALS[rival][0]
    step = WORKS[work](model, layer, images, labels, lambda *given: make(*given, int(threads)))
    print("first", step(), torch.__version__, flush=True)
    for line in sys.stdin:
        if line == "end\n":
            break
        print("rate", rate(step, float(line)) * len(images), flush=True)
    print("peak", peak_mb(), flush=True)


if __name__ == "__main__":
    main()
