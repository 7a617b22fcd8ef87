"""Writes torch/*: files by torch.save in both of its formats, and their values as safetensors has them, for
spec/io/torch_file_spec.lua. python3 spec/golden/generate_torch_files.py (needs torch, numpy, safetensors)."""
import collections
import pathlib

import numpy as np
import safetensors.numpy
import torch
from torch import nn


def state_dict():
    """Every kind of tensor that a state dict holds; values that each dtype has exactly."""
    grid = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4) / 8 - 1
    shared = torch.arange(10, dtype=torch.float32)
    state = collections.OrderedDict()
    state["float32"] = grid
    state["transposed"] = grid.permute(2, 0, 1)
    state["every_second"] = shared[1::2]
    state["row_of_shared"] = shared[3:7]
    state["expanded"] = torch.tensor([1.5, -2.5]).reshape(2, 1).expand(2, 3)
    state["parameter"] = nn.Parameter(torch.tensor([[0.5, -0.25]]))
    state["float64"] = torch.tensor([1 / 3, -1e30], dtype=torch.float64)
    state["float16"] = torch.tensor([65504.0, -6e-8, 0.5], dtype=torch.float16)
    state["bfloat16"] = torch.tensor([3e38, -1.0, float("inf")], dtype=torch.bfloat16)
    state["int64"] = torch.tensor([-(2**31), 2**31 - 1])
    state["int32"] = torch.tensor([[7], [-8]], dtype=torch.int32)
    state["int16"] = torch.tensor([-32768, 32767], dtype=torch.int16)
    state["int8"] = torch.tensor([-128, 127], dtype=torch.int8)
    state["uint8"] = torch.tensor([0, 255], dtype=torch.uint8)
    state["bool"] = torch.tensor([True, False, True])
    state["scalar"] = torch.tensor(2.5)
    state["empty"] = torch.zeros(0, 3)
    return state


def checkpoint():
    """What a training script saves: names from DataParallel, an optimiser, and numbers beside."""
    net = nn.Sequential(collections.OrderedDict(conv1=nn.Conv2d(2, 3, 3, bias=False), bn1=nn.BatchNorm2d(3)))
    with torch.no_grad():
        for i, p in enumerate(net.parameters()):
            p.copy_(torch.arange(p.numel()).reshape(p.shape) / 4 + i)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    net(torch.ones(2, 2, 5, 5)).sum().backward()
    optimiser.step()
    return {"epoch": 12, "arch": "tiny", "best": 0.75, "done": True, "note": None, "losses": [0.5, 0.25],
            "state_dict": nn.DataParallel(net).state_dict(), "optimizer": optimiser.state_dict()}


def as_safetensors(state):
    kinds = {torch.float64: torch.float32, torch.float16: torch.float32, torch.bfloat16: torch.float32,
             torch.int64: torch.int32, torch.int16: torch.int32, torch.int8: torch.int32, torch.bool: torch.uint8}
    return {name: np.array(t.detach().to(kinds.get(t.dtype, t.dtype)).numpy(), order="C") for name, t in state.items()}


def write(folder):
    saved = checkpoint()
    for name, zipped in (("zip.pth", True), ("pickles.th", False)):
        torch.save(state_dict(), folder / f"state_{name}", _use_new_zipfile_serialization=zipped)
        torch.save(saved, folder / f"checkpoint_{name}", _use_new_zipfile_serialization=zipped)
    torch.save(state_dict(), folder / "state_protocol4.pth", pickle_protocol=4)
    expected = as_safetensors(state_dict())
    names = {name.removeprefix("module."): t for name, t in saved["state_dict"].items()}
    expected.update({f"checkpoint/{name}": t for name, t in as_safetensors(names).items()})
    safetensors.numpy.save_file(expected, folder / "expected.safetensors", metadata={"torch": torch.__version__})


if __name__ == "__main__":
    import sys

    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parent / "torch"
    folder.mkdir(exist_ok=True)
    torch.manual_seed(1)
    write(folder)
    for path in sorted(folder.iterdir()):
        path.chmod(0o644)
        print(path.name, path.stat().st_size)
