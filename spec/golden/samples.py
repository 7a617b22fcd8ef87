"""Pictures that the golden files about images are made from."""
import numpy


def picture(height, width, channels, seed):
    """Smooth shapes with some noise, uint8 {H,W,C}."""
    random = numpy.random.default_rng(seed)
    y, x = numpy.mgrid[0:height, 0:width]
    planes = [numpy.sin(y / (3.0 + c) + seed) + numpy.cos(x / (4.0 + 2 * c) - c) + 0.3 * random.standard_normal(y.shape)
              for c in range(channels)]
    image = numpy.stack(planes, -1)
    return ((image - image.min()) / (image.max() - image.min()) * 255).round().astype(numpy.uint8)
