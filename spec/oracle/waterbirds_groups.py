"""The other side of spec/oracle/waterbirds_groups.lua: waterbirds_groups.py FOLDER BATCH reads FOLDER/start.safetensors
(EfficientNet-Lite0's weights, convolutions as PyTorch has them) and FOLDER/run.safetensors (train, test uint8
{N,H,W,3}, labels and orders {epochs,N} from 1, rates {epochs}), trains what is behind the first eleven blocks, and
prints the answer to each test image, from 1."""
import pathlib
import sys

import safetensors.torch
import torch
from efficientnet_lite_pytorch import EfficientNet

FROZEN = 11  # blocks

folder, batch = pathlib.Path(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(1)
model = EfficientNet.from_name("efficientnet-lite0", num_classes=2, image_size=None, dropout_rate=0.0,
                               drop_connect_rate=0.0)
model.load_state_dict(safetensors.torch.load_file(folder / "start.safetensors"), strict=False)
run = safetensors.torch.load_file(folder / "run.safetensors")
labels, orders = run["labels"].long() - 1, run["orders"].long() - 1
first = [model._conv_stem, model._bn0, model._swish, *model._blocks[:FROZEN]]
rest = torch.nn.ModuleList([*model._blocks[FROZEN:], model._conv_head, model._bn1, model._fc])
for module in rest.modules():
    if isinstance(module, torch.nn.BatchNorm2d):
        module.momentum = 0.01


def encode(images):
    """What the frozen part makes of images."""
    parts = []
    model.eval()
    with torch.no_grad():
        for some in images.split(64):
            x = (some.permute(0, 3, 1, 2).float() - 127) / 128
            for module in first:
                x = module(x)
            parts.append(x)
    return torch.cat(parts)


def logits_of(x):
    """The rest of the net."""
    for block in model._blocks[FROZEN:]:
        x = block(x)
    x = model._swish(model._bn1(model._conv_head(x)))
    return model._fc(x.mean((2, 3)))


codes = encode(run["train"])
optimizer = torch.optim.SGD(rest.parameters(), lr=1.0, momentum=0.9, weight_decay=1e-4)
for order, rate in zip(orders, run["rates"].tolist()):
    model.train()
    optimizer.param_groups[0]["lr"] = rate
    for indices in order.split(batch):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits_of(codes[indices]), labels[indices]).backward()
        optimizer.step()
model.eval()
with torch.no_grad():
    for some in encode(run["test"]).split(64):
        for answer in (logits_of(some).argmax(1) + 1).tolist():
            print(answer)
