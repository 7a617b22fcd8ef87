"""Writes nets.json and nets.safetensors beside this script, for spec/oracle/resnet_golden_spec.lua.
python3 spec/golden/generate_resnet.py (needs torch, torchvision, efficientnet-lite-pytorch, numpy, safetensors)."""
import json
import pathlib

import numpy
import safetensors.numpy
import torch

import nets

# Gradients in training mode where the batches of every normalisation are large enough for float32 to have four digits.
CASES = [
    {"name": "resnet20", "net": "resnet20", "classes": 10, "size": [32, 32], "batch": 3, "training": True},
    {"name": "resnet32", "net": "resnet32", "classes": 10, "size": [32, 32], "batch": 2, "training": True},
    {"name": "resnet32_odd", "net": "resnet32", "classes": 3, "size": [29, 23], "batch": 2, "training": True},
    {"name": "vgg16_bn", "net": "vgg16_bn", "layout": "reference", "classes": 10, "size": [32, 32], "batch": 2,
     "training": False},
    {"name": "vgg16_bn_wide", "net": "vgg16_bn", "layout": "reference", "classes": 5, "size": [32, 64], "batch": 1,
     "training": False},
    {"name": "vgg16_bn_torchvision", "net": "vgg16_bn", "layout": "torchvision", "classes": 10, "size": [32, 32],
     "batch": 2, "training": False},
    {"name": "resnet18", "net": "resnet18", "classes": 4, "size": [64, 48], "batch": 3, "training": True},
    {"name": "resnet50", "net": "resnet50", "classes": 4, "size": [64, 64], "batch": 2, "training": False},
    # With formula weights the sums of these nets, 50 layers without branches, nearly cancel for some images and then have
    # fewer digits in any float32 program; these sizes keep clear of that. Heatmaps, quotients of sums of gradients, are
    # compared at the tolerance of gradients.
    {"name": "mobilenet_v2", "net": "mobilenet_v2", "classes": 3, "size": [83, 69], "batch": 1, "training": False,
     "heat": 1e-4},
    {"name": "mobilenet_v2_small", "net": "mobilenet_v2", "classes": 3, "size": [63, 49], "batch": 1, "training": False,
     "heat": 1e-4},
    {"name": "efficientnet_lite0", "net": "efficientnet_lite0", "classes": 5, "size": [64, 48], "batch": 2,
     "training": False, "heat": 1e-4},
    {"name": "efficientnet_lite0_odd", "net": "efficientnet_lite0", "classes": 3, "size": [63, 49], "batch": 1,
     "training": False, "heat": 1e-4},
]
SAMPLES = 16

if __name__ == "__main__":
    folder = pathlib.Path(__file__).parent
    torch.set_num_threads(1)
    tensors = {}
    for case in CASES:
        case["samples"] = SAMPLES
        results, _ = nets.compute(case, salt=1)
        print(case["name"], "salt", results["salt"][0], "loss", results["loss"])
        tensors.update({f"{case['name']}/{name}": values for name, values in results.items()})
    made_by = {"torch": torch.__version__, "numpy": numpy.__version__}
    (folder / "nets.json").write_text("[\n" + ",\n".join("  " + json.dumps(case) for case in CASES) + "\n]\n")
    path = folder / "nets.safetensors"
    safetensors.numpy.save_file(tensors, path, metadata=made_by)
    path.chmod(0o644)
    print(path.stat().st_size, "bytes")
