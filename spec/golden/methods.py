#!/usr/bin/env python3
"""Computes what spec/methods/golden_spec.lua compares with: python3 spec/golden/methods.py

Ten steps of every method on a net of 130 weights, in PyTorch and double precision: the mean loss of each epoch, the
gradient of the first step, the weights after the last. Objectives are written here from the papers' formulas, with
automatic differentiation where ours has a closed form. Writes methods.safetensors beside itself. Needs torch, numpy and
safetensors.
"""
import pathlib

import numpy as np
import safetensors.numpy
import torch
import torch.nn.functional as F

SEED = 14
COUNT, BATCH, EPOCHS, CLASSES, ATTRIBUTES = 40, 8, 2, 3, 2
LR, MOMENTUM, DECAY = 0.1, 0.9, 1e-3
HEAD_DECAY = 1e-4  # of a last layer that is trained apart: mt.train's default
DTYPE = torch.float64


def numbers(rng):
    labels = rng.integers(0, CLASSES, COUNT)
    attribute = np.where(rng.random(COUNT) < 0.7, labels % ATTRIBUTES, rng.integers(0, ATTRIBUTES, COUNT))
    images = rng.random((COUNT, 2, 2, 3)) + 0.3 * labels[:, None, None, None]
    images[:, 0, 0, 0] += attribute
    weights = {"1.weight": rng.normal(0, 0.4, (8, 12)), "1.bias": rng.normal(0, 0.1, 8),
               "head.weight": rng.normal(0, 0.4, (CLASSES, 8)), "head.bias": rng.normal(0, 0.1, CLASSES)}
    data = {"images": images.astype(np.float32), "labels": labels.astype(np.int32) + 1,
            "attribute": attribute.astype(np.int32) + 1,
            "group": (labels * ATTRIBUTES + attribute).astype(np.int32) + 1}
    return data, {name: w.astype(np.float32) for name, w in weights.items()}


class Net:
    def __init__(self, weights):
        self.weights = {name: torch.tensor(w, dtype=DTYPE, requires_grad=True) for name, w in weights.items()}

    def features(self, x):
        w = self.weights
        return torch.tanh(F.linear(x.reshape(len(x), -1), w["1.weight"], w["1.bias"]))

    def head(self, features):
        return F.linear(features, self.weights["head.weight"], self.weights["head.bias"])

    def __call__(self, x):
        return self.head(self.features(x))

    def optimizer(self):
        return torch.optim.SGD(self.weights.values(), lr=LR, momentum=MOMENTUM, weight_decay=DECAY)


def each_loss(logits, y):
    return F.cross_entropy(logits, y, reduction="none")


def linear(data, inputs, outputs):
    """A layer that is not in the net at the start."""
    return {name: torch.tensor(data[f"linear/{inputs}x{outputs}/{name}"], dtype=DTYPE, requires_grad=True)
            for name in ("weight", "bias")}


def follower(parameters):
    """A function (step) to call before a loss is computed: it steps with the gradients that the last backward pass left."""
    optimizer = torch.optim.SGD(parameters, lr=LR, momentum=MOMENTUM, weight_decay=DECAY)

    def step_with_last(step):
        if step:
            optimizer.step()
        optimizer.zero_grad()

    return step_with_last


# ---- objectives: a factory (training set, weights at the start) -> function (net, batch, step) -> loss ----


def erm(data, start):
    return lambda net, batch, step: F.cross_entropy(net(batch["x"]), batch["y"])


def groupdro(data, start, eta=0.3, adjustment=0.0):
    groups = int(data["group"].max()) + 1
    sizes = torch.bincount(data["group"], minlength=groups)
    q = torch.full((groups,), 1 / groups, dtype=DTYPE)

    def loss(net, batch, step):
        nonlocal q
        each, total = each_loss(net(batch["x"]), batch["y"]), 0.0
        means = {int(g): each[batch["group"] == g].mean() for g in batch["group"].unique()}
        q = q.clone()
        for g, mean in means.items():
            q[g] = q[g] * torch.exp(eta * (mean.detach() + adjustment / sizes[g] ** 0.5))
        q = q / q.sum()
        return sum(q[g] * mean for g, mean in means.items())

    return loss


