"""What PyTorch makes of single tensor operations, for spec/oracle/tensors_spec.lua.

python3 spec/golden/tensors.py writes tensors.json and tensors.safetensors beside this script; with SEED FOLDER, fresh
random cases into FOLDER. Needs torch, torchvision, numpy, safetensors. Indices and axes count from 1 in what is written.
"""
import json
import pathlib
import random
import sys

import numpy as np
import safetensors.numpy
import torch
import torch.nn.functional as F
import torchvision

SEED = 20221128
INF, NAN = float("inf"), float("nan")
SPECIAL = [NAN, INF, -INF, 0.0, -0.0, 1.0, -1.0, 0.5, 1.5, 2.5, -0.5, 100.0, -100.0, 20.0, 20.5, 2.0, 2.0]


def dims(axes, ndim):
    """0-based, all of them for None."""
    if axes is None:
        return list(range(ndim))
    return [a - 1 if a > 0 else a for a in (axes if isinstance(axes, list) else [axes])]


def dim(axis):
    return axis - 1 if axis > 0 else axis


def key(entries, shape):
    """The index that t[{...}] stands for."""
    result = []
    for entry, n in zip(entries, shape):
        if isinstance(entry, int):
            result.append(dim(entry))
            continue
        first, last = [v if v > 0 else n + 1 + v for v in entry[:2]] or [1, n]
        result.append(slice(first - 1, last, entry[2] if len(entry) > 2 else 1))
    return tuple(result)


def reduction(name):
    def run(t, c):
        return getattr(torch, name)(t["x"], dim=dims(c["axes"], t["x"].ndim), keepdim=c["keepdim"])
    return run


def spread(name):
    def run(t, c):
        axes = dims(c["axes"], t["x"].ndim)
        return getattr(torch, name)(t["x"], dim=axes, keepdim=c["keepdim"], correction=1 if c["unbiased"] else 0)
    return run


def unary(name):
    return lambda t, c: getattr(torch, name)(t["x"])


def norm(t, c):
    order = {"inf": INF, "-inf": -INF}.get(c["p"], c["p"])
    return torch.linalg.vector_norm(t["x"], order, dim=dims(c["axes"], t["x"].ndim), keepdim=c["keepdim"])


def sort(t, c):
    return torch.sort(t["x"], dim=dim(c["axis"]), descending=c["descending"], stable=True)


def topk(t, c):
    return torch.topk(t["x"], c["k"], dim=dim(c["axis"]), largest=c["largest"])


def written(t, c):
    x = t["x"].clone()
    x[key(c["key"], x.shape)] = t["v"]
    return x


def masked_write(t, c):
    x = t["x"].clone()
    x[t["mask"] != 0] = c["value"]
    return x


OPERATIONS = {
    **{name: unary(name) for name in ["sigmoid", "tanh", "sin", "cos", "erf", "log1p", "expm1", "floor", "ceil", "round",
                                      "sign"]},
    "gelu": lambda t, c: F.gelu(t["x"], approximate=c["approximate"]),
    "silu": lambda t, c: F.silu(t["x"]),
    "softplus": lambda t, c: F.softplus(t["x"], c["beta"], c["threshold"]),
    "pow": lambda t, c: t["x"] ** t["y"],
    "maximum": lambda t, c: torch.maximum(t["x"], t["y"]),
    "minimum": lambda t, c: torch.minimum(t["x"], t["y"]),
    "matmul": lambda t, c: torch.matmul(t["x"], t["y"]),
    "logsumexp": reduction("logsumexp"),
    "any": reduction("any"),
    "all": reduction("all"),
    "var": spread("var"),
    "std": spread("std"),
    "norm": norm,
    "prod": lambda t, c: torch.prod(t["x"], dim(c["axes"]), c["keepdim"]) if c["axes"] else torch.prod(t["x"]),
    "cumsum": lambda t, c: torch.cumsum(t["x"], dim(c["axis"])),
    "flip": lambda t, c: torch.flip(t["x"], dims(c["axes"], t["x"].ndim)),
    "expand": lambda t, c: t["x"].expand(c["shape"]),
    "sort": sort,
    "topk": topk,
    "gather": lambda t, c: torch.gather(t["x"], dim(c["axis"]), t["index"].long() - 1),
    "scatter_add": lambda t, c: t["x"].scatter_add(dim(c["axis"]), t["index"].long() - 1, t["y"]),
    "where": lambda t, c: torch.where(t["mask"] != 0, t["x"], t["y"]),
    "masked_select": lambda t, c: torch.masked_select(t["x"], t["mask"] != 0),
    "masked_fill": lambda t, c: t["x"].masked_fill(t["mask"] != 0, c["value"]),
    "nonzero": lambda t, c: t["x"].nonzero() + 1,
    "part": lambda t, c: t["x"][key(c["key"], t["x"].shape)],
    "rows": lambda t, c: t["x"][t["index"].long() - 1],
    "masked": lambda t, c: t["x"][t["mask"] != 0],
    "written": written,
    "masked_write": masked_write,
    "grid": lambda t, c: torchvision.utils.make_grid(t["x"].permute(0, 3, 1, 2), nrow=c["columns"],
                                                     padding=c["padding"]).permute(1, 2, 0),
}
IN_PLACE = {"written", "masked_write"}


