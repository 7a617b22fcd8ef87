"""What PyTorch computes of optimisers, gradient clipping, losses and schedules: the cases of spec/oracle/training.lua,
their inputs and results. Run by itself, python3 spec/golden/training.py (needs torch, numpy, safetensors) writes
training.json and training.safetensors beside this script.

Options have PyTorch's names, which are ours but for the schedules'. Labels are 1..k. `draw(shape)` gives standard
normal values. Rates of schedules are doubles, so they stand in the JSON file.
"""
import json
import pathlib

import numpy as np
import safetensors.numpy
import torch
import torch.nn.functional as F
from torch.optim import lr_scheduler

SEED = 20221128
OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
STATES = {"momentum_buffer": "momentum", "exp_avg": "exp_avg", "exp_avg_sq": "exp_avg_sq",
          "max_exp_avg_sq": "max_exp_avg_sq"}


def array(tensor):
    return np.array(tensor.detach().numpy(), dtype=np.float32, order="C")


# ---- optimisers ----


def clip(case, params):
    if "clip_grad_norm" in case:
        options = case["clip_grad_norm"]
        return torch.nn.utils.clip_grad_norm_(params, options["max_norm"], norm_type=options["norm_type"])
    if "clip_grad_value" in case:
        torch.nn.utils.clip_grad_value_(params, case["clip_grad_value"])
    return torch.zeros([])


def optimizer(case, draw):
    """Ten steps or so with given gradients. case: groups [{shapes, options}]; frozen_from {parameter: step};
    without_gradient {step: [parameter]}; lr_at {step: rate}, which groups follow in proportion."""
    result, groups, params = {}, [], []
    for group in case["groups"]:
        own = [torch.from_numpy(draw(shape)).requires_grad_() for shape in group["shapes"]]
        groups.append({"params": own, **group["options"]})
        params += own
    optimiser = OPTIMIZERS[case["optimizer"]](groups, **case["options"])
    first_rates = [group["lr"] for group in optimiser.param_groups]
    gradients = [draw([case["steps"], *p.shape]) for p in params]
    for i, (p, gradient) in enumerate(zip(params, gradients)):
        result[f"start.{i + 1}"], result[f"gradient.{i + 1}"] = array(p), gradient
    after, norms = [[] for _ in params], []
    for step in range(1, case["steps"] + 1):
        if str(step) in case.get("lr_at", {}):
            for group, first in zip(optimiser.param_groups, first_rates):
                group["lr"] = first * case["lr_at"][str(step)] / case["options"]["lr"]
        for i, p in enumerate(params):
            frozen = step >= case.get("frozen_from", {}).get(str(i + 1), case["steps"] + 1)
            left_out = i + 1 in case.get("without_gradient", {}).get(str(step), [])
            p.grad = None if frozen or left_out else torch.from_numpy(gradients[i][step - 1].copy())
        norms.append(array(clip(case, params)))
        optimiser.step()
        for i, p in enumerate(params):
            after[i].append(array(p))
    result["norms"] = np.stack(norms)
    for i, p in enumerate(params):
        result[f"after.{i + 1}"] = np.stack(after[i])
        for theirs, ours in STATES.items():
            if optimiser.state[p].get(theirs) is not None:
                result[f"{ours}.{i + 1}"] = array(optimiser.state[p][theirs])
    return result


# ---- losses ----


def labels_of(case):
    labels = np.arange(case["x"][0], dtype=np.int32) * 7 % case["x"][1] + 1
    if "ignore_index" in case["options"] and not 1 <= case["options"]["ignore_index"] <= case["x"][1]:
        labels[:: 3] = case["options"]["ignore_index"]
    return labels