def cvar(data, start, alpha=0.3):
    def loss(net, batch, step):
        each = each_loss(net(batch["x"]), batch["y"])
        # Rockafellar and Uryasev: min over eta of eta + mean(max(0, loss - eta)) / alpha; the best eta is one of the losses
        values = torch.stack([eta + (each - eta).clamp(min=0).mean() / alpha for eta in each])
        return values[values.detach().argmin()]

    return loss


def spectral_decoupling(data, start):
    def loss(net, batch, step):
        logits = net(batch["x"])
        return F.cross_entropy(logits, batch["y"]) + 0.2 * logits.pow(2).mean()

    return loss


def spectral_targets(data, start, targets=(2.5, 0.44, 1.0)):
    def loss(net, batch, step):
        logits, y = net(batch["x"]), batch["y"]
        parts = [(logits[y == c, c] - targets[c]).pow(2).mean() for c in y.unique()]
        return F.cross_entropy(logits, y) + 0.2 * torch.stack(parts).mean()

    return loss


def focal(data, start, gamma=2.0):
    def loss(net, batch, step):
        p = net(batch["x"]).softmax(1).gather(1, batch["y"][:, None])[:, 0]
        return (-((1 - p) ** gamma) * p.log()).mean()

    return loss


def ldam(data, start, largest=0.5, scale=3.0):
    margins = torch.bincount(data["y"]).to(DTYPE) ** -0.25
    margins = margins / margins.max() * largest

    def loss(net, batch, step):
        logits, y = net(batch["x"]), batch["y"]
        moved = logits.clone()
        for i, c in enumerate(y):
            moved[i, c] = logits[i, c] - margins[c]
        return F.cross_entropy(scale * moved, y)

    return loss


def balanced_softmax(data, start):
    counts = torch.bincount(data["y"]).to(DTYPE)

    def loss(net, batch, step):
        e = counts * net(batch["x"]).exp()
        return -(e / e.sum(1, keepdim=True)).gather(1, batch["y"][:, None]).log().mean()

    return loss


def weighted(field, f):
    def factory(data, start):
        counts = torch.bincount(data[field]).to(DTYPE)
        raw = torch.where(counts > 0, f(counts), torch.zeros(()))[data[field]]

        def loss(net, batch, step):
            w = torch.where(counts > 0, f(counts), torch.zeros(()))[batch[field]] / raw.mean()
            return (w * each_loss(net(batch["x"]), batch["y"])).mean()

        return loss

    return factory


def mixup(data, start):
    def loss(net, batch, step):
        share, order = data["shares"][step], data["orders"][step]
        x, truth = batch["x"], F.one_hot(batch["y"], CLASSES).to(DTYPE)
        logits = net(share * x + (1 - share) * x[order])
        return F.cross_entropy(logits, share * truth + (1 - share) * truth[order])

    return loss


def lisa(data, start):
    """Of several fitting partners always the last, within the class in even steps; the spec draws alike."""
    def loss(net, batch, step):
        same, other = ("y", "attribute") if step % 2 == 0 else ("attribute", "y")
        partner = []
        for i in range(BATCH):
            fit = [j for j in range(BATCH) if batch[same][j] == batch[same][i] and batch[other][j] != batch[other][i]]
            partner.append(fit[-1] if fit else i)
        share, x, truth = data["shares"][step], batch["x"], F.one_hot(batch["y"], CLASSES).to(DTYPE)
        logits = net(share * x + (1 - share) * x[partner])
        return F.cross_entropy(logits, share * truth + (1 - share) * truth[partner])

    return loss


