"""Times ONNX Runtime's CPU provider on models of one node, for comparison with `cpu_bench`.

Usage: python3 ort_single_ops.py [THREADS] [FILTER]
Prints one line a shape: name, milliseconds (minimum of several batches), GFLOP/s.
Names and shapes are those of `runtime/examples/cpu_bench.rs`.
"""

import sys
import time

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

# name, (n, cin, h, w), cout, kernel, stride, pad, groups
CONVS = [
    ("resnet_conv1_7x7s2", (1, 3, 224, 224), 64, 7, 2, 3, 1),
    ("resnet_56_64_1x1", (1, 64, 56, 56), 64, 1, 1, 0, 1),
    ("resnet_56_64_3x3", (1, 64, 56, 56), 64, 3, 1, 1, 1),
    ("resnet_56_64_256_1x1", (1, 64, 56, 56), 256, 1, 1, 0, 1),
    ("resnet_28_128_3x3", (1, 128, 28, 28), 128, 3, 1, 1, 1),
    ("resnet_28_512_128_1x1", (1, 512, 28, 28), 128, 1, 1, 0, 1),
    ("resnet_14_256_3x3", (1, 256, 14, 14), 256, 3, 1, 1, 1),
    ("resnet_14_1024_256_1x1", (1, 1024, 14, 14), 256, 1, 1, 0, 1),
    ("resnet_7_512_3x3", (1, 512, 7, 7), 512, 3, 1, 1, 1),
    ("resnet_7_512_2048_1x1", (1, 512, 7, 7), 2048, 1, 1, 0, 1),
    ("resnet_28_128_3x3s2", (1, 128, 56, 56), 128, 3, 2, 1, 1),
    ("vgg_224_3_64_3x3", (1, 3, 224, 224), 64, 3, 1, 1, 1),
    ("vgg_224_64_64_3x3", (1, 64, 224, 224), 64, 3, 1, 1, 1),
    ("vgg_56_256_3x3", (1, 256, 56, 56), 256, 3, 1, 1, 1),
    ("vgg_14_512_3x3", (1, 512, 14, 14), 512, 3, 1, 1, 1),
    ("yolo_13_1280_1024_3x3", (1, 1280, 13, 13), 1024, 3, 1, 1, 1),
    ("densenet_28_128_32_3x3", (1, 128, 28, 28), 32, 3, 1, 1, 1),
    ("mobilenet_112_16_96_1x1", (1, 16, 112, 112), 96, 1, 1, 0, 1),
    ("mobilenet_56_144_24_1x1", (1, 144, 56, 56), 24, 1, 1, 0, 1),
    ("mobilenet_112_32_dw", (1, 32, 112, 112), 32, 3, 1, 1, 32),
    ("mobilenet_112_96_dw_s2", (1, 96, 112, 112), 96, 3, 2, 1, 96),
    ("mobilenet_28_192_dw", (1, 192, 28, 28), 192, 3, 1, 1, 192),
    ("mobilenet_14_576_dw", (1, 576, 14, 14), 576, 3, 1, 1, 576),
    ("mobilenet_7_960_dw", (1, 960, 7, 7), 960, 3, 1, 1, 960),
    ("r3d_conv_64_16x56x56_3x3x3", (1, 64, 16, 56, 56), 64, 3, 1, 1, 1),
]

# name, m, k, n
MATMULS = [
    ("bert_128_768_768", 128, 768, 768),
    ("bert_128_768_3072", 128, 768, 3072),
    ("bert_128_3072_768", 128, 3072, 768),
    ("vit_197_768_3072", 197, 768, 3072),
    ("gpt2_logits_128_768_50257", 128, 768, 50257),
    ("square_1024", 1024, 1024, 1024),
    ("resnet_fc_1_2048_1000", 1, 2048, 1000),
    ("vgg_fc1_1_25088_4096", 1, 25088, 4096),
]


