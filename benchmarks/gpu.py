"""The device tests and the benchmarks on one GPU, within nine minutes a call.

    python -m benchmarks.gpu --out gpu          # or `make gpu`; again: what is left
    python -m benchmarks.gpu --smoke            # the same commands at tiny sizes on a CPU

Needs the tree and the packages that attnlab needs, with pytest and hypothesis; nothing is installed or fetched. What
the benchmarks compare with (grad-cam, torchattacks, lime) is left out where it is missing. OUT holds gpu.jsonl, a
line for each step as it ends, and gpu.log, all that was printed.
"""

import sys
from pathlib import Path

import click

from benchmarks.pieces import Results, Step, run_all

TESTS = ("-m", "pytest", "tests/test_devices.py", "-vv", "-p", "no:cacheprovider", "--durations=5")


def steps_on(device: str) -> list[Step]:
    """The steps, most urgent first."""
    on = ("--device", device)

    def benchmark(name: str, seconds: float, module: str, *words: str) -> Step:
        return Step(name, ("-m", f"benchmarks.{module}", *on, *words), seconds)

    return [
        Step("device tests", TESTS, 200),
        benchmark("pass, inception_v3", 60, "analyze", "--batch-size", "64", "--rounds", "10", "--no-memory"),
        benchmark("attacks, resnet8", 30, "attacks", "--weights", "default", "--batch-size", "500"),
        benchmark("training, resnet9", 60, "train", "--model", "resnet9", "--batch-size", "128", "--steps", "7"),
        benchmark(
            "training, resnet9, bf16", 60,
            "train", "--model", "resnet9", "--batch-size", "128", "--steps", "7", "--precision", "bf16",
        ),
        benchmark("lime, inception_v3", 90, "lime", "--rounds", "2", "--no-captum"),
        Step(
            "quickshift on all cores",
            ("-m", "cli", "analyze", *on, "--method", "lime", "--lime-superpixels", "quickshift",
             "--limit", "200", "--out", "{work}/lime"),
            60,
        ),
        Step("analysis, 2,000 scenes", ("-m", "cli", "analyze", *on, "--split", "train", "--limit", "2000",
                                         "--out", "{work}/scenes"), 60),
        benchmark(
            "training, resnet9, bf16 compiled", 120,
            "train", "--model", "resnet9", "--batch-size", "128", "--steps", "7", "--precision", "bf16", "--compile",
        ),
        benchmark("pass, resnet50", 60, "analyze", "--model", "resnet50", "--batch-size", "64", "--rounds", "10",
                  "--no-memory"),
        benchmark("attacks, resnet50", 60, "attacks", "--model", "resnet50", "--batch-size", "64"),
        benchmark("lime, inception_v3, compiled", 120, "lime", "--rounds", "2", "--no-captum", "--compile"),
    ]  # fmt: skip


def smoke_steps() -> list[Step]:
    """The same commands at sizes that a CPU does in seconds."""
    tiny = ("--device", "cpu", "--model", "resnet8", "--rounds", "1")
    return [
        Step("device tests", (*TESTS, "-k", "meta_device or augmented"), 60),
        Step("pass", ("-m", "benchmarks.analyze", *tiny, "--batch-size", "2", "--no-memory"), 60),
        Step("attacks", ("-m", "benchmarks.attacks", *tiny, "--batch-size", "2", "--steps", "2"), 60),
        Step("training", ("-m", "benchmarks.train", *tiny, "--batch-size", "4", "--steps", "1"), 60),
        Step("lime", ("-m", "benchmarks.lime", *tiny, "--samples", "20", "--no-captum"), 60),
        Step(
            "quickshift on all cores",
            ("-m", "cli", "analyze", "--device", "cpu", "--method", "lime", "--lime-superpixels", "quickshift",
             "--lime-samples", "10", "--limit", "4", "--out", "{work}/lime"),
            60,
        ),
    ]  # fmt: skip


@click.command()
@click.option("--out", type=Path, default=Path("runs/gpu"), envvar="OUT", show_default=True, help="Also OUT.")
@click.option("--minutes", default=9.0, show_default=True, help="Of this call, all steps together.")
@click.option("--device", default="cuda", show_default=True)
@click.option("--smoke", is_flag=True, help="Try it on a CPU at tiny sizes.")
def main(out: Path, minutes: float, device: str, smoke: bool) -> None:
    """Run the device tests, then the benchmarks; a step that succeeded is not run again."""
    out.mkdir(parents=True, exist_ok=True)
    name = "gpu-smoke" if smoke else "gpu"
    work = Path("runs", f"{name}-work").resolve()  # records, which need not be brought back
    steps = [
        Step(step.name, tuple(word.replace("{work}", str(work)) for word in step.words), step.seconds)
        for step in (smoke_steps() if smoke else steps_on(device))
    ]
    with (out / f"{name}.log").open("a") as log:

        def tell(line: str) -> None:
            print(line, flush=True)
            print(line, file=log, flush=True)

        sys.exit(0 if run_all(steps, Results(out / f"{name}.jsonl"), minutes, tell) else 1)


if __name__ == "__main__":
    main()
