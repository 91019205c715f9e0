"""Save and load networks as plain data and tensors, atomically; choose the device."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from redoxmd.errors import DataError
from redoxmd.files.records import atomic_path, read_bytes
from redoxmd.model.gpus import reserve_gpu
from redoxmd.model.painn import Painn
from redoxmd.model.representation import Representation


def save_record(path: str | Path, record: dict[str, Any]) -> None:
    """Write plain data and tensors atomically, through a buffer.

    The file writer of torch hides the cause of a failure.
    """
    buffer = io.BytesIO()
    torch.save(record, buffer)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def load_record(path: str | Path) -> dict[str, Any]:
    """Read a file of `save_record`.

    Raises:
        DataError: the file is missing or damaged.
        OSError: the file cannot be read at present, but need not be damaged.
    """
    try:
        content = read_bytes(path)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such model") from error
    try:
        record: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:
        raise DataError(f"{path}: not readable ({error}); delete it and run again") from error
    return record


def member_record(member: Representation) -> dict[str, Any]:
    """Settings and weights of a network."""
    state = {key: value.detach().cpu().clone() for key, value in member.state_dict().items()}
    return {"settings": member.settings, "state": state}


def member_from_record(record: dict[str, Any]) -> Painn:
    """Rebuild a member from `member_record`."""
    member = Painn(**record["settings"])
    member.load_state_dict(record["state"])
    return member


def choose_device(device: str) -> str:
    """Resolve "auto" and "cuda" to the GPU of this process (`redoxmd.model.gpus`), "auto" without a GPU to cpu.

    Raises:
        DataError: cuda is requested, but torch sees no GPU.
    """
    if device in ("auto", "cuda") and torch.cuda.is_available():
        return f"cuda:{reserve_gpu()}"
    if device == "cuda":
        raise DataError("train.device: cuda asked for, but torch sees no GPU; use auto or cpu")
    return "cpu" if device == "auto" else device
