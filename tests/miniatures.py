"""Every set of the catalogue in miniature, laid out as it is published."""

import csv
import json
import pickle

import numpy as np
import torch
from PIL import Image
from scipy.io import savemat

from advlook.data import layouts

LEVELS = 6  # of a channel that tells the number of a picture


def picture(number, side=40):
    """A picture that tells its number by its colour, and its orientation by a black quarter at the top right."""
    pixels = np.empty((side, side, 3), np.uint8)
    pixels[:] = [20 + 40 * (number // LEVELS**channel % LEVELS) for channel in range(3)]
    pixels[: side // 2, side // 2 :] = 0
    return pixels


def numbers(images):
    """The numbers of pictures `(N, 3, 8, 8)`, after a look at their orientation."""
    images = images.float()
    assert (images[:, :, 1:3, 5:7] < 16).all(), "the top right is not black"
    assert (images[:, :, 1:3, 1:3].flatten(1).amin(1) > 8).all()
    levels = ((images[:, :, 5:7, 1:7].mean((2, 3)) - 20) / 40).round().long()
    return (levels * torch.tensor([1, LEVELS, LEVELS**2])).sum(1).tolist()


def save(path, number, side=40):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(number, side)).save(path, quality=95)


# Miniatures: each writes a set as it is published into the folder of data sets. Picture k has label k % 3; pictures
# 0 to 5 are for training and 6 to 8 for testing. Each returns the names of the three classes.
TRAIN, TEST = range(6), range(6, 9)
SPLITS = {"train": TRAIN, "test": TEST}


def svhn(datasets):
    for split, chosen in SPLITS.items():
        pixels = np.stack([picture(k, 32) for k in chosen], axis=3)
        digits = np.array([k % 3 or 10 for k in chosen], np.uint8)[:, None]  # the digit 0 is stored as 10
        savemat(datasets / f"{split}_32x32.mat", {"X": pixels, "y": digits})
    return "0", "1", "2"


def _cifar_batch(path, chosen, labels):
    path.parent.mkdir(exist_ok=True)
    pixels = np.stack([picture(k, 32).transpose(2, 0, 1).reshape(-1) for k in chosen])
    path.write_bytes(pickle.dumps({"data": pixels, labels: [k % 3 for k in chosen]}))


def cifar10(datasets):
    folder, names = datasets / "cifar-10-batches-py", ["airplane", "bird", "cat"]
    for number, chosen in enumerate(([0], [1], [2], [3], [4, 5]), 1):
        _cifar_batch(folder / f"data_batch_{number}", chosen, "labels")
    _cifar_batch(folder / "test_batch", TEST, "labels")
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))
    return names


def cifar100(datasets):
    folder, names = datasets / "cifar-100-python", ["apple", "baby", "clock"]
    for split, chosen in SPLITS.items():
        _cifar_batch(folder / split, chosen, "fine_labels")
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": names}))
    return names


def stl10(datasets):
    folder, names = datasets / "stl10_binary", ["airplane", "bird", "car"]
    folder.mkdir()
    for split, chosen in SPLITS.items():
        np.stack([picture(k, 96).transpose(2, 1, 0) for k in chosen]).tofile(folder / f"{split}_X.bin")
        np.array([k % 3 + 1 for k in chosen], np.uint8).tofile(folder / f"{split}_y.bin")
    (folder / "unlabeled_X.bin").touch()
    (folder / "class_names.txt").write_text("\n".join(names) + "\n")
    return names


def food101(datasets):
    root, names = datasets / "food-101", ["apple_pie", "beignets", "ceviche"]
    (root / "meta").mkdir(parents=True)
    for split, chosen in SPLITS.items():
        stems = {name: [f"{name}/{k}" for k in chosen if names[k % 3] == name] for name in names}
        (root / "meta" / f"{split}.json").write_text(json.dumps(stems))
        for k in chosen:
            save(root / "images" / names[k % 3] / f"{k}.jpg", k)
    return "apple pie", "beignets", "ceviche"


def flowers102(datasets):
    root = datasets / "flowers-102"
    for k in range(12):  # the last three are the validation split
        save(root / "jpg" / f"image_{k + 1:05d}.jpg", k)
    savemat(root / "imagelabels.mat", {"labels": np.array([[k % 3 + 1 for k in range(12)]], np.uint8)})
    splits = {"trnid": TRAIN, "tstid": TEST, "valid": range(9, 12)}
    savemat(root / "setid.mat", {name: np.array([[k + 1 for k in ks]], np.uint16) for name, ks in splits.items()})
    return "pink primrose", "hard-leaved pocket orchid", "canterbury bells"


WNIDS = ("n01", "n02", "n03")


def tiny_imagenet(datasets):
    root = datasets / "tiny-imagenet-200"
    for k in TRAIN:
        save(root / "train" / WNIDS[k % 3] / "images" / f"{WNIDS[k % 3]}_{k}.JPEG", k, 64)
        (root / "train" / WNIDS[k % 3] / f"{WNIDS[k % 3]}_boxes.txt").write_text("0\t0\t9\t9\n")
    for k in TEST:
        save(root / "val" / "images" / f"val_{k}.JPEG", k, 64)
    lines = "".join(f"val_{k}.JPEG\t{WNIDS[k % 3]}\t0\t0\t62\t62\n" for k in TEST)
    (root / "val" / "val_annotations.txt").write_text(lines)
    (root / "wnids.txt").write_text("n03\nn01\nn02")
    (root / "words.txt").write_text("n00\tentity\nn01\tgoldfish, Carassius auratus\nn02\tbison\nn03\tsports car\n")
    return "goldfish", "bison", "sports car"


