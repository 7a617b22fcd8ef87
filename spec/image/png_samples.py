"""Writes png_samples.lua: tiny PNG files of every colour type and depth, made here from the PNG specification with
nothing but zlib, and the 8-bit pixels they show.   python3 spec/image/png_samples.py > spec/image/png_samples.lua"""
import struct
import zlib

WIDTH, HEIGHT = 7, 5
GRAY, RGB, PALETTE, GRAY_ALPHA, RGBA = 0, 2, 3, 4, 6
CHANNELS = {GRAY: 1, RGB: 3, PALETTE: 1, GRAY_ALPHA: 2, RGBA: 4}
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def packed_row(values, depth):
    if depth == 16:
        return b"".join(struct.pack(">H", v) for v in values)
    bits = "".join(format(v, "0%db" % depth) for v in values)
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))


def rows(pixels, depth):
    return b"".join(b"\0" + packed_row([v for pixel in row for v in pixel], depth) for row in pixels if row)


def png(pixels, kind, depth, interlaced, extra):
    if interlaced:
        data = b"".join(rows([row[x::dx] for row in pixels[y::dy]], depth) for x, y, dx, dy in ADAM7)
    else:
        data = rows(pixels, depth)
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, depth, kind, 0, 0, interlaced)
    body = zlib.compress(data, 9)
    half = len(body) // 2
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", body[:half])
            + chunk(b"IDAT", body[half:]) + chunk(b"IEND", b""))


state = 1


def noise(limit):
    global state
    state = (state * 1103515245 + 12345) % 2**31
    return (state >> 8) % limit


def to_byte(value, depth):
    if depth == 16:  # the upper byte, as Pillow and torchvision show it
        return value >> 8
    return (value * 255 * 2 + (2**depth - 1)) // (2 * (2**depth - 1))


def sample(kind, depth, interlaced, transparent):
    palette = [(noise(256), noise(256), noise(256)) for _ in range(min(2**depth, 9))]
    limit = len(palette) if kind == PALETTE else 2**depth
    pixels = [[tuple(noise(limit) for _ in range(CHANNELS[kind])) for _ in range(WIDTH)] for _ in range(HEIGHT)]
    key, alphas, extra = pixels[1][2], [noise(256) for _ in palette[:-1]], b""
    if kind == PALETTE:
        extra = chunk(b"PLTE", bytes(v for color in palette for v in color))
    if transparent:
        extra += chunk(b"tRNS", bytes(alphas) if kind == PALETTE else b"".join(struct.pack(">H", v) for v in key))

    def shown(pixel):
        if kind == PALETTE:
            alpha = alphas[pixel[0]] if pixel[0] < len(alphas) else 255
            return palette[pixel[0]] + ((alpha,) if transparent else ())
        values = tuple(to_byte(v, depth) for v in pixel)
        if kind == GRAY_ALPHA:
            return (values[0],) * 3 + (values[1],)
        if not transparent:
            return values
        return (values if kind == RGB else values * 3) + (0 if pixel == key else 255,)

    return png(pixels, kind, depth, interlaced, extra), bytes(v for row in pixels for p in row for v in shown(p))


def quoted(name, data):
    text = data.hex()
    parts = ['"%s"' % text[i : i + 96] for i in range(0, len(text), 96)]
    return "    %s = %s,\n" % (name, "\n      .. ".join(parts))


cases = [("gray", GRAY, d, False) for d in (1, 2, 4, 8, 16)]
cases += [("RGB", RGB, d, False) for d in (8, 16)]
cases += [("palette", PALETTE, d, False) for d in (1, 2, 4, 8)]
cases += [("gray with alpha", GRAY_ALPHA, d, False) for d in (8, 16)]
cases += [("RGBA", RGBA, d, False) for d in (8, 16)]
cases += [("gray with a transparent value", GRAY, d, True) for d in (2, 8)]
cases += [("RGB with a transparent colour", RGB, 8, True), ("palette with transparency", PALETTE, 4, True)]
interlaced = {("gray", 1), ("RGB", 8), ("palette", 4), ("RGBA", 16), ("gray with alpha", 8)}

print("-- Written by png_samples.py.\nreturn {")
for name, kind, depth, transparent in cases:
    for adam7 in (0, 1) if (name, depth) in interlaced else (0,):
        file, pixels = sample(kind, depth, adam7, transparent)
        print("  {\n    name = \"%s, %d bits%s\",\n    channels = %d,"
              % (name, depth, ", interlaced" if adam7 else "", len(pixels) // (WIDTH * HEIGHT)))
        print(quoted("file", file) + quoted("pixels", pixels) + "  },")
print("}")
