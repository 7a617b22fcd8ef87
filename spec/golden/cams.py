"""What the Python package grad-cam gives for nets of nets.py, in double precision: for generate_cams.py and
spec/oracle/cam_case.py.

Weights and images follow from the formula that spec/oracle/nets.lua has too. Of each method the map is kept as its rule
gives it, before the package cuts, scales and enlarges it; of several layers together, what the package returns.
"""
import numpy as np
import pytorch_grad_cam
import torch
import tqdm
from pytorch_grad_cam.metrics.perturbation_confidence import (PerturbationConfidenceMetric, RemoveLeastRelevantFirst,
                                                              RemoveMostRelevantFirst)
from pytorch_grad_cam.metrics.road import NoisyLinearImputer
from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget, ClassifierOutputTarget
from torch import nn

import nets
from reference import SmallCNN, nchw

tqdm.tqdm = iter  # no bars

METHODS = {
    "xgradcam": pytorch_grad_cam.XGradCAM,
    "gradcam": pytorch_grad_cam.GradCAM,
    "gradcam++": pytorch_grad_cam.GradCAMPlusPlus,
    "hirescam": pytorch_grad_cam.HiResCAM,
    "elementwise": pytorch_grad_cam.GradCAMElementWise,
    "layercam": pytorch_grad_cam.LayerCAM,
    "eigencam": pytorch_grad_cam.EigenCAM,
    "eigengradcam": pytorch_grad_cam.EigenGradCAM,
    "fem": pytorch_grad_cam.FEM,
    "finercam": pytorch_grad_cam.FinerCAM,
    "ablationcam": pytorch_grad_cam.AblationCAM,
    "scorecam": pytorch_grad_cam.ScoreCAM,
}
SEVERAL = ("gradcam", "layercam")  # of several layers
# A map is only comparable where rounding cannot move an activation across a kink or a threshold (as a share of the
# layer's root mean square), and where more than this share of its terms is left after they cancelled each other.
MARGIN, CANCELLATION = 4e-6, 0.025
# Differences of probabilities keep the rounding of numbers up to 1: smaller ones are not compared.
SMALLEST_DIFFERENCE = 5e-3