def conv_transpose():
    rng = np.random.default_rng(0)
    for name, cin, h, cout, k, s, p in [
        ("dcgan_4_1024_512_ct4s2", 1024, 4, 512, 4, 2, 1),
        ("dcgan_16_256_128_ct4s2", 256, 16, 128, 4, 2, 1),
    ]:
        w = rng.standard_normal((cin, cout, k, k), dtype=np.float32)
        node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[s, s], pads=[p] * 4)
        x = rng.standard_normal((1, cin, h, h), dtype=np.float32)
        yield name, node, {"x": x}, {"w": w}, 2 * h * h * cin * cout * k * k


def recurrent():
    rng = np.random.default_rng(0)
    for op, gates in [("LSTM", 4), ("GRU", 3)]:
        t, b, i, h = 64, 1, 256, 256
        x = rng.standard_normal((t, b, i), dtype=np.float32)
        w = rng.standard_normal((1, gates * h, i), dtype=np.float32) * 0.05
        r = rng.standard_normal((1, gates * h, h), dtype=np.float32) * 0.05
        node = helper.make_node(op, ["x", "w", "r"], ["y"], hidden_size=h)
        flops = 2 * t * b * gates * h * (i + h)
        yield f"{op.lower()}_64_1_256_256", node, {"x": x}, {"w": w, "r": r}, flops


def cases():
    rng = np.random.default_rng(0)
    for name, x, cout, k, s, p, g in CONVS:
        dims = len(x) - 2
        w = rng.standard_normal((cout, x[1] // g) + (k,) * dims, dtype=np.float32)
        node = helper.make_node(
            "Conv", ["x", "w", "b"], ["y"],
            strides=[s] * dims, pads=[p] * (2 * dims), group=g,
        )
        out = 1
        for d in x[2:]:
            out *= (d + 2 * p - k) // s + 1
        flops = 2 * out * cout * (x[1] // g) * k**dims
        b = rng.standard_normal(cout, dtype=np.float32)
        yield name, node, {"x": rng.standard_normal(x, dtype=np.float32)}, {"w": w, "b": b}, flops
    for name, m, k, n in MATMULS:
        w = rng.standard_normal((k, n), dtype=np.float32)
        node = helper.make_node("MatMul", ["x", "w"], ["y"])
        yield name, node, {"x": rng.standard_normal((m, k), dtype=np.float32)}, {"w": w}, 2 * m * k * n
    yield from conv_transpose()
    yield from recurrent()
    for name, h, l, d in [("bert_softmax_12_128_128", 12, 128, 128), ("vit_softmax_12_197_197", 12, 197, 197)]:
        node = helper.make_node("Softmax", ["x"], ["y"], axis=-1)
        yield name, node, {"x": rng.standard_normal((h, l, d), dtype=np.float32)}, {}, h * l * d


def main():
    threads = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    only = sys.argv[2] if len(sys.argv) > 2 else ""
    for name, node, feeds, weights, flops in cases():
        if only not in name:
            continue
        inputs = [
            helper.make_tensor_value_info(k, TensorProto.FLOAT, v.shape) for k, v in feeds.items()
        ]
        outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
        graph = helper.make_graph(
            [node], "g", inputs, outputs,
            [numpy_helper.from_array(v, k) for k, v in weights.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 8
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4
        session = ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        binding = session.io_binding()
        for k, v in feeds.items():
            binding.bind_ortvalue_input(k, ort.OrtValue.ortvalue_from_numpy(v))
        binding.bind_output("y")
        session.run_with_iobinding(binding)
        n, best, end = 1, float("inf"), time.perf_counter() + 0.4
        while time.perf_counter() < end:
            start = time.perf_counter()
            for _ in range(n):
                session.run_with_iobinding(binding)
            took = time.perf_counter() - start
            best = min(best, took / n)
            if took < 0.005:
                n *= 2
        print(f"{name:32s} {best * 1e3:9.4f} ms {flops / best / 1e9:8.1f} GFLOP/s", flush=True)


main()
