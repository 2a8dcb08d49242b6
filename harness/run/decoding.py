"""How a trial's images are decoded, and where what is decoded is kept."""

from __future__ import annotations

import torch

from harness.data.content import cache_root
from harness.data.decoding import Decoding
from harness.data.pixel_cache import PixelCache
from harness.text import parse_size, user_path
from harness.trial.spec import TrialSpec

FOLDER = "decoded"  # below the project's own folder of caches


def decoding_of(spec: TrialSpec, device: torch.device) -> Decoding:
    """What a specification asks for; none of it is part of a trial's identity."""
    if spec.no_cache:
        return Decoding(None, device)
    folder = cache_root() / FOLDER if spec.cache_dir is None else user_path(str(spec.cache_dir)).absolute()
    return Decoding(PixelCache(folder, parse_size(spec.cache_size)), device)
