"""Writes pictures.safetensors: unusual image files of every format we read, what Pillow and torchvision show of them, and
resizing with antialiasing, for the specs of spec/image.
python3 spec/golden/pictures.py   (torch, torchvision, pillow, safetensors)

NAME/file holds a file, NAME/pixels its image, {H,W,C}. All images are made here from sines and a seed."""
import io
import os
import struct
import zlib

import numpy
import torch
import torchvision.transforms.v2.functional as F
from PIL import Image, ImageOps
from safetensors.numpy import save_file
from torchvision.io import decode_image
from torchvision.transforms import InterpolationMode

from samples import picture

out = {}


def put(name, value):
    out[name] = numpy.ascontiguousarray(value)


def put_file(name, data):
    put(name + "/file", numpy.frombuffer(data, dtype=numpy.uint8))


def put_image(name, data, mode="RGB"):
    """A file, and what Pillow shows of it, upright and in this mode."""
    image = numpy.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert(mode))
    put_file(name, data)
    put(name + "/pixels", image.reshape(image.shape[0], image.shape[1], -1))


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def image_of(values, mode=None):
    return Image.fromarray(values, mode)


color = picture(11, 9, 3, 1)
gray = picture(11, 9, 1, 2)[:, :, 0]
alpha = picture(11, 9, 1, 3)[:, :, 0]
bits = image_of(gray).convert("1", dither=Image.Dither.NONE)
palette = image_of(color).quantize(13)

# ---- PNG ----


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def chunks_of(png):
    at, found = 8, []
    while at < len(png):
        size = struct.unpack(">I", png[at : at + 4])[0]
        found.append((png[at + 4 : at + 8], png[at + 8 : at + 8 + size]))
        at += 12 + size
    return found


def with_chunk(png, place, kind, data):
    """The file with one more chunk, `place` chunks from its beginning."""
    chunks = chunks_of(png)
    chunks.insert(place, (kind, data))
    return png[:8] + b"".join(chunk(*c) for c in chunks)