def lff(data, start, q=0.7, alpha=0.7):
    biased = Net(start)
    optimizer = biased.optimizer()
    kept = {"b": {}, "d": {}}

    def smoothed(name, each, batch):
        for i, value in zip(batch["indices"].tolist(), each.tolist()):
            old = kept[name].get(i)
            kept[name][i] = value if old is None else alpha * old + (1 - alpha) * value
        result = []
        for i, c in zip(batch["indices"].tolist(), batch["y"].tolist()):
            largest = max(v for j, v in kept[name].items() if data["y"][j] == c)
            result.append(kept[name][i] / largest)
        return torch.tensor(result, dtype=DTYPE)

    def loss(net, batch, step):
        easy, logits, y = biased(batch["x"]), net(batch["x"]), batch["y"]
        b, d = smoothed("b", each_loss(easy, y), batch), smoothed("d", each_loss(logits, y), batch)
        p = easy.softmax(1).gather(1, y[:, None])[:, 0].detach()
        generalised = (q * p**q * each_loss(easy, y)).mean()
        optimizer.zero_grad()
        generalised.backward()
        optimizer.step()
        return (b / (b + d + 1e-8) * each_loss(logits, y)).mean() + generalised.detach()

    return loss


def irm(data, start, warmup=4, penalties=(1.0, 20.0)):
    def gradient(logits, y):
        scale = torch.ones((), dtype=DTYPE, requires_grad=True)
        return torch.autograd.grad(F.cross_entropy(logits * scale, y), scale, create_graph=True)[0]

    def loss(net, batch, step):
        logits, y = net(batch["x"]), batch["y"]
        nll, penalty, environments = 0.0, 0.0, batch["attribute"].unique()
        for e in environments:
            z, t = logits[batch["attribute"] == e], y[batch["attribute"] == e]
            nll = nll + F.cross_entropy(z, t)
            if len(t) > 1:
                penalty = penalty + gradient(z[::2], t[::2]) * gradient(z[1::2], t[1::2])
        weight = penalties[step >= warmup]
        return (nll + weight * penalty) / len(environments) / max(1.0, weight)

    return loss


def aligned(distance, least, weight):
    def factory(data, start):
        def loss(net, batch, step):
            features = net.features(batch["x"])
            parts = [features[batch["group"] == g] for g in batch["group"].unique()]
            parts = [part for part in parts if len(part) >= least]
            pairs = [distance(a, b) for i, a in enumerate(parts) for b in parts[i + 1:]]
            penalty = torch.stack(pairs).mean() if pairs else 0.0
            return F.cross_entropy(net.head(features), batch["y"]) + weight * penalty

        return loss

    return factory


def coral_distance(a, b):
    return (a.mean(0) - b.mean(0)).pow(2).mean() + (torch.cov(a.T) - torch.cov(b.T)).pow(2).mean()


def mmd_distance(a, b):
    def kernel(u, v):
        squared = (u[:, None, :] - v[None, :, :]).pow(2).sum(2)
        return sum(torch.exp(-10.0**power * squared).mean() for power in range(-3, 4))

    return kernel(a, a) + kernel(b, b) - 2 * kernel(a, b)


def cnc(data, start, weight=0.6, temperature=0.5):
    """The net that shows the shortcut is the one at the start."""
    with torch.no_grad():
        answers = Net(start)(data["x"]).argmax(1)

    def loss(net, batch, step):
        features, y, answer = net.features(batch["x"]), batch["y"], answers[batch["indices"]]
        z, terms = F.normalize(features, dim=1), []
        for i in range(len(y)):
            positive = [j for j in range(len(y)) if y[j] == y[i] and answer[j] != answer[i]]
            negative = [j for j in range(len(y)) if y[j] != y[i] and answer[j] == answer[i]]
            if positive:
                total = torch.stack([(z[i] @ z[j] / temperature).exp() for j in positive + negative]).sum()
                terms.append(torch.stack([-((z[i] @ z[j] / temperature).exp() / total).log() for j in positive]).mean())
        contrast = torch.stack(terms).mean() if terms else 0.0
        return weight * contrast + (1 - weight) * F.cross_entropy(net.head(features), y)

    return loss


def divdis(data, start, diversity=2.0, prior=3.0):
    """The target batch is always the first one."""
    second = linear(data, 8, CLASSES)
    step_second = follower(second.values())
    shares = torch.bincount(data["y"]).to(DTYPE) / COUNT

    def loss(net, batch, step):
        step_second(step)
        target = net.features(data["x"][:BATCH])
        heads = [net.head, lambda f: F.linear(f, second["weight"], second["bias"])]
        p, q = (head(target).softmax(1) for head in heads)
        joint = torch.einsum("ni,nj->ij", p, q) / BATCH
        information = (joint * (joint / torch.outer(p.mean(0), q.mean(0))).log()).sum()
        divergence = sum((r.mean(0) * (r.mean(0) / shares).log()).sum() for r in (p, q)) / 2
        features = net.features(batch["x"])
        known = sum(F.cross_entropy(head(features), batch["y"]) for head in heads) / 2
        return known + diversity * information + prior * divergence

    return loss


