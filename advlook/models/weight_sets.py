"""The sets of weights in one file: those of training and of their average (EMA, SWA), of a student and its teacher.

They lie in a dictionary of dictionaries ("state_dict" and "state_dict_ema"), or in one dictionary under different
prefixes ("model.conv1.weight" and "ema_model.conv1.weight"). Where there are several, the user says which is meant."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from advlook.core import RequestError

DEPTH = 4  # of dictionaries in dictionaries that are looked through: one can hold itself
Named = Mapping[str, Tensor]


@dataclass(frozen=True)
class _Set:
    """The tensors of `state` whose names begin with `prefix`, one of `prefixes`."""

    place: tuple[str, ...]  # keys that lead to the state
    state: Mapping[object, object]
    prefix: str
    prefixes: tuple[str, ...]

    @property
    def name(self) -> str:
        """The keys that lead to it, and the prefix where there are several."""
        return ".".join((*self.place, self.prefix.rstrip(".") or "bare") if len(self.prefixes) > 1 else self.place)

    def means(self, wanted: str) -> int:
        """How well `wanted` names it: 3 exactly, 2 by its beginning, 1 by its end, 0 not at all."""
        full = ".".join((*self.place, self.prefix.rstrip(".")))
        ways = (full.endswith(f".{wanted}"), full.startswith(f"{wanted}."), wanted in (full, self.name))
        return max((rank for rank, way in enumerate(ways, 1) if way), default=0)

    def split(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Its tensors without the prefix, and those that lie beside all sets of the state."""
        own = {name: value for name, value in self.state.items() if self._longest(name) == self.prefix}
        beside = {name: value for name, value in self.state.items() if self._longest(name) is None}
        return {name.removeprefix(self.prefix): value for name, value in own.items()}, beside

    def _longest(self, name: str) -> str | None:
        return max((prefix for prefix in self.prefixes if name.startswith(prefix)), key=len, default=None)


def weights_in(
    content: object, first: str, last: Sequence[str], path: Path, wanted: str | None = None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """One network's tensors in what a file holds, by their names in it without a common prefix; and the tensors that
    lie beside the networks, such as a normalisation. first, last: the network's first layer, and the names that its
    last layer may have. wanted: the name of a set of weights, or a part of it between dots. RequestError where there is
    none, where there are several and `wanted` does not name one of them, and where anything in it is no tensor."""
    if not isinstance(content, Mapping) or not content:
        raise RequestError(f"checkpoint {path} holds no state dict; save one: torch.save(model.state_dict(), path)")
    states = {(): content} if _holds_weights(content) else dict(_nested(content)) or {(): content}
    sets = [each for place, state in states.items() for each in _sets(place, state, first, last)]
    names = ", ".join(each.name for each in sets)
    if wanted is not None:
        best = max(each.means(wanted) for each in sets)
        if not best:
            there = f"it has {names}" if names else "it has one set, without a name; leave --weights out"
            raise RequestError(f"checkpoint {path} has no set of weights {wanted!r}; {there}")
        sets = [each for each in sets if each.means(wanted) == best]
    chosen, *others = sets
    several, remedy = (
        f"checkpoint {path} holds several sets of weights ({names})",
        "take one with --weights NAME, or std_weights or adv_weights in a preset",
    )
    if any(each.place != chosen.place for each in others):
        raise RequestError(f"{several}; {remedy}")
    if 0 in chosen.state:
        raise RequestError(f"checkpoint {path} has {chosen.name} as tensors without names; save them as a state dict")
    for name, value in chosen.state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise RequestError(f"checkpoint {path} has {name!r} among its weights, which is no tensor; save them alone")
    own, beside = chosen.split()
    for each in others:
        if (tensor := _difference(own, each.split()[0])) is not None:
            raise RequestError(f"{several} with two different tensors for {tensor!r}; {remedy}")
    return own, beside


def _nested(content: Mapping[object, object], place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Mapping]]:
    """Every dictionary of weights within, behind the keys that lead there."""
    for key, value in content.items():
        below = (*place, str(key))
        if isinstance(value, list) and _holds_weights({f"{each}.weight": part for each, part in enumerate(value)}):
            yield below, dict(enumerate(value))  # an average kept as a list of tensors
        elif isinstance(value, Mapping) and len(place) < DEPTH:
            yield from [(below, value)] if _holds_weights(value) else _nested(value, below)


def _holds_weights(state: Mapping[object, object]) -> bool:
    tensors = [value for name, value in state.items() if str(name).endswith("weight") and isinstance(value, Tensor)]
    return any(value.is_floating_point() and value.dim() for value in tensors)


def _sets(place: tuple[str, ...], state: Mapping[object, object], first: str, last: Sequence[str]) -> list[_Set]:
    """The networks in one dictionary: a prefix counts where it has both the first and the last layer."""
    names = [str(name) for name in state]
    ends = [
        name.removesuffix(f"{layer}.weight") for layer in last for name in names if name.endswith(f"{layer}.weight")
    ]
    prefixes = tuple(dict.fromkeys(end for end in ends if end[-1:] in ("", ".") and f"{end}{first}.weight" in state))
    return [_Set(place, state, prefix, prefixes or ("",)) for prefix in prefixes or ("",)]


def _difference(ours: Named, theirs: Named) -> str | None:
    """The first name of which two networks have not the same tensor."""
    differing = (name for name in ours if name not in theirs or not torch.equal(ours[name], theirs[name]))
    return next(iter(sorted(theirs.keys() - ours.keys())), None) or next(differing, None)
