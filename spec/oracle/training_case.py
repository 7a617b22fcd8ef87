"""Fresh random cases for spec/oracle/training_live_spec.lua: training_case.py SEED FOLDER writes FOLDER/cases.json and,
with inputs and PyTorch's results, FOLDER/live.safetensors."""
import json
import pathlib
import random
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "golden"))

import safetensors.numpy  # noqa: E402
import torch  # noqa: E402

import training  # noqa: E402


def random_options(rng, kind):
    options = {"lr": rng.uniform(0.001, 0.1), "weight_decay": rng.choice([0.0, rng.uniform(0.001, 0.3)]),
               "maximize": rng.random() < 0.3}
    if kind == "sgd":
        options["momentum"] = rng.choice([0.0, rng.uniform(0.1, 0.95)])
        options["nesterov"] = options["momentum"] > 0 and rng.random() < 0.5
        options["dampening"] = 0.0 if options["nesterov"] else rng.uniform(0, 1)
    else:
        options.update(betas=[rng.uniform(0.1, 0.95), rng.uniform(0.3, 0.999)], amsgrad=rng.random() < 0.5,
                       eps=rng.choice([1e-8, 1e-3]))
    return options


def random_optimizer(rng, i):
    kind = ["sgd", "adam", "adamw"][i % 3]
    groups = [{"shapes": [[rng.randint(1, 6) for _ in range(rng.randint(1, 3))] for _ in range(rng.randint(1, 3))],
               "options": {} if i < 3 else random_options(rng, kind)} for _ in range(1 if i < 3 else rng.randint(2, 4))]
    count = sum(len(g["shapes"]) for g in groups)
    more = {"lr_at": {str(rng.randint(2, 9)): rng.uniform(0.001, 0.2)},
            "frozen_from": {str(rng.randint(1, count)): rng.randint(1, 10)},
            "without_gradient": {str(rng.randint(1, 10)): [rng.randint(1, count)]}}
    if rng.random() < 0.5:
        norm_type = rng.choice([1.0, 2.0, rng.uniform(1, 5), "inf"])
        more["clip_grad_norm"] = {"max_norm": rng.uniform(0.5, 5), "norm_type": norm_type}
    return training.of_optimizer(f"optimizer_{i}", kind, random_options(rng, kind), groups, **more)


def random_loss(rng, i):
    name = ["cross_entropy", "cross_entropy", "nll_loss", "bce_with_logits", "mse_loss"][i % 5]
    shape = [rng.randint(1, 70), rng.randint(1, 40)]
    options, more = {"reduction": rng.choice(["mean", "sum", "none"])}, {}
    if name == "cross_entropy":
        more["soft"] = rng.random() < 0.4
        options["label_smoothing"] = rng.choice([0.0, rng.uniform(0, 1)])
    if name in ("cross_entropy", "nll_loss"):
        # Class 1 is never the only one that is left: the mean over no samples is NaN.
        if not more.get("soft") and shape[1] > 2 and shape[0] > 2:
            options["ignore_index"] = rng.choice([-100, 0, 2])
        if rng.random() < 0.5:
            more["weight"] = [shape[1]]
    if name == "bce_with_logits":
        more = {"weight": rng.choice([shape, [shape[1]], [shape[0], 1]]), "pos_weight": rng.choice([shape, [shape[1]]])}
    return training.of_loss(f"loss_{i}", name, shape, options, **more)


def random_schedule(rng, i):
    lr, epochs = rng.uniform(0.01, 1), rng.randint(2, 8)
    choices = [
        ("exponential", {"lr": lr, "factor": rng.uniform(0.5, 1.1)}, {}),
        ("polynomial", {"lr": lr, "epochs": epochs, "power": rng.uniform(0.5, 3)}, {}),
        ("warm_restarts", {"lr": lr, "epochs": epochs, "mult": rng.randint(1, 3), "min": lr / 10}, {}),
        ("warm_restarts", {"lr": lr, "epochs": epochs, "mult": rng.randint(1, 3), "min": 0.0}, {"steps_per_epoch": 4}),
        ("one_cycle", {"lr": lr, "epochs": 1, "pct_start": rng.uniform(0.1, 0.45), "three_phase": rng.random() < 0.5,
                       "anneal_strategy": rng.choice(["cos", "linear"]), "div_factor": rng.uniform(2, 50),
                       "final_div_factor": rng.uniform(10, 1e4)}, {"by_step": True}),
        ("warmup", {"epochs": epochs, "start": rng.uniform(0.01, 1), "schedule": {
            "kind": "cosine", "options": {"lr": lr, "epochs": 30, "min": lr / 100}}}, {}),
    ]
    kind, options, more = choices[i % len(choices)]
    return training.of_schedule(f"schedule_{i}", kind, options, 40, **more)


def main():
    seed, folder = int(sys.argv[1]), pathlib.Path(sys.argv[2])
    torch.set_num_threads(1)
    rng = random.Random(seed)
    cases = ([random_optimizer(rng, i) for i in range(12)] + [random_loss(rng, i) for i in range(20)] +
             [random_schedule(rng, i) for i in range(12)])
    tensors = training.compute(cases, seed)
    (folder / "cases.json").write_text(json.dumps(cases))
    safetensors.numpy.save_file(tensors, folder / "live.safetensors")


main()
