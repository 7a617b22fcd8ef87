"""The larger nets in PyTorch, and what they compute, in double precision: for generate_resnet.py and spec/oracle/resnet_case.py.

Weights and images follow from a formula that spec/oracle/nets.lua has too, so that no weights need to be stored. Of every
gradient and running statistic only a sample of its elements is kept, with the norm of the whole.
"""
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from reference import array, nchw, pattern

PERIOD = 65521  # weights repeat with this prime
# A gradient is only comparable where no rounding error of float32 can move an activation across a kink; distances are
# shares of the layer's root mean square. Biases move in small steps until the ReLUs are clear of theirs; for pooling, and for
# the layers behind the CAM's, another salt is tried. A pooling has many windows in the first layers and large errors in
# the last: its margin doubles from one to the next. Errors are ten times as large where the statistics are a batch's.
RELU_MARGIN = {"training": 2e-4, "evaluation": 2e-5}
POOL_MARGIN = {"training": 5e-6, "evaluation": 1e-6}
# And where float32 has digits left: PyTorch's own gradients in float32 are this near to those in float64, or as near as
# the case's "rounding" says.
ROUNDING = 5e-5
MOST_STEPS = 200
DROPOUT_SEED = 1
# A heatmap is only comparable where more than this share of its terms is left after they cancelled each other.
CANCELLATION = 0.025


# ---- nets: torchvision's names ----


class OptionA(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.pad = outputs // 4

    def forward(self, x):
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad))


