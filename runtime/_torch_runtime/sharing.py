"""One copy of the weights for all instances of a model on a device (``ENABLE_WEIGHT_SHARING``)."""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import mmap
import os
import pickle
import tempfile
from typing import Any

import torch

from .errors import ModelError
from .weights import tensor_at


class SharedWeights:
    """Lets the instances of one model on one device share one copy of its weights.

    The first instance offers its tensors on a board, a small file of this user's under the folder for temporary
    files; the others take them. On a CPU they lie in a memory file of the kernel, mapped copy-on-write: it is freed
    with the last process that maps it, and a model that writes to a buffer gets a private page. On a GPU they cross
    by CUDA IPC, whose memory belongs to the instance that offered it.
    """

    def __init__(self, args: dict[str, str], folder: str) -> None:
        # Each server, configuration and state of the files has a separate board: a reload never finds old weights.
        files = sorted((e.name, e.stat().st_mtime_ns, e.stat().st_size) for e in os.scandir(folder))
        identity = (os.getppid(), folder, args["model_config"], args["model_instance_device_id"], files)
        digest = hashlib.sha256(repr(identity).encode()).hexdigest()[:16]
        self._name = f"triton-weights-{os.getuid()}-{digest}"
        self._board = os.path.join(tempfile.gettempdir(), self._name)
        self._memory: int | None = None
        self._offered = False

    def share(self, module: torch.nn.Module, device: torch.device) -> None:
        """Take the weights of *module* from another instance, or offer them to others."""
        tensors = dict([*module.named_parameters(), *module.named_buffers()])
        if not tensors:
            return
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        with open(os.open(self._board, flags, 0o600), "r+b") as board:
            if os.fstat(board.fileno()).st_uid != os.getuid():
                raise ModelError(f"ENABLE_WEIGHT_SHARING: {self._board} belongs to another user")
            fcntl.flock(board, fcntl.LOCK_EX)  # later processes wait here until there is an offer
            text = board.read()
            take, offer = self._take, self._offer
            if device.type == "cuda":
                take, offer = self._take_ipc, self._offer_ipc
            found = take(text, tensors) if text else None
            if found is None:
                board.seek(0)
                board.truncate()
                text, found = offer(tensors)
                board.write(text)
                self._offered = True
        with torch.no_grad():
            for name, tensor in tensors.items():
                tensor.data = found[name]

    def _layout(self, tensors: dict[str, torch.Tensor]) -> list[list[Any]]:
        """Return name, offset, dtype and shape of each tensor in one block of memory."""
        layout, offset = [], 0
        for name, tensor in tensors.items():
            layout.append([name, offset, str(tensor.dtype), list(tensor.shape)])
            offset += -(-tensor.numel() * tensor.element_size() // 64) * 64
        return layout

    def _offer(self, tensors: dict[str, torch.Tensor]) -> tuple[bytes, dict[str, torch.Tensor]]:
        self._memory = os.memfd_create(self._name)
        layout = self._layout(tensors)
        with open(self._memory, "wb", closefd=False) as file:
            for (_, offset, _, _), tensor in zip(layout, tensors.values()):
                file.seek(offset)
                raw = tensor.detach().contiguous().reshape(-1)
                file.write(raw.view(torch.uint8).numpy().data if raw.numel() else b"")
            file.truncate(file.seek(0, os.SEEK_END) + 64)
        text = json.dumps({"pid": os.getpid(), "fd": self._memory, "layout": layout}).encode()
        return text, self._map(self._memory, layout)

    def _take(self, text: bytes, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor] | None:
        offer = json.loads(text)
        path = f"/proc/{offer['pid']}/fd/{offer['fd']}"
        try:
            if offer["layout"] != self._layout(tensors) or self._name not in os.readlink(path):
                return None
            with open(path, "rb") as file:
                return self._map(file.fileno(), offer["layout"])
        except OSError:  # the instance that offered them is gone
            return None

    def _map(self, descriptor: int, layout: list[list[Any]]) -> dict[str, torch.Tensor]:
        memory, found = mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY), {}
        for name, offset, dtype, shape in layout:
            kind: torch.dtype = getattr(torch, dtype.replace("torch.", ""))
            size = math.prod(shape) * torch.empty(0, dtype=kind).element_size()
            found[name] = tensor_at(memory, offset, size, kind, shape)
        return found

    def _offer_ipc(self, tensors: dict[str, torch.Tensor]) -> tuple[bytes, dict[str, torch.Tensor]]:
        from multiprocessing.reduction import ForkingPickler

        import torch.multiprocessing  # noqa: F401 - teaches ForkingPickler CUDA tensors

        data = {name: tensor.detach() for name, tensor in tensors.items()}
        return os.getpid().to_bytes(8, "little") + bytes(ForkingPickler.dumps(data)), data

    def _take_ipc(self, text: bytes, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor] | None:
        import torch.multiprocessing  # noqa: F401 - its reductions are what is unpickled

        if not os.path.exists(f"/proc/{int.from_bytes(text[:8], 'little')}"):
            return None
        found: dict[str, torch.Tensor] = pickle.loads(text[8:])
        return found if self._layout(found) == self._layout(tensors) else None

    def close(self) -> None:
        """Withdraw the offer; instances that took it keep it."""
        if self._offered and os.path.exists(self._board):
            os.remove(self._board)
        if self._memory is not None:
            os.close(self._memory)
            self._memory = None
