"""One net for spec/oracle/resnet_live_spec.lua: resnet_case.py SEED FOLDER CASE writes FOLDER/results.safetensors and the
weights that gave them, FOLDER/weights.pth, in one of torch.save's formats by the seed."""
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "golden"))

import safetensors.numpy  # noqa: E402
import torch  # noqa: E402

import nets  # noqa: E402

seed, folder, case = int(sys.argv[1]), pathlib.Path(sys.argv[2]), json.loads(sys.argv[3])
torch.set_num_threads(1)
results, start = nets.compute(case, salt=seed % (1 << 30), live=True)
safetensors.numpy.save_file(results, folder / "results.safetensors")
torch.save({"state_dict": {f"module.{name}": t for name, t in start.items()}, "epoch": 0}, folder / "weights.pth",
           _use_new_zipfile_serialization=seed % 2 == 0)
