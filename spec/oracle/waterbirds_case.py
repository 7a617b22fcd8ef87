"""The losses of some steps of training, for spec/oracle/waterbirds_live_spec.lua: waterbirds_case.py FOLDER LR reads
FOLDER/start.safetensors (EfficientNet-Lite0's weights, convolutions as PyTorch has them) and FOLDER/batches.safetensors
(images uint8 {steps,B,H,W,3}, labels from 1 {steps,B}), and prints a loss a line."""
import pathlib
import sys

import safetensors.torch
import torch
from efficientnet_lite_pytorch import EfficientNet

folder, lr = pathlib.Path(sys.argv[1]), float(sys.argv[2])
torch.set_num_threads(1)
model = EfficientNet.from_name("efficientnet-lite0", num_classes=2, image_size=None, dropout_rate=0.0,
                               drop_connect_rate=0.0)
model.load_state_dict(safetensors.torch.load_file(folder / "start.safetensors"), strict=False)
for module in model.modules():
    if isinstance(module, torch.nn.BatchNorm2d):
        module.momentum = 0.01
model.train()
optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=1e-4)
data = safetensors.torch.load_file(folder / "batches.safetensors")
for images, labels in zip(data["images"], data["labels"].long() - 1):
    x = (images.permute(0, 3, 1, 2).float() - 127) / 128
    optimizer.zero_grad()
    loss = torch.nn.functional.cross_entropy(model(x), labels)
    loss.backward()
    optimizer.step()
    print(loss.item())
