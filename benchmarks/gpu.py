"""The first look at a GPU: parity, speed, graphs, compilation, TF32, memory; one page, predicted beside measured.

    python benchmarks/gpu.py --golden FOLDER          # ten minutes on a GPU; writes gpu-report.md
    python benchmarks/gpu.py --device cpu --quick     # whether the command itself works, anywhere

README.md in this folder explains the page.
"""

import argparse
import json
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from comparison import Contest
from machine_rates import machine_rates, tf32
from torch import Tensor

from dia.attacks.optimisation.compilation import Compilation
from dia.attacks.optimisation.graph_replay import WARM_UP, GraphReplay
from dia.attacks.optimisation.state import SearchState
from dia.execution.provenance import git_commit, peak_memory_mb, processor_name
from dia.utils.devices import select_device
from dia.verification import replay, runs

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from helpers.small_cells import LBFGS, make_job, run

PREDICTIONS = Path(__file__).with_name("gpu_predictions.json")
PARITY = {
    "dia": ("dia", {}),
    "dia, L-BFGS": ("dia", LBFGS),
    "dia_readout": ("dia_readout", {}),
    "wiig, local steps": ("wiig", {"local_epochs": 2, "local_batch_size": 1, "batch_size": 2}),
    "dia, defended": (
        "dia",
        {"defence_clip_norm": 0.1, "defence_noise_std": 1e-3, "defence_keep_fraction": 0.5},
    ),
}
COMPARED = ("matching_distance", "total_loss", "mse", "ssim")
PARITY_TOLERANCE = 1e-6
"""Relative, in float64 after four iterations."""
WARM = WARM_UP + 3
"""Iterations before those that are timed: the graph is captured in them."""
TURN = 1.0
"""Seconds for which a contestant is timed."""


@dataclass
class Report:
    """The page, and what failed."""

    device: torch.device
    quick: bool
    deadline: float
    lines: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def say(self, *lines: str) -> None:
        print(*lines, sep="\n", flush=True)
        self.lines.extend(lines)

    def check(self, name: str, passed: bool) -> str:
        """``ok`` or ``FAILED``, which is remembered."""
        if not passed:
            self.failures.append(name)
        return "ok" if passed else "FAILED"

    @contextmanager
    def section(self, title: str) -> Iterator[None]:
        """A part of the page; what goes wrong in it is on the page, and the next part begins."""
        self.say("", f"## {title}", "")
        try:
            yield
        except Exception as error:
            self.failures.append(f"{title}: {type(error).__name__}: {error}")
            self.say("", "```", traceback.format_exc().rstrip(), "```")


def machine(report: Report) -> None:
    """What computes, and how fast it is at what predictions are made of."""
    device = report.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name()
    built = torch.version.cuda or torch.version.hip or "none"
    report.say(
        f"{name}; torch {torch.__version__}, built for CUDA or ROCm {built}; commit {git_commit()}", ""
    )
    report.say(*(f"* {what}: {rate:.3g}" for what, rate in machine_rates(device, small=report.quick).items()))


def golden_runs(report: Report, folder: Path | None) -> None:
    """The paper authors' float64 runs, repeated on the device."""
    if folder is None:
        report.say("Not checked: no folder was given (`--golden`).")
        return
    for path in runs(folder)[: 2 if report.quick else None]:
        verdict = replay(path, report.device)
        report.say(f"* {report.check(f'golden run {path.stem}', verdict.passed)}: `{verdict}`")


def parity(report: Report) -> None:
    """Cells on the device and on the CPU."""
    report.say("| cell | largest relative difference | |", "|---|---|---|")
    for model in ("mlp",) if report.quick else ("mlp", "lenet", "vit", "resnet18"):
        for name, (attack, settings) in PARITY.items():
            job = make_job(attack, model, **settings)
            full = not report.quick and model != "resnet18"
            found, expected = (run(job, str(d), full_size=full) for d in (report.device, "cpu"))
            worst = max(
                abs(mine[column] - theirs[column]) / max(abs(theirs[column]), 1e-12)
                for mine, theirs in zip(found, expected, strict=True)
                for column in COMPARED
            )
            verdict = report.check(f"parity of {name} on {model}", worst <= PARITY_TOLERANCE)
            report.say(f"| {name}, {model} | {worst:.1e} | {verdict} |")


def speed(report: Report, rows: list[dict[str, Any]]) -> None:
    """Milliseconds per victim-iteration in all ways, and memory."""
    ways = ("oracle", "eager", "graph", "compiled", "both", "tf32")
    report.say("Milliseconds per victim-iteration, measured (predicted for an H100):", "")
    report.say(f"| model, victims | {' | '.join(ways)} | oracle / eager | MiB per victim |", "|---" * 9 + "|")
    reasons = list[str]()
    for row in rows:
        if time.monotonic() > report.deadline:
            reasons.append(f"{row['model']}, {row['victims']} victims: left out, the time was over")
            continue
        measured, memory = _measured(report, row, ways, reasons)
        cells = [f"{_number(measured.get(way))} ({row[way]:g})" for way in ways]
        ratio = f"{_ratio(measured)} ({row['oracle'] / row['eager']:.0f})"
        memory_cell = f"{_number(memory)} ({row['mib_per_victim']:g})"
        report.say(f"| {row['model']}, {row['victims']} | {' | '.join(cells)} | {ratio} | {memory_cell} |")
    report.say("", *(f"* {reason}" for reason in reasons))