# ---- classifiers that abstain ----


def deep_gamblers(data, start, reward=2.2, pretrain=5):
    kept = linear(data, 8, 1)
    step_kept = follower(kept.values())

    def loss(net, batch, step):
        step_kept(step)
        features, y = net.features(batch["x"]), batch["y"]
        logits = net.head(features)
        if step < pretrain:
            return F.cross_entropy(logits, y)
        p = torch.cat([logits, F.linear(features, kept["weight"], kept["bias"])], 1).softmax(1)
        return -(p.gather(1, y[:, None])[:, 0] + p[:, -1] / reward).log().mean()

    return loss


def sat(data, start, momentum=0.9, pretrain=0, entropy=0.01):
    none = linear(data, 8, 1)
    step_none = follower(none.values())
    targets = F.one_hot(data["y"], CLASSES).to(DTYPE)

    def loss(net, batch, step):
        step_none(step)
        features, y, rows = net.features(batch["x"]), batch["y"], batch["indices"]
        logits = net.head(features)
        p = torch.cat([logits, F.linear(features, none["weight"], none["bias"])], 1).softmax(1)
        targets[rows] = momentum * targets[rows] + (1 - momentum) * p.detach()[:, :-1]
        t = targets[rows].gather(1, y[:, None])[:, 0]
        q = logits.softmax(1)
        uncertainty = -(q * q.log()).sum(1).mean()
        return -(t * p.gather(1, y[:, None])[:, 0].log() + (1 - t) * p[:, -1].log()).mean() + entropy * uncertainty

    return loss


def selectivenet(divide):
    def factory(data, start, coverage=0.8, alpha=0.4, weight=5.0):
        hidden, select, auxiliary = linear(data, 8, 4), linear(data, 4, 1), linear(data, 8, CLASSES)
        norm = {"weight": torch.ones(4, dtype=DTYPE, requires_grad=True),
                "bias": torch.zeros(4, dtype=DTYPE, requires_grad=True)}
        step_part = follower([w for layer in (hidden, select, auxiliary, norm) for w in layer.values()])

        def loss(net, batch, step):
            step_part(step)
            features, y = net.features(batch["x"]), batch["y"]
            inner = F.linear(features, hidden["weight"], hidden["bias"]).relu()
            inner = F.batch_norm(inner, None, None, norm["weight"], norm["bias"], training=True) / 10
            g = F.linear(inner, select["weight"], select["bias"])[:, 0].sigmoid()
            risk = (g * each_loss(net.head(features), y)).mean()
            risk = risk / g.mean() if divide else risk
            selected = risk + weight * max(torch.zeros((), dtype=DTYPE), coverage - g.mean()) ** 2
            other = F.cross_entropy(F.linear(features, auxiliary["weight"], auxiliary["bias"]), y)
            return alpha * selected + (1 - alpha) * other

        return loss

    return factory


def one_sided(data, start, mu=0.49, rate=0.3):
    lam, eps = torch.ones(CLASSES, dtype=DTYPE), torch.zeros(CLASSES, dtype=DTYPE)

    def loss(net, batch, step):
        nonlocal lam, eps
        logits, y = net(batch["x"]), batch["y"]
        f, terms, over = logits.sigmoid(), [], []
        for k in range(CLASSES):
            missed = -f[y == k, k].log().mean() if (y == k).any() else torch.zeros((), dtype=DTYPE)
            wrong = -(1 - f[y != k, k]).log().mean() if (y != k).any() else torch.zeros((), dtype=DTYPE)
            terms.append(missed + lam[k] * (wrong - eps[k]) + mu * eps[k])
            over.append(wrong.detach())
        total = torch.stack(terms).mean() + F.cross_entropy(logits, y)
        lam, eps = (lam + rate * (torch.stack(over) - eps)).clamp(min=0), (eps - rate * (mu - lam)).clamp(min=0)
        return total

    return loss


