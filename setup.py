"""Packaging of gluon_attention: `pip install -c constraints.txt -e .[cpu,dev]`."""

import os
import re
import sys

if not (3, 8) <= sys.version_info[:2] <= (3, 13):
    sys.exit(
        "gluon_attention needs Python 3.8 to 3.13; this is Python %d.%d: make the environment with "
        "one of those, for example `python3.11 -m venv .venv`." % sys.version_info[:2]
    )

from setuptools import find_packages, setup

HERE = os.path.dirname(os.path.abspath(__file__))


def read(name):
    with open(os.path.join(HERE, *name.split("/")), encoding="utf-8") as file:
        return file.read()


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

# There is no numpy 1 for Python 3.13, which MXNet's metadata ask for: there, install MXNet by
# `pip install --no-deps mxnet==1.9.1` and what else it needs by these.
WITHOUT_NUMPY_1 = [
    "graphviz>=0.8.1,<0.9; python_version>='3.13'",
    "requests; python_version>='3.13'",
]

ONNX = ["onnx", "onnxruntime"]
SAFETENSORS = ["safetensors"]

# What the native library is compiled with and runs on: the last oneDNN on the OpenMP of MXNet.
X86_LINUX = "; sys_platform=='linux' and platform_machine=='x86_64'"
NATIVE = ["onednn-cpu-gomp==2023.2.0" + X86_LINUX, "onednn-devel-cpu-gomp==2023.2.0" + X86_LINUX]

setup(
    name="gluon_attention",
    version=re.search('^__version__ = "(.+)"$', read("gluon_attention/__init__.py"), re.M).group(1),
    description="Visual attention networks for MXNet Gluon",
    long_description=read("README.md"),
    long_description_content_type="text/markdown",
    author="The gluon_attention authors",
    license="MIT",
    keywords="attention, residual attention network, recurrent attention model, RA-CNN, MXNet",
    classifiers=[
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
    ]
    + ["Programming Language :: Python :: 3.%d" % minor for minor in range(8, 14)]
    + ["Topic :: Scientific/Engineering :: Artificial Intelligence"],
    packages=find_packages(include=["gluon_attention", "gluon_attention.*"]),
    package_data={
        "gluon_attention": ["py.typed", "weights/*.json", "weights/*.params"],
        "gluon_attention.explain": ["page.html"],
        "gluon_attention.native": ["source/*.cc", "source/*.h"],
    },
    python_requires=">=3.8,<3.14",
    install_requires=[
        "numpy>=1.20.3",  # names that newer ones removed are given back, see numpy_names.py
        "opencv-python<5",
        "mxboard==0.1.0",
        "protobuf!=4.21.*",  # messages of mxboard can be built with those before and after
        "setuptools; python_version>='3.12'",  # MXNet imports distutils, which Python 3.12 removed
        "matplotlib",
        "Pillow>=10.1",  # earlier ones have no default font of a size
        "scipy",  # reads the lists of Stanford Dogs
        "tqdm",
    ],
    # MXNet itself is a choice between two builds that must never be installed together.
    extras_require={
        "cpu": ["mxnet==1.9.1; python_version<'3.13'"] + WITHOUT_NUMPY_1,
        "cu112": ["mxnet-cu112==1.9.1; python_version<'3.13'"] + WITHOUT_NUMPY_1 + CUDA,
        "native": NATIVE,
        "onnx": ONNX,
        "safetensors": SAFETENSORS,
        "dev": [
            "pytest",
            "pytest-xdist",
            "hypothesis",
            "ruff",
            "gluoncv==0.10.5.post0; python_version<'3.12'",
        ]
        + ["ml_dtypes", "sympy"]  # 8 bits in onnxruntime
        + ONNX
        + SAFETENSORS,
        # An environment of its own: torch and gluoncv cannot be imported in one process, and
        # gluoncv refuses to be imported where torch 2 is merely installed.
        "bench": ["torch==2.13.0"] + ONNX + SAFETENSORS,
    },
    entry_points={"console_scripts": ["gluon-attention = gluon_attention.__main__:main"]},
)
