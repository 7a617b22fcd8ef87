"""The answers of the published EfficientNet-Lite0, for spec/oracle/imagenet_live_spec.lua: imagenet_case.py WEIGHTS FILE...
prints for each image, read and resized by Pillow, the class from 1 with the largest logit."""
import sys

import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image

torch.set_num_threads(1)
model = EfficientNet.from_name("efficientnet-lite0")
model.load_state_dict(torch.load(sys.argv[1], weights_only=True))
model.eval()
for path in sys.argv[2:]:
    image = Image.open(path).convert("RGB").resize((224, 224), Image.BILINEAR)
    x = (torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None].float() - 127) / 128
    with torch.no_grad():
        print(int(model(x).argmax()) + 1)