def _measured(
    report: Report, row: dict[str, Any], ways: tuple[str, ...], reasons: list[str]
) -> tuple[dict[str, float], float | None]:
    """Milliseconds by way, where it worked, and the peak of memory per victim in MiB; other ways leave a reason."""
    victims = min(row["victims"], 2) if report.quick else row["victims"]
    device, found = report.device, dict[str, float]()
    contest = Contest.of(row["model"], row["dataset"], victims, device, victims)
    turn = 0.0 if report.quick else TURN
    contest.oracle(1)
    oracle = contest.oracle(1)
    found["oracle"] = 1e3 * contest.oracle(max(1, round(turn / oracle)))
    memory = None
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    for way in ways[1:]:
        if report.quick and way in ("compiled", "both"):  # compiling takes minutes
            reasons.append(f"{row['model']}, {row['victims']} victims, {way}: not tried in a quick run")
            continue
        graphs = GraphReplay(way in ("graph", "both"))
        compilation = Compilation(way in ("compiled", "both"))
        with tf32(device) if way == "tf32" else nullcontext():
            first = contest.engine(1, WARM, graphs=graphs, compilation=compilation)
            seconds = contest.engine(
                max(1, round(turn / (first * victims))), WARM, graphs=GraphReplay(graphs.wanted),
                compilation=Compilation(compilation.setting),
            )  # fmt: skip
        if way == "eager" and device.type == "cuda":
            memory = peak_memory_mb(torch, str(device)) / victims
        if reason := graphs.fallback or compilation.fallback:
            reasons.append(f"{row['model']}, {row['victims']} victims, {way}: {reason}")
        elif way != "tf32" or device.type == "cuda":
            found[way] = 1e3 * seconds
    return found, memory


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _ratio(measured: dict[str, float]) -> str:
    return f"{measured['oracle'] / measured['eager']:.1f}" if "eager" in measured else "-"


def habits(report: Report, rows: list[dict[str, Any]]) -> None:
    """Waiting within iterations, launches, and what TF32 does to the engine's checks and to the loss."""
    device = report.device
    for row in rows:
        model = row["model"]
        contest = Contest.of(model, row["dataset"], 2, device, 2)
        exact = _first_distance(contest)
        with tf32(device):
            rounded_contest = Contest.of(model, row["dataset"], 2, device, 2)
            rounded = _first_distance(rounded_contest)
        slow = rounded_contest.experiment.problem.model.per_victim_parameters
        verdict = report.check(f"TF32 sends parameters of {model} one victim at a time", not slow)
        gap = float((rounded - exact).abs().max())
        report.say(
            f"* {model}: TF32 changes the first matching distance by {gap:.1e}; engine's checks: {verdict}"
        )
        if device.type == "cuda":
            waited = _waits(contest)
            verdict = report.check(f"iterations of {model} make the CPU wait: {waited}", not waited)
            launches = _launches(contest)
            report.say(
                f"  launches per iteration: {launches} (predicted {row['launches']}); waits: {verdict}"
            )


def _first_distance(contest: Contest) -> Tensor:
    """The matching distances (2,) of the first iteration."""
    seen: list[Tensor] = []
    contest.engine(1, 0, observe_also=lambda state, total, distance: seen.append(distance.cpu()))
    return seen[0]


def _waits(contest: Contest) -> str:
    """What made the CPU wait in iterations 5 to 14, which nobody looks at; empty for nothing."""

    def watch(state: SearchState, total_loss: Tensor, matching_distance: Tensor) -> None:
        torch.cuda.set_sync_debug_mode("error" if 5 <= state.iteration < 15 else "default")

    try:
        contest.engine(17, 1, observe_also=watch)
    except RuntimeError as error:
        return str(error).split("\n")[0]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return ""


def _launches(contest: Contest) -> str:
    """Kernels launched in one iteration, as the profiler sees them."""
    counts = []
    for iterations in (4, 5):
        with torch.profiler.profile() as profile:
            contest.engine(iterations, 1)
        events = profile.key_averages()
        counts.append(sum(event.count for event in events if "LaunchKernel" in event.key))
    return str(counts[1] - counts[0])


def main(arguments: list[str] | None = None) -> int:
    """Write the page; 1 where a check failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cuda", help="cuda (default), cuda:N or cpu")
    parser.add_argument("--golden", type=Path, metavar="DIR", help="folder of golden runs")
    parser.add_argument(
        "--quick", action="store_true", help="a few seconds: small sizes, numbers mean nothing"
    )
    parser.add_argument(
        "--minutes", type=float, default=10, help="speeds are measured until then (default 10)"
    )
    parser.add_argument("--out", type=Path, default=Path("gpu-report.md"), metavar="FILE")
    args = parser.parse_args(arguments)
    device = select_device(args.device)
    predictions = json.loads(PREDICTIONS.read_text())
    rows = predictions["rows"]
    models = list({row["model"]: row for row in rows}.values())
    report = Report(device, args.quick, time.monotonic() + 60 * args.minutes)
    report.say(f"# {device}: predicted and measured")
    if args.quick:
        report.say("", "Quick: sizes are small, and times mean nothing.")
        rows, models = rows[:1], models[:1]
    with report.section("Machine"):
        machine(report)
    with report.section("Golden runs"):
        golden_runs(report, args.golden)
    with report.section("Cells, against the CPU"):
        parity(report)
    with report.section("Waiting, launches, TF32"):
        habits(report, models)
    with report.section("Speed and memory"):
        speed(report, rows)
    report.say("", "## Verdict", "", *(f"* FAILED: {what}" for what in report.failures))
    report.say("Everything passed." if not report.failures else "", "", predictions["assumptions"])
    args.out.write_text("\n".join(report.lines) + "\n")
    print(f"\nwrote {args.out}")
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
