"""What notebook 09 measures: the controls of a preset, by the measures of notebooks 01, 03 and 04.

Every table has the columns of the earlier notebook's (`09_hybrids`: `04_hybrids`); `setting` is the name of a control.
`09_models` tells what each control is, `09_training` how its training went. `09_rulers` has one number a model and
ruler (`rulers.py`); those of STD and ADV, of the architectures and seeds of the controls, are read from the tables of
the earlier notebooks."""

from collections.abc import Mapping
from functools import partial

import numpy as np
import pandas as pd

from advlook.core import NAMES, SETTINGS, RequestError
from advlook.core.names import CONTROL, DOSE, MAIN
from advlook.experiments.controls.rulers import RULERS
from advlook.experiments.corruptions.measure import family_rows, sweep_rows
from advlook.experiments.corruptions.scale import answer_rows, hybrid_rows, masking_rows
from advlook.experiments.train.measure import tradeoff, training_history
from advlook.experiments.visualize.measure import scale_table
from advlook.stats.crossing import overtaken_at
from advlook.study import Study
from advlook.study.models import KEY

# By the table of the earlier notebook. Of `scale_table` two more tables come: 09_maps and 09_scale.
MEASUREMENTS = {
    "01_tradeoff": tradeoff,
    "04_sweeps": sweep_rows,
    "04_families": family_rows,
    "04_hybrids": partial(hybrid_rows, only=MAIN),
    "04_answers": answer_rows,
    "04_masking": masking_rows,
}
EARLIER = (*MEASUREMENTS, "03_maps", "03_scale")
OVERTAKES = "blur: overtakes STD"  # a ruler of pairs: sigma in pixels


def described(study: Study) -> pd.DataFrame:
    """`09_models`, a row a setting: `title`, the setting that it is trained `like`, and the radius `eps` in training.
    kind: DOSE of STD, of ADV, and where nothing but the radius and the step differ from ADV; else CONTROL."""
    preset, rows = study.preset, []
    for setting in SETTINGS:
        eps = preset.adversary.eps if setting == "adv" else 0.0
        rows.append({"setting": setting, "title": NAMES[setting], "like": setting, "eps": eps, "kind": DOSE})
    for name, control in preset.controls.items():
        eps = control.adversary.eps if control.like == "adv" else 0.0
        about = {"setting": name, "title": control.title, "like": control.like, "eps": eps}
        rows.append(about | {"kind": DOSE if name in preset.doses else CONTROL})
    return pd.DataFrame(rows)


def control_tables(study: Study) -> dict[str, pd.DataFrame]:
    """Train and measure every control, and save all tables; returns those of `derived_tables`. Raises RequestError
    where the preset has no controls, or a table of an earlier notebook is missing."""
    controls = tuple(study.preset.controls)
    if not controls:
        remedy = "add a section [controls.NAME], or open another preset"
        raise RequestError(f"preset {study.preset.name} has no controls; {remedy}")
    _tables_of(study)  # before anything is trained
    study.save_table("09_training", training_history(study, controls))
    for name, measurement in MEASUREMENTS.items():
        study.measure(f"09{name[2:]}", measurement, controls)
    scale_table(study, controls, "09")
    return {name: study.save_table(name, table) for name, table in derived_tables(study).items()}


def derived_tables(study: Study) -> dict[str, pd.DataFrame]:
    """`09_models`; `09_rulers`: arch, setting, seed, ruler, value; and `09_positions` of `positions`. From the tables
    of the controls, and of STD and ADV."""
    earlier, found = _tables_of(study), _tables_of(study, "09")
    keys = found["01_tradeoff"][KEY].drop_duplicates()
    beside = pd.concat([keys[["arch", "seed"]].drop_duplicates().assign(setting=setting) for setting in SETTINGS])
    chance = 1 / study.preset.data.classes
    parts = [_rulers(earlier, beside[KEY], chance), _rulers(found, keys, chance), _overtaken(found, earlier)]
    rulers = pd.concat(parts, ignore_index=True)
    return {"09_models": described(study), "09_rulers": rulers, "09_positions": positions(rulers)}


def _tables_of(study: Study, number: str = "") -> dict[str, pd.DataFrame]:
    """The tables of EARLIER by their names there; or those of a notebook of this number, which it calls otherwise."""
    return {name: study.load_table((number or name[:2]) + name[2:]) for name in EARLIER}


def _rulers(tables: Mapping[str, pd.DataFrame], models: pd.DataFrame, chance: float) -> pd.DataFrame:
    """The rulers of these models, as far as the tables have rows of them."""
    groups = {name: dict(iter(table.groupby(KEY))) for name, table in tables.items()}
    rows = []
    for key in models.itertuples(index=False, name=None):
        of_model = {name: by_model[key] for name, by_model in groups.items() if key in by_model}
        if "01_tradeoff" in of_model:  # the preset has STD and ADV of this seed
            about = dict(zip(KEY, key, strict=True))
            rows += [about | {"ruler": name, "value": each.value(of_model, chance)} for name, each in RULERS.items()]
    return pd.DataFrame(rows, columns=[*KEY, "ruler", "value"])


def _overtaken(found: Mapping[str, pd.DataFrame], earlier: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The sigma of an uncut blur at which a model overtakes the STD of its seed, infinite where it never does."""
    tables = [tables["04_sweeps"] for tables in (earlier, found)]
    rows = pd.concat([table[table["operation"] == "blur"] for table in tables]).sort_values("level")
    curves = {key: run.set_index("level")["top1"] for key, run in rows.groupby(KEY)}
    measured = {(arch, seed) for arch, _, seed in found["01_tradeoff"][KEY].itertuples(index=False)}
    found_rows = []
    for (arch, setting, seed), curve in curves.items():
        std = curves.get((arch, "std", seed))
        if setting != "std" and std is not None and (arch, seed) in measured:
            at = float(overtaken_at(curve.index.to_numpy(), (curve - std).to_numpy()))
            found_rows.append(dict(zip(KEY, (arch, setting, seed), strict=True)) | {"ruler": OVERTAKES, "value": at})
    return pd.DataFrame(found_rows)


def positions(rulers: pd.DataFrame) -> pd.DataFrame:
    """Where each control lies on each ruler: 0 at the mean of STD, 1 at the mean of ADV, by arch, setting and seed.
    apart: whether all seeds of STD lie on one side of all seeds of ADV, with a gap between the two at least as wide as
    the range of either; where they do not, a position says nothing. rulers: `09_rulers`."""
    found = []
    for (arch, ruler), rows in rulers[rulers["ruler"] != OVERTAKES].groupby(["arch", "ruler"], sort=False):
        rows = rows.assign(value=np.log2(rows["value"])) if RULERS[ruler].octaves else rows
        ends = [rows.loc[rows["setting"] == setting, "value"] for setting in SETTINGS]
        low, high = sorted(ends, key=pd.Series.mean)
        gap, ranges = high.min() - low.max(), [each.max() - each.min() for each in ends]
        apart = bool(gap > 0 and gap >= max(ranges))
        zero, one = (each.mean() for each in ends)
        for row in rows[~rows["setting"].isin(SETTINGS)].itertuples():
            position = (row.value - zero) / (one - zero) if one != zero else float("nan")
            about = {"arch": arch, "setting": row.setting, "seed": row.seed, "ruler": ruler}
            found.append(about | {"position": position, "apart": apart})
    return pd.DataFrame(found)