def loss(case, draw):
    """case: loss, x (shape), options (of the function), soft (probabilities as targets), weight and pos_weight
    (shapes)."""
    name, options = case["loss"], dict(case["options"])
    result = {"x": 3 * draw(case["x"])}
    if name == "nll_loss":
        result["x"] = array(torch.log_softmax(torch.from_numpy(result["x"]), 1))
    by_label = name in ("cross_entropy", "nll_loss") and not case.get("soft")
    if by_label:
        result["labels"] = labels_of(case)
        target = torch.from_numpy(result["labels"].astype(np.int64) - 1)
        if "ignore_index" in options:
            options["ignore_index"] -= 1
    else:
        target = torch.from_numpy(draw(case["x"]))
        if name != "mse_loss":
            target = torch.softmax(target, 1) if name == "cross_entropy" else torch.sigmoid(target)
        result["t"] = array(target)
        target = target.requires_grad_()
    for weight in ("weight", "pos_weight"):
        if weight in case:
            result[weight] = np.square(draw(case[weight])) + np.float32(0.1)
            options[weight] = torch.from_numpy(result[weight])
    function = F.binary_cross_entropy_with_logits if name == "bce_with_logits" else getattr(F, name)
    x = torch.from_numpy(result["x"]).requires_grad_()
    y = function(x, target, **options)
    result["r"] = draw(list(y.shape))
    y.backward(torch.from_numpy(result["r"]))
    result.update(y=array(y), grad_x=array(x.grad))
    if not by_label:
        result["grad_t"] = array(target.grad)
    return result


# ---- schedules ----


def scheduler(kind, o, optimiser, total):
    """Ours of that kind and options `o`, over `total` steps where it changes by step."""
    if kind == "constant":
        return lr_scheduler.ConstantLR(optimiser, factor=1.0)
    if kind == "step":
        return lr_scheduler.StepLR(optimiser, o["every"], o["factor"])
    if kind == "multi_step":
        return lr_scheduler.MultiStepLR(optimiser, o["milestones"], o["factor"])
    if kind == "exponential":
        return lr_scheduler.ExponentialLR(optimiser, o["factor"])
    if kind == "polynomial":
        return lr_scheduler.PolynomialLR(optimiser, o["epochs"], o["power"])
    if kind == "cosine":
        return lr_scheduler.CosineAnnealingLR(optimiser, o["epochs"], o["min"])
    if kind == "warm_restarts":
        return lr_scheduler.CosineAnnealingWarmRestarts(optimiser, o["epochs"], o["mult"], o["min"])
    if kind == "one_cycle":
        rest = {name: value for name, value in o.items() if name not in ("lr", "epochs")}
        return lr_scheduler.OneCycleLR(optimiser, o["lr"], total_steps=total, cycle_momentum=False, **rest)
    assert kind == "warmup"
    inner = o["schedule"]
    parts = [lr_scheduler.LinearLR(optimiser, o["start"], total_iters=o["epochs"]),
             scheduler(inner["kind"], inner["options"], optimiser, total)]
    return lr_scheduler.SequentialLR(optimiser, parts, milestones=[o["epochs"]])


def rates(case):
    """Of `count` epochs, or, by step, of as many steps of a run: fractional epochs where `steps_per_epoch` is given."""
    options = case["options"]
    lr = options["lr"] if "lr" in options else options["schedule"]["options"]["lr"]
    optimiser = torch.optim.SGD([torch.zeros(1)], lr=lr)
    schedule = scheduler(case["schedule"], options, optimiser, case["count"])
    result = []
    for i in range(case["count"]):
        if i > 0 and "steps_per_epoch" in case:
            schedule.step(i / case["steps_per_epoch"])
        elif i > 0:
            optimiser.step()
            schedule.step()
        result.append(optimiser.param_groups[0]["lr"])
    return result


# ---- all of them ----


def compute(cases, seed):
    """Every case's inputs and results, by "<case>/<tensor>"; schedules get their rates as case["rates"]."""
    random = np.random.default_rng(seed)
    tensors = {}
    for case in cases:
        if case["kind"] == "schedule":
            case["rates"] = rates(case)
            continue
        function = {"optimizer": optimizer, "loss": loss}[case["kind"]]
        results = function(case, lambda shape: random.standard_normal(shape).astype(np.float32))
        tensors.update({f"{case['name']}/{name}": np.asarray(v, order="C") for name, v in results.items()})
    return tensors


def of_optimizer(name, kind, options, groups=None, steps=10, **more):
    groups = groups or [{"shapes": [[5, 3], [7], [2, 2, 3]], "options": {}}]
    return {"name": name, "kind": "optimizer", "optimizer": kind, "options": options, "groups": groups,
            "steps": steps, **more}


