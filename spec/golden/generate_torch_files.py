"""Writes torch/*: files by torch.save in both of its formats, and their values as safetensors has them, for
spec/io/torch_file_spec.lua. python3 spec/golden/generate_torch_files.py (needs torch, numpy, safetensors)."""
import argparse
import collections
import dataclasses
import datetime
import enum
import fractions
import functools
import pathlib
import pickle
import warnings

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


def small():
    """The state dict of the files about what lies beside one; spec/io/torch_file_spec.lua has its values."""
    return collections.OrderedDict(weight=torch.arange(6.0).reshape(2, 3) / 4 - 0.5, bias=torch.tensor([1.5, -2.25]))


@dataclasses.dataclass
class Config:
    lr: float = 0.5
    name: str = "tiny"


class Colour(enum.Enum):
    RED = 1


class Slots:
    __slots__ = ("width",)


class Options(dict):
    pass


class Names(list):
    pass


Point = collections.namedtuple("Point", "x y")


def a_function():
    raise RuntimeError("nothing may be run")


def beside():
    """One of everything that training scripts put beside their weights."""
    net = nn.Linear(3, 2)
    adam = torch.optim.Adam(net.parameters())
    net(torch.ones(1, 3)).sum().backward()
    adam.step()
    slots = Slots()
    slots.width = 3
    return {
        "optimizer": adam.state_dict(), "whole_optimizer": adam,
        "scheduler": torch.optim.lr_scheduler.CosineAnnealingLR(adam, 10).state_dict(),
        "args": argparse.Namespace(lr=0.1, arch="tiny", decay=None, sizes=[1, 2]),
        "counter": collections.Counter("aab"), "default": collections.defaultdict(list, {"a": [1]}),
        "ordered": collections.OrderedDict(one=1), "deque": collections.deque([1, 2]),
        "number": np.float64(0.25), "single": np.float32(1.5), "half": np.float16(-0.5), "count": np.int64(-7),
        "byte": np.uint8(200), "flag": np.bool_(True), "array": np.arange(6.0).reshape(2, 3),
        "texts": np.array(["a", "bc"]), "objects": np.array([1, None], dtype=object),
        "structured": np.zeros(2, dtype=[("a", "f4")]), "random": ("MT19937", np.arange(4, dtype=np.uint32), 624, 0.0),
        "path": pathlib.PurePosixPath("/a/b"), "set": {1, 2}, "frozen": frozenset([3]), "empty_set": set(),
        "date": datetime.datetime(2020, 1, 2, tzinfo=datetime.timezone.utc), "bytes": b"ab\xff",
        "array_of_bytes": bytearray(b"c"),
        "config": Config(), "slots": slots, "colour": Colour.RED, "point": Point(1, 2), "options": Options(depth=4),
        "names": Names(["a"]), "function": a_function, "class": Config, "builtin": len,
        "partial": functools.partial(a_function, 1), "method": net.forward, "complex": 1 + 2j, "range": range(3),
        "fraction": fractions.Fraction(1, 3), "huge": 10**30, "nothing": None, "dots": ..., "error": ValueError("x"),
        "dtype": torch.float32, "device": torch.device("cpu"), "size": torch.Size([1, 2]),
        "generator": torch.arange(8, dtype=torch.uint8), "storage": torch.arange(3.0).untyped_storage(),
        "module": Scale(2),
    }


def unreadable():
    """Tensors that have no counterpart here among some that have."""
    state = small()
    state["half"] = torch.tensor([0.5, -2.0], dtype=torch.float16)
    state["brain"] = torch.tensor([0.25, 3.0], dtype=torch.bfloat16)
    state["complex"] = torch.ones(2, dtype=torch.complex64)
    state["quantised"] = torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)
    state["sparse"] = torch.eye(2).to_sparse()
    state["eight_bits"] = torch.ones(2).to(torch.float8_e4m3fn)
    state["seven_axes"] = torch.ones(1, 1, 1, 1, 1, 1, 2)
    state["large"] = torch.tensor([2**31])
    state["unsigned"] = torch.tensor([1, 65535], dtype=torch.uint16)
    state["conjugated"] = torch.ones(2, dtype=torch.complex64).conj()
    return state


def shared():
    """Many tensors in one storage: tied weights, overlapping views, and one that is expanded to a thousand times its
    storage."""
    tied = torch.arange(1024.0)
    state = {f"layers.{i}.weight": tied.reshape(32, 32) for i in range(20)}
    state.update({f"window.{i}": tied[i : i + 512] for i in range(3)})
    state["transposed"] = tied.reshape(32, 32).t()
    state["transposed_again"] = tied.reshape(32, 32).t()
    state["expanded"] = torch.tensor([0.5]).expand(1000)
    return state


