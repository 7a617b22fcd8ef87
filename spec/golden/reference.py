"""What PyTorch computes: the cases of the oracle specs, their inputs and their results.

Everything is written in masktune's layouts: images N,H,W,C, conv weights kH,kW,I,O, labels 1..k; state dicts keep
PyTorch's own names and layouts. Each operation returns a case's inputs and results together; spec/oracle/cases.lua knows
which are which. `draw(shape)` gives standard normal values.
"""
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

# A gradient is only comparable where no rounding error can move an activation across a kink.
MARGIN = 2e-6


def array(tensor):
    return np.array(tensor.detach().numpy(), dtype=np.float32, order="C")


def nhwc(tensor):
    return array(tensor.permute(0, 2, 3, 1))


def nchw(values):
    return torch.from_numpy(values).permute(0, 3, 1, 2).contiguous()


# ---- single operations ----


def conv2d(case, draw):
    x = draw(case["x"])
    kh, kw = case["kernel"]
    w = draw([kh, kw, case["x"][3], case["out"]])
    b = draw([case["out"]]) if case["bias"] else None
    tx = nchw(x).requires_grad_()
    tw = torch.from_numpy(w).permute(3, 2, 0, 1).contiguous().requires_grad_()
    tb = torch.from_numpy(b).requires_grad_() if case["bias"] else None
    y = F.conv2d(tx, tw, tb, stride=case["stride"], padding=case["padding"])
    r = draw([y.shape[0], y.shape[2], y.shape[3], y.shape[1]])
    y.backward(nchw(r))
    result = {"x": x, "w": w, "r": r, "y": nhwc(y), "grad_x": nhwc(tx.grad), "grad_w": array(tw.grad.permute(2, 3, 1, 0))}
    if case["bias"]:
        result.update(b=b, grad_b=array(tb.grad))
    return result


def pool2d(case, draw):
    x = draw(case["x"])
    tx = nchw(x).requires_grad_()
    pool = {"max": F.max_pool2d, "avg": F.avg_pool2d}[case["kind"]]
    y = pool(tx, case["kernel"], stride=case["stride"], padding=case["padding"])
    r = draw([y.shape[0], y.shape[2], y.shape[3], y.shape[1]])
    y.backward(nchw(r))
    return {"x": x, "r": r, "y": nhwc(y), "grad_x": nhwc(tx.grad)}


def global_avg_pool(case, draw):
    x = draw(case["x"])
    tx = nchw(x).requires_grad_()
    y = tx.mean(dim=(2, 3))
    r = draw(list(y.shape))
    y.backward(torch.from_numpy(r))
    return {"x": x, "r": r, "y": array(y), "grad_x": nhwc(tx.grad)}


def batch_norm(case, draw):
    x = 2 * draw(case["x"]) + 0.5
    images = len(case["x"]) == 4
    channels = case["x"][-1]
    layer = (nn.BatchNorm2d if images else nn.BatchNorm1d)(channels)
    start = {"weight": draw([channels]), "bias": draw([channels]), "running_mean": draw([channels])}
    start["running_var"] = np.square(draw([channels])) + 0.5
    layer.load_state_dict({name: torch.from_numpy(v) for name, v in start.items()}, strict=False)
    layer.train(case["train"])
    tx = (nchw(x) if images else torch.from_numpy(x)).requires_grad_()
    y = layer(tx)
    r = draw(case["x"])
    y.backward(nchw(r) if images else torch.from_numpy(r))
    out = nhwc if images else array
    return {"x": x, "r": r, **start, "y": out(y), "grad_x": out(tx.grad), "grad_weight": array(layer.weight.grad),
            "grad_bias": array(layer.bias.grad), "mean_after": array(layer.running_mean),
            "var_after": array(layer.running_var)}


def linear(case, draw):
    x, w, b = draw(case["x"]), draw([case["out"], case["x"][1]]), draw([case["out"]])
    tx, tw, tb = (torch.from_numpy(v).requires_grad_() for v in (x, w, b))
    y = F.linear(tx, tw, tb)
    r = draw(list(y.shape))
    y.backward(torch.from_numpy(r))
    return {"x": x, "w": w, "b": b, "r": r, "y": array(y), "grad_x": array(tx.grad), "grad_w": array(tw.grad),
            "grad_b": array(tb.grad)}


