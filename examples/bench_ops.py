"""The PyTorch side of examples/bench_ops.lua.

bench_ops.py FOLDER: FOLDER has a safetensors file for each size. Prints PyTorch's version; answers each line
"operation<TAB>direction<TAB>size<TAB>threads<TAB>seconds" on its standard input with the seconds of one step, the sum
of the result's values and that of their magnitudes. Positions count from 1 in the result's sum, as masktune's do.
"""
import os
import sys
import time

import torch
import torch.nn.functional as F

from bench_torch import load

OPERATIONS = {
    "exp": lambda d: torch.exp(d.x),
    "log": lambda d: torch.log(d.positive),
    "sqrt": lambda d: torch.sqrt(d.positive),
    "tanh": lambda d: torch.tanh(d.x),
    "sigmoid": lambda d: torch.sigmoid(d.x),
    "gelu": lambda d: F.gelu(d.x),
    "silu": lambda d: F.silu(d.x),
    "relu": lambda d: torch.relu(d.x),
    "erf": lambda d: torch.erf(d.x),
    "sin": lambda d: torch.sin(d.x),
    "abs": lambda d: torch.abs(d.x),
    "clamp": lambda d: torch.clamp(d.x, -1, 1),
    "pow": lambda d: d.positive ** 2.5,
    "add": lambda d: d.x + d.y,
    "multiply": lambda d: d.x * d.y,
    "divide": lambda d: d.x / d.positive,
    "add number": lambda d: d.x + 1.5,
    "add row": lambda d: d.x + d.row,
    "multiply column": lambda d: d.x * d.column,
    "maximum": lambda d: torch.maximum(d.x, d.y),
    "less": lambda d: torch.lt(d.x, d.y),
    "where": lambda d: torch.where(d.mask, d.x, d.y),
    "sum": lambda d: d.x.sum(),
    "sum over axis 1": lambda d: d.x.sum(0),
    "sum over axis 2": lambda d: d.x.sum(1),
    "mean of middle axis": lambda d: d.cube.mean(1),
    "max": lambda d: d.x.amax(),
    "max over axis 1": lambda d: d.x.max(0)[0],
    "max over axis 2": lambda d: d.x.max(1)[0],
    "argmax over axis 2": lambda d: d.x.argmax(1),
    "var over axis 1": lambda d: d.x.var(0),
    "var over axis 2": lambda d: d.x.var(1),
    "norm": lambda d: torch.linalg.vector_norm(d.x),
    "logsumexp": lambda d: torch.logsumexp(d.x, 1),
    "softmax": lambda d: torch.softmax(d.x, 1),
    "softmax over axis 1": lambda d: torch.softmax(d.x, 0),
    "log_softmax": lambda d: torch.log_softmax(d.x, 1),
    "cross_entropy": lambda d: F.cross_entropy(d.x, d.rows),
    "transpose": lambda d: d.x.t().contiguous(),
    "permute": lambda d: d.cube.permute(2, 0, 1).contiguous(),
    "cat": lambda d: torch.cat([d.x, d.y], 1),
    "stack": lambda d: torch.stack([d.x, d.y]),
    "index rows": lambda d: d.x[d.rows],
    "gather": lambda d: torch.gather(d.x, 1, d.index),
    "cumsum over axis 1": lambda d: torch.cumsum(d.x, 0),
    "cumsum over axis 2": lambda d: torch.cumsum(d.x, 1),
    "sort": lambda d: torch.sort(d.x, 1)[0],
    "topk": lambda d: torch.topk(d.x, 5, 1)[0],
    "matmul": lambda d: d.x @ d.y,
    "matrix and vector": lambda d: d.x @ d.row,
    "batched matmul": lambda d: d.batch @ d.other_batch,
    "linear": lambda d: F.linear(d.x, d.y, d.row),
    "layer_norm": lambda d: F.layer_norm(d.x, d.row.shape, d.row, d.row),
    "conv2d 1x1": lambda d: F.conv2d(d.image, d.kernel1),
    "conv2d 3x3": lambda d: F.conv2d(d.image, d.kernel3, padding=1),
    "conv2d 5x5": lambda d: F.conv2d(d.image, d.kernel5, padding=2),
    "conv2d 7x7/2": lambda d: F.conv2d(d.image, d.kernel7, padding=3, stride=2),
    "max_pool2d": lambda d: F.max_pool2d(d.image, 2),
    "dropout": lambda d: F.dropout(d.x, 0.5),
    "rand": lambda d: torch.rand(d.x.shape),
    "randn": lambda d: torch.randn(d.x.shape),
}

