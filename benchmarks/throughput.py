"""Speed and memory of the attack engine and of the plain per-victim loop, side by side in one process.

    python benchmarks/throughput.py --quick
    python benchmarks/throughput.py --json throughput.json

DIA at p = 0.5 on random images; see README.md in this folder for what the columns mean.
"""

import argparse
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from comparison import SHAPES, Contest
from flop_bound import flops, matrix_rate
from memory import measured

from dia.attacks.optimisation.compilation import Compilation

MODELS = ("mlp", "vit", "lenet", "resnet18")
VICTIMS = (1, 8, 32, 128)
QUICK = (("mlp", "cifar10", 128), ("vit", "cifar10", 8))
SECONDS = 1.0
"""Target duration of one contestant's turn."""


@dataclass
class Row:
    """One line of the table and one object of the JSON file; README.md explains the fields."""

    model: str
    dataset: str
    victims: int
    threads: int
    device: str
    oracle_ms: float
    engine_ms: float
    compiled_ms: float
    ratio: float
    compiled_ratio: float
    peak_mb: float
    oracle_peak_mb: float
    victims_per_chunk: int
    engine_per_s: float
    oracle_per_s: float
    mflop: float
    engine_mflop: float
    matrix_gflops: float
    floor_ms: float
    fraction: float
    compiled_fraction: float


def measure(
    model: str,
    dataset: str,
    victims: int,
    threads: int,
    device: torch.device,
    repetitions: int,
    per_pass: int | None,
    compiles: bool,
) -> Row:
    """One configuration: the contestants take turns, and each one's time is the median of its turns.

    A compiled engine that fell back, even once, has the time NaN: its reason is printed.
    """
    torch.set_num_threads(threads)
    contest = Contest.of(model, dataset, victims, device, per_pass)
    turns = {
        "oracle": _iterations(contest.oracle, 1),
        "engine": _iterations(contest.engine, victims),
    }
    times: dict[str, list[float]] = {"oracle": [], "engine": [], "compiled": [], "rate": []}
    for _ in range(repetitions):
        times["rate"].append(matrix_rate(device))
        times["oracle"].append(contest.oracle(turns["oracle"]))
        times["engine"].append(contest.engine(turns["engine"]))
        times["compiled"].append(compiled(contest, turns["engine"]) if compiles else math.nan)
    oracle, engine, graph = (statistics.median(times[who]) for who in ("oracle", "engine", "compiled"))
    with ThreadPoolExecutor(2) as pool:  # of processes that it waits for, one per core
        engine_peak = pool.submit(measured, "engine", model, dataset, victims, device.type, per_pass)
        oracle_peak = pool.submit(measured, "oracle", model, dataset, 1, device.type, None)
    rate, needed = max(times["rate"]), flops(model, SHAPES[dataset])
    floor = needed / rate
    return Row(
        model=model,
        dataset=dataset,
        victims=victims,
        threads=threads,
        device=device.type,
        oracle_ms=1e3 * oracle,
        engine_ms=1e3 * engine,
        compiled_ms=1e3 * graph,
        ratio=oracle / engine,
        compiled_ratio=oracle / graph,
        peak_mb=engine_peak.result(),
        oracle_peak_mb=oracle_peak.result(),
        victims_per_chunk=contest.passes,
        engine_per_s=1 / engine,
        oracle_per_s=1 / oracle,
        mflop=needed / 1e6,
        engine_mflop=contest.engine_flops() / 1e6,
        matrix_gflops=rate / 1e9,
        floor_ms=1e3 * floor,
        fraction=floor / engine,
        compiled_fraction=floor / graph,
    )


def compiled(contest: Contest, iterations: int) -> float:
    """Seconds of the compiled engine per victim-iteration; compiling, at the first evaluation, is not among them."""
    compilation = Compilation(True)
    seconds = contest.engine(iterations, compilation=compilation)
    if compilation.used_throughout:
        return seconds
    print(f"not compiled: {compilation.fallback}", file=sys.stderr)
    return math.nan


