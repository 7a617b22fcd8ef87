"""Writes the golden files beside this script: python3 spec/golden/generate.py (needs torch, numpy, safetensors)."""
import json
import pathlib

import numpy
import safetensors.numpy
import torch

import reference

SEED = 20221128

if __name__ == "__main__":
    folder = pathlib.Path(__file__).parent
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    cases = json.loads((folder / "cases.json").read_text())
    made_by = {"torch": torch.__version__, "numpy": numpy.__version__, "seed": str(SEED)}
    groups = {"operations": [c for c in cases if c["op"] != "small_cnn"],
              "small_cnn": [c for c in cases if c["op"] == "small_cnn"]}
    for name, group in groups.items():
        path = folder / f"{name}.safetensors"
        safetensors.numpy.save_file(reference.compute(group, SEED), path, metadata=made_by)
        path.chmod(0o644)
        print(f"{path.name}: {len(group)} cases, {path.stat().st_size} bytes, {made_by}")
