# SPDX-License-Identifier: Apache-2.0
"""The float model: M3ViT and plain ViTs in PyTorch, and their checkpoint files."""

from .checkpoint import CheckpointError, load, load_state, read, save
from .model import InputError, M3ViT, pixels

__all__ = ["CheckpointError", "InputError", "M3ViT", "load", "load_state", "pixels", "read", "save"]