CASES = {
    "erm": erm, "groupdro": groupdro,
    "groupdro_adjusted": lambda data, start: groupdro(data, start, adjustment=1.5),
    "cvar": cvar, "spectral_decoupling": spectral_decoupling, "spectral_targets": spectral_targets, "focal": focal,
    "ldam": ldam, "balanced_softmax": balanced_softmax,
    "class_balanced": weighted("y", lambda n: (1 - 0.9) / (1 - 0.9**n)),
    "reweight": weighted("group", lambda n: 1 / n), "reweight_sqrt": weighted("group", lambda n: n**-0.5),
    "mixup": mixup, "lisa": lisa, "lff": lff, "irm": irm,
    "cnc": cnc, "divdis": divdis, "deep_gamblers": deep_gamblers, "sat": sat, "one_sided": one_sided,
    "selectivenet": selectivenet(True), "selectivenet_undivided": selectivenet(False),
    "coral": aligned(coral_distance, 2, 0.7), "mmd": aligned(mmd_distance, 1, 0.7),
}


def run(factory, data, weights):
    net = Net(weights)
    optimizer, objective = net.optimizer(), factory(data, weights)
    losses, first, step = [], None, 0
    for _ in range(EPOCHS):
        total = 0.0
        for begin in range(0, COUNT, BATCH):
            rows = torch.arange(begin, begin + BATCH)
            batch = {name: data[name][rows] for name in ("x", "y", "attribute", "group")}
            batch["indices"] = rows
            loss = objective(net, batch, step)
            optimizer.zero_grad()
            loss.backward()
            first = first or {name: w.grad.clone() for name, w in net.weights.items()}
            optimizer.step()
            total, step = total + loss.item(), step + 1
        losses.append(total / (COUNT // BATCH))
    return losses, first, net.weights


# ---- last layers ----


def balanced_rows(group):
    """The first images of each group, as many as the smallest has."""
    least = int(torch.bincount(group).min())
    return torch.cat([torch.nonzero(group == g)[:least, 0] for g in group.unique()]).sort().values


def afr(data, start, gamma=3.0, l2=0.1, steps=40, lr=0.2):
    net = Net(start)
    features, y = net.features(data["x"]).detach(), data["y"]
    p = net(data["x"]).softmax(1).gather(1, y[:, None])[:, 0].detach()
    mu = torch.exp(-gamma * p) / torch.bincount(y)[y]
    mu = mu / mu.sum()
    theta = [net.weights["head.weight"], net.weights["head.bias"]]
    before = [t.detach().clone() for t in theta]
    sgd = torch.optim.SGD(theta, lr=lr)
    for _ in range(steps):
        loss = (mu * each_loss(net.head(features), y)).sum() + l2 * sum((t - b).pow(2).sum() for t, b in zip(theta, before))
        sgd.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(theta, 1.0)
        sgd.step()
    return flat(net.weights)


def dfr(data, start, rows, c=2.0):
    """Probabilities of all images by L1 logistic regression on balanced rows, by plain proximal gradient descent."""
    features = Net(start).features(data["x"]).detach()
    mean, std = features[rows].mean(0), features[rows].std(0, unbiased=False)
    x, truth = (features - mean) / std, F.one_hot(data["y"], CLASSES).to(DTYPE)
    w, b, rate, l1 = torch.zeros(CLASSES, 8, dtype=DTYPE), torch.zeros(CLASSES, dtype=DTYPE), 0.1, 1 / (c * len(rows))
    for _ in range(40000):
        off = ((x[rows] @ w.T + b).softmax(1) - truth[rows]) / len(rows)
        w, b = w - rate * off.T @ x[rows], b - rate * off.sum(0)
        w = w.sign() * (w.abs() - rate * l1).clamp(min=0)
    return (x @ w.T + b).softmax(1).numpy().astype(np.float32)


def crt(data, start, weighs):
    """A new last layer on frozen features; with weights by the sizes of the groups, of mean 1, and in a random order, or
    without, and in the sampler's order, which the spec makes that of the images."""
    features, head = Net(start).features(data["x"]).detach(), linear(data, 8, CLASSES)
    optimizer = torch.optim.SGD(head.values(), lr=LR, momentum=MOMENTUM, weight_decay=HEAD_DECAY)
    weights = 1 / torch.bincount(data["group"]).to(DTYPE)[data["group"]]
    weights = weights / weights.mean() if weighs else torch.ones(COUNT, dtype=DTYPE)
    for _ in range(EPOCHS):
        for rows in (data["order"] if weighs else torch.arange(COUNT)).split(BATCH):
            each = each_loss(F.linear(features[rows], head["weight"], head["bias"]), data["y"][rows])
            optimizer.zero_grad()
            (weights[rows] * each).mean().backward()
            optimizer.step()
    return flat({f"head.{name}": tensor for name, tensor in head.items()})


def jtt(data, start, times=3):
    """Trains an epoch; then from the start again, with what that got wrong `times` times. The errors and the weights."""
    def trained(positions, epochs):
        net = Net(start)
        optimizer = net.optimizer()
        for _ in range(epochs):
            for rows in positions.split(BATCH):
                optimizer.zero_grad()
                F.cross_entropy(net(data["x"][rows]), data["y"][rows]).backward()
                optimizer.step()
        return net

    wrong = trained(data["order"], 1)(data["x"]).argmax(1) != data["y"]
    positions = torch.arange(COUNT).repeat_interleave(torch.where(wrong, times, 1))
    return wrong.numpy().astype(np.int32), flat(trained(positions, EPOCHS).weights)


# ---- groups ----


def eiil(data, start, steps=60, lr=0.05):
    """The logits of the soft assignments after some steps of Adam, for the net at the start."""
    logits, w = Net(start)(data["x"]).detach(), torch.tensor(data["assignments"], dtype=DTYPE, requires_grad=True)
    scale = torch.ones((), dtype=DTYPE, requires_grad=True)
    adam = torch.optim.Adam([w], lr=lr)
    each = each_loss(logits * scale, data["y"])
    for _ in range(steps):
        adam.zero_grad()
        penalties = [torch.autograd.grad((each * share).mean(), scale, create_graph=True, retain_graph=True)[0] ** 2
                     for share in (w.sigmoid(), 1 - w.sigmoid())]
        (-torch.stack(penalties).mean()).backward(inputs=[w])
        adam.step()
    return w.detach().numpy().astype(np.float32)


def xrm(data, start):
    """For each image whether the net that did not learn it is wrong at the end, and the labels as they then are."""
    nets = [Net(start), Net(start)]
    optimizers = [net.optimizer() for net in nets]
    first = torch.zeros(COUNT, dtype=torch.bool)
    first[data["order"][: COUNT // 2]] = True
    labels, step = data["y"].clone(), 0
    for _ in range(EPOCHS):
        for begin in range(0, COUNT, BATCH):
            rows = torch.arange(begin, begin + BATCH)
            a, b = nets[0](data["x"][rows]), nets[1](data["x"][rows])
            mine = first[rows][:, None]
            own, held_out = torch.where(mine, a, b), torch.where(mine, b, a)
            each = each_loss(own, labels[rows])
            loss = sum(each[labels[rows] == c].mean() for c in labels[rows].unique())
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss.backward()
            p, answer = held_out.detach().softmax(1).max(1)
            chance = (p - 1 / CLASSES) * CLASSES / (CLASSES - 1)
            labels[rows] = torch.where(data["uniforms"][step] < chance, answer, labels[rows])
            for optimizer in optimizers:
                optimizer.step()
            step += 1
    with torch.no_grad():
        held_out = torch.where(first[:, None], nets[1](data["x"]), nets[0](data["x"]))
    return (held_out.argmax(1) != data["y"]).numpy().astype(np.int32) + 1, labels.numpy().astype(np.int32) + 1


def ssa(data, start, confidence=0.4):
    """The net for groups: it learns from the second half of a random order, with groups known of the first half."""
    groups = CLASSES * ATTRIBUTES
    weights = {**start, "head.weight": data["linear/8x6/weight"], "head.bias": data["linear/8x6/bias"]}
    net = Net(weights)
    optimizer = net.optimizer()
    known, others = data["order"][: COUNT // 2], data["order"][COUNT // 2:]
    allowed = torch.full((CLASSES, groups), -torch.inf, dtype=DTYPE)
    for i in known:
        allowed[data["y"][i], data["group"][i]] = 0
    for _ in range(EPOCHS):
        for rows in others.split(BATCH):
            labelled = known[:BATCH]
            sure = F.cross_entropy(net(data["x"][labelled]) + allowed[data["y"][labelled]], data["group"][labelled])
            logits = net(data["x"][rows]) + allowed[data["y"][rows]]
            p, answer = logits.detach().softmax(1).max(1)
            chosen = p >= confidence
            loss = sure + (F.cross_entropy(logits[chosen], answer[chosen]) if chosen.any() else 0.0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return flat(net.weights)


def flat(tensors):
    return np.concatenate([tensors[name].detach().numpy().reshape(-1) for name in sorted(tensors)]).astype(np.float32)


def compute(rng):
    stored, weights = numbers(rng)
    steps = EPOCHS * COUNT // BATCH
    stored["shares"] = rng.beta(2, 2, steps).astype(np.float32)
    stored["orders"] = np.stack([rng.permutation(BATCH) for _ in range(steps)]).astype(np.int32) + 1
    for inputs, outputs in ((8, CLASSES), (8, CLASSES * ATTRIBUTES), (8, 4), (8, 1), (4, 1)):
        stored[f"linear/{inputs}x{outputs}/weight"] = rng.normal(0, 0.4, (outputs, inputs)).astype(np.float32)
        stored[f"linear/{inputs}x{outputs}/bias"] = rng.normal(0, 0.1, outputs).astype(np.float32)
    stored["assignments"] = rng.normal(0, 1, COUNT).astype(np.float32)
    stored["uniforms"] = rng.random((steps, BATCH)).astype(np.float32)
    stored["order"] = rng.permutation(COUNT).astype(np.int32) + 1
    data = {"x": torch.tensor(stored["images"], dtype=DTYPE).permute(0, 3, 1, 2), "y": torch.tensor(stored["labels"]).long() - 1,
            "attribute": torch.tensor(stored["attribute"]).long() - 1, "group": torch.tensor(stored["group"]).long() - 1,
            "shares": torch.tensor(stored["shares"], dtype=DTYPE), "orders": torch.tensor(stored["orders"]).long() - 1,
            "order": torch.tensor(stored["order"]).long() - 1, "uniforms": torch.tensor(stored["uniforms"], dtype=DTYPE),
            **{name: stored[name] for name in stored if name[:6] in ("linear", "assign")}}
    result = {**stored, **{f"start/{name}": w for name, w in weights.items()}}
    for name, factory in CASES.items():
        losses, first, last = run(factory, data, weights)
        result[f"{name}/losses"] = np.array(losses, dtype=np.float32)
        result[f"{name}/gradient"], result[f"{name}/weights"] = flat(first), flat(last)
    result["eiil/logits"], result["ssa/weights"] = eiil(data, weights), ssa(data, weights)
    rows = balanced_rows(data["group"])
    result["rows"], result["afr/weights"] = rows.numpy().astype(np.int32) + 1, afr(data, weights)
    result["dfr/probabilities"] = dfr(data, weights, rows)
    result["crt/head"], result["crt_weights/head"] = crt(data, weights, False), crt(data, weights, True)
    result["jtt/wrong"], result["jtt/weights"] = jtt(data, weights)
    result["xrm/part"], result["xrm/labels"] = xrm(data, weights)
    return result


if __name__ == "__main__":
    path = pathlib.Path(__file__).with_suffix(".safetensors")
    torch.set_num_threads(1)
    made_by = {"torch": torch.__version__, "numpy": np.__version__, "seed": str(SEED)}
    safetensors.numpy.save_file(compute(np.random.default_rng(SEED)), path, metadata=made_by)
    path.chmod(0o644)
    print(f"{len(CASES)} cases, {path.stat().st_size} bytes, {made_by}")
