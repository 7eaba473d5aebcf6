"""Sections that the configurations of several commands share, by what their options are about."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attnlab.config.names import by_data
from attnlab.config.option import Options, option, variant
from attnlab.data import DATASETS, LABEL_RULES, check_label
from attnlab.errors import UserError, check_one_of
from attnlab.models import MEMORY_FORMATS, PRECISIONS
from attnlab.models.names import check_model_name
from attnlab.seeding import check_seed
from attnlab.shards import Shard, parse_shard
from attnlab.stores import Url, parse_root

ENGINES = ("local", "ray")  # that compute the parts of a run
Statistic = float | tuple[float, ...]  # pixels are normalised with: a number, or one for each colour


def among(*names: str) -> Any:
    """A check: the value is one of these names, which the command line does not list."""
    return lambda value, flag: check_one_of(value, names, flag)


def each(check: Any) -> Any:
    """A check of every value of a tuple."""
    return lambda values, flag: [check(value, flag) for value in values]


def texts(text: str) -> tuple[str, ...]:
    """Names from `a,b`."""
    return tuple(part.strip() for part in text.split(","))


def numbers(text: str) -> tuple[float, ...]:
    """Numbers from `0,0.01,0.1`."""
    return _numbers(text, float, "numbers")


def whole_numbers(text: str) -> tuple[int, ...]:
    """Whole numbers from `5,10,20`."""
    return _numbers(text, int, "whole numbers")


def _numbers(text: str, kind: Callable[[str], Any], words: str) -> tuple[Any, ...]:
    try:
        return tuple(kind(number) for number in text.split(","))
    except ValueError:
        raise ValueError(f"expected {words} with commas between them, got {text!r}") from None


def check_split(data: str, split: str | None) -> None:
    """Refuse a split that the data set does not have."""
    if split is not None and DATASETS[data].splits:
        check_one_of(split, DATASETS[data].splits, "--split")


@dataclass(frozen=True)
class DataOptions(Options):
    """Which images, and how they reach the model.

    Attributes:
        name: Data set; `attnlab list` names them.
        root: Folder that holds the data set's files, or a .zip, .tar or .tar.gz of it, or a URL such as s3://BUCKET/DIR
            (docs/how-to/read-from-a-store.md); scenes needs none.
        split: Split of the data set.
        limit: Number of images to use: the first ones, or with --stratify some of every class. By default all.
        stratify: Let --limit take images of all classes in turn, drawn with --seed.
        label: Of images that show objects of several classes: `largest` takes the class of the largest object, and all
            objects of that class as ground truth; `each` makes every object a sample of its own, IMAGE#0 and so on. By
            default `largest`, but for folder, which leaves such images out.
        resize: How images reach the model's size: `squash` (aspect not kept) or `crop` (shorter side, then the
            centre).
    """

    name: str = option("scenes", name="data", names="data", decides=True)
    root: Path | Url | None = option(None, parse=parse_root, or_file=True, metavar="PATH")
    split: str | None = option(None, kinds=("splits",), decides=True, usual=by_data(lambda spec: spec.split))
    limit: int | None = option(None, least=1, smoke=4)
    stratify: bool = False
    label: str | None = option(None, choices=LABEL_RULES, decides=True, sparse=True)
    resize: str = option("squash", names="resizings", decides=True)

    def __post_init__(self) -> None:
        """Check what several options say together."""
        super().__post_init__()
        check_split(self.name, self.split)
        check_label(self.name, self.label)


@dataclass(frozen=True)
class AccuracyDataOptions(DataOptions):
    """Images whose accuracy is measured."""

    split: str | None = variant(DataOptions, "split", usual=by_data(lambda spec: spec.accuracy_split))


@dataclass(frozen=True)
class ModelOptions(Options):
    """The network, its weights, and what it reads and shows.

    Attributes:
        name: The model: {models}; by default the data set's: {model}.
        weights: `default` (the model's own), `none` (random, seeded), a .safetensors or .pth file, the .index.json of
            a file in shards, or a checkpoint folder.
        weights_key: Which state dict of a file that holds several, such as state_dict_ema; or the prefix of the wanted
            tensors' names, such as student; or both, such as model.module.model.
        mean: Mean that the model needs its images normalised with, of pixels in [0, 1]: one number, or one for each
            colour channel with commas between them; needs --std. By default that of a normaliser in the file of
            weights, or else the network's own, where its `mean` and `std` are plain numbers; else images are not
            normalised.
        std: Standard deviation, in the same form as --mean, and needs it; --mean 0 --std 1 is for a network that
            normalises its images itself.
        channels: Number of channels of the network's images, where it does not say it itself; 3 gives it grey images
            with their values three times, 1 colour images as their luminance, which is refused otherwise.
        layer: Module whose output Grad-CAM reads; by default the last feature map before the pool, of a vision
            transformer the first norm of its last block.
        trust_code: Run the FILE.py that a checkpoint folder or a run names, which is refused otherwise; print its path
            and SHA-256 first. Run the code that a model of torchhub: or hf: brings, too (docs/security.md).
    """

    name: str | None = option(
        None,
        name="model",
        check=lambda value, flag: check_model_name(value),
        kinds=("models",),
        or_file=True,
        decides=True,
    )
    weights: str | None = option("default", or_file=True, decides=True)
    weights_key: str | None = option(None, decides=True, sparse=True)
    mean: Statistic | None = option(None, parse=numbers)
    std: Statistic | None = option(None, parse=numbers)
    channels: int | None = option(None, least=1)
    layer: str | None = None
    trust_code: bool = False


@dataclass(frozen=True)
class ModelsOptions(Options):
    """Several models beside each other.

    Attributes:
        names: As for `analyze`; repeat it to compare several models, such as checkpoint folders.
        weights: As for `analyze`; repeat it, once per --model in the same order, or several times for one --model.
        labels: Name of each --model in the tables, in the same order; by default that of the model, or of its file of
            weights.
    """

    names: tuple[str, ...] = variant(
        ModelOptions,
        "name",
        default=(),
        name="models",
        flag="model",
        check=each(lambda value, flag: check_model_name(value)),
        decides=False,
    )
    weights: tuple[str, ...] = variant(ModelOptions, "weights", default=(), decides=False)
    labels: tuple[str, ...] = option((), name="names", flag="name")
    weights_key: str | None = variant(ModelOptions, "weights_key")
    mean: Statistic | None = variant(ModelOptions, "mean")
    std: Statistic | None = variant(ModelOptions, "std")
    channels: int | None = variant(ModelOptions, "channels")
    layer: str | None = variant(ModelOptions, "layer")
    trust_code: bool = variant(ModelOptions, "trust_code")


@dataclass(frozen=True)
class RunOptions(Options):
    """Folder, seed, device and speed of a command.

    Attributes:
        out: Run folder; by default one below runs/, named after data, split and model. A run there that was made with
            the same options is resumed.
        seed: Seed of everything random, combined with each image's name.
        device: Device to compute on: auto (the first GPU, else the CPU), cpu, cuda, cuda:1, ...
        precision: Precision of the network's arithmetic.
        memory_format: Memory format of the network: `folded` is channels-last with batch norms folded into
            convolutions, which changes the last digits only; `channels-last` is slower by up to a tenth (LIME by a
            quarter), `contiguous` by a third.
        batch_size: Images per forward pass; by default a number that suits device and model.
        part_size: Images of a part of the records, which is written whole or not at all; no batch crosses two parts.
            Several processes share the parts.
        workers: Processes beside each one that computes, which decode images and cut superpixels; by default one per
            core, at most 8, and 0 where there is nothing to decode or cut.
    """

    out: Path | None = option(None, parse=Path)
    seed: int = option(0, check=lambda value, flag: check_seed(value), decides=True)
    device: str = option("auto", kinds=("devices",))
    precision: str = option("fp32", choices=tuple(PRECISIONS), decides=True)
    memory_format: str = option("folded", choices=tuple(MEMORY_FORMATS), decides=True)
    batch_size: int | None = option(None, least=1)
    part_size: int = option(256, least=1, decides=True)
    workers: int | None = option(None, least=0)


@dataclass(frozen=True)
class ProcessOptions(Options):
    """How the parts of a run are shared among processes; see docs/scale.md.

    Attributes:
        shard: Compute the parts of shard i of n alone, such as 2/8; processes with the other ones compute the rest, at
            the same time or not, on any machines that share the folder. By default the tasks of a Slurm array are the
            shards of one run, and so are the processes of torchrun.
        engine: `local` computes in this process; `ray` gives the parts to the workers of a Ray cluster as they come
            free, and again where a worker or its machine is lost.
        address: Ray cluster to use: auto (the one of this machine) or HOST:PORT; by default one is started on this
            machine for the time of the command.
        num_workers: Workers of --engine ray, which compute the parts (--workers are others); by default one for each
            GPU of the cluster, without GPUs one for each core.
        gpus_per_worker: GPUs of each of these workers; by default 1 where the cluster has any. A fraction lets several
            share one.
    """

    shard: Shard | None = option(None, parse=parse_shard, metavar="I/N")
    engine: str = option("local", choices=ENGINES)
    address: str | None = None
    num_workers: int | None = option(None, least=1)
    gpus_per_worker: float | None = None

    def __post_init__(self) -> None:
        """Check what several options say together."""
        super().__post_init__()
        of_ray = {
            leaf.flag: getattr(self, leaf.field.name) for leaf in self.own() if leaf.name not in ("shard", "engine")
        }
        given = [flag for flag, value in of_ray.items() if value is not None]
        if given and self.engine != "ray":
            raise UserError(f"expected --engine ray with {', '.join(given)}, got {self.engine}")
        gpus = self.gpus_per_worker
        if gpus is not None and not (0 <= gpus <= 1 or (1 < gpus < float("inf") and gpus == int(gpus))):
            raise UserError(f"expected --gpus-per-worker from 0 to 1 or a whole number, got {gpus:g}")
