"""How fast images are read from their files for training, and how many cores it takes to feed a GPU.

    python benchmarks/input.py [--folder FOLDER] [--images 200] [--rounds 5]

The files are the JPEGs of `--folder`, or pictures as large as ImageNet's usually are, 500x375 pixels and some 110 KB,
put together from Imagenette's photographs. Every way makes the same random resized crops of 224 pixels of all of them.

- "images/s a core" is counted in processor time, so that other work on the machine matters little; medians of
  interleaved rounds. "cores for 2,500/s" follows from it.
- "error" is the largest and the mean difference, in levels of 255, from the slow exact way: Pillow decodes the whole
  file, cuts out and resizes with antialiasing. What differs by more than rounding would train on other images.
- The second table is the whole of `StreamedImages.training_batches` with so many workers, against threads of one
  process that make the same crops: by the clock, and in the processor time of all its processes.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from advlook.core.preset_files import load_preset
from advlook.core.presets import DataConfig
from advlook.data.catalogue import find
from advlook.data.crops import random_resized_crops
from advlook.data.layouts import Listing
from advlook.data.streaming import StreamedImages, random_crop
from advlook.study.folders import data_folder

NEEDED = 2500  # images/s that a modern GPU may take
EPOCH = 4  # times all files, in the second table
WIDTH, HEIGHT, QUALITY, TILE = 500, 375, 95, 125

Way = Callable[[Path, DataConfig, torch.Generator], np.ndarray]


def write_pictures(folder: Path, count: int) -> list[Path]:
    """JPEG files of ImageNet's usual size, each of twelve photographs of Imagenette."""
    photographs = find("imagenette", "train", data_folder()).subset(12 * count).files
    paths = []
    for number in range(count):
        picture = Image.new("RGB", (WIDTH, HEIGHT))
        for place in range(12):
            with Image.open(photographs[(12 * number + place) % len(photographs)]) as photograph:
                tile = photograph.convert("RGB").resize((TILE, TILE), Image.Resampling.LANCZOS)
            picture.paste(tile, (place % 4 * TILE, place // 4 * TILE))
        paths.append(folder / f"{number}.jpg")
        picture.save(paths[-1], quality=QUALITY)
    return paths


def draw_crop(width: int, height: int, least: float, chance: torch.Generator) -> tuple[int, int, int, int]:
    """left, top, width and height of a random resized crop of one image."""
    sizes = torch.tensor([height]), torch.tensor([width])
    top, left, high, wide = random_resized_crops(*sizes, least, chance)[0].tolist()
    return left, top, wide, high


def pillow(path: Path, config: DataConfig, chance: torch.Generator) -> np.ndarray:
    """The slow exact way."""
    with Image.open(path) as image:
        left, top, width, height = draw_crop(*image.size, config.crop_scale, chance)
        window = image.convert("RGB").crop((left, top, left + width, top + height))
    crop = np.asarray(window.resize((config.size, config.size), Image.Resampling.BILINEAR))
    return crop[:, ::-1] if torch.rand((), generator=chance) < 0.5 else crop


def pillow_draft(path: Path, config: DataConfig, chance: torch.Generator) -> np.ndarray:
    """Pillow, with the decoder scaling by 1/2, 1/4 or 1/8 where that leaves as many pixels as are shown."""
    with Image.open(path) as image:
        width = image.size[0]
        box = draw_crop(*image.size, config.crop_scale, chance)
        scale = max(1, min(box[2:]) // config.size)
        image.draft("RGB", tuple(length // scale for length in image.size))
        scale = width / image.size[0]
        left, top, wide, high = (round(length / scale) for length in box)
        window = image.convert("RGB").crop((left, top, left + wide, top + high))
    crop = np.asarray(window.resize((config.size, config.size), Image.Resampling.BILINEAR))
    return crop[:, ::-1] if torch.rand((), generator=chance) < 0.5 else crop


def opencv(path: Path, config: DataConfig, chance: torch.Generator) -> np.ndarray:
    """OpenCV alone, which averages areas where it scales down."""
    pixels = cv2.imread(str(path))
    left, top, width, height = draw_crop(pixels.shape[1], pixels.shape[0], config.crop_scale, chance)
    smaller = min(width, height) >= config.size
    crop = cv2.resize(
        pixels[top : top + height, left : left + width],
        (config.size, config.size),
        interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR,
    )[..., ::-1]
    return crop[:, ::-1] if torch.rand((), generator=chance) < 0.5 else crop


def torchvision(path: Path, config: DataConfig, chance: torch.Generator) -> np.ndarray:
    """torchvision's decoder and transforms."""
    from torchvision.io import decode_jpeg, read_file
    from torchvision.transforms.functional import resized_crop

    pixels = decode_jpeg(read_file(str(path)))
    left, top, width, height = draw_crop(pixels.shape[2], pixels.shape[1], config.crop_scale, chance)
    crop = resized_crop(pixels, top, left, height, width, [config.size, config.size], antialias=True)
    crop = crop.permute(1, 2, 0).numpy()
    return crop[:, ::-1] if torch.rand((), generator=chance) < 0.5 else crop


def decode_only(path: Path, config: DataConfig, chance: torch.Generator) -> np.ndarray:
    """OpenCV's decoder: what no way of cropping can be faster than."""
    return cv2.imread(str(path))


WAYS: dict[str, Way] = {
    "Pillow (the exact way)": pillow,
    "Pillow, scaled by decoder": pillow_draft,
    "OpenCV": opencv,
    "torchvision": torchvision,
    "advlook: OpenCV, torch": random_crop,
    "OpenCV, decoding alone": decode_only,
}


def crops(way: Way, paths: list[Path], config: DataConfig) -> list[np.ndarray]:
    return [way(path, config, torch.Generator().manual_seed(number)) for number, path in enumerate(paths)]


def error(found: list[np.ndarray], exact: list[np.ndarray]) -> str:
    apart = [np.abs(a.astype(int) - b) for a, b in zip(found, exact, strict=True)]
    return f"{max(a.max() for a in apart):4d}  {np.mean([a.mean() for a in apart]):5.2f}"


def works(name: str, way: Way, path: Path, config: DataConfig) -> bool:
    try:
        way(path, config, torch.Generator(0))
    except RuntimeError:  # torchvision without its compiled decoders
        print(f"{name}: its decoder does not load here")
        return False
    return True


def epoch(images: StreamedImages, config: DataConfig, workers: int) -> None:
    os.environ["ADVLOOK_WORKERS"] = str(workers)
    for _ in images.training_batches(config, 50, torch.Generator().manual_seed(0)):
        pass


def threaded(paths: list[Path], config: DataConfig, threads: int) -> None:
    with ThreadPoolExecutor(threads) as pool:
        made = pool.map(lambda k: random_crop(paths[k], config, torch.Generator().manual_seed(k)), range(len(paths)))
        for _ in range(len(paths) // 50):
            np.stack([next(made) for _ in range(50)])


def spent() -> tuple[float, float]:
    """Seconds by the clock, and of processor time, that of ended workers included."""
    return time.perf_counter(), sum(os.times()[:4])


def measured(works: dict[str, Callable[[], object]], rounds: int, count: int) -> Iterator[tuple[str, list[float], str]]:
    """Name, images/s by the clock and in processor time, and the range of the latter, of works on `count` images.

    They take turns in every round, so that all of them meet the same disturbances.
    """
    rates: dict[str, list[list[float]]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            started = spent()
            work()
            if number:  # the first is to warm up
                rates[name].append([count / (end - start) for start, end in zip(started, spent(), strict=True)])
    for name, each in rates.items():
        medians = [statistics.median(column) for column in zip(*each, strict=True)]
        yield name, medians, f"({min(rate for _, rate in each):.0f} to {max(rate for _, rate in each):.0f})"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the input pipeline; see the module's docstring.")
    parser.add_argument("--folder", type=Path, help="JPEG files to read (default: made from Imagenette)")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    config = replace(load_preset("imagenet").data, size=224)
    with tempfile.TemporaryDirectory() as made:
        if arguments.folder:
            paths = sorted(arguments.folder.rglob("*.[jJ][pP]*"))[: arguments.images]
        else:
            paths = write_pictures(Path(made), arguments.images)
        size = statistics.mean(path.stat().st_size for path in paths)
        print(f"{len(paths)} JPEG files of {size / 1000:.0f} KB on average, {os.cpu_count()} cores")
        ways = {name: way for name, way in WAYS.items() if works(name, way, paths[0], config)}
        exact = crops(pillow, paths, config)
        jobs = {name: lambda way=way: crops(way, paths, config) for name, way in ways.items()}
        print(f"{'way':26} images/s a core  (range)         cores for {NEEDED:,}/s   error: most, mean")
        for name, (_, rate), spread in measured(jobs, arguments.rounds, len(paths)):
            apart = "" if ways[name] is decode_only else error(crops(ways[name], paths, config), exact)
            print(f"{name:26} {rate:15.0f}  {spread:15} {NEEDED / rate:17.1f}   {apart}".rstrip())
        print(f"\nread from disk at {NEEDED:,}/s: {NEEDED * size / 1e6:.0f} MB/s; copied to the GPU: ", end="")
        print(f"{NEEDED * 3 * config.size**2 / 1e6:.0f} MB/s")
        paths = EPOCH * paths
        images = StreamedImages(Listing(paths[0].parent, paths, [0] * len(paths), ("a",)), 224, 256)
        loaders: dict[str, Callable[[], object]] = {
            f"{n or 'no'} worker{'s' * (n != 1)}": lambda n=n: epoch(images, config, n) for n in (0, 1, 2)
        }
        loaders["2 threads instead"] = lambda: threaded(paths, config, 2)
        print(f"\n{f'{len(paths)} images, batches of 50':26} images/s a core  (range)         images/s by the clock")
        for name, (clock, rate), spread in measured(loaders, arguments.rounds, len(paths)):
            print(f"{name:26} {rate:15.0f}  {spread:15} {clock:21.0f}")


if __name__ == "__main__":
    main()