def _iterations(contestant, victims: int) -> int:  # type: ignore[no-untyped-def]
    """Count the iterations that fill a turn; also warms the contestant up."""
    contestant(1)
    began = time.perf_counter()
    contestant(1)
    elapsed = time.perf_counter() - began
    return max(1, min(50, round(SECONDS / elapsed)))


def configurations(args: argparse.Namespace) -> Iterator[tuple[str, str, int, int, torch.device]]:
    """The configurations to measure, the CPU's rows first."""
    cases = (
        QUICK if args.quick else [(m, d, v) for m in args.models for d in args.datasets for v in args.victims]
    )
    for device in args.devices:
        for threads in args.threads if device == "cpu" else (1,):
            for case in cases:
                yield *case, threads, torch.device(device)


COLUMNS = {
    "model": ("model", "<8"),
    "dataset": ("dataset", "<7"),
    "victims": ("victims", "7d"),
    "threads": ("threads", "7d"),
    "device": ("device", "<6"),
    "oracle_ms": ("oracle ms", "9.2f"),
    "engine_ms": ("engine ms", "9.4f"),
    "compiled_ms": ("compiled ms", "11.4f"),
    "ratio": ("ratio", "6.1f"),
    "compiled_ratio": ("its ratio", "9.1f"),
    "oracle_per_s": ("oracle/s", "8.1f"),
    "engine_per_s": ("engine/s", "8.1f"),
    "oracle_peak_mb": ("oracle MB", "9.0f"),
    "peak_mb": ("peak MB", "7.0f"),
    "mflop": ("MFLOP", "7.1f"),
    "engine_mflop": ("done", "7.1f"),
    "matrix_gflops": ("GFLOP/s", "7.1f"),
    "floor_ms": ("floor ms", "8.4f"),
    "fraction": ("of floor", "8.0%"),
    "compiled_fraction": ("compiled of floor", "17.0%"),
}
"""Fields of a row in the table: title and format."""


def line(row: Row | None) -> str:
    """A row of the table; its head for None."""
    cells = []
    for name, (title, form) in COLUMNS.items():
        cell = title if row is None else format(getattr(row, name), form)
        width = max(len(title), len(format(0, form)) if "<" not in form else int(form[1:]))
        cells.append(cell.ljust(width) if "<" in form else cell.rjust(width))
    return "  ".join(cells)


def markdown(row: Row | None) -> str:
    """A row of the table as Markdown; its head for None."""
    if row is None:
        titles = [title for title, _ in COLUMNS.values()]
        return f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}"
    cells = [format(getattr(row, name), form.lstrip("<0123456789")) for name, (_, form) in COLUMNS.items()]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure, print a line as soon as it is known, and write the JSON at the end."""
    cpus = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="two rows, one thread, under 50 s")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the rows there, as a list")
    parser.add_argument(
        "--markdown", action="store_true", help="print the table as docs/performance.md has it"
    )
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--datasets", nargs="+", default=tuple(SHAPES), choices=tuple(SHAPES))
    parser.add_argument("--victims", nargs="+", type=int, default=VICTIMS)
    parser.add_argument("--threads", nargs="+", type=int, help="default: 1, and 2 where there are two cores")
    parser.add_argument(
        "--devices", nargs="+", choices=("cpu", "cuda"), help="default: cpu, and cuda if present"
    )
    parser.add_argument("--repetitions", type=int, default=3, help="turns of each contestant (default 3)")
    parser.add_argument("--compile", action="store_true", help="also the compiled engine")
    parser.add_argument("--victims-per-chunk", type=int, help="default: as the engine chooses")
    args = parser.parse_args()
    if args.threads is None:
        args.threads = [1] if args.quick or cpus < 2 else [1, 2]
    if args.devices is None:
        args.devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]

    print(f"torch {torch.__version__}, {cpus} CPU cores; times are ms per victim-iteration")
    if os.getloadavg()[0] > 0.5:
        print(
            f"the machine is busy (load {os.getloadavg()[0]:.1f}): these times and ratios will not be reliable"
        )
    shown = markdown if args.markdown else line
    print(shown(None))
    rows = []
    for configuration in configurations(args):
        row = measure(*configuration, args.repetitions, args.victims_per_chunk, args.compile)
        print(shown(row), flush=True)
        rows.append(asdict(row))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
