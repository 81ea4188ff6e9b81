"""A torchvision for a CPU, where only the package index answers: PyTorch's own index has the real one."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

VERSION = "0.28.0"
"""Goes with torch 2.13.0."""
_COMPILED = ("torchvision.libs/", "torchvision/_C.so", "torchvision/image.so")
"""Built for CUDA: nothing of it loads beside a torch for CPUs."""
_OPERATORS = """\
import torch

for _name in ("nms", "qnms"):  # what follows registers how they are traced, and needs them to be known
    torch.library.define(f"torchvision::{_name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

"""


def cpu_torchvision(folder: Path) -> Path:
    """Write a wheel of torchvision for CPUs into *folder* and return its path.

    It is the package index's wheel without its compiled operators, which no model for classifying calls: all the rest
    of torchvision is Python. Where pip is set up to find PyTorch's own wheel, that is taken.
    """
    fetched = folder / "fetched"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += ["--python-version", "3.11", "--dest", str(fetched), f"torchvision=={VERSION}"]
    subprocess.run(command, check=True)
    (wheel,) = fetched.iterdir()
    if "+" in wheel.name:
        return wheel.rename(folder / wheel.name)
    target = folder / wheel.name.replace(VERSION, f"{VERSION}+cpu", 1)
    before, after = f"torchvision-{VERSION}.dist-info/", f"torchvision-{VERSION}+cpu.dist-info/"
    record = []
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as copy:
        for name in source.namelist():
            if name.startswith(_COMPILED) or name.endswith("/RECORD"):
                continue
            content = source.read(name)
            if name == f"{before}METADATA":
                content = content.replace(
                    f"Version: {VERSION}".encode(), f"Version: {VERSION}+cpu".encode(), 1
                )
            if name == "torchvision/_meta_registrations.py":
                content = _OPERATORS.encode() + content
            name = name.replace(before, after)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            record.append(f"{name},sha256={digest},{len(content)}\n")
            copy.writestr(name, content)
        copy.writestr(f"{after}RECORD", "".join([*record, f"{after}RECORD,,\n"]))
    wheel.unlink()
    fetched.rmdir()
    return target
