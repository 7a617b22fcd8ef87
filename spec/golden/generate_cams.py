"""Writes cams.json and cams.safetensors beside this script, for spec/oracle/cam_golden_spec.lua.
python3 spec/golden/generate_cams.py (needs torch, numpy, safetensors, grad-cam; made with 1.5.7)."""
import importlib.metadata
import json
import pathlib

import numpy
import safetensors.numpy
import torch

import cams

CASES = [
    {"name": "small_cnn", "net": "small_cnn", "classes": 4, "size": [31, 27], "batch": 2,
     "layers": ["backbone.12", "backbone.5"], "steps": 6, "percentiles": [10, 25, 50, 90]},
    {"name": "resnet20", "net": "resnet20", "classes": 10, "size": [33, 29], "batch": 1,
     "layers": ["layer3.2", "layer2.0"], "steps": 2},
    {"name": "resnet18", "net": "resnet18", "classes": 5, "size": [61, 47], "batch": 1,
     "layers": ["layer3.1", "layer4.0"], "steps": 2},
]

if __name__ == "__main__":
    folder = pathlib.Path(__file__).parent
    torch.set_num_threads(1)
    tensors = {}
    for case in CASES:
        results, _ = cams.compute(case, salt=1)
        print(case["name"], "salt", results["salt"][0], flush=True)
        tensors.update({f"{case['name']}/{name}": values for name, values in results.items()})
    made_by = {"torch": torch.__version__, "numpy": numpy.__version__,
               "grad-cam": importlib.metadata.version("grad-cam")}
    (folder / "cams.json").write_text("[\n" + ",\n".join("  " + json.dumps(case) for case in CASES) + "\n]\n")
    path = folder / "cams.safetensors"
    safetensors.numpy.save_file(tensors, path, metadata=made_by)
    path.chmod(0o644)
    print(path.stat().st_size, "bytes", made_by)