# What an operation is differentiated with respect to, where that is not x.
INPUTS = {
    **{name: ["positive"] for name in ("log", "sqrt", "pow")},
    **{name: ["x", "y"] for name in ("add", "multiply", "maximum", "where", "cat", "stack", "matmul")},
    "divide": ["x", "positive"],
    "add row": ["x", "row"],
    "multiply column": ["x", "column"],
    "mean of middle axis": ["cube"],
    "permute": ["cube"],
    "matrix and vector": ["x", "row"],
    "batched matmul": ["batch", "other_batch"],
    "linear": ["x", "y", "row"],
    "layer_norm": ["x", "row"],
    "conv2d 1x1": ["image", "kernel1"],
    "conv2d 3x3": ["image", "kernel3"],
    "conv2d 5x5": ["image", "kernel5"],
    "conv2d 7x7/2": ["image", "kernel7"],
    "max_pool2d": ["image"],
}


class Data:
    """The tensors of one size, with PyTorch's positions and axes; images and kernels in its channels_last."""

    def __init__(self, path):
        for name, tensor in load(path).items():
            if name in ("index", "rows"):
                tensor = tensor.long() - 1
            elif name == "mask":
                tensor = tensor.bool()
            elif name == "image":
                tensor = tensor.permute(0, 3, 1, 2)
            elif name.startswith("kernel"):
                tensor = tensor.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)
            setattr(self, name, tensor.detach())


def prepare(name, direction, data):
    """The step to repeat, a function that gives what it computed last, and one that leaves no traces."""
    f = OPERATIONS[name]
    if direction == "forward":
        def forward():
            return f(data)

        return forward, forward, lambda: None
    inputs = [getattr(data, key) for key in INPUTS.get(name, ["x"])]
    for tensor in inputs:
        tensor.requires_grad_(True)
    gradient = torch.ones_like(f(data))

    def step():
        for tensor in inputs:
            tensor.grad = None
        f(data).backward(gradient)

    def result():
        step()
        return inputs[0].grad

    def finish():
        for tensor in inputs:
            tensor.grad = None
            tensor.requires_grad_(False)

    return step, result, finish


def shortest(step, seconds):
    """Seconds of one step, measured as the function of this name in bench_ops.lua does."""
    clock, count, best = time.perf_counter, 1, float("inf")
    end = clock() + seconds
    while True:
        start = clock()
        for _ in range(count):
            step()
        now = clock()
        best = min(best, (now - start) / count)
        if now - start < 1e-3:
            count *= 2
        if now >= end:
            return best


def summary(tensor):
    tensor = tensor.detach()
    if tensor.dtype == torch.int64:
        tensor = tensor + 1
    tensor = tensor.double()
    return tensor.sum().item(), tensor.abs().sum().item()


def main():
    folder, = sys.argv[1:]
    data, summaries = {}, {}
    print(torch.__version__, flush=True)
    for line in sys.stdin:
        name, direction, size, threads, seconds = line.rstrip("\n").split("\t")
        torch.set_num_threads(int(threads))
        if size not in data:
            data[size] = Data(os.path.join(folder, size))
        with torch.set_grad_enabled(direction == "backward"):
            step, result, finish = prepare(name, direction, data[size])
            if (name, direction, size) not in summaries:
                summaries[name, direction, size] = summary(result())
            best = shortest(step, float(seconds))
            finish()
        print(best, *summaries[name, direction, size], flush=True)


if __name__ == "__main__":
    main()
