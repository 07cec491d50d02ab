"""Packaging. The version ranges here are the tested ones; `python -m jiidm doctor` compares against them."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

PROJECT = Path(__file__).resolve().parent


class BuildWithConfigs(build_py):
    """A wheel carries configs/ in the package; an editable installation reads the checkout's own."""

    def run(self):
        super().run()
        if not self.editable_mode:
            shutil.copytree(PROJECT / "configs", Path(self.build_lib) / "jiidm" / "configs", dirs_exist_ok=True)


setup(
    name="jiidm-kit",
    version=re.search(r'__version__ = "(.+)"', (PROJECT / "jiidm" / "__init__.py").read_text(encoding="utf-8"))[1],
    description="Semantic landscape synthesis with the Image-to-Image Diffusion Model (IIDM) in Jittor",
    cmdclass={"build_py": BuildWithConfigs},
    packages=find_packages(include=["jiidm*", "ldm_jittor*"]),
    package_data={
        "jiidm": ["assets/*", "assets/table1/*", "painter/static/*", "system/*.cpp", "py.typed"],
        "ldm_jittor": ["kernels/*", "py.typed"],
    },
    python_requires=">=3.10,<3.13",  # numpy 1 has no wheels for 3.13
    install_requires=[
        "jittor==1.3.11.*",
        "jittor-offline>=0.0.7",  # the oneDNN archive Jittor would otherwise fetch from its own server
        "numpy>=1.22,<2",  # Jittor 1.3.11 does not work with numpy 2
        "opencv-python-headless>=4.7,<4.12",  # from 4.12 on it wants numpy 2
        "pillow>=10.1",
        "pyyaml>=6.0",
        "tqdm>=4.62",
        "safetensors>=0.4",
        "matplotlib>=3.5",
        "packaging>=21",
    ],
    extras_require={
        "dev": [
            "hypothesis>=6.100",
            *("axe-playwright-python>=0.1.4", "playwright>=1.44"),  # the painter's tests in a browser
            *("mypy==2.4.*", "pytest>=8", "ruff==0.17.*", "scipy>=1.9", "setuptools>=64", "wheel"),
        ],
        # CUDA without a system installation: a driver is all that a machine needs; see jiidm/system/newer_cuda.py
        "cuda": ["cuda-toolkit[nvcc,cccl,cublas,curand,cufft,cusparse]==13.0.*", "nvidia-cudnn-cu13==9.*"],
        # PyTorch and Jittor's oneDNN clash in one process: tests/parity/setup.sh makes these a venv.
        "parity": ["torch>=2.1", "diffusers>=0.27", "transformers>=5,<6", "scipy>=1.9"],
    },
    entry_points={"console_scripts": ["jiidm = jiidm.cli.main:main"]},
)