def cross_entropy(case, draw):
    x = 3 * draw(case["x"])
    labels = np.arange(case["x"][0], dtype=np.int32) * 7 % case["x"][1] + 1
    tx = torch.from_numpy(x).requires_grad_()
    y = F.cross_entropy(tx, torch.from_numpy(labels.astype(np.int64) - 1), reduction=case["reduction"])
    r = draw(list(y.shape))
    y.backward(torch.from_numpy(r))
    return {"x": x, "labels": labels, "r": r, "y": array(y), "grad_x": array(tx.grad)}


# ---- the SmallCNN ----


class SmallCNN(nn.Module):
    def __init__(self, classes, channels=3, features=512):
        super().__init__()

        def block(inputs, outputs):
            return [nn.Conv2d(inputs, outputs, 3), nn.BatchNorm2d(outputs), nn.ReLU()]

        self.backbone = nn.Sequential(*block(channels, 16), *block(16, 16), nn.MaxPool2d(2),
                                      *block(16, 32), *block(32, 32), nn.MaxPool2d(2))
        self.linear = nn.Sequential(nn.Linear(features, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, classes))

    def forward(self, images):
        return self.linear(torch.flatten(self.backbone(images), 1))


def pattern(name, count, salt):
    """count numbers in [0,1) that spec/oracle/cases.lua computes too, so that 600 KB of weights need no file."""
    mask = np.uint64(0xFFFFFFFF)
    key = salt
    for byte in name.encode():
        key = (key * 31 + byte) & 0xFFFFFFFF
    h = np.arange(count, dtype=np.uint64) * np.uint64(2654435761) + np.uint64(key)
    for shift, factor in ((16, 2246822507), (13, 3266489909)):
        h &= mask
        h ^= h >> np.uint64(shift)
        h *= np.uint64(factor)
    h &= mask
    h ^= h >> np.uint64(16)
    return (h >> np.uint64(8)).astype(np.float64) / 2.0**24


def pattern_weights(shapes, salt):
    """A state dict: running_var and BN weights around 1, everything else around 0 with a fan-in scale."""
    weights = {}
    for name, shape in shapes.items():
        u = pattern(name, int(np.prod(shape)), salt)
        if name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
            values = 0.5 + u
        else:
            fan_in = np.prod(shape[1:], dtype=np.float64) if len(shape) > 1 else 16.0
            values = (2 * u - 1) * np.sqrt(6.0 / fan_in)
        weights[name] = values.astype(np.float32).reshape(shape)
    return weights


class Margin:
    """Watches every ReLU and max pooling of a model for the smallest distance of an activation to a kink."""

    def __init__(self, model):
        self.smallest = np.inf
        for layer in model.modules():
            if isinstance(layer, nn.ReLU):
                layer.register_forward_pre_hook(lambda _, args: self.note(args[0].detach().abs().min()))
            if isinstance(layer, nn.MaxPool2d):
                layer.register_forward_pre_hook(self.pooled)

    def note(self, value):
        self.smallest = min(self.smallest, float(value))

    def pooled(self, _, args):
        x = args[0].detach()
        windows = x.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)
        top = windows.topk(2, dim=-1).values
        gap = (top[..., 0] - top[..., 1])[top[..., 0] > 0]
        self.note(gap.min())


def xgradcam(model, images, target):
    """METHOD: w_k = sum(g_k A_k / (sum A_k + 1e-7)); heatmap max(0, sum_k w_k A_k)."""
    model.eval()
    kept = {}
    hook = model.backbone[12].register_forward_hook(lambda _, __, output: kept.update(a=output))
    logits = model(images)
    hook.remove()
    target = logits.argmax(dim=1) if target is None else target
    (g,) = torch.autograd.grad(logits.gather(1, target[:, None]).sum(), kept["a"])
    a = kept["a"].detach()
    weights = (g * a / (a.sum(dim=(2, 3), keepdim=True) + 1e-7)).sum(dim=(2, 3), keepdim=True)
    return (weights * a).sum(dim=1).clamp(min=0).numpy()


def scaled(heat):
    low = heat.min(axis=(1, 2), keepdims=True)
    high = heat.max(axis=(1, 2), keepdims=True)
    return (heat - low) / (high - low + 1e-7)


