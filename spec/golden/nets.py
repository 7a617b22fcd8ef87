"""The larger nets in PyTorch, and what they compute, in double precision: for generate_resnet.py and spec/oracle/resnet_case.py.

Weights and images follow from a formula that spec/oracle/nets.lua has too, so that no weights need to be stored. Of every
gradient and running statistic only a sample of its elements is kept, with the norm of the whole.
"""
import copy
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from reference import array, nchw, pattern

PERIOD = 65521  # weights repeat with this prime
# A gradient is only comparable where no rounding error can move an activation across a kink: as a share of the layer's
# root mean square.
MARGIN = 2e-6
# Float32 errs by up to 1e-5 of that after fifty layers. Live cases, whose biases need not follow the formula, keep the
# inputs of their ReLUs clear of it; what is left are poolings, not far from the images.
LIVE_MARGIN, LIVE_DISTANCE = 5e-6, 1e-4
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


class VGG(nn.Module):
    """In evaluation: identities stand where the reference drops channels."""

    def __init__(self, classes, layout, size):
        super().__init__()
        layers, channels = [], 3
        for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
            for i in range(count):
                norm = nn.BatchNorm2d(width)
                layers.append(nn.Conv2d(channels, width, 3, padding=1))
                layers += [nn.ReLU(), norm] if layout == "reference" else [norm, nn.ReLU()]
                if layout == "reference" and i < count - 1:
                    layers.append(nn.Identity())
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        spots = (size[0] // 32) * (size[1] // 32)
        self.classifier = nn.Sequential(nn.Linear(512 * spots, 512), nn.ReLU(), nn.BatchNorm1d(512), nn.Identity(),
                                        nn.Linear(512, classes))
        self.cam = [layers[-2], layers[-1], self.classifier[1]]

    def forward(self, x):
        return self.classifier(torch.flatten(self.features(x), 1))


def mobilenet_v2(classes):
    """torchvision's own."""
    import torchvision

    model = torchvision.models.mobilenet_v2(weights=None, num_classes=classes, dropout=0.0)
    model.cam = [model.features[-1]]
    return model


def efficientnet_lite0(classes):
    """The published architecture (the package efficientnet-lite-pytorch), with the paddings of any image's size."""
    from efficientnet_lite_pytorch import EfficientNet

    model = EfficientNet.from_name("efficientnet-lite0", num_classes=classes, image_size=None, dropout_rate=0.0)
    before_pooling = nn.Identity()
    model._avg_pooling = nn.Sequential(before_pooling, model._avg_pooling)
    model.cam = [before_pooling]
    return model


NETS = {"mobilenet_v2": mobilenet_v2, "efficientnet_lite0": efficientnet_lite0, "resnet20": resnet_cifar(3), "resnet32": resnet_cifar(5), "resnet18": resnet(1, (2, 2, 2, 2)),
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
    of a normalisation behind a ReLU have sums that xGradCAM can divide by; all else around 0 with a fan-in scale."""
    weights = {}
    for name, tensor in model.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        shape = tuple(tensor.shape)
        u = formula(name, shape, salt)
        if len(shape) > 1:
            values = (2 * u - 1) * np.float32(math.sqrt(6 / math.prod(shape[1:])))
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
    """The smallest distance of an activation to a kink in the modules watched."""

    def __init__(self, modules):
        self.smallest = np.inf
        self.hooks = [m.register_forward_pre_hook(self.pool if isinstance(m, nn.MaxPool2d) else self.relu)
                      for m in modules if isinstance(m, (nn.ReLU, nn.ReLU6, nn.MaxPool2d))]

    def note(self, distances, values):
        distances = distances[distances > 0]
        if distances.numel():
            self.smallest = min(self.smallest, float(distances.min() / values.square().mean().sqrt()))

    def relu(self, m, args):
        x = args[0].detach()
        self.note(torch.minimum(x.abs(), (x - 6).abs()) if isinstance(m, nn.ReLU6) else x.abs(), x)

    def pool(self, m, args):
        x = F.pad(args[0].detach(), (m.padding,) * 4, value=-torch.inf)
        windows = x.unfold(2, m.kernel_size, m.stride).unfold(3, m.kernel_size, m.stride).flatten(4)
        top = windows.topk(2, dim=-1).values
        self.note(top[..., 0] - top[..., 1], args[0].detach())

    def remove(self):
        for hook in self.hooks:
            hook.remove()


def biases_clear_of_kinks(model, images, distance):
    """The biases of a copy of the model, moved where the input of a ReLU lies closer to zero than this share of its root
    mean square: in each of its channels by as little as it takes, at the layer that came last before the ReLU."""
    model, last = copy.deepcopy(model), {}

    def layer(m, args, output):
        if m.bias is not None:
            last["layer"] = m

    def relu(m, args):
        x, bias = args[0], last["layer"].bias
        spots, wanted = [0, *range(2, x.dim())], distance * x.square().mean().sqrt()
        shape, before = [1, -1] + [1] * (x.dim() - 2), bias.detach().clone()
        for attempt in range(1, 400):
            moved = x + (bias.detach() - before).view(shape)
            near = moved.abs().amin(dim=spots) < wanted
            if not near.any():
                break
            step = wanted * (attempt + 1) * (-1) ** attempt
            bias.data[near] = (before[near] + step).float().double()
        return (moved,)

    for m in model.modules():
        if isinstance(m, (nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d)):
            m.register_forward_hook(layer)
        elif isinstance(m, nn.ReLU):
            m.register_forward_pre_hook(relu)
    with torch.no_grad():
        model(images)
    return {name: p.detach().float() for name, p in model.named_parameters() if name.endswith("bias")}


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


def evaluate(case, model, images, result):
    margin = Margin(model.cam[1:])
    model.eval()
    with torch.no_grad():
        result["logits_eval"] = array(model(images))
    last = torch.full((case["batch"],), case["classes"] - 1)
    for name, target in (("heat", None), ("heat_of_last_class", last)):
        heat, terms = xgradcam(model, images, target)
        if heat.norm() < CANCELLATION * terms.norm():
            margin.smallest = -1
        result[name] = array(heat)
    margin.remove()
    return margin.smallest


def differentiate(case, model, images, result):
    margin = Margin(model.modules())
    model.train(case["training"])
    logits = model(images)
    loss = F.cross_entropy(logits, torch.arange(case["batch"]) * 3 % case["classes"])
    loss.backward()
    margin.remove()
    result["logits"], result["loss"] = array(logits), array(loss)
    result["gradients"] = sampled({name: p.grad for name, p in model.named_parameters()}, case["samples"])
    result["buffers"] = sampled({n: b for n, b in model.named_buffers() if "running" in n}, case["samples"])
    return margin.smallest


def rounded_gradients(case, start, images, result):
    """The gradients as PyTorch computes them in single precision, and in double precision from weights that are off by as
    much as MARGIN: how far apart right answers are where kinks cannot be kept clear of."""
    others = []
    for draw in range(3):
        model = build(case)
        model.load_state_dict(start)
        if draw > 0:
            model.double()
            generator = torch.Generator().manual_seed(draw)
            for p in model.parameters():
                noise = torch.randn(p.shape, generator=generator, dtype=torch.float64)
                p.data *= 1 + MARGIN * noise
        other = dict(result)
        differentiate(case, model, images if draw > 0 else images.float(), other)
        others.append(other["gradients"])
    result["rounded_gradients"] = np.stack(others)


def compute_once(case, salt, live):
    model = build(case)
    model.load_state_dict(weights_for(model, salt), strict=False)
    model.double()
    images = nchw(formula("images", (case["batch"], *case["size"], 3), salt)).double()
    if live:
        biases = biases_clear_of_kinks(model.train(case["training"]), images, LIVE_DISTANCE)
        model.load_state_dict(biases, strict=False)
    start = {name: t.float() if t.is_floating_point() else t.clone() for name, t in model.state_dict().items()}
    result = {"salt": np.array([salt], dtype=np.int32)}
    wanted = LIVE_MARGIN if live else MARGIN
    margin = evaluate(case, model, images, result)
    if case.get("large"):
        differentiate(case, model, images, result)
        rounded_gradients(case, start, images, result)
        return result, margin >= 0, start
    if margin >= wanted:
        margin = min(margin, differentiate(case, model, images, result))
    return result, margin >= wanted, start


def compute(case, salt, live=False):
    """Results by name, and the state dict they start from; the first salt that keeps clear of every kink."""
    for tried in range(salt, salt + 300):
        result, clear, start = compute_once(case, tried, live)
        if clear:
            return result, start
    raise RuntimeError(f"{case['name']}: no salt keeps clear of every kink")