# ---- cases ----


def shape_of(rng, ndim=None, low=1):
    return [rng.randint(low, 5) for _ in range(rng.randint(1, 4) if ndim is None else ndim)]


def repeated(rng, shape):
    """A shape that broadcasts to this one."""
    shape = [1 if rng.random() < 0.4 else n for n in shape]
    return shape[rng.randint(0, len(shape)):]


def axis_of(rng, shape):
    return rng.choice([1, -1]) * rng.randint(1, len(shape))


def axes_of(rng, shape):
    kind = rng.randint(0, 2)
    if kind == 0:
        return None
    return axis_of(rng, shape) if kind == 1 else sorted(rng.sample(range(1, len(shape) + 1), rng.randint(1, len(shape))))


def key_of(rng, shape):
    entries = []
    for n in shape[:rng.randint(0, len(shape))]:
        first, last = sorted(rng.choices(range(1, n + 1), k=2))
        sign = rng.choice([1, -1])
        entries.append(rng.choice([[], [first, last], [first, last, rng.randint(1, 3)], [first - n - 1, last],
                                   first if sign > 0 else first - n - 1]))
    return entries


def batch_pair(rng):
    batch = shape_of(rng, rng.randint(0, 3))
    m, k, n = (rng.randint(1, 6) for _ in range(3))
    x = [k] if rng.random() < 0.2 else repeated(rng, batch) + [m, k]
    y = [k] if rng.random() < 0.2 else repeated(rng, batch) + [k, n]
    return x, y


def unary_cases(rng):
    # At infinity PyTorch's vector code for erf gives NaN.
    settings = {"gelu": [{"approximate": "none", "finite": True}, {"approximate": "tanh", "finite": True}],
                "softplus": [{"beta": 1, "threshold": 20}, {"beta": 2.5, "threshold": 1}]}
    for op in ["sigmoid", "tanh", "sin", "cos", "erf", "log1p", "expm1", "floor", "ceil", "round", "sign", "gelu", "silu",
               "softplus"]:
        for setting in settings.get(op, [{}]):
            yield {"op": op, "x": shape_of(rng), "positive": op == "log1p", **setting}
            yield {"op": op, "x": [len(SPECIAL)], "special": True, **setting}


def reduction_cases(rng):
    settings = {"var": [{"unbiased": True}, {"unbiased": False}], "std": [{"unbiased": True}, {"unbiased": False}],
                "norm": [{"p": p} for p in [0.5, 1, 2, 3, "inf", "-inf"]]}
    for op in ["logsumexp", "var", "std", "norm", "any", "all"]:
        for setting in settings.get(op, [{}]):
            for _ in range(2):
                shape = [n + 1 for n in shape_of(rng)]  # more than one value for a variance
                yield {"op": op, "x": shape, "axes": axes_of(rng, shape), "keepdim": rng.random() < 0.5,
                       "zeros": op in ("any", "all"), **setting}
    for _ in range(2):
        shape = shape_of(rng)
        yield {"op": "prod", "x": shape, "axes": rng.choice([None, axis_of(rng, shape)]), "keepdim": False, "zeros": True}
        yield {"op": "cumsum", "x": shape, "axis": axis_of(rng, shape)}
    yield {"op": "logsumexp", "x": [4, 4], "axes": 2, "keepdim": False, "special": True}
    yield {"op": "norm", "x": [4, 4], "axes": 2, "keepdim": False, "special": True, "p": 2}
    yield {"op": "cumsum", "x": [len(SPECIAL)], "axis": 1, "special": True}


def choice_cases(rng):
    for descending in [False, True]:
        shape = shape_of(rng)
        yield {"op": "sort", "x": shape, "axis": axis_of(rng, shape), "descending": descending}
        yield {"op": "sort", "x": [3, 40], "axis": 2, "descending": descending, "special": True}
        axis = rng.randint(1, len(shape))
        yield {"op": "topk", "x": shape, "axis": axis, "k": rng.randint(0, shape[axis - 1]), "largest": descending}
        yield {"op": "topk", "x": [3, 40], "axis": 2, "k": 7, "largest": descending, "special": True}
    for op in ["gather", "scatter_add"]:
        for _ in range(3):
            shape = shape_of(rng)
            axis = axis_of(rng, shape)
            index = [rng.randint(1, n) for n in shape]
            index[dim(axis)] = rng.randint(1, 7)
            yield {"op": op, "x": shape, "axis": axis, "index": index, "limit": shape[dim(axis)],
                   **({"y": index} if op == "scatter_add" else {})}
    for op in ["where", "masked_select", "masked_fill"]:
        shape = shape_of(rng)
        yield {"op": op, "x": repeated(rng, shape), "mask": shape, "value": 2.5,
               **({"y": repeated(rng, shape)} if op == "where" else {})}
    yield {"op": "nonzero", "x": shape_of(rng), "zeros": True}
    shape = shape_of(rng, 3)
    yield {"op": "masked", "x": shape, "mask": shape[:2]}
    yield {"op": "masked_write", "x": shape, "mask": shape, "value": -1}
    yield {"op": "rows", "x": shape, "index": shape_of(rng, 2), "limit": shape[0]}


