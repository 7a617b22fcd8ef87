"""Writes layers.json and layers.safetensors beside this script, for spec/oracle/layers_golden_spec.lua.
python3 spec/golden/generate_layers.py (needs torch, numpy, safetensors)."""
import json
import pathlib

import numpy
import safetensors.numpy
import torch

import layers

SEED = 20220801


def case(name, x, *sequence, **more):
    return {"name": name, "x": x, "layers": [
        dict(zip(("layer", "args", "options"), part)) for part in sequence], **more}


IMAGES = [2, 5, 7, 6]
CASES = [
    case("conv_grouped", IMAGES, ("Conv2d", [6, 9, 3], {"groups": 3, "padding": 1})),
    case("conv_grouped_stride_2", IMAGES, ("Conv2d", [6, 4, [3, 2]], {"groups": 2, "stride": 2, "bias": False})),
    case("conv_depthwise", [2, 6, 5, 17], ("Conv2d", [17, 17, 3], {"groups": 17, "padding": 1})),
    case("conv_depthwise_multiplied", IMAGES, ("Conv2d", [6, 12, 3], {"groups": 6, "stride": [2, 1], "padding": [1, 2]})),
    case("conv_dilated", [1, 9, 8, 5], ("Conv2d", [5, 18, 3], {"dilation": 2, "padding": 2})),
    case("conv_dilated_unevenly", [1, 9, 8, 4], ("Conv2d", [4, 6, [2, 3]], {"dilation": [3, 2], "stride": 2, "groups": 2})),
    case("conv_same", [2, 5, 7, 16], ("Conv2d", [16, 16, 3], {"padding": "same"})),
    case("conv_same_even", IMAGES, ("Conv2d", [6, 5, [4, 2]], {"padding": "same", "dilation": [1, 3]})),
    case("conv_same_upper", [2, 8, 7, 3], ("Conv2d", [3, 8, 3], {"padding": "same_upper", "stride": 2})),
    case("conv_same_upper_depthwise", [1, 8, 7, 8],
         ("Conv2d", [8, 8, 5], {"padding": "same_upper", "stride": 2, "groups": 8})),
    case("conv_sides", IMAGES, ("Conv2d", [6, 4, 3], {"padding": {"bottom": 2, "left": 1}})),
    case("max_pool_ceil", IMAGES, ("MaxPool2d", [2], {"ceil_mode": True})),
    case("max_pool_dilated", [1, 9, 8, 5], ("MaxPool2d", [3], {"stride": 2, "padding": 1, "dilation": 2})),
    case("avg_pool_ceil", IMAGES, ("AvgPool2d", [3], {"stride": 2, "padding": 1, "ceil_mode": True})),
    case("avg_pool_inside", IMAGES, ("AvgPool2d", [[3, 2]], {"stride": 2, "padding": 1, "count_include_pad": False})),
    case("avg_pool_inside_ceil", [1, 6, 6, 3],
         ("AvgPool2d", [3], {"stride": 2, "padding": 1, "count_include_pad": False, "ceil_mode": True})),
    case("adaptive_avg_pool", [2, 7, 9, 5], ("AdaptiveAvgPool2d", [[3, 4]])),
    case("adaptive_avg_pool_up", [1, 3, 2, 4], ("AdaptiveAvgPool2d", [[7, "input"]])),
    case("adaptive_max_pool", [2, 7, 9, 5], ("AdaptiveMaxPool2d", [[3, 4]])),
    case("zero_pad", IMAGES, ("ZeroPad2d", [[1, 2, 0, 3]])),
    case("layer_norm", [4, 7], ("LayerNorm", [7])),
    case("layer_norm_channels", IMAGES, ("LayerNorm", [6], {"eps": 0.01})),
    case("layer_norm_images", IMAGES, ("LayerNorm", [[5, 7, 6]])),
    case("layer_norm_plain", [3, 4, 5], ("LayerNorm", [[4, 5]], {"elementwise_affine": False})),
    case("layer_norm_no_bias", [3, 5], ("LayerNorm", [5], {"bias": False})),
    case("group_norm", IMAGES, ("GroupNorm", [3, 6])),
    case("group_norm_one", IMAGES, ("GroupNorm", [1, 6], {"affine": False, "eps": 0.1})),
    case("group_norm_rows", [4, 8], ("GroupNorm", [2, 8])),
    case("instance_norm", IMAGES, ("InstanceNorm2d", [6])),
    case("instance_norm_affine", IMAGES, ("InstanceNorm2d", [6], {"affine": True})),
    case("instance_norm_tracking", IMAGES,
         ("InstanceNorm2d", [6], {"affine": True, "track_running_stats": True, "momentum": 0.3})),
    case("instance_norm_evaluation", IMAGES, ("InstanceNorm2d", [6], {"track_running_stats": True}), train=False),
    case("embedding", [3, 4], ("Embedding", [5, 6]), rows=5),
    case("embedding_padding", [9], ("Embedding", [5, 6], {"padding_idx": 2}), rows=5),
    case("softmax_channels", IMAGES, ("Softmax", [])),
    case("softmax_rows", [3, 5], ("Softmax", [1])),
    case("log_softmax", [3, 5], ("LogSoftmax", [-1])),
    case("log_softmax_height", IMAGES, ("LogSoftmax", [2])),
    case("relu6", [40], ("ReLU6", [])),
    case("leaky_relu", [40], ("LeakyReLU", [0.2])),
    case("sigmoid", [3, 17], ("Sigmoid", [])),
    case("tanh", [3, 17], ("Tanh", [])),
    case("silu", [3, 17], ("SiLU", [])),
    case("gelu", [3, 17], ("GELU", [])),
    case("gelu_by_tanh", [3, 17], ("GELU", [], {"approximate": "tanh"})),
    case("softplus", [3, 17], ("Softplus", [])),
    case("softplus_steep", [3, 17], ("Softplus", [], {"beta": 4.0, "threshold": 3.0})),
    case("mobile_block", [4, 7, 5, 8], ("Conv2d", [8, 24, 1], {"bias": False}), ("BatchNorm2d", [24]), ("ReLU6", []),
         ("Conv2d", [24, 24, 3], {"groups": 24, "padding": 1, "stride": 2, "bias": False}), ("BatchNorm2d", [24]),
         ("ReLU", []), ("Conv2d", [24, 8, 1]), ("AdaptiveAvgPool2d", [1]), ("Flatten", []), ("Linear", [8, 3])),
    case("mobile_block_evaluation", [4, 7, 5, 8], ("Conv2d", [8, 24, 3], {"padding": "same_upper", "stride": 2}),
         ("BatchNorm2d", [24]), ("ReLU", []), ("Conv2d", [24, 16, 3], {"groups": 4, "dilation": 2, "padding": 2}),
         ("BatchNorm2d", [16]), ("ReLU", []), ("MaxPool2d", [2], {"ceil_mode": True}), ("GroupNorm", [4, 16]),
         train=False),
]

if __name__ == "__main__":
    folder = pathlib.Path(__file__).parent
    torch.set_num_threads(1)
    made_by = {"torch": torch.__version__, "numpy": numpy.__version__, "seed": str(SEED)}
    (folder / "layers.json").write_text("[\n" + ",\n".join("  " + json.dumps(c) for c in CASES) + "\n]\n")
    path = folder / "layers.safetensors"
    safetensors.numpy.save_file(layers.compute(CASES, SEED), path, metadata=made_by)
    path.chmod(0o644)
    print(f"{len(CASES)} cases, {path.stat().st_size} bytes, {made_by}")
