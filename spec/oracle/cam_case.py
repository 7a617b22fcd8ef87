"""One net for spec/oracle/cam_live_spec.lua: cam_case.py SEED FOLDER CASE writes FOLDER/results.safetensors and the weights
that gave them, FOLDER/weights.pth."""
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "golden"))

import safetensors.numpy  # noqa: E402
import torch  # noqa: E402

import cams  # noqa: E402

seed, folder, case = int(sys.argv[1]), pathlib.Path(sys.argv[2]), json.loads(sys.argv[3])
torch.set_num_threads(1)
results, start = cams.compute(case, salt=seed % (1 << 30))
safetensors.numpy.save_file(results, folder / "results.safetensors")
torch.save(start, folder / "weights.pth")