def stanford_dogs(datasets):
    root, breeds = datasets / "stanford-dogs", ("n01-Chihuahua", "n02-toy_terrier", "n03-whippet")
    for split, chosen in SPLITS.items():
        names = [f"{breeds[k % 3]}/n0{k % 3 + 1}_{k}.jpg" for k in chosen]
        for k, name in zip(chosen, names, strict=True):
            save(root / "Images" / name, k)
        cells = np.array(names, dtype=object)[:, None]
        labels = np.array([[k % 3 + 1] for k in chosen], np.uint8)
        savemat(root / f"{split}_list.mat", {"file_list": cells, "annotation_list": cells, "labels": labels})
    return "Chihuahua", "toy terrier", "whippet"


def cub200(datasets):
    root = datasets / "CUB_200_2011"
    birds = ("001.Black_footed_Albatross", "002.Laysan_Albatross", "003.Sooty_Albatross")
    names = [f"{birds[k % 3]}/{birds[k % 3][4:]}_{k:04d}.jpg" for k in range(9)]
    for k, name in enumerate(names):
        save(root / "images" / name, k)
    lists = {
        "images": names,
        "image_class_labels": [k % 3 + 1 for k in range(9)],
        "train_test_split": [int(k in TRAIN) for k in range(9)],
        "classes": birds,
    }
    for name, values in lists.items():
        (root / f"{name}.txt").write_text("".join(f"{place} {value}\n" for place, value in enumerate(values, 1)))
    return "Black footed Albatross", "Laysan Albatross", "Sooty Albatross"


def _imagenet_train(datasets):
    for k in TRAIN:
        save(datasets / "imagenet" / "train" / WNIDS[k % 3] / f"{WNIDS[k % 3]}_{k}.JPEG", k)
    return datasets / "imagenet"


def imagenet_folders(datasets):
    root = _imagenet_train(datasets)
    for k in TEST:
        save(root / "val" / WNIDS[k % 3] / f"ILSVRC2012_val_{k - 5:08d}.JPEG", k)
    return WNIDS


def _imagenet_flat(datasets):
    root = _imagenet_train(datasets)
    for k in TEST:
        save(root / "val" / f"ILSVRC2012_val_{k - 5:08d}.JPEG", k)
    return root


def imagenet_kaggle(datasets):
    root = _imagenet_flat(datasets)
    with open(root / "LOC_val_solution.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["ImageId", "PredictionString"])
        for k in reversed(TEST):
            box = f"{WNIDS[k % 3]} 85 1 499 272 "
            rows.writerow([f"ILSVRC2012_val_{k - 5:08d}", box * 2])
    return WNIDS


def imagenet_kit(datasets):
    root = _imagenet_flat(datasets)
    kit = root / "ILSVRC2012_devkit_t12" / "data"
    kit.mkdir(parents=True)
    order = ("n02", "n03", "n01", "n99")  # not that of the wnids; the last has children, and no images
    synsets = np.array(
        [[(number, wnid, "words, of it", int(wnid == "n99"))] for number, wnid in enumerate(order, 1)],
        dtype=[("ILSVRC2012_ID", object), ("WNID", object), ("words", object), ("num_children", object)],
    )
    savemat(kit / "meta.mat", {"synsets": synsets})
    truth = "".join(f"{order.index(WNIDS[k % 3]) + 1}\n" for k in TEST)
    (kit / "ILSVRC2012_validation_ground_truth.txt").write_text(truth)
    return WNIDS


def imagenette(datasets):
    wnids = list(layouts.IMAGENETTE_CLASSES)[:3]
    for k in range(9):
        save(datasets / "imagenette2-160" / ("train" if k in TRAIN else "val") / wnids[k % 3] / f"{k}.JPEG", k)
    return "tench", "springer", "cassette player"


def _class_folders(folder, names):
    def write(datasets):
        for split, chosen in SPLITS.items():
            for k in chosen:
                save(datasets / folder / split / names[k % 3] / f"{k}.jpg", k)
        return names

    return write


MINIATURES = {
    "svhn": svhn,
    "cifar10": cifar10,
    "cifar100": cifar100,
    "tiny-imagenet": tiny_imagenet,
    "stl10": stl10,
    "food101": food101,
    "flowers102": flowers102,
    "stanford-dogs": stanford_dogs,
    "cub200": cub200,
    "imagenet": imagenet_folders,
    "imagenet as at Kaggle": imagenet_kaggle,
    "imagenet with its kit": imagenet_kit,
    "imagenette": imagenette,
    "imagewoof": _class_folders("imagewoof", ("n02086240", "n02087394", "n02088364")),
    "cub100": _class_folders("cub100", ("Barn_Swallow", "Blue_Jay", "Bobolink")),
    "flowers12": _class_folders("flowers12", ("bluebell", "buttercup", "colts-foot")),
    "gtsrb": _class_folders("gtsrb", ("00", "01", "02")),
    "natural30": _class_folders("natural30", ("airplane", "car", "cat")),
}
LISTED = {  # the lists that each of the layouts needs
    "food101": ("meta/train.json",),
    "flowers102": ("setid.mat", "imagelabels.mat"),
    "tiny-imagenet": ("wnids.txt", "words.txt"),
    "stanford-dogs": ("train_list.mat",),
    "cub200": ("images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt"),
}