def small_cnn(case):
    model = SmallCNN(case["classes"])
    rows, columns = (((size - 4) // 2 - 4) // 2 for size in case["size"])
    model.linear[0] = nn.Linear(32 * rows * columns, model.linear[0].out_features)
    return model


def build(case):
    return small_cnn(case) if case["net"] == "small_cnn" else nets.build(case)


def layer_of(model, path):
    for name in path.split("."):
        model = getattr(model, name)
    return model


class Cancelled(Exception):
    pass


def demand(condition):
    if not condition:
        raise Cancelled


# ---- maps ----


def terms_of(name, cam_map, kept, activations):
    """The size of what was added up to the map."""
    if "weights" not in kept:
        return np.abs(cam_map)
    if name == "ablationcam":  # w = 1 - s_c / s: what cancels are the scores, and each is rounded by itself
        return 2 * np.sqrt(np.square(activations).sum(axis=1))
    return np.abs(activations * kept["weights"][:, :, None, None]).sum(axis=1)


def raw_maps(name, model, layer, images, targets):
    """The map of each image before ReLU and scaling. Demands that its positive part is no rounding error."""
    cam, kept = METHODS[name](model, [layer]), {}
    base = getattr(cam, "base_cam", cam)
    map_of, weights_of = base.get_cam_image, base.get_cam_weights
    base.get_cam_image = lambda *arguments: kept.setdefault("map", map_of(*arguments))
    base.get_cam_weights = lambda *arguments: kept.setdefault("weights", weights_of(*arguments))
    cam(images, targets)
    cam_map = kept["map"]
    activations = base.activations_and_grads.activations[0].numpy()
    terms = terms_of(name, cam_map, kept, activations)
    norms = [np.linalg.norm(m.reshape(len(m), -1), axis=1) for m in (np.maximum(cam_map, 0), terms)]
    demand(name.startswith("eigen") or (norms[0] > CANCELLATION * norms[1]).all())
    if name == "fem":
        demand_clear_of_threshold(activations)
    base.activations_and_grads.release()
    return cam_map


def demand_clear_of_threshold(activations):
    mean, deviation = (f(activations, axis=(2, 3), keepdims=True) for f in (np.mean, np.std))
    alive = deviation > 0
    distance = np.abs(activations - mean - 2 * deviation) / np.where(alive, deviation, 1)
    demand(distance[np.broadcast_to(alive, distance.shape)].min() > MARGIN)


def several_layers(name, model, layers, images, targets):
    with METHODS[name](model, layers) as cam:
        return cam(images, targets)


def fullgrad(model, images, targets):
    cam = pytorch_grad_cam.FullGrad(model, [])
    kept, maps_of = {}, cam.compute_cam_per_layer
    cam.compute_cam_per_layer = lambda *arguments: kept.setdefault("maps", maps_of(*arguments))
    cam(images, targets)
    return kept["maps"][:, 0]


# ---- gradients of the images ----


def image_gradient(model, images, classes):
    images = images.detach().requires_grad_()
    scores = model(images).gather(1, classes[:, None]).sum()
    return torch.autograd.grad(scores, images)[0]


def integrated(model, images, classes, steps):
    points, weights = np.polynomial.legendre.leggauss(steps)
    gradients = sum(w / 2 * image_gradient(model, (p + 1) / 2 * images, classes) for p, w in zip(points, weights))
    return (images * gradients).sum(dim=1)


# ---- ROAD ----


def road(case, model, images, heat, classes):
    """Scores after imputing without noise minus those before, and one set of imputed images."""
    result, imputer = {}, NoisyLinearImputer(noise=0)
    orders = {"most": RemoveMostRelevantFirst, "least": RemoveLeastRelevantFirst}
    for kind, target in (("logit", ClassifierOutputTarget), ("probability", ClassifierOutputSoftmaxTarget)):
        targets = [target(int(c)) for c in classes]
        for order, remove in orders.items():
            scores = [PerturbationConfidenceMetric(remove(p, imputer))(images, heat, targets, model)
                      for p in case["percentiles"]]
            result[f"road.{kind}.{order}"] = np.float32(scores)
            demand(np.linalg.norm(scores) >= SMALLEST_DIFFERENCE)
    filled = [RemoveMostRelevantFirst(case["percentiles"][0], imputer)(x, torch.from_numpy(h))
              for x, h in zip(images, heat)]
    result["road.filled"] = torch.stack(filled).permute(0, 2, 3, 1).numpy()
    return result


# ---- a case ----


def compute_once(case, salt):
    model = build(case)
    model.load_state_dict(nets.weights_for(model, salt), strict=False)
    start = {name: t.clone() for name, t in model.state_dict().items()}
    model.double().eval()
    images = nchw(nets.formula("images", (case["batch"], *case["size"], 3), salt)).double()
    layers = [layer_of(model, path) for path in case["layers"]]
    margin = nets.Margin(model.modules())
    logits = model(images)
    predicted = logits.argmax(dim=1)
    demand(logits.softmax(dim=1).max() < 0.9999)  # the other classes' probabilities are finercam's weights
    result = {"salt": np.array([salt], dtype=np.int32), "predicted": predicted.numpy() + 1}
    result["integrated_gradients"] = integrated(model, images, predicted, case["steps"])
    result["input_x_gradient"] = (images * image_gradient(model, images, predicted)).sum(dim=1)
    result["smoothgrad"] = image_gradient(model, images, predicted).abs().sum(dim=1)
    margin.remove()
    demand(margin.smallest >= MARGIN)
    last = [ClassifierOutputTarget(case["classes"] - 1)] * case["batch"]
    result["gradcam.last"] = raw_maps("gradcam", model, layers[0], images, last)
    for name in METHODS:  # the cheap ones first: they tell soonest that a salt will not do
        result[name] = raw_maps(name, model, layers[0], images, None)
    result["scorecam.last"] = raw_maps("scorecam", model, layers[0], images, last)
    result["fullgrad"] = fullgrad(model, images, None)
    for name in SEVERAL:
        result[name + ".several"] = several_layers(name, model, layers, images, None)
    if "percentiles" in case:
        heat = nets.formula("heat", (case["batch"], *case["size"]), salt)
        result.update(road(case, model.float(), images.float(), heat, predicted))  # the imputer gives float32
    arrays = {name: np.ascontiguousarray(values, dtype=np.int32 if name in ("salt", "predicted") else np.float32)
              for name, values in result.items()}
    return arrays, start


def compute(case, salt):
    """Results by name, and the state dict they start from; the first salt that keeps clear of every kink."""
    for tried in range(salt, salt + 1000):
        try:
            return compute_once(case, tried)
        except Cancelled:
            pass
    raise RuntimeError(f"{case['name']}: no salt keeps clear of every kink")
