"""How alike two sensitivity maps are: rank correlation and structural similarity (Adebayo et al. 2018)."""

import numpy as np
import torch
from scipy.stats import rankdata
from skimage.metrics import structural_similarity
from torch import Tensor

from advlook.core.errors import RequestError

MEASURES = ("spearman", "spearman_abs", "ssim", "ssim_abs")
WINDOW = 11  # pixels a side of SSIM's Gaussian window of sigma 1.5
QUANTILE = 0.99  # of a map's magnitudes: the value that `pictures` shows as white


def similarity(a: Tensor, b: Tensor) -> dict[str, Tensor]:
    """How alike two maps of each image are, by every one of MEASURES: float64 `(N,)`, from maps `(N, 3, H, W)`, summed
    over channels with their signs or (names in "_abs") as absolute values. Spearman: rank correlation over pixels, nan
    where a map is constant. SSIM (Wang et al. 2004: Gaussian window of sigma 1.5, population covariance) is of the maps
    as `pictures` shows them. RequestError for maps of different shapes, too small, or not finite."""
    if a.shape != b.shape or a.dim() != 4 or min(a.shape[-2:]) < WINDOW:
        wanted = f"must have one shape (N, 3, H, W), of {WINDOW} pixels or more"
        raise RequestError(f"maps {tuple(a.shape)} and {tuple(b.shape)} {wanted}")
    if not (a.isfinite().all() and b.isfinite().all()):
        raise RequestError("maps hold values that are not finite; compute them in float32")
    found = {}
    options = {"data_range": 1, "gaussian_weights": True, "use_sample_covariance": False}
    for ending in ("", "_abs"):
        signed = ending == ""
        first, second = ((m if signed else m.abs()).detach().cpu().sum(1) for m in (a, b))
        found[f"spearman{ending}"] = spearman(first.flatten(1), second.flatten(1))
        shown = zip(pictures(first, signed), pictures(second, signed), strict=True)
        values = [structural_similarity(x, y, **options) for x, y in shown]
        found[f"ssim{ending}"] = torch.tensor(values, dtype=torch.float64)
    return {measure: found[measure] for measure in MEASURES}


def spearman(a: Tensor, b: Tensor) -> Tensor:
    """Rank correlation, float64 `(N,)`, of each pair of rows of two `(N, P)`; nan where a row is constant."""
    return (unit_ranks(a) * unit_ranks(b)).sum(1)


def unit_ranks(rows: Tensor) -> Tensor:
    """Ranks of the values of each row `(N, P)`, standardised to mean 0 and length 1 a row; float64."""
    ranks = torch.from_numpy(rankdata(rows.detach().double().cpu().numpy(), axis=1)).to(rows.device)
    ranks -= ranks.mean(1, keepdim=True)
    return ranks / ranks.norm(dim=1, keepdim=True)


def pictures(flat: Tensor, signed: bool) -> np.ndarray:
    """Maps `(N, H, W)`, summed over channels, as pictures in [0, 1]: 0 becomes 0.5 where they are signed, else 0. Each
    map is divided by the 99th percentile of its magnitudes, as one extreme pixel would make all others alike, and
    clipped. Values are not negative: SSIM multiplies local means, by which a map would equal its negative."""
    values = flat.double().numpy()
    size = np.abs(values).reshape(len(values), -1)
    scale, largest = np.quantile(size, QUANTILE, axis=1), size.max(1)
    scale = np.where(scale > 0, scale, np.where(largest > 0, largest, 1))
    clipped = np.clip(values / scale[:, None, None], -1, 1)
    return (1 + clipped) / 2 if signed else clipped