def part_cases(rng):
    for _ in range(8):
        shape = shape_of(rng)
        entries = key_of(rng, shape)
        part = list(torch.zeros(shape)[key(entries, shape)].shape)
        yield {"op": "part", "x": shape, "key": entries}
        yield {"op": "written", "x": shape, "key": entries, "v": repeated(rng, part)}
    shape = shape_of(rng)
    yield {"op": "flip", "x": shape, "axes": axes_of(rng, shape)}
    yield {"op": "expand", "x": repeated(rng, shape), "shape": shape}


def random_cases(rng):
    cases = list(unary_cases(rng))
    for op in ["pow", "maximum", "minimum"]:
        shape = shape_of(rng)
        cases.append({"op": op, "x": repeated(rng, shape), "y": repeated(rng, shape), "positive": op == "pow"})
        cases.append({"op": op, "x": [len(SPECIAL), 1], "y": [len(SPECIAL)], "special": True})
    for _ in range(10):
        x, y = batch_pair(rng)
        cases.append({"op": "matmul", "x": x, "y": y})
    cases += list(reduction_cases(rng)) + list(choice_cases(rng)) + list(part_cases(rng))
    cases.append({"op": "grid", "x": [rng.randint(2, 9), 3, 4, rng.choice([1, 3])], "columns": rng.randint(1, 5),
                  "padding": rng.randint(0, 3), "bytes": True})
    for i, case in enumerate(cases):
        case["name"] = f"{i}_{case['op']}"
    return cases


# ---- values ----


def draw_floats(case, name, shape, numbers):
    values = numbers.normal(size=shape).astype(np.float32)
    if case.get("bytes"):
        return numbers.integers(0, 256, size=shape).astype(np.uint8)
    if case.get("special"):
        special = [v for v in SPECIAL if not case.get("finite") or abs(v) != INF]
        return np.resize(np.array(special, np.float32), int(np.prod(shape))).reshape(shape)
    if case.get("positive") and name == "x":
        values = np.abs(values) + np.float32(0.1)
    if case.get("zeros"):
        values = values * (numbers.random(size=shape) < 0.7)
    return values.astype(np.float32)


def inputs_of(case, numbers):
    inputs = {}
    for name in ["x", "y", "v"]:
        if name in case:
            inputs[name] = draw_floats(case, name, case[name], numbers)
    if "index" in case:
        inputs["index"] = numbers.integers(1, case["limit"] + 1, size=case["index"]).astype(np.int32)
    if "mask" in case:
        inputs["mask"] = numbers.integers(0, 2, size=case["mask"]).astype(np.uint8)
    return inputs


def plain(tensor):
    values = tensor.detach().numpy()
    kinds = {"int64": np.int32, "bool": np.uint8}
    return np.array(values, dtype=kinds.get(values.dtype.name, values.dtype), order="C")


def compute(case, numbers):
    inputs = inputs_of(case, numbers)
    tensors = {name: torch.from_numpy(np.array(values)) for name, values in inputs.items()}
    leaves = {name: t for name, t in tensors.items() if t.dtype == torch.float32 and case["op"] not in IN_PLACE}
    for leaf in leaves.values():
        leaf.requires_grad_()
    y = OPERATIONS[case["op"]](tensors, case)
    results = dict(inputs)
    if isinstance(y, tuple):  # values and positions
        y, positions = y
        if not (case["op"] == "topk" and case.get("special")):  # its order among equals is open
            results["positions"] = plain(positions + 1)
    results["result"] = plain(y)
    if y.requires_grad and not (case["op"] == "topk" and case.get("special")):
        r = numbers.normal(size=y.shape).astype(np.float32)
        y.backward(torch.from_numpy(np.array(r)))
        results["r"] = r
        results.update({f"grad_{name}": plain(leaf.grad) for name, leaf in leaves.items() if leaf.grad is not None})
    return results


def main():
    seed, folder = (int(sys.argv[1]), pathlib.Path(sys.argv[2])) if len(sys.argv) > 1 else \
        (SEED, pathlib.Path(__file__).parent)
    torch.set_num_threads(1)
    cases = random_cases(random.Random(seed))
    numbers = np.random.default_rng(seed)
    tensors = {f"{case['name']}/{name}": np.asarray(values, order="C") for case in cases
               for name, values in compute(case, numbers).items()}
    (folder / "tensors.json").write_text("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")
    safetensors.numpy.save_file(tensors, folder / "tensors.safetensors",
                                metadata={"torch": torch.__version__, "seed": str(seed)})
    (folder / "tensors.safetensors").chmod(0o644)


main()
