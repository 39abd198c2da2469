"""Packaging of gluon_attention: `pip install -c constraints.txt -e .[cpu,dev]`."""

import sys

if not (3, 8) <= sys.version_info[:2] <= (3, 11):
    sys.exit(
        "gluon_attention needs Python 3.8, 3.9, 3.10 or 3.11, because MXNet 1.9.1 runs on no newer "
        "one; this is Python %d.%d: make the environment with one of those, for example "
        "`python3.11 -m venv .venv`." % sys.version_info[:2]
    )

from setuptools import find_packages, setup

# Every CUDA 11 library that mxnet-cu112 loads, save the driver's own libcuda.so.1.
CUDA = [
    "nvidia-cuda-runtime-cu11==11.8.89",
    "nvidia-cuda-nvrtc-cu11==11.8.89",
    "nvidia-nvtx-cu11==11.8.86",
    "nvidia-cublas-cu11==11.11.3.6",
    "nvidia-cufft-cu11==10.9.0.58",
    "nvidia-curand-cu11==10.3.0.86",
    "nvidia-cusolver-cu11==11.4.1.48",
    "nvidia-nccl-cu11==2.21.5",
    "nvidia-cudnn-cu11==8.9.6.50",
]

ONNX = ["onnx<1.18", "onnxruntime"]  # onnx 1.18 wants protobuf 4

setup(
    name="gluon_attention",
    version="0.1.0",
    description="Visual attention networks for MXNet Gluon",
    license="MIT",
    packages=find_packages(include=["gluon_attention", "gluon_attention.*"]),
    package_data={"gluon_attention": ["weights/*.json", "weights/*.params"]},
    python_requires=">=3.8,<3.12",
    install_requires=[
        "numpy>=1.20.3,<1.24",  # MXNet 1.9.1 uses np.bool, which 1.24 removed
        "opencv-python<4.12",  # 4.12 wants numpy 2
        "mxboard==0.1.0",
        "protobuf<3.21",  # mxboard's generated code is older than protobuf 4
        "matplotlib",
        "Pillow>=10.1",  # earlier ones have no default font of a size
        "scipy",  # reads the lists of Stanford Dogs
        "tqdm",
    ],
    # MXNet itself is a choice between two builds that must never be installed together.
    extras_require={
        "cpu": ["mxnet==1.9.1"],
        "cu112": ["mxnet-cu112==1.9.1"] + CUDA,
        "onnx": ONNX,
        "dev": ["pytest", "pytest-xdist", "hypothesis", "ruff", "gluoncv==0.10.5.post0"]
        + ["ml_dtypes", "sympy"]  # 8 bits in onnxruntime
        + ONNX,
        # An environment of its own: torch and gluoncv cannot be imported in one process, and
        # gluoncv refuses to be imported where torch 2 is merely installed.
        "bench": ["torch==2.13.0"] + ONNX,
    },
    entry_points={"console_scripts": ["gluon-attention = gluon_attention.__main__:main"]},
)
