"""Fresh random cases for spec/oracle/layers_live_spec.lua: layers_case.py SEED FOLDER writes FOLDER/layers.json and, with
inputs and PyTorch's results, FOLDER/layers.safetensors."""
import json
import pathlib
import random
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "golden"))

import safetensors.numpy  # noqa: E402
import torch  # noqa: E402

import layers  # noqa: E402


def conv(rng):
    groups = rng.choice([1, 1, 2, 3, 5])
    inputs, outputs = groups * rng.choice([1, 1, 3, 8]), groups * rng.choice([1, 2, 4, 9])
    kernel = [rng.randint(1, 4), rng.randint(1, 4)]
    options = {"groups": groups, "dilation": [rng.randint(1, 3), rng.randint(1, 3)], "bias": rng.random() < 0.5}
    options["padding"] = rng.choice(["same", "same_upper", [rng.randint(0, 3), rng.randint(0, 3)], {
        side: rng.randint(0, 3) for side in rng.sample(["top", "bottom", "left", "right"], 2)}])
    if options["padding"] != "same":
        options["stride"] = [rng.randint(1, 3), rng.randint(1, 3)]
    size = [(k - 1) * d + rng.randint(1, 7) for k, d in zip(kernel, options["dilation"])]
    return {"x": [rng.randint(1, 3), *size, inputs], "layers": [
        {"layer": "Conv2d", "args": [inputs, outputs, kernel], "options": options}]}


def pool(rng, kind):
    kernel = [rng.randint(1, 4), rng.randint(1, 4)]
    options = {"stride": [rng.randint(1, 4), rng.randint(1, 4)], "padding": [rng.randint(0, k // 2) for k in kernel],
               "ceil_mode": rng.random() < 0.5}
    if kind == "AvgPool2d":
        options["count_include_pad"] = rng.random() < 0.5
    dilation = [rng.randint(1, 2), rng.randint(1, 2)] if kind == "MaxPool2d" else [1, 1]
    if kind == "MaxPool2d":
        options["dilation"] = dilation
    size = [(k - 1) * d + rng.randint(1, 7) for k, d in zip(kernel, dilation)]
    return {"x": [rng.randint(1, 3), *size, rng.choice([1, 5, 16])], "layers": [
        {"layer": kind, "args": [kernel], "options": options}]}


def images(rng, channels):
    return [rng.randint(1, 3), rng.randint(2, 8), rng.randint(2, 8), channels]


def others(rng):
    groups = rng.randint(1, 4)
    channels = groups * rng.randint(3, 6)  # two alone have a gradient of nothing but rounding errors
    x = images(rng, channels)
    for layer, args, options in (
            ("GroupNorm", [groups, channels], {"affine": rng.random() < 0.7}),
            ("LayerNorm", [channels], {"eps": 10.0 ** -rng.randint(1, 5)}),
            ("LayerNorm", [x[1:]], {}),
            ("InstanceNorm2d", [channels], {"affine": rng.random() < 0.5, "track_running_stats": rng.random() < 0.5}),
            ("AdaptiveAvgPool2d", [[rng.randint(1, 9), rng.randint(1, 9)]], {}),
            ("AdaptiveMaxPool2d", [[rng.randint(1, 9), rng.randint(1, 9)]], {}),
            ("ZeroPad2d", [[rng.randint(0, 3) for _ in range(4)]], {}),
            ("Softmax", [rng.randint(1, 4)], {}), ("LogSoftmax", [-rng.randint(1, 4)], {}),
            ("ReLU6", [], {}), ("LeakyReLU", [rng.random()], {}), ("Sigmoid", [], {}), ("Tanh", [], {}), ("SiLU", [], {}),
            ("GELU", [], {"approximate": rng.choice(["none", "tanh"])}),
            ("Softplus", [], {"beta": rng.uniform(0.5, 3), "threshold": 20.0})):
        sequence = [{"layer": layer, "args": args}]
        if options:
            sequence[0]["options"] = options
        yield {"x": x, "layers": sequence, "train": rng.random() < 0.5}
    rows = rng.randint(2, 9)
    yield {"x": [rng.randint(1, 5), rng.randint(1, 5)], "rows": rows, "layers": [
        {"layer": "Embedding", "args": [rows, rng.randint(1, 8)], "options": {"padding_idx": rng.randint(1, rows)}}]}


def main():
    seed, folder = int(sys.argv[1]), pathlib.Path(sys.argv[2])
    torch.set_num_threads(1)
    rng = random.Random(seed)
    cases = [conv(rng) for _ in range(24)] + [pool(rng, kind) for kind in ["MaxPool2d", "AvgPool2d"] * 6]
    cases += [case for _ in range(2) for case in others(rng)]
    for i, case in enumerate(cases):
        case["name"] = f"{i}_{case['layers'][0]['layer']}"
    (folder / "layers.json").write_text(json.dumps(cases))
    safetensors.numpy.save_file(layers.compute(cases, seed), folder / "layers.safetensors")


main()
