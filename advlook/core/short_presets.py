"""What a short preset leaves out: one that names checkpoints in [external] and trains nothing.

Such a preset has to give `[data]` with `name`, `size` and `classes`, `[external.NAME]`, and `eps` of `[evaluation]`.
Samples are those of preset `imagenette`, at 64 pixels; lengths in pixels grow with the size of the images."""

from collections.abc import Mapping
from typing import Any

from advlook.core.errors import RequestError
from advlook.core.radius import parse_eps

_SIGMAS = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)  # pixels
# What notebook 06 learns, of the sets that are there: by name, those of low resolution first.
_LEARNED = ["cifar10", "gtsrb", "natural30", "tiny-imagenet", "cub100", "dtd10", "flowers12", "imagenette", "imagewoof"]
_LARGE = 100  # pixels a side from which blur goes to the last of these sigmas
Values = dict[str, Any]


def is_short(values: Mapping[str, Any]) -> bool:
    """Whether a preset names checkpoints for all of its architectures."""
    external = values.get("external")
    return isinstance(external, dict) and bool(external) and set(values.get("archs", external)) <= set(external)


def completed(values: Values) -> Values:
    """The preset with every key that it leaves out. Raises RequestError where what the others follow from is missing;
    a value of the wrong type is left for the check of presets."""
    data, evaluation = (values.get(name, {}) for name in ("data", "evaluation"))
    size, eps = data.get("size"), evaluation.get("eps")
    for key, value in (("data.size", size), ("evaluation.eps", eps)):
        if value is None:
            raise RequestError(f"{values['name']}.toml: missing key {key!r}; a short preset needs it")
    if type(size) is not int or size < 1 or not isinstance(eps, str):
        return values
    pairs = max(_count(section) for section in values["external"].values())
    top = {"archs": list(values["external"]), "seeds": list(range(pairs)), "models": {}}
    sections = _defaults(size, eps)
    given = {name: sections[name] | values.get(name, {}) for name in sections if isinstance(values.get(name, {}), dict)}
    return top | values | given


def _count(section: object) -> int:
    """How many pairs a section names."""
    lists = [section.get(key) for key in ("std", "adv")] if isinstance(section, dict) else []
    return max([len(paths) for paths in lists if isinstance(paths, list)], default=1)


def _defaults(size: int, eps: str) -> dict[str, Values]:
    """Every section for images of `size` pixels a side and this radius."""
    share, radius = size / 64, parse_eps(eps)
    sigmas = _SIGMAS if size >= _LARGE else _SIGMAS[:-2]
    curve = ["0/255", "1/255", "2/255", "4/255", "8/255", "16/255"]
    ensembles = {"targets": _LEARNED, "images": 10_000, "test_images": 5_000, "degraded": ["imagenette"]}
    ensembles |= {"fine_tuned": [], "fine_tuned_images": 2000, "fine_tuned_test_images": 4000}
    ensembles |= {"epochs": 30, "learning_rate": 0.001, "runs": 3}
    ensembles |= {"sides": sorted({max(1, size // 8), max(1, size // 4), max(1, size // 2)})}
    training = {"batch_size": 128, "accumulate": 1, "momentum": 0.9, "weight_decay": 5e-4, "label_smoothing": 0.0}
    training |= {"schedule": "onecycle", "step_epochs": 10, "sizes": [size], "warmup": 0.2, "average": 0.0}
    training |= {"precision": "auto", "rate_for_batch": 0, "compile": False, "check_every": 5, "check_images": 500}
    adversary = {"eps": eps, "method": "fgsm", "step_size": eps, "steps": 1, "random_start": False}
    return {
        "data": {
            "train_images": 0,
            "test_images": 0,
            "store": size,
            "test_store": round(size / 0.875),
            "crop_scale": 0.25,
            "shift": 0,
            "flip": True,
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
        },
        "training": training,
        "adversary": adversary | {"ramp_share": 0.0, "updates_batchnorm": False},
        "evaluation": {
            "batch_size": max(1, min(64, 64 * 64**2 // size**2)),
            "pgd_steps": 10,
            "pgd_restarts": 1,
            "l2_eps": round(share * 255 / 4 * radius, 3),  # at 64 pixels 1 beside 4/255
            "curve": curve,
            "curve_images": 250,
            "steps": [1, 2, 5, 10, 20, 50],
            "restarts": [1, 2],
            "suite_steps": 100,
            "top_k": 5,
        },
        "visualize": {
            "images": 200,
            "samples": 50,
            "shown": 6,
            "units": 20,
            "steps": 100,
            "starts": 3,
            "fourier_eps": 4.0 * share,
            "fourier_stride": max(1, size // 16),
            "sanity_images": 48,
        },
        "corruptions": {
            "images": 1000,
            "sigmas": list(sigmas),
            "blur_kernel": 6 * int(sigmas[-1]) + 1,
            "passes": list(range(1, 11)),
            "median_kernels": [3, 5],
            "family_images": 400,
            "pairs": 1500,
            "controls": 500,
            "masked": 400,
        },
        "ensembles": ensembles,
        "stylization": {
            "engine": "network",
            "styles": ["dtd10", "paintings"],
            "images": 1200,
            "partial_images": 500,
            "cues": 1000,
            "steps": 60,
        },
    }
