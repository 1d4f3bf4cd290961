"""Make the judge's tables of Imagenette, whose classes it names: `python -m advlook.experiments.stylization.judge`.

Needs the extras `advlook[judge,stylize]`, the set's files, the styles, and about 40 minutes. The tables come with the
project, so that notebook 05 needs neither the judge nor this command."""

from collections.abc import Sequence
from itertools import product

import pandas as pd
import torch
from torch import nn

from advlook.core import tqdm, write_atomically
from advlook.corruptions import style_transfer, texture_sources
from advlook.corruptions.style_network import SIZE
from advlook.data import ImageSet, image_sets, to_bytes, to_float
from advlook.data.styles import assign
from advlook.experiments.stylization import judged
from advlook.experiments.stylization.chunks import resized
from advlook.experiments.stylization.conflicts import load_photographs, quilts
from advlook.experiments.stylization.images import content_order, study_styles
from advlook.experiments.stylization.judged import CLAIM, TUNING
from advlook.models import Judge, predict
from advlook.study import Study

COUNTS = {TUNING: 750, CLAIM: 1000}  # conflicts of each part; of the first for every block size
STYLED = 500  # photographs that are stylized
_STYLE_SEED = 7
_BATCH = 25  # images shown to the judge at once, at 224 px


def source_table(study: Study, judge: nn.Module) -> pd.DataFrame:
    """`<set>-sources.csv` by a judge that answers with the classes of the set."""
    data = judged.photograph_config(study.preset.data)
    listing, photographs = image_sets.listed(data, "test", study.data), load_photographs(study)
    batches = torch.arange(len(photographs)).split(_BATCH)
    serves = [
        texture_sources(judge, to_float(photographs.images[part]), photographs.labels[part])
        for part in tqdm(batches, "judging textures", unit=" batches", disable=not study.progress)
    ]
    files = [path.relative_to(listing.root).as_posix() for path in listing.files]
    columns = {"file": files, "label": photographs.labels, "serves": torch.cat(serves).int()}
    return pd.DataFrame(columns).rename_axis("image").reset_index()


def conflict_table(study: Study, judge: nn.Module, sources: pd.DataFrame) -> pd.DataFrame:
    """`<set>-conflicts.csv`: conflicts for tuning with every block size, then those for claims with the one chosen."""
    labels = sources["label"].to_numpy()

    def judged_with(part: str, block: int) -> pd.DataFrame:
        rows = judged.pairs(sources, part, COUNTS[part]).assign(part=part, block=block)
        made = quilts(study, rows)
        sizes = {TUNING: judged.TUNING_SIZES, CLAIM: judged.SIZES}[part]
        answers = {f"at_{size}": _answers(judge, resized(made, size)) for size in sizes}
        return rows.assign(**answers)

    tuning = pd.concat([judged_with(TUNING, block) for block in judged.BLOCKS])
    block = judged.choose_block(tuning.assign(shape=labels[tuning["content"]], texture=labels[tuning["source"]]))
    found = pd.concat([tuning, judged_with(CLAIM, block)], ignore_index=True)
    answers = [f"at_{size}" for size in judged.SIZES]
    return found[["part", "content", "source", "block", *answers]].astype(dict.fromkeys(answers, "Int64"))


def stylized_table(study: Study, judge: nn.Module) -> pd.DataFrame:
    """`<set>-stylized.csv`: the last of the study's photographs, which it does not stylize, each in a style."""
    places = content_order(study)[study.preset.stylization.images :][-STYLED:]
    contents, styles = load_photographs(study).images[places], study_styles(study)
    drawn = assign(len(places), len(styles), seed=_STYLE_SEED)
    table = {"image": places, "style": [styles.names[place] for place in drawn.tolist()]}
    made = [
        style_transfer(to_float(resized(contents[part], SIZE)), to_float(styles.images[drawn[part]]))
        for part in tqdm(torch.arange(len(places)).split(_BATCH), "stylizing", disable=not study.progress)
    ]
    shown = {"plain": contents, "stylized": to_bytes(torch.cat(made))}
    for size, (kind, images) in product(judged.STYLIZED_SIZES, shown.items()):
        table[f"{kind}_{size}"] = _answers(judge, resized(images, size))
    return pd.DataFrame(table)


def _answers(judge: nn.Module, images: torch.Tensor) -> Sequence[int]:
    nothing = torch.zeros(len(images), dtype=torch.int64)
    return predict(judge, ImageSet(images, nothing, ()), batch_size=_BATCH).argmax(1).tolist()


def main() -> None:
    """Make and write all tables."""
    study, judge = Study("imagenette"), Judge()
    paths = judged.paths(study.preset.data.name)

    def written(name: str, table: pd.DataFrame) -> pd.DataFrame:
        write_atomically(paths[name], lambda partial: table.to_csv(partial, index=False))
        return table

    sources = written("sources", source_table(study, judge))
    written("conflicts", conflict_table(study, judge, sources))
    written("stylized", stylized_table(study, judge))


if __name__ == "__main__":
    main()
