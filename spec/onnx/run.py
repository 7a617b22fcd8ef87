"""Runs an ONNX file: run.py FILE IMAGES LOGITS, raw float32 images of the shape the file wants (N counted), raw logits."""
import sys
import numpy
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
shape = session.get_inputs()[0].shape
images = numpy.fromfile(sys.argv[2], dtype=numpy.float32).reshape([-1] + shape[1:])
logits = session.run(["logits"], {"images": images})[0]
logits.astype(numpy.float32).tofile(sys.argv[3])
print(logits.shape, session.get_modelmeta().custom_metadata_map.get("class_names", ""))
try:
    import onnx

    onnx.checker.check_model(sys.argv[1], full_check=True)
    print("checked")
except ImportError:
    pass
