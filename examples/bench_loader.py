"""The PyTorch side of examples/bench_loader.lua: one process, one way of reading JPEG files.

bench_loader.py LIST WAY SIZE BATCH; WAY is PIL or tensor (what decodes and resizes), "-", and the DataLoader's
num_workers.
"""
import resource
import sys
import time

import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg, read_file
from torchvision.transforms import v2


def with_pil(size):
    """torchvision's usual way: datasets.folder.default_loader, Resize, ToTensor."""
    change = v2.Compose([v2.Resize((size, size)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])

    def load(path):
        with open(path, "rb") as file:
            return change(Image.open(file).convert("RGB"))

    return load


def with_tensors(size):
    change = v2.Compose([v2.Resize((size, size), antialias=True), v2.ToDtype(torch.float32, scale=True)])
    return lambda path: change(decode_jpeg(read_file(path), mode=ImageReadMode.RGB))


class Files(torch.utils.data.Dataset):
    def __init__(self, paths, load):
        self.paths, self.load = paths, load

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        return self.load(self.paths[i])


def processor_seconds():
    """Of this process and of the workers that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def main():
    listing, way, size, batch = sys.argv[1:]
    how, workers = way.split("-")
    torch.set_num_threads(1)
    with open(listing) as file:
        paths = file.read().splitlines()
    load = (with_pil if how == "PIL" else with_tensors)(int(size))
    loader = torch.utils.data.DataLoader(Files(paths, load), batch_size=int(batch), num_workers=int(workers))
    for line in sys.stdin:
        if line.strip() == "end":
            break
        started, used, images, total = time.perf_counter(), processor_seconds(), 0, 0.0
        for values in loader:
            images += len(values)
            total += values[0].mean().item()
        del values
        print(images / (processor_seconds() - used), images / (time.perf_counter() - started), total / len(loader),
              flush=True)


main()
