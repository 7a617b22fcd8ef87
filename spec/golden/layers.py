"""What PyTorch's layers compute: for spec/golden/generate_layers.py and spec/oracle/layers_case.py.

A case has `x`, the shape of the input (images N,H,W,C; with `rows`: indices 1..rows), `layers`, a list of {layer, args,
options} as masktune's constructors take them, run one after the other, and `train`. Inputs and results are in masktune's
layouts, state dicts and the gradients of parameters in PyTorch's. spec/oracle/layers.lua is the other side."""
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from reference import MARGIN, array, nchw, nhwc

# ---- masktune's arguments to PyTorch's modules ----


class PaddedConv2d(nn.Conv2d):
    """Padding that differs from side to side: fixed, (left, right, top, bottom), or TensorFlow's "SAME" (None)."""

    def __init__(self, *args, sides, **kwargs):
        super().__init__(*args, **kwargs)
        self.sides = sides

    def forward(self, x):
        sides = self.sides
        if sides is None:
            sides = []
            for axis in (1, 0):
                size, stride = x.shape[2 + axis], self.stride[axis]
                extent = (self.kernel_size[axis] - 1) * self.dilation[axis] + 1
                total = max(0, ((size + stride - 1) // stride - 1) * stride + extent - size)
                sides += [total // 2, total - total // 2]
        return super().forward(F.pad(x, sides))


class ChannelsLastLayerNorm(nn.LayerNorm):
    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def conv2d(args, options, _):
    options = dict(options)
    padding = options.get("padding")
    if isinstance(padding, dict):
        del options["padding"]
        sides = [padding.get(side, 0) for side in ("left", "right", "top", "bottom")]
        return PaddedConv2d(*args, sides=sides, **options)
    if padding == "same_upper":
        del options["padding"]
        return PaddedConv2d(*args, sides=None, **options)
    return nn.Conv2d(*args, **options)


def layer_norm(args, options, axes):
    shape = args[0] if isinstance(args[0], list) else [args[0]]
    if axes == 4 and len(shape) == 1:
        return ChannelsLastLayerNorm(shape, **options)
    return nn.LayerNorm([shape[2], shape[0], shape[1]] if len(shape) == 3 else shape, **options)


def over_axis(kind):
    def build(args, _, axes):
        axis = args[0] if args else -1
        position = axis - 1 if axis > 0 else axes + axis
        return kind(dim=[0, 2, 3, 1][position] if axes == 4 else position)
    return build


def adaptive(kind):
    def build(args, _, __):
        size = args[0] if isinstance(args[0], list) else [args[0]] * 2
        return kind([None if s == "input" else s for s in size])
    return build


def embedding(args, options, _):
    padding = options.get("padding_idx")
    return nn.Embedding(*args, padding_idx=None if padding is None else padding - 1)


def plain(kind):
    return lambda args, options, _: kind(*args, **options)


LAYERS = {"Conv2d": conv2d, "LayerNorm": layer_norm, "Softmax": over_axis(nn.Softmax), "Embedding": embedding,
          "LogSoftmax": over_axis(nn.LogSoftmax), "AdaptiveAvgPool2d": adaptive(nn.AdaptiveAvgPool2d),
          "AdaptiveMaxPool2d": adaptive(nn.AdaptiveMaxPool2d)}
for name in ("BatchNorm2d", "GroupNorm", "InstanceNorm2d", "Linear", "ReLU", "ReLU6", "LeakyReLU", "MaxPool2d", "AvgPool2d",
             "ZeroPad2d", "Flatten", "Sigmoid", "Tanh", "SiLU", "GELU", "Softplus"):
    LAYERS[name] = plain(getattr(nn, name))


def build(case):
    axes = len(case["x"])
    return nn.Sequential(*(LAYERS[layer["layer"]](layer.get("args", []), layer.get("options", {}), axes)
                           for layer in case["layers"]))


# ---- running ----


def smallest_distance_to_a_kink(model):
    """Where an activation's gradient jumps, rounding errors must not decide on which side a value is."""
    kinks = {nn.ReLU: [0.0], nn.LeakyReLU: [0.0], nn.ReLU6: [0.0, 6.0]}
    found = [np.inf]

    def note(layer, inputs):
        for kink in kinks[type(layer)]:
            found[0] = min(found[0], float((inputs[0].detach() - kink).abs().min()))

    for layer in model:
        if type(layer) in kinks:
            layer.register_forward_pre_hook(note)
    return found


def drawn_state(model, draw):
    state = {}
    for name, tensor in model.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        values = draw(list(tensor.shape))
        if name.endswith("running_var"):
            values = np.square(values) + np.float32(0.5)
        elif tensor.ndim > 1:
            values = values * np.float32(1.0 / np.sqrt(np.prod(tensor.shape[1:])))
        state[name] = np.asarray(values, dtype=np.float32)
    return state


def compute_once(case, random):
    def draw(shape):
        return random.standard_normal(shape).astype(np.float32)

    images = len(case["x"]) == 4
    model = build(case)
    state = drawn_state(model, draw)
    model.load_state_dict({name: torch.from_numpy(v.copy()) for name, v in state.items()}, strict=False)
    model.train(case.get("train", True))
    distance = smallest_distance_to_a_kink(model)
    if "rows" in case:
        x = random.integers(1, case["rows"] + 1, case["x"]).astype(np.int32)
        leaf = torch.from_numpy(x.astype(np.int64) - 1)
    else:
        x = np.float32(2.0) * draw(case["x"]) + np.float32(0.3)
        leaf = (nchw(x) if images else torch.from_numpy(x)).requires_grad_()
    y = model(leaf)
    out = nhwc if images and y.ndim == 4 else array
    r = draw(out(y).shape)
    y.backward(nchw(r) if images and y.ndim == 4 else torch.from_numpy(r))
    results = {"x": x, "r": r, "y": out(y)}
    if leaf.grad is not None:
        results["grad_x"] = nhwc(leaf.grad) if images else array(leaf.grad)
    for name, values in state.items():
        results["state." + name] = values
    for name, parameter in model.named_parameters():
        results["grad." + name] = array(parameter.grad)
    for name, buffer in model.named_buffers():
        results["after." + name] = np.array(buffer.numpy(), dtype=np.float32 if buffer.is_floating_point() else np.int32)
    return results, distance[0]


def compute(cases, seed):
    """Every case's inputs and results, by "<case>/<tensor>"."""
    tensors = {}
    for number, case in enumerate(cases):
        for attempt in range(100):
            results, distance = compute_once(case, np.random.default_rng([seed, number, attempt]))
            if distance >= MARGIN:
                break
        else:
            raise RuntimeError("no attempt keeps clear of every kink")
        tensors.update({f"{case['name']}/{name}": np.asarray(v, order="C") for name, v in results.items()})
    return tensors