def mask(heat, protocol, k, size):
    """1 where the image is kept; also the smallest distance of a value to its threshold."""
    if protocol == "paper":
        tau = heat.mean(axis=(1, 2), keepdims=True) + k * heat.std(axis=(1, 2), keepdims=True)
        rows = np.arange(size[0]) * heat.shape[1] // size[0]
        columns = np.arange(size[1]) * heat.shape[2] // size[1]
        up = heat[:, rows][:, :, columns]
        distance = np.abs(up - tau).min()
    else:
        small = torch.from_numpy(scaled(heat))[:, None]
        large = F.interpolate(small, size=size, mode="bilinear", align_corners=False)[:, 0].numpy()
        up = scaled(large)
        tau = np.stack([[[h[h > 0].mean() + k * h[h > 0].std()]] for h in up])
        # Which values are > 0 is as much of a decision: several lowest ones are only sure to be alike where they are 0.
        lowest = (up < 1e-5).sum(axis=(1, 2))
        clear = (lowest == 1) | ((large.min(axis=(1, 2)) == 0) & (lowest == (up == 0).sum(axis=(1, 2))))
        distance = np.abs(up - tau).min() if clear.all() else 0.0
    return (up <= tau).astype(np.uint8), float(distance)


def small_cnn(case, draw):
    del draw  # every input is a pattern
    for salt in range(case["salt"], case["salt"] + 1000):
        result, margin = small_cnn_once(case, salt)
        if margin >= MARGIN:
            return result
    raise RuntimeError("no salt keeps clear of every kink")


def small_cnn_once(case, salt):
    batch, classes = case["batch"], case["classes"]
    model = SmallCNN(classes)
    margin = Margin(model)
    names = [name for name in model.state_dict() if not name.endswith("num_batches_tracked")]
    start = pattern_weights({name: tuple(model.state_dict()[name].shape) for name in names}, salt)
    images = nchw(pattern("images", batch * 28 * 28 * 3, salt).astype(np.float32).reshape(batch, 28, 28, 3))
    labels = torch.arange(batch) * 3 % classes
    result = {"salt": np.array([salt], dtype=np.int32)}

    def keep(prefix, tensors):
        for name, tensor in tensors:
            values = array(tensor)
            if values.size > 2000:
                values = values[:: max(1, len(values) // case["rows"])]
            result[prefix + name] = values

    def restart():
        model.load_state_dict({name: torch.from_numpy(v.copy()) for name, v in start.items()}, strict=False)

    def step(optimiser):
        model.train()
        model.zero_grad()
        logits = model(images)
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        if optimiser:
            optimiser.step()
        return logits, loss

    restart()
    model.eval()
    with torch.no_grad():
        result["logits_eval"] = array(model(images))
    logits, loss = step(None)
    result["logits_train"], result["loss"] = array(logits), array(loss)
    if margin.smallest < MARGIN:
        return result, 0.0
    keep("grad.", ((name, p.grad) for name, p in model.named_parameters()))
    keep("buffer.", ((name, b) for name, b in model.named_buffers() if name in start))
    # A large eps: with the usual one the sign of a gradient near 0, a rounding error, decides a whole step.
    optimisers = {
        "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1),
        "adam": lambda p: torch.optim.Adam(p, lr=0.01, eps=0.01, weight_decay=0.1),
    }
    for kind, make in optimisers.items():
        restart()
        optimiser = make(model.parameters())
        for count in range(1, case["steps"] + 1):
            step(optimiser)
            keep(f"{kind}{count}.", ((n, p - torch.from_numpy(start[n])) for n, p in model.named_parameters()))

    restart()
    result["heat"] = xgradcam(model, images, None)
    result["heat_of_last_class"] = xgradcam(model, images, torch.full((batch,), classes - 1))
    # A heatmap that is nothing but rounding errors, or has no value above 0 for a threshold, compares nothing.
    strengths = result["heat"].max(axis=(1, 2)), result["heat_of_last_class"].max()
    if not (strengths[0].min() > 0 and strengths[1] > 0.3 * strengths[0].max()):
        return result, 0.0
    closest = np.inf
    for protocol in ("paper", "reference"):
        for k in (0, 2):
            result[f"keep.{protocol}{k}"], distance = mask(result["heat"], protocol, k, (28, 28))
            closest = min(closest, distance)
    return result, min(margin.smallest, closest)


OPERATIONS = {f.__name__: f for f in (conv2d, pool2d, global_avg_pool, batch_norm, linear, cross_entropy, small_cnn)}


def compute(cases, seed):
    """Every case's inputs and results, by "<case>/<tensor>"."""
    random = np.random.default_rng(seed)
    tensors = {}
    for case in cases:
        results = OPERATIONS[case["op"]](case, lambda shape: random.standard_normal(shape).astype(np.float32))
        tensors.update({f"{case['name']}/{name}": np.asarray(v, order="C") for name, v in results.items()})
    return tensors
