"""Fresh random cases for spec/oracle/live_spec.lua: live_case.py SEED FOLDER writes FOLDER/cases.json and, with inputs and
PyTorch's results, FOLDER/live.safetensors. live_case.py --read FILE prints what safetensors reads from our file."""
import json
import pathlib
import random
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "golden"))

import safetensors  # noqa: E402
import safetensors.numpy  # noqa: E402
import torch  # noqa: E402

import reference  # noqa: E402


def random_cases(rng):
    cases = []
    for i in range(12):
        kernel = [rng.choice([1, 2, 3, 5, 7]), rng.choice([1, 3, 4, 5, 7])]
        padding = [rng.randint(0, k // 2 + 1) for k in kernel]
        height, width = (rng.randint(k, 15) for k in kernel)
        cases.append({"op": "conv2d", "x": [rng.randint(1, 4), height, width, rng.choice([1, 3, 5, 16, 24, 33])],
                      "kernel": kernel, "out": rng.choice([1, 4, 7, 16, 32, 40]), "padding": padding,
                      "stride": [rng.randint(1, 3), rng.randint(1, 3)], "bias": rng.random() < 0.5})
    for i in range(6):
        kernel = [rng.randint(1, 4), rng.randint(1, 4)]
        cases.append({"op": "pool2d", "kind": ["max", "avg"][i % 2], "kernel": kernel,
                      "x": [rng.randint(1, 3), rng.randint(4, 12), rng.randint(4, 12), rng.choice([1, 5, 16, 19])],
                      "stride": [rng.randint(1, 3), rng.randint(1, 3)], "padding": [rng.randint(0, k // 2) for k in kernel]})
    for i in range(4):
        shape = [rng.randint(4, 9), rng.randint(1, 40)]
        if i % 2:
            shape[1:1] = [rng.randint(1, 9), rng.randint(1, 9)]
        cases.append({"op": "batch_norm", "x": shape, "train": i < 2})
    cases.append({"op": "linear", "x": [rng.randint(1, 40), rng.randint(1, 300)], "out": rng.randint(1, 40)})
    cases.append({"op": "cross_entropy", "x": [rng.randint(1, 40), rng.randint(2, 20)], "reduction": "mean"})
    # One step: in a second one, the first one's rounding errors move activations further than the margin to a kink.
    cases.append({"op": "small_cnn", "batch": rng.randint(6, 10), "classes": rng.randint(2, 7), "steps": 1,
                  "salt": rng.randrange(1 << 30), "rows": 1000})
    for i, case in enumerate(cases):
        case["name"] = f"{i}_{case['op']}"
    return cases


def main():
    if sys.argv[1] == "--read":
        for name, values in sorted(safetensors.numpy.load_file(sys.argv[2]).items()):
            print(name, values.dtype, list(values.shape), *(float(v).hex() for v in values.flatten()))
        return
    seed, folder = int(sys.argv[1]), pathlib.Path(sys.argv[2])
    torch.set_num_threads(1)
    cases = random_cases(random.Random(seed))
    tensors = reference.compute(cases, seed)
    (folder / "cases.json").write_text(json.dumps(cases))
    safetensors.numpy.save_file(tensors, folder / "live.safetensors")


main()
