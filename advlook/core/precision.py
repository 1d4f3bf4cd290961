"""The arithmetic of networks: float32, or bfloat16 where the hardware multiplies it natively."""

from contextlib import nullcontext

import torch

from advlook.core.errors import check_choice

PRECISIONS = ("auto", "float32", "bfloat16")


def autocast(precision: str, device: torch.device) -> torch.autocast | nullcontext:
    """The arithmetic of one of PRECISIONS (else RequestError) on a device; "auto" is bfloat16 where it is native."""
    check_choice("precision", precision, PRECISIONS)
    native = torch.cuda.is_bf16_supported() if device.type == "cuda" else cpu_multiplies_bfloat16()
    if precision == "bfloat16" or (precision == "auto" and native):
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


def cpu_multiplies_bfloat16() -> bool:
    """Whether this CPU has instructions for it: without, it is slower than float32."""
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16"))
