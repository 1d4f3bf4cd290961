"""How alike two sensitivity maps are: rank correlation and structural similarity (Adebayo et al. 2018)."""

import numpy as np
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from advlook.core.errors import RequestError


def spearman(a: Tensor, b: Tensor) -> Tensor:
    """Rank correlation, float64 `(N,)`, of each pair of rows of `a` and `b`, both `(N, P)`.

    The correlation of the ranks, where equal values share the mean of their ranks; nan where a row is constant.
    """
    return (_unit_ranks(a) * _unit_ranks(b)).sum(1)


def _unit_ranks(rows: Tensor) -> Tensor:
    """Rank of each value in its row `(N, P)`, equal ones at their mean rank; float64, of mean 0 and length 1 a row."""
    ordered, order = rows.detach().sort(1)
    # Searching for values in their order finds each where the last one was: three times as fast as in the rows' own.
    twice = torch.searchsorted(ordered, ordered) + torch.searchsorted(ordered, ordered, right=True)
    ranks = torch.empty_like(twice).scatter_(1, order, twice).double()
    ranks -= ranks.mean(1, keepdim=True)
    return ranks / ranks.norm(dim=1, keepdim=True)


MEASURES = ("spearman", "spearman_abs", "ssim", "ssim_abs")
WINDOW = 11  # pixels a side of SSIM's Gaussian window of sigma 1.5


# Similarity --------------------------------------------------------------------------------------------------------


def similarity(a: Tensor, b: Tensor) -> dict[str, Tensor]:
    """How alike two maps of each image are, by every one of MEASURES: float64 `(N,)`, from maps `(N, 3, H, W)`.

    Maps are summed over channels, with their signs or (names in "_abs") as absolute values. Spearman: rank correlation
    over pixels, -1 to 1, nan where a map is constant. SSIM: structural similarity (Wang et al. 2004: Gaussian window of
    sigma 1.5, population covariance, a border of 5 pixels left out) of the maps as `pictures` shows them.
    Raises RequestError for maps of different shapes, smaller than the window, or with values that are not finite.
    """
    if a.shape != b.shape or a.dim() != 4 or min(a.shape[-2:]) < WINDOW:
        raise RequestError(
            f"maps {tuple(a.shape)} and {tuple(b.shape)} must have one shape (N, 3, H, W), of {WINDOW} pixels or more"
        )
    if not (a.isfinite().all() and b.isfinite().all()):
        raise RequestError("maps hold values that are not finite; compute them in float32")
    found = {}
    options = {"data_range": 1, "gaussian_weights": True, "use_sample_covariance": False}
    for ending in ("", "_abs"):
        signed = ending == ""
        first, second = ((m if signed else m.abs()).detach().cpu().sum(1) for m in (a, b))
        found[f"spearman{ending}"] = spearman(first.flatten(1), second.flatten(1))
        shown = zip(pictures(first, signed), pictures(second, signed), strict=True)
        found[f"ssim{ending}"] = torch.tensor(
            [structural_similarity(x, y, **options) for x, y in shown], dtype=torch.float64
        )
    return {measure: found[measure] for measure in MEASURES}


def pictures(flat: Tensor, signed: bool) -> np.ndarray:
    """Maps `(N, H, W)`, summed over channels, as pictures in [0, 1]: 0 becomes 0.5 where they are signed, else 0.

    Each map is divided by the 99th percentile of its own magnitudes, for models differ in the size of their gradients
    and that is not compared; larger ones are cut off. By the maximum one extreme pixel would make all others alike:
    SSIM takes differences of a few percent of the range for none. And it multiplies local means, so that with negative
    values a map and its negative would pass for equally bright.
    """
    values = flat.double().numpy()
    size = np.abs(values).reshape(len(values), -1)
    scale, largest = np.quantile(size, 0.99, axis=1), size.max(1)
    scale = np.where(scale > 0, scale, np.where(largest > 0, largest, 1))
    cut = np.clip(values / scale[:, None, None], -1, 1)
    return (1 + cut) / 2 if signed else cut