class Block(nn.Module):
    """Convolutions with normalisations; a ReLU after all but the last, whose comes after the addition."""

    def __init__(self, inputs, layers, shortcut):
        super().__init__()
        self.count = len(layers)
        for i, (outputs, kernel, stride) in enumerate(layers, 1):
            setattr(self, f"conv{i}", nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False))
            setattr(self, f"bn{i}", nn.BatchNorm2d(outputs))
            inputs = outputs
        self.relu = nn.ReLU()
        self.downsample = shortcut

    def forward(self, x):
        y = x
        for i in range(1, self.count + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            if i < self.count:
                y = self.relu(y)
        return self.relu(y + (self.downsample(x) if self.downsample else x))


class Residual(nn.Module):
    """cam: the layer for xGradCAM, and the modules behind it with kinks (in a list, which hides them from state dicts)."""

    def __init__(self, stem, channels, stages, last, classes):
        super().__init__()
        for name, layer in stem.items():
            setattr(self, name, layer)
        self.stem, self.last, self.stages = list(stem), last, len(stages)
        for i, (width, count, expansion, option_a) in enumerate(stages):
            blocks = []
            for j in range(count):
                stride = 2 if i > 0 and j == 0 else 1
                outputs = width * expansion
                shortcut = None
                if stride != 1 or channels != outputs:
                    shortcut = OptionA(outputs) if option_a else nn.Sequential(
                        nn.Conv2d(channels, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
                layers = [(width, 3, stride), (width, 3, 1)] if expansion == 1 else \
                    [(width, 1, 1), (width, 3, stride), (outputs, 1, 1)]
                blocks.append(Block(channels, layers, shortcut))
                channels = outputs
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
        setattr(self, last, nn.Linear(channels, classes))
        self.cam = [getattr(self, f"layer{len(stages)}")[-1]]

    def forward(self, x):
        for name in self.stem:
            x = getattr(self, name)(x)
        for i in range(self.stages):
            x = getattr(self, f"layer{i + 1}")(x)
        return getattr(self, self.last)(x.mean(dim=(2, 3)))


def resnet_cifar(count):
    def build(classes, **_):
        stem = {"conv1": nn.Conv2d(3, 16, 3, 1, 1, bias=False), "bn1": nn.BatchNorm2d(16), "relu": nn.ReLU()}
        return Residual(stem, 16, [(width, count, 1, True) for width in (16, 32, 64)], "linear", classes)

    return build


def resnet(expansion, counts):
    def build(classes, **_):
        stem = {"conv1": nn.Conv2d(3, 64, 7, 2, 3, bias=False), "bn1": nn.BatchNorm2d(64), "relu": nn.ReLU(),
                "maxpool": nn.MaxPool2d(3, 2, 1)}
        stages = [(64 << i, count, expansion, False) for i, count in enumerate(counts)]
        return Residual(stem, 64, stages, "fc", classes)

    return build


def philox(seed, first, count):
    """Philox4x32-10 (Salmon et al. 2011) at `count` counters from `first` on, as csrc/core/random.c has it: {count,4}."""
    low = np.uint64(0xFFFFFFFF)
    counters = np.arange(first, first + count, dtype=np.uint64)
    c = [counters & low, counters >> np.uint64(32), np.zeros_like(counters), np.zeros_like(counters)]
    keys = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(10):
        p, q = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        c = [q >> np.uint64(32) ^ c[1] ^ np.uint64(keys[0]), q & low, p >> np.uint64(32) ^ c[3] ^ np.uint64(keys[1]), p & low]
        keys = [(keys[0] + 0x9E3779B9) & 0xFFFFFFFF, (keys[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return np.stack(c, axis=1)


class Draws:
    """masktune's generator: how far it is. Each mask takes whole blocks of four numbers."""

    def __init__(self):
        self.counter = 0

    def mask(self, shape, p):
        count = math.prod(shape)
        blocks = (count + 3) // 4
        numbers = philox(DROPOUT_SEED, self.counter, blocks).reshape(-1)[:count]
        self.counter += blocks
        return torch.from_numpy((numbers >= p * 2.0**32) / (1 - p)).reshape(shape)


class Dropout(nn.Module):
    """Drops what masktune drops: values of {N,C}, whole channels of {N,C,H,W}."""

    def __init__(self, p, draws):
        super().__init__()
        self.p, self.draws = p, draws

    def forward(self, x):
        if not self.training:
            return x
        mask = self.draws.mask(x.shape[:2], self.p).to(x.dtype)
        return x * mask.reshape(*mask.shape, *[1] * (x.dim() - 2))


class VGG(nn.Module):
    def __init__(self, classes, layout, size):
        super().__init__()
        self.draws = Draws()
        layers, channels = [], 3
        for width, count, drop in ((64, 2, 0.3), (128, 2, 0.4), (256, 3, 0.4), (512, 3, 0.4), (512, 3, 0.4)):
            for i in range(count):
                norm = nn.BatchNorm2d(width)
                layers.append(nn.Conv2d(channels, width, 3, padding=1))
                layers += [nn.ReLU(), norm] if layout == "reference" else [norm, nn.ReLU()]
                if layout == "reference" and i < count - 1:
                    layers.append(Dropout(drop, self.draws))
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.cam = [layers[-2], layers[-1]]
        if layout == "reference":
            layers.append(Dropout(0.5, self.draws))
        self.features = nn.Sequential(*layers)
        spots = (size[0] // 32) * (size[1] // 32)
        self.classifier = nn.Sequential(nn.Linear(512 * spots, 512), nn.ReLU(), nn.BatchNorm1d(512),
                                        Dropout(0.5, self.draws), nn.Linear(512, classes))
        self.cam.append(self.classifier[1])

    def forward(self, x):
        self.draws.counter = 0
        return self.classifier(torch.flatten(self.features(x), 1))


NETS = {"resnet20": resnet_cifar(3), "resnet32": resnet_cifar(5), "resnet18": resnet(1, (2, 2, 2, 2)),
        "resnet50": resnet(4, (3, 4, 6, 3)), "vgg16_bn": VGG}


def build(case):
    options = {"layout": case["layout"], "size": case["size"]} if "layout" in case else {}
    return NETS[case["net"]](classes=case["classes"], **options)


# ---- weights ----


def key_of(name):
    key = 0
    for byte in name.encode():
        key = (key * 31 + byte) & 0xFFFFFFFF
    return key


def formula(name, shape, salt):
    """Numbers in [0,1), the same as spec/oracle/nets.lua makes."""
    base = pattern("base", PERIOD, salt).astype(np.float32)
    index = (np.arange(math.prod(shape)) + key_of(name) % PERIOD) % PERIOD
    return base[index].reshape(shape)


def weights_for(model, salt):
    """running_var and weights of normalisations around 1; biases >= 0 and means <= 0, so that in evaluation the channels
    of a normalisation behind a ReLU have sums that xGradCAM can divide by; all else around 0 with a fan-in scale. VGG's
    hidden layer gets biases that leave its channels alive in more than one image: its normalisation is over the batch."""
    weights = {}
    for name, tensor in model.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        shape = tuple(tensor.shape)
        u = formula(name, shape, salt)
        if len(shape) > 1:
            values = (2 * u - 1) * np.float32(math.sqrt(6 / math.prod(shape[1:])))
        elif name == "classifier.0.bias":
            values = u * np.float32(4) + np.float32(4)
        elif name.endswith("bias"):
            values = u * np.float32(0.5)
        elif name.endswith("running_mean"):
            values = u * np.float32(-0.5)
        else:
            values = u + np.float32(0.5)
        weights[name] = torch.from_numpy(values.astype(np.float32))
    return weights


# ---- what is compared ----


class Margin:
    """Whether the activations in the modules watched keep clear of kinks."""

    def __init__(self, modules, mode):
        modules, self.mode = list(modules), mode
        pools = [m for m in modules if isinstance(m, nn.MaxPool2d)]
        self.clear = True
        self.pool_margins = {m: POOL_MARGIN[mode] * 2**i for i, m in enumerate(pools)}
        self.hooks = [m.register_forward_pre_hook(self.pool) for m in pools]
        self.hooks += [m.register_forward_pre_hook(self.relu) for m in modules if isinstance(m, nn.ReLU)]

    def note(self, distances, values, margin):
        distances = distances[distances > 0]
        if distances.numel() and distances.min() < margin * values.square().mean().sqrt():
            self.clear = False

    def relu(self, _, args):
        self.note(args[0].detach().abs(), args[0].detach(), RELU_MARGIN[self.mode])

    def pool(self, m, args):
        x = F.pad(args[0].detach(), (m.padding,) * 4, value=-torch.inf)
        windows = x.unfold(2, m.kernel_size, m.stride).unfold(3, m.kernel_size, m.stride).flatten(4)
        top = windows.topk(2, dim=-1).values
        self.note(top[..., 0] - top[..., 1], args[0].detach(), self.pool_margins[m])

    def remove(self):
        for hook in self.hooks:
            hook.remove()


class Nudges:
    """While it watches, moves every ReLU's inputs off 0 through the bias in front of it."""

    def __init__(self, model, mode):
        self.margin, self.before = 1.1 * RELU_MARGIN[mode], None
        self.hooks = []
        for m in model.modules():
            if isinstance(m, nn.ReLU):
                self.hooks.append(m.register_forward_pre_hook(self.relu))
            elif getattr(m, "bias", None) is not None:
                self.hooks.append(m.register_forward_hook(self.passed))

    def passed(self, layer, *_):
        self.before = layer

    def relu(self, _, args):
        x, bias = args[0], self.before.bias
        channels = x.transpose(0, 1).flatten(1)
        needed = self.margin * x.square().mean().sqrt()
        moved, steps = torch.zeros_like(bias), torch.zeros_like(bias)
        for _ in range(MOST_STEPS):
            steps[(channels + moved[:, None]).abs().amin(1) < needed] += 1
            moved = (bias + 2 * needed * steps).float().to(bias.dtype) - bias
        bias += moved
        return (x + moved.reshape(-1, *[1] * (x.dim() - 2)),)

    def remove(self):
        for hook in self.hooks:
            hook.remove()


def sampled(tensors, samples):
    """One vector: of each tensor, by name, its norm and evenly spaced elements."""
    parts = []
    for name in sorted(tensors):
        flat = array(tensors[name]).reshape(-1)
        norm = np.linalg.norm(flat.astype(np.float64))
        count = min(samples, flat.size)
        parts.append(np.array([norm], dtype=np.float32))
        parts.append(flat[:: flat.size // count][:count])
    return np.concatenate(parts)


def xgradcam(model, images, target):
    """Heatmaps, and the sums of their terms' sizes."""
    kept = {}
    hook = model.cam[0].register_forward_hook(lambda _, __, output: kept.update(a=output))
    logits = model(images)
    hook.remove()
    target = logits.argmax(dim=1) if target is None else target
    (g,) = torch.autograd.grad(logits.gather(1, target[:, None]).sum(), kept["a"])
    a = kept["a"].detach()
    weights = (g * a / (a.sum(dim=(2, 3), keepdim=True) + 1e-7)).sum(dim=(2, 3), keepdim=True)
    return (weights * a).sum(dim=1).clamp(min=0), (weights * a).abs().sum(dim=1)


def mode_of(case):
    return "training" if case["training"] else "evaluation"


def evaluate(case, model, images, result):
    margin = Margin(model.cam[1:], "evaluation")
    model.eval()
    with torch.no_grad():
        result["logits_eval"] = array(model(images))
    last = torch.full((case["batch"],), case["classes"] - 1)
    for name, target in (("heat", None), ("heat_of_last_class", last)):
        heat, terms = xgradcam(model, images, target)
        if heat.norm() < CANCELLATION * terms.norm():
            margin.clear = False
        result[name] = array(heat)
    margin.remove()
    return margin.clear


def gradients_of(case, model, logits):
    """The loss, and its gradients by name."""
    loss = F.cross_entropy(logits, torch.arange(case["batch"]) * 3 % case["classes"])
    names, parameters = zip(*model.named_parameters())
    return loss, dict(zip(names, torch.autograd.grad(loss, parameters)))


def rounding_of(case, start, images, logits, gradients):
    """How far float32 is from float64 in PyTorch: logits, and the worst gradient, measured as spec/oracle/nets.lua does."""
    model = build(case)
    model.load_state_dict(start)
    model.train(case["training"])
    single = model(images.float())
    _, found = gradients_of(case, model, single)
    norms = {name: g.norm() for name, g in gradients.items()}
    worst = 0
    for name, g in gradients.items():
        scale = max(norms[name], norms.get(name.removesuffix("bias") + "weight", 0) * 0.1)
        worst = max(worst, float((found[name] - g).norm() / scale))
    return float((single - logits).detach().norm() / logits.detach().norm()), worst


def differentiate(case, model, images, start, result):
    margin = Margin(model.modules(), mode_of(case))
    model.train(case["training"])
    logits = model(images)
    margin.remove()
    if not margin.clear:
        return False
    loss, gradients = gradients_of(case, model, logits)
    rounding, worst = rounding_of(case, start, images, logits, gradients)
    result["logits"], result["loss"] = array(logits), array(loss)
    result["logits_rounding"] = np.array([rounding], dtype=np.float32)
    result["gradients_rounding"] = np.array([worst], dtype=np.float32)
    result["gradients"] = sampled(gradients, case["samples"])
    result["buffers"] = sampled({n: b for n, b in model.named_buffers() if "running" in n}, case["samples"])
    return worst < case.get("rounding", ROUNDING)


def biases_of(model):
    """All biases in the order of their names, as one vector."""
    return torch.cat([p.detach() for name, p in sorted(model.named_parameters()) if name.endswith("bias")]).float().numpy()


def nudge(case, model, images):
    """Moves biases; which elements of biases_of, counted from 1, and where to."""
    before, buffers = biases_of(model), {name: b.clone() for name, b in model.named_buffers()}
    nudges = Nudges(model, mode_of(case))
    model.train(case["training"])
    with torch.no_grad():
        model(images)
    nudges.remove()
    model.load_state_dict(buffers, strict=False)
    after = biases_of(model)
    moved = np.flatnonzero(after != before)
    return {"moved": (moved + 1).astype(np.int32), "moved_to": after[moved]}


def compute_once(case, salt):
    model = build(case)
    model.load_state_dict(weights_for(model, salt), strict=False)
    model.double()
    images = nchw(formula("images", (case["batch"], *case["size"], 3), salt)).double()
    result = {"salt": np.array([salt], dtype=np.int32), **nudge(case, model, images)}
    start = {name: t.float() if t.is_floating_point() else t.clone() for name, t in model.state_dict().items()}
    clear = differentiate(case, model, images, start, result)
    if clear:
        model.load_state_dict(start)
        clear = evaluate(case, model, images, result)
    return result, clear, start


def compute(case, salt):
    """Results by name, and the state dict they start from; the first salt that keeps clear of every kink."""
    for tried in range(salt, salt + 300):
        result, clear, start = compute_once(case, tried)
        if clear:
            return result, start
    raise RuntimeError(f"{case['name']}: no salt keeps clear of every kink")
