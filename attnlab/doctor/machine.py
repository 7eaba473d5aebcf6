"""Device, threads, and which precisions are fast on them."""

import os
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import torch
import torch.nn.functional as F

from attnlab.doctor.finding import Finding, from_error
from attnlab.errors import UserError
from attnlab.models import PRECISIONS
from attnlab.pipelines.hardware import choose_device, usable_cores
from attnlab.pipelines.provenance import cpu_info, cpu_name
from attnlab.registry import loaded
from attnlab.words import counted

TOPIC = "machine"
DRIVER = Path("/proc/driver/nvidia")
BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # flags of processors that compute in bfloat16
#: a precision is said to be faster or slower than fp32 from this factor on
FACTOR = 1.2
REPEATS = 5


def machine(asked: str = "auto") -> Iterator[Finding]:
    """Processor, GPUs, threads, and the precisions of the device asked for, as for --device."""
    memory = ""
    if hasattr(os, "sysconf"):
        memory = f", {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB of memory"
    yield Finding(TOPIC, "cpu", f"{cpu_name()}, {counted(os.cpu_count() or 1, 'core')}{memory}")
    yield threads()
    yield from gpus()
    try:
        device = choose_device(asked)
    except UserError as error:
        yield from_error(TOPIC, "device", error)
        return
    yield Finding(TOPIC, "device", f"{device.type} is used" + (" by default" if asked == "auto" else ""))
    if device.type in ("cpu", "cuda"):
        seconds = {name: seconds_of(name, device) for name in PRECISIONS}
        for name in PRECISIONS:
            yield precision(name, seconds["fp32"] / seconds[name], native(name, device))


def threads() -> Finding:
    """Whether torch's threads have a core each."""
    used, cores, advice = torch.get_num_threads(), usable_cores(), ""
    if used > cores:
        advice = f"set OMP_NUM_THREADS={cores}: more threads than cores slow each other down"
    elif used < cores and "OMP_NUM_THREADS" in os.environ:
        advice = f"OMP_NUM_THREADS={os.environ['OMP_NUM_THREADS']} leaves cores idle; unset it, unless others use them"
    text = f"{used} of torch on {counted(cores, 'usable core')}"
    return Finding(TOPIC, "threads", text, advice, "note" if advice else "ok")


def gpus() -> Iterator[Finding]:
    """The GPUs there are; where there are none, whether a driver says that there should be."""
    if torch.cuda.is_available():  # pragma: only on CUDA
        for number in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(number)
            text = f"{about.name}, {about.total_memory / 2**30:.0f} GiB, compute capability {about.major}.{about.minor}"
            yield Finding(TOPIC, f"cuda:{number}", text)
    elif DRIVER.exists():
        build = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "a build for the CPU alone"
        advice = "install a build of torch for CUDA that is no newer than the driver's, beside the same torchvision"
        yield Finding(TOPIC, "cuda", f"there is an NVIDIA driver, but this torch, {build}, sees no GPU", advice, "note")
    else:
        yield Finding(TOPIC, "cuda", "no GPU")


def precision(name: str, speed: float, has_it: bool) -> Finding:
    """Judge a precision by its speed, relative to fp32's, and by the hardware."""
    if name == "fp32":
        return Finding(TOPIC, name, "the default, and what others are measured by")
    how = "" if has_it else ", emulated: the hardware has no such arithmetic"
    text = f"{speed:.1f} times fp32's speed{how}"
    if name == "tf32" and not has_it:
        return Finding(TOPIC, name, "the same as fp32 here: GPUs of NVIDIA have it, from compute capability 8 on")
    if name == "bf16" and speed < 1:
        return Finding(TOPIC, name, text, "use --precision fp32", "note")
    advice = f"--precision {name} would save time where the last digits may move"
    return Finding(TOPIC, name, text, advice if speed >= FACTOR else "")


def native(name: str, device: torch.device) -> bool:
    """Whether the hardware computes in that precision itself."""
    if name in ("fp32", "fp64"):
        return True
    if device.type == "cuda":  # pragma: only on CUDA
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return name == "bf16" and bool(BF16_FLAGS & set(cpu_info("flags", "Features").split()))


def seconds_of(name: str, device: torch.device) -> float:
    """Shortest time of a convolution of 0.3 billion multiplications in that precision."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = name == "tf32"
    try:
        images, kernel = (
            torch.rand(shape).to(device, loaded(PRECISIONS[name]), memory_format=torch.channels_last)
            for shape in ((8, 64, 32, 32), (64, 64, 3, 3))
        )
        best = float("inf")
        calls = 50 if device.type == "cuda" else 1  # one call on a GPU is mostly the time to launch it
        for _ in range(REPEATS):
            start = perf_counter()
            for _ in range(calls):
                F.conv2d(images, kernel, padding=1)
            if device.type == "cuda":  # pragma: only on CUDA
                torch.cuda.synchronize(device)
            best = min(best, (perf_counter() - start) / calls)
        return best
    finally:
        torch.backends.cudnn.allow_tf32 = before