class Scale(nn.Module):
    """Of our own, because the older format has the source text of every class."""

    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.arange(1.0, 1 + channels) / 4)
        self.register_parameter("bias", None)
        self.register_buffer("running_mean", torch.arange(1.0, 1 + channels))
        self.register_buffer("num_batches_tracked", torch.tensor(5))
        self.register_buffer("cache", torch.ones(3), persistent=False)


class Tiny(nn.Module):
    """A parameter of its own, a part in a part, a part that stands in two places, one that is missing."""

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(0.5))
        self.stem = Scale(2)
        self.stem.inner = Scale(1)
        self.same = self.stem.inner
        self.gone = None
        self.add_module("none", None)


def kinds():
    """Name -> what a file holds."""
    average = torch.optim.swa_utils.AveragedModel(nn.Linear(3, 2))
    average.module.load_state_dict(small())
    other = {name: t + 1 for name, t in small().items()}
    return {
        "beside": {**beside(), "epoch": 3, "state_dict": small()},
        "loose": {"model": small(), "mean": torch.ones(3), "step": torch.tensor(7)},
        "averages": {"state_dict_ema": other, "state_dict": small(), "ema": {"module": other}},
        "unknown": {"netD": other, "netG": {**small(), "extra": torch.ones(1)}, "epoch": 3},
        "deep": {"checkpoint": {"best": {"state_dict": small()}}},
        "pair": (small(), 3),
        "counted": average.state_dict(),
        "wrapped": nn.DataParallel(torch.compile(nn.Linear(3, 2))).state_dict(),
        "unreadable": unreadable(),
        "shared": shared(),
        "whole": Tiny(),
        "whole_wrapped": {"model": {"module": Tiny()}, "optimizer": None},
        "optimizer": beside()["optimizer"],
    }


def arrays():
    """For plain pickles without PyTorch."""
    return {
        "model": {
            "weight": np.arange(6, dtype=np.float32).reshape(2, 3) / 4 - 0.5, "double": np.array([0.25, -1e30]),
            "fortran": np.asfortranarray(np.arange(6, dtype=np.int64).reshape(2, 3)),
            "bytes": np.array([0, 255], dtype=np.uint8), "large": np.array([2**31, 1], dtype=np.uint32),
            "swapped": np.array([1.0], dtype=">f4"),
            "half": np.array([[0.5], [-2]], dtype=np.float16), "scalar": np.array(2.5), "flags": np.array([True, False]),
            "names": np.array(["a"]),
        },
        "__author__": "nobody", "rate": np.float32(0.5), "count": np.uint64(2**64 - 1),
    }


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
    for kind, content in kinds().items():
        torch.save(content, folder / f"{kind}_zip.pth", pickle_protocol=4 if kind == "whole" else 2)
        torch.save(content, folder / f"{kind}_pickles.th", _use_new_zipfile_serialization=False)
    for protocol in (2, 4, 5):
        (folder / f"arrays_protocol{protocol}.pkl").write_bytes(pickle.dumps(arrays(), protocol))
    # as pickle does without torch.save
    dumped = {"model": {**small(), "complex": torch.ones(2, dtype=torch.complex64), "half": torch.ones(2).half()}}
    (folder / "dumped.pkl").write_bytes(pickle.dumps(dumped))
    torch.jit.script(nn.Linear(1, 1)).save(folder / "script.pt")
    expected = as_safetensors(state_dict())
    names = {name.removeprefix("module."): t for name, t in saved["state_dict"].items()}
    expected.update({f"checkpoint/{name}": t for name, t in as_safetensors(names).items()})
    safetensors.numpy.save_file(expected, folder / "expected.safetensors", metadata={"torch": torch.__version__})


if __name__ == "__main__":
    import os
    import sys

    here = pathlib.Path(__file__).resolve()
    folder = pathlib.Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else here.parent / "torch"
    folder.mkdir(exist_ok=True)
    os.chdir(here.parent)
    __file__ = here.name  # the older format has the path of every module's source: the same on every machine
    warnings.simplefilter("ignore")  # quantised tensors are on their way out, but there are files with them
    torch.manual_seed(1)
    write(folder)
    for path in sorted(folder.iterdir()):
        path.chmod(0o644)
        print(path.name, path.stat().st_size)
