"""Writes images.safetensors: what torchvision, Pillow and SciPy make of small images and files, for the specs of
spec/image and spec/data.   python3 spec/golden/images.py   (torch, torchvision, pillow, scipy, safetensors)

All inputs are made here from sines and a seed."""
import io
import os

import numpy
import scipy.io
import torch
import torchvision.transforms.functional as F
from PIL import Image, ImageOps
from safetensors.numpy import save_file
from torchvision.transforms import InterpolationMode

from samples import picture

out = {}


def put(name, value):
    out[name] = numpy.ascontiguousarray(value)


def put_bytes(name, data):
    put(name, numpy.frombuffer(data, dtype=numpy.uint8))


# ---- transforms with given parameters: float32 {N,H,W,C} in [0,1] ----

batch = numpy.stack([picture(13, 18, 3, 1), picture(13, 18, 3, 2)])
put("transform/input", batch.astype(numpy.float32) / 255)
images = torch.from_numpy(out["transform/input"]).permute(0, 3, 1, 2)


def put_images(name, tensor):
    put("transform/" + name, tensor.permute(0, 2, 3, 1).contiguous().numpy())


for mode in (InterpolationMode.NEAREST, InterpolationMode.BILINEAR):
    for angle, down, right in ((0, 0, 0), (0, 2, -3), (15, 0, 0), (-7.3, 1, 2), (60, 0, 0), (171.9, -4, 5), (10, 30, 0)):
        moved = F.affine(images, angle, [right, down], 1.0, [0.0, 0.0], mode)
        put_images("affine/%s/%g/%d/%d" % (mode.value, angle, down, right), moved)
put_images("flip", F.hflip(images))
for top, left, height, width in ((-2, -3, 13, 18), (4, 5, 6, 7), (9, 12, 10, 12)):
    put_images("crop/%d/%d/%d/%d" % (top, left, height, width), F.crop(images, top, left, height, width))
for top, left, height, width, h, w in ((0, 0, 13, 18, 5, 7), (2, 3, 8, 9, 16, 12), (1, 0, 11, 18, 11, 6), (5, 5, 1, 1, 4, 3)):
    small = F.resized_crop(images, top, left, height, width, [h, w], InterpolationMode.BILINEAR, antialias=True)
    put_images("resized_crop/%d/%d/%d/%d/%d/%d" % (top, left, height, width, h, w), small)
for name, change in (("brightness", F.adjust_brightness), ("contrast", F.adjust_contrast),
                     ("saturation", F.adjust_saturation), ("hue", F.adjust_hue)):
    for amount in (-0.5, -0.2, 0.1, 0.5) if name == "hue" else (0, 0.4, 1, 1.7):
        put_images("%s/%g" % (name, amount), change(images, amount))
all_four = F.adjust_hue(F.adjust_saturation(F.adjust_contrast(F.adjust_brightness(images, 1.2), 0.7), 1.5), 0.15)
put_images("all_four", all_four)
put_images("gray_contrast", F.adjust_contrast(images[:, :1], 0.4))
put_images("normalize", F.normalize(images, [0.5, 0.4, 0.3], [0.2, 0.3, 0.25]))

# ---- JPEG ----


def jpeg(image, mode=None, **options):
    buffer = io.BytesIO()
    Image.fromarray(image, mode).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def put_jpeg(name, data):
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    pixels = numpy.asarray(image if image.mode == "L" else image.convert("RGB"))
    put_bytes("jpeg/%s/file" % name, data)
    put("jpeg/%s/pixels" % name, pixels.reshape(pixels.shape[0], pixels.shape[1], -1))


color = picture(21, 34, 3, 3)
put_jpeg("gray", jpeg(picture(21, 34, 1, 4)[:, :, 0], quality=90))
put_jpeg("4:2:0", jpeg(color, quality=85, subsampling=2))
put_jpeg("4:2:2", jpeg(color, quality=85, subsampling=1))
put_jpeg("4:4:4", jpeg(color, quality=95, subsampling=0))
put_jpeg("progressive", jpeg(color, quality=85, progressive=True))
put_jpeg("restarts", jpeg(color, quality=85, restart_marker_rows=1))
cmyk = jpeg(picture(21, 34, 4, 5), "CMYK", quality=90)
adobe = cmyk.index(b"Adobe")
put_jpeg("CMYK", cmyk)
put_jpeg("YCCK", cmyk[: adobe + 11] + b"\x02" + cmyk[adobe + 12 :])
put_jpeg("CMYK without a mark", cmyk[: adobe - 4] + cmyk[adobe + 12 :])
for orientation in range(1, 9):
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    exif[0x0112] = orientation
    put_jpeg("orientation %d" % orientation, jpeg(color, quality=90, exif=exif))
large = jpeg(picture(64, 96, 3, 6), quality=90)
put_bytes("jpeg_scaled/file", large)
for divisor in (1, 2, 4, 8):
    image = Image.open(io.BytesIO(large))
    image.draft("RGB", (96 // divisor, 64 // divisor))
    put("jpeg_scaled/%d" % divisor, numpy.asarray(image))

# ---- uint8 resizing ----

source = Image.fromarray(picture(40, 50, 3, 7))
put("resize/input", numpy.asarray(source))
put("resize/stretch", numpy.asarray(source.resize((13, 17), Image.Resampling.BILINEAR)))
put("resize/enlarge", numpy.asarray(source.resize((70, 90), Image.Resampling.BILINEAR)))
put("resize/crop", numpy.asarray(source.crop((5, 0, 45, 40)).resize((16, 16), Image.Resampling.BILINEAR)))

# ---- MATLAB ----


def mat(arrays, compressed):
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, arrays, do_compression=compressed)
    data = bytearray(buffer.getvalue())
    data[:116] = b"MATLAB 5.0 MAT-file".ljust(116)
    return bytes(data)


x = numpy.arange(4 * 5 * 3 * 2, dtype=numpy.uint8).reshape(4, 5, 3, 2)
arrays = {
    "X": x,
    "y": numpy.array([[10], [3]], dtype=numpy.uint8),
    "small": numpy.array([[1.0, 2.0, 250.0]]),
    "double": numpy.array([[0.5, -1e10], [3.25, numpy.inf]]),
    "int64": numpy.array([[-(2**31), 2**31 - 1]], dtype=numpy.int64),
    "int16": numpy.array([[-5, 300, 7]], dtype=numpy.int16),
    "one": numpy.array([[7]], dtype=numpy.uint8),
    "empty": numpy.zeros((0, 3)),
    "text": "not a number",
    "structure": {"a": 1, "b": numpy.arange(3.0)},
    "complex": numpy.array([[1 + 2j]]),
}
put_bytes("mat/compressed", mat(arrays, True))
put_bytes("mat/plain", mat(arrays, False))
put_bytes("mat/too_large", mat({"a": numpy.array([[2**31]], dtype=numpy.int64)}, True))

save_file(out, os.path.join(os.path.dirname(os.path.abspath(__file__)), "images.safetensors"))