def png16(values, kind):
    """A PNG of 16-bit values, {H,W,C}, which Pillow does not write."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff(orientation):
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    exif[0x0112] = orientation
    return exif.tobytes()[6:]


png = saved(image_of(color), "PNG")
put_image("png/1 bit", saved(bits, "PNG"), "L")
put_image("png/palette", saved(palette, "PNG"))
put_image("png/palette with transparency as RGB", saved(palette, "PNG", transparency=bytes([0, 128, 255])), "RGB")
put_image("png/palette with transparency as RGBA", saved(palette, "PNG", transparency=bytes([0, 128, 255])), "RGBA")
two = image_of(numpy.stack([gray, alpha], -1), "LA")
put_image("png/gray with alpha as RGB", saved(two, "PNG"), "RGB")
put_image("png/gray with alpha as RGBA", saved(two, "PNG"), "RGBA")
put_image("png/RGBA as RGB", saved(image_of(numpy.dstack([color, alpha])), "PNG"), "RGB")
put_image("png/gamma", with_chunk(png, 1, b"gAMA", struct.pack(">I", 100000)))
deep = numpy.random.default_rng(4).integers(0, 65536, (11, 9, 3), dtype=numpy.uint16)
put_image("png/RGB of 16 bits", png16(deep, 2))
# Pillow's own conversion of 16-bit gray saturates at 255; torchvision keeps the values, and its conversion is this one
put_file("png/gray of 16 bits", png16(deep[:, :, :1], 0))
tensor = decode_image(torch.from_numpy(out["png/gray of 16 bits/file"].copy()))
put("png/gray of 16 bits/pixels", F.to_dtype(tensor, torch.uint8, scale=True).permute(1, 2, 0).numpy())
for orientation in range(1, 9):
    put_image("png/orientation %d" % orientation, with_chunk(png, 1, b"eXIf", tiff(orientation)))
put_image("png/orientation behind the pixels", with_chunk(png, len(chunks_of(png)) - 1, b"eXIf", tiff(6)))
put_image("png/orientation with a mark", with_chunk(png, 1, b"eXIf", b"Exif\0\0" + tiff(8)))


def loads(data):
    try:
        Image.open(io.BytesIO(data)).load()
        return True
    except Exception:
        return False


put("png/shortest that Pillow reads", numpy.array([min(n for n in range(len(png)) if loads(png[:n]))], numpy.int32))
put_file("png/shortest that Pillow reads", png)

# ---- JPEG ----

put_image("jpeg/RGB, not YCC", saved(image_of(color), "JPEG", quality=90, keep_rgb=True))
put_image("jpeg/progressive gray", saved(image_of(gray), "JPEG", quality=90, progressive=True), "L")
# libjpeg-turbo's cjpeg -arithmetic -quality 85; Pillow reads such files, but writes none
arithmetic = (
    "ffd8ffe000104a46494600010100000100010000ffdb0043000503040404030504040405050506070c08070707070f0b"
    "0b090c110f1212110f111113161c1713141a1511111821181a1d1d1f1f1f13172224221e241c1e1f1effdb0043010505"
    "050706070e08080e1e1411141e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e"
    "1e1e1e1e1e1e1e1e1e1e1e1e1e1effc90011080013001a03012200021101031101ffcc000a0010100501101105ffda00"
    "0c03010002110311003f00ff00dbdbb703af9a05d019ac1db07a11b4ba20a1c3d14098bfab2b23340ea59ef44f383b44"
    "d59241b4acdb0a0568ad190a52dac3dcac34f79d94f0ccbf8909d5740241f2433394206ff215c48452afae3fbfa7b3c8"
    "88956ad612c4ced5afca3e06ab8d3bb2880faefc2ad427cd5880a3d8df7e921f79dc4d8a32da5407e4aba284749b3938"
    "4a0af5d85a09009b5b3d62daa7f0f7bc7f357244f04a2efa77a4af1c93a4fde31c4f46fe9fc7ea2b34700940715de00a"
    "3f1f96067b80ffd9"
)
put_image("jpeg/arithmetic coding", bytes.fromhex(arithmetic))

# ---- BMP ----


def bmp(values, depth, compression=0, between=b"", height=None, header=40, colors=0, offset=None):
    """Rows of bytes as they stand, with a header in front and what comes between (palette, masks)."""
    stored = b"".join(row + bytes(-len(row) % 4) for row in values) if isinstance(values, list) else values
    rows = len(values) if height is None else height
    if header == 12:
        head = struct.pack("<IHHHH", 12, width_of_bmp, rows, 1, depth)
    else:
        head = struct.pack("<IiiHHIIiiII", header, width_of_bmp, rows, 1, depth, compression, len(stored), 0, 0, colors, 0)
    at = 14 + len(head) + len(between) if offset is None else offset
    return b"BM" + struct.pack("<IHHI", 14 + len(head) + len(between) + len(stored), 0, 0, at) + head + between + stored


width_of_bmp = 9
bgr = color[::-1, :, ::-1]
indices = numpy.asarray(palette)[::-1]
entries = numpy.array(palette.getpalette()[: 3 * 13], numpy.uint8).reshape(13, 3)
quads = b"".join(bytes([b, g, r, 0]) for r, g, b in entries)
triples = b"".join(bytes([b, g, r]) for r, g, b in entries)


def halves(row):
    padded = numpy.append(row, numpy.zeros(len(row) % 2, numpy.uint8))
    return bytes((padded[0::2] << 4 | padded[1::2]).astype(numpy.uint8))


def runs(row, four_bits):
    """A line in which pixels 2 to 6 stand as they are, the others as runs of one, and the end of the line."""
    one = (lambda v: bytes([1, v << 4 | v])) if four_bits else (lambda v: bytes([1, v]))
    literal = halves(row[2:7]) if four_bits else bytes(row[2:7])
    singles = [one(int(v)) for v in (row[0], row[1], row[7], row[8])]
    return b"".join(singles[:2]) + b"\0\5" + literal + bytes(len(literal) % 2) + b"".join(singles[2:]) + b"\0\0"


put_image("bmp/1 bit", saved(bits, "BMP"), "L")
put_image("bmp/gray", saved(image_of(gray), "BMP"), "L")
put_image("bmp/palette of 8 bits", saved(palette, "BMP"))
put_image("bmp/palette of 4 bits", bmp([halves(row) for row in indices], 4, between=quads, colors=13))
put_image("bmp/palette of 1 bit", bmp([bytes([v & 255, 128]) for v in range(77, 88)], 1, between=quads[:8], colors=2))
put_image("bmp/palette not counted in the offset", bmp([bytes(row) for row in indices], 8, between=quads, colors=13, offset=54))
put_image("bmp/24 bits", saved(image_of(color), "BMP"))
put_image("bmp/32 bits", bmp([numpy.insert(row, 3, 7, -1).tobytes() for row in bgr], 32))
bgra = numpy.dstack([color, alpha])[::-1, :, [2, 1, 0, 3]]
masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + bytes(52)
put_image("bmp/32 bits with alpha", bmp([row.tobytes() for row in bgra], 32, 3, masks, header=108), "RGBA")
words = (bgr[:, :, 2].astype(int) >> 3 << 10) | (bgr[:, :, 1].astype(int) >> 3 << 5) | bgr[:, :, 0] >> 3
put_image("bmp/15 bits", bmp([row.astype("<u2").tobytes() for row in words], 16))
words = (bgr[:, :, 2].astype(int) >> 3 << 11) | (bgr[:, :, 1].astype(int) >> 2 << 5) | bgr[:, :, 0] >> 3
masks = struct.pack("<III", 0xF800, 0x7E0, 0x1F)
put_image("bmp/16 bits by masks", bmp([row.astype("<u2").tobytes() for row in words], 16, 3, masks))
put_image("bmp/from the top", bmp([row.tobytes() for row in color[:, :, ::-1]], 24, height=-11))
put_image("bmp/OS2, 24 bits", bmp([row.tobytes() for row in bgr], 24, header=12))
put_image("bmp/OS2, 4 bits", bmp([halves(row) for row in indices], 4, between=triples + bytes(9), header=12))
put_image("bmp/runs of 8 bits", bmp(b"".join(runs(row, False) for row in indices) + b"\0\1", 8, 1, quads, 11, colors=13))
put_image("bmp/runs of 4 bits", bmp(b"".join(runs(row, True) for row in indices) + b"\0\1", 4, 2, quads, 11, colors=13))
# three pixels, the end of the line, a step of one up and four to the right, a run over the end of the line, and the end
skips = bytes([3, 5, 0, 0, 0, 2, 4, 1, 200, 9] + [0, 0, 9, 1] * 8) + b"\0\1"
put_image("bmp/runs with gaps", bmp(skips, 8, 1, quads, 11, colors=13))

# ---- PBM, PGM, PPM ----


def text(values):
    return b"\n".join(b" ".join(b"%d" % v for v in row.reshape(-1)) for row in values)


put_image("pnm/P1", b"P1 # a comment\n# another\n9 11\n" + text(255 - numpy.asarray(bits).astype(int) * 255 > 0), "L")
put_image("pnm/P1 without spaces", b"P1\n9 11\n" + text(numpy.asarray(bits).astype(int)).replace(b" ", b""), "L")
put_image("pnm/P2", b"P2\n9 11 # size\n255\n" + text(gray), "L")
put_image("pnm/P2 of 15", b"P2\n9 11\n15\n" + text(gray >> 4), "L")
put_image("pnm/P2 of 10", b"P2\n9 11\n10\n" + text(gray % 11), "L")
put_image("pnm/P3", b"P3\r\n9\t11\r\n255\r\n" + text(color))
put_image("pnm/P4", saved(bits, "PPM"), "L")
put_image("pnm/P5", saved(image_of(gray), "PPM"), "L")
put_image("pnm/P5 of 100", b"P5 9 11 100 " + (gray.astype(int) * 100 // 255).astype(numpy.uint8).tobytes(), "L")
put_image("pnm/P6", saved(image_of(color), "PPM"))
put_image("pnm/P6 of 65535", b"P6\n9 11\n65535\n" + deep.astype(">u2").tobytes())

# ---- WebP ----

put_image("webp/lossless", saved(image_of(color), "WEBP", lossless=True))
put_image("webp/lossy", saved(image_of(picture(24, 31, 3, 5)), "WEBP", quality=80))
put_image("webp/alpha", saved(image_of(numpy.dstack([color, alpha])), "WEBP", lossless=True, exact=True), "RGBA")
put_image("webp/orientation", saved(image_of(color), "WEBP", lossless=True, exif=b"Exif\0\0" + tiff(6)))
frames = [image_of(picture(11, 9, 3, seed)) for seed in (6, 7)]
put_file("other/animated WebP", saved(frames[0], "WEBP", save_all=True, append_images=frames[1:]))

# ---- formats we only know by name ----

for name, kind in (("GIF", "GIF"), ("TIFF", "TIFF"), ("AVIF", "AVIF"), ("JPEG 2000", "JPEG2000")):
    put_file("other/" + name, saved(image_of(color), kind))

# ---- resizing with antialiasing ----

source = picture(23, 17, 3, 8)
source[5:9, 3:12] = 255  # edges, at which bicubic overshoots
source[9:14, 3:12] = 0
put("resize/input", source)
floats = torch.from_numpy(source.astype(numpy.float32) / 255).permute(2, 0, 1)
for height, width in ((5, 7), (11, 17), (40, 31), (8, 40), (1, 1), (23, 4)):
    for mode, pillow, vision in (("bilinear", Image.Resampling.BILINEAR, InterpolationMode.BILINEAR),
                                 ("bicubic", Image.Resampling.BICUBIC, InterpolationMode.BICUBIC)):
        name = "resize/%s/%d/%d/" % (mode, height, width)
        # width first, as torchvision and older Pillows do it; newer ones begin with the axis that makes less work
        put(name + "uint8", numpy.asarray(image_of(source).resize((width, 23), pillow).resize((width, height), pillow)))
        resized = F.resize(floats, [height, width], vision, antialias=True)
        put(name + "float32", resized.permute(1, 2, 0).contiguous().numpy())

save_file(out, os.path.join(os.path.dirname(os.path.abspath(__file__)), "pictures.safetensors"))