def of_loss(name, kind, x, options, **more):
    return {"name": name, "kind": "loss", "loss": kind, "x": x, "options": options, **more}


def of_schedule(name, kind, options, count, **more):
    return {"name": name, "kind": "schedule", "schedule": kind, "options": options, "count": count, **more}


TWO_GROUPS = [{"shapes": [[5, 3], [7]], "options": {"lr": 0.02, "weight_decay": 0.0}},
              {"shapes": [[2, 2, 3]], "options": {}}, {"shapes": [[4]], "options": {"lr": 0.0}}]
MOMENTA = [{"shapes": [[5, 3]], "options": {"momentum": 0.0}},
           {"shapes": [[7], [3]], "options": {"momentum": 0.5, "nesterov": True}}]
BETAS = [{"shapes": [[5, 3]], "options": {"betas": [0.5, 0.9], "amsgrad": True}}, {"shapes": [[7]], "options": {}}]
SKIPPING = {"frozen_from": {"1": 5, "3": 1}, "without_gradient": {"1": [2], "6": [2]}}
COSINE = {"kind": "cosine", "options": {"lr": 0.1, "epochs": 9, "min": 0.001}}

CASES = [
    of_optimizer("sgd", "sgd", {"lr": 0.1}),
    of_optimizer("sgd_decay", "sgd", {"lr": 0.1, "weight_decay": 0.1}),
    of_optimizer("sgd_momentum", "sgd", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    of_optimizer("sgd_dampening", "sgd", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01}),
    of_optimizer("sgd_nesterov", "sgd", {"lr": 0.1, "momentum": 0.8, "nesterov": True, "weight_decay": 0.1}),
    of_optimizer("sgd_maximize", "sgd", {"lr": 0.1, "momentum": 0.9, "maximize": True, "weight_decay": 0.1}),
    of_optimizer("sgd_groups", "sgd", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}, TWO_GROUPS,
                 lr_at={"4": 0.05, "8": 0.2}),
    of_optimizer("sgd_momenta", "sgd", {"lr": 0.1, "momentum": 0.9}, MOMENTA),
    of_optimizer("sgd_skipping", "sgd", {"lr": 0.1, "momentum": 0.9, "dampening": 0.5, "weight_decay": 0.1},
                 **SKIPPING),
    of_optimizer("sgd_clipped", "sgd", {"lr": 0.1}, clip_grad_norm={"max_norm": 5.0, "norm_type": 2.0}, **SKIPPING),
    of_optimizer("sgd_clipped_1", "sgd", {"lr": 0.1}, clip_grad_norm={"max_norm": 20.0, "norm_type": 1.0}),
    of_optimizer("sgd_clipped_3", "sgd", {"lr": 0.1}, clip_grad_norm={"max_norm": 3.0, "norm_type": 3.0}),
    of_optimizer("sgd_clipped_inf", "sgd", {"lr": 0.1}, clip_grad_norm={"max_norm": 2.0, "norm_type": "inf"}),
    of_optimizer("sgd_clipped_value", "sgd", {"lr": 0.1}, clip_grad_value=0.7),
    of_optimizer("adam", "adam", {"lr": 0.01}),
    of_optimizer("adam_decay", "adam", {"lr": 0.01, "weight_decay": 0.1, "eps": 0.01, "betas": [0.8, 0.95]}),
    of_optimizer("adam_amsgrad", "adam", {"lr": 0.01, "betas": [0.9, 0.5], "amsgrad": True}),
    of_optimizer("adam_maximize", "adam", {"lr": 0.01, "weight_decay": 0.1, "maximize": True}),
    of_optimizer("adam_groups", "adam", {"lr": 0.01}, BETAS, lr_at={"6": 0.001}),
    of_optimizer("adam_skipping", "adam", {"lr": 0.01, "weight_decay": 0.1}, **SKIPPING),
    of_optimizer("adamw", "adamw", {"lr": 0.01}),
    of_optimizer("adamw_amsgrad", "adamw", {"lr": 0.1, "weight_decay": 0.3, "betas": [0.9, 0.5], "amsgrad": True}),
    of_optimizer("adamw_maximize", "adamw", {"lr": 0.01, "weight_decay": 0.0, "maximize": True}),
    of_optimizer("adamw_groups", "adamw", {"lr": 0.1}, TWO_GROUPS, lr_at={"4": 0.05}),

    *(of_loss(f"cross_entropy_{reduction}_{name}", "cross_entropy", [8, 5], {"reduction": reduction, **options}, **more)
      for reduction in ("mean", "sum", "none") for name, options, more in (
          ("weight", {}, {"weight": [5]}),
          ("smoothing", {"label_smoothing": 0.1}, {}),
          ("ignoring", {"ignore_index": -100}, {}),
          ("everything", {"label_smoothing": 0.3, "ignore_index": 2}, {"weight": [5]}),
          ("soft", {}, {"soft": True}),
          ("soft_everything", {"label_smoothing": 0.2}, {"soft": True, "weight": [5]}))),
    *(of_loss(f"nll_loss_{reduction}_{name}", "nll_loss", [8, 5], {"reduction": reduction, **options}, **more)
      for reduction in ("mean", "sum", "none") for name, options, more in (
          ("plain", {}, {}), ("everything", {"ignore_index": 0}, {"weight": [5]}))),
    *(of_loss(f"bce_with_logits_{reduction}_{name}", "bce_with_logits", [6, 3], {"reduction": reduction}, **more)
      for reduction in ("mean", "sum", "none") for name, more in (
          ("plain", {}), ("weight", {"weight": [6, 1]}), ("everything", {"weight": [6, 3], "pos_weight": [3]}))),
    *(of_loss(f"mse_loss_{reduction}", "mse_loss", [4, 3, 2], {"reduction": reduction})
      for reduction in ("mean", "sum", "none")),

    of_schedule("exponential", "exponential", {"lr": 0.3, "factor": 0.9}, 12),
    of_schedule("polynomial", "polynomial", {"lr": 0.3, "epochs": 8, "power": 0.9}, 12),
    of_schedule("warm_restarts", "warm_restarts", {"lr": 0.3, "epochs": 4, "mult": 1, "min": 0.01}, 14),
    of_schedule("warm_restarts_mult", "warm_restarts", {"lr": 0.3, "epochs": 3, "mult": 2, "min": 0.0}, 24),
    of_schedule("warm_restarts_within", "warm_restarts", {"lr": 0.3, "epochs": 3, "mult": 2, "min": 0.0}, 60,
                steps_per_epoch=5),
    of_schedule("one_cycle", "one_cycle", {"lr": 0.3, "epochs": 10}, 10),
    of_schedule("one_cycle_steps", "one_cycle", {"lr": 0.3, "epochs": 1}, 57, by_step=True),
    of_schedule("one_cycle_linear", "one_cycle", {
        "lr": 0.3, "epochs": 1, "anneal_strategy": "linear", "pct_start": 0.45, "div_factor": 10.0,
        "final_div_factor": 100.0}, 40, by_step=True),
    of_schedule("one_cycle_three", "one_cycle", {"lr": 0.3, "epochs": 1, "three_phase": True}, 50, by_step=True),
    of_schedule("warmup_cosine", "warmup", {"epochs": 3, "start": 0.1, "schedule": COSINE}, 12),
    of_schedule("warmup_step", "warmup", {"epochs": 4, "start": 1 / 3, "schedule": {
        "kind": "step", "options": {"lr": 0.1, "every": 2, "factor": 0.5}}}, 12),
]

if __name__ == "__main__":
    folder = pathlib.Path(__file__).parent
    torch.set_num_threads(1)
    computed = compute(CASES, SEED)
    (folder / "training.json").write_text("[\n" + ",\n".join("  " + json.dumps(case) for case in CASES) + "\n]\n")
    path = folder / "training.safetensors"
    made_by = {"torch": torch.__version__, "numpy": np.__version__, "seed": str(SEED)}
    safetensors.numpy.save_file(computed, path, metadata=made_by)
    path.chmod(0o644)
    print(f"{len(CASES)} cases, {path.stat().st_size} bytes, {made_by}")
