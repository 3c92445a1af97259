"""`train-learner`, `evaluate` and `leaderboard`: learners, and how they compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from dynamic_sparsity.cli.app import DynamicsOption, app
from dynamic_sparsity.cli.arguments import output_file, output_folder, parse_seeds
from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.untrusted.console import PlainConsole

if TYPE_CHECKING:
    from dynamic_sparsity.learners.interface import Learner

FIGURE_SUFFIXES = (".png", ".svg", ".pdf")

RootOption = Annotated[
    Path, typer.Option("--root", help="Folder of all stores; a store is ROOT/<Task>/<policy>[-stock].zarr.")
]
PolicyOption = Annotated[str, typer.Option(help="The policy that acted in the data.")]
ProtocolOption = Annotated[
    str, typer.Option(help="full (the paper's network, for a GPU), mini (minutes on a CPU) or smoke (seconds).")
]
SeedsOption = Annotated[str, typer.Option(help="Seeds of the training, with commas between.")]
SampleOption = Annotated[
    bool, typer.Option("--sample", help="Use the small sample inside the package, not --root: to try, not to compare.")
]
TestPolicyOption = Annotated[
    list[str] | None,
    typer.Option(help="Judge on the data of this policy as well; may be repeated.", show_default=False),
]
SigmaOption = Annotated[
    str | None,
    typer.Option(
        help="Policy whose data have the standard deviations of the truths, e.g. mixture.",
        show_default="each data set's own",
    ),
]


@app.command("train-learner")
def train_learner(
    tasks: Annotated[list[str], typer.Argument(help="Tasks whose stores to learn from.", show_default=False)],
    learner: Annotated[
        list[str] | None,
        typer.Option(
            "--learner",
            help="hold, ridge, full, empty, union, majority, contact-bit, active-set-lookup, nearest-neighbour, "
            "global-graph, mlp, residual-mlp, gated, codebook, cdl, ncd, fcdl, spartan, pcmi, elden, coda, "
            "graph-network, hinges, oracle, all, or references: those without a network, which belong beside every "
            "entry; may be repeated.",
            show_default="mlp",
        ),
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(
            help="Of mlp: none, mse, mae, l1, sae (terms on its Jacobian), untrained. Of gated and codebook: l0, mask. "
            "Of global-graph: union, majority.",
            show_default="the learner's first",
        ),
    ] = None,
    weight: Annotated[float | None, typer.Option(help="Of an MLP's term.", show_default="the term's")] = None,
    protocol: ProtocolOption = "mini",
    seeds: SeedsOption = "0,1,2",
    root: RootOption = Path("data"),
    sample: SampleOption = False,
    policy: PolicyOption = "noise",
    dynamics: DynamicsOption = "converged",
    out: Annotated[Path, typer.Option(help="Folder of results.")] = Path("results/learners"),
    models: Annotated[
        Path | None, typer.Option(help="Keep the trained networks below this folder.", show_default=False)
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Train also where there is a result already.")] = False,
    stream: Annotated[
        bool, typer.Option("--stream", help="Read rows while training: for data larger than memory.")
    ] = False,
    test_policy: TestPolicyOption = None,
    sigma: SigmaOption = None,
) -> None:
    """Train learners on the train split, judge them on the test split, keep the results.

    A result is OUT/<protocol>/<Task>/<policy>/<learner>-<loss>-<seed>.json. Results that exist are kept, so that
    rerunning an interrupted command resumes it; those of other data or settings are never replaced without --again.

    Example: [bold]dynamic-sparsity train-learner CartpoleBalance --learner mlp --loss sae[/bold]
    """
    from dynamic_sparsity.cli.progress_bars import LearnerBars
    from dynamic_sparsity.learners.budgets import get_budget
    from dynamic_sparsity.learners.runs.campaign import train_learners
    from dynamic_sparsity.schemas.naming import parse_store_path, store_path

    budget, numbers = get_budget(protocol), parse_seeds(seeds)
    output_folder(out)
    output_folder(models, "--models")
    learners = _chosen_learners(learner or ["mlp"], loss, weight)
    root = _sample_root() if sample else root
    stores = [parse_store_path(store_path(root, task, policy, dynamics)) for task in tasks]
    with LearnerBars(PlainConsole(), len(stores) * len(learners), len(numbers) * budget.steps) as bars:
        train_learners(
            stores,
            learners,
            budget,
            numbers,
            out,
            bars,
            models=models,
            again=again,
            stream=stream,
            test_policies=test_policy or (),
            sigma=sigma,
        )


def _sample_root() -> Path:
    from dynamic_sparsity.sample import SAMPLE_ROOT

    return SAMPLE_ROOT


def _chosen_learners(names: list[str], loss: str | None, weight: float | None) -> list[Learner]:
    from dynamic_sparsity.learners.registry import all_learners, make_learner, reference_learners

    groups = {"all": all_learners, "references": reference_learners}
    known = next((name for name in names if name in groups), None)
    if known is not None and (loss is not None or weight is not None):
        raise InvalidSettingError(f"--loss and --weight belong to one learner; leave them out with --learner {known}")
    if "all" in names:
        return all_learners()
    return [
        one
        for name in names
        for one in (groups[name]() if name in groups else [make_learner(name, loss, weight=weight)])
    ]


@app.command()
def evaluate(
    task: Annotated[str, typer.Argument(help="Task to judge on.", show_default=False)],
    model: Annotated[
        str,
        typer.Argument(
            help="A network that train-learner kept (….npz), or FILE.py:FUNCTION or package.module:FUNCTION, a "
            "function (data, budget, seed) that returns a model, or one without arguments that returns a trained one; "
            "see docs/benchmark.md.",
            show_default=False,
        ),
    ],
    name: Annotated[str | None, typer.Option(help="Name for the leaderboard.", show_default="the function's")] = None,
    supervision: Annotated[
        str, typer.Option(help="What the function may see: transitions, structure (masks too) or Jacobian (all).")
    ] = "transitions",
    adaptive: Annotated[bool, typer.Option("--adaptive", help="Its graph is meant to depend on the state.")] = False,
    protocol: Annotated[
        str | None,
        typer.Option(help="full, mini or smoke, as of train-learner.", show_default="the saved network's, else mini"),
    ] = None,
    seeds: SeedsOption = "0",
    root: RootOption = Path("data"),
    sample: SampleOption = False,
    policy: PolicyOption = "noise",
    dynamics: DynamicsOption = "converged",
    out: Annotated[
        Path | None, typer.Option(help="Folder of results, to keep the result in.", show_default=False)
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Replace also a result of other data or settings.")] = False,
    test_policy: TestPolicyOption = None,
    sigma: SigmaOption = None,
) -> None:
    """Judge a model of one's own, or a trained one: next states, Jacobian, local causal graph.

    A function is given the train split, with no more than its supervision allows, and trained here. The threshold of a
    saved network is chosen on the data of its training, if they are below the same root.

    Example: [bold]dynamic-sparsity evaluate CartpoleBalance examples/own_model_jax.py:fit[/bold]
    """
    from dynamic_sparsity.learners.budgets import get_budget
    from dynamic_sparsity.learners.runs.campaign import evaluate_model
    from dynamic_sparsity.learners.runs.results import result_path, write_result
    from dynamic_sparsity.schemas.naming import store_path

    budget, numbers = None if protocol is None else get_budget(protocol), parse_seeds(seeds)
    output_folder(out)
    store = store_path(_sample_root() if sample else root, task, policy, dynamics)
    console = PlainConsole(soft_wrap=True)
    given: dict[str, Any] = {"test_policies": test_policy or (), "sigma": sigma}
    results = evaluate_model(
        model, store, budget, numbers, name=name, supervision=supervision, adaptive=adaptive, **given
    )
    for result in results:
        console.print(_table_of_result(result))
        if out is not None:
            older = ", in place of an older one" if result_path(out, result).exists() else ""
            console.print(f"{write_result(out, result, again=again)}: the whole result{older}")


def _table_of_result(result: dict[str, Any]) -> Table:
    from dynamic_sparsity.learners.leaderboard.benchmark_rows import benchmark_rows
    from dynamic_sparsity.learners.leaderboard.entries import entries_of
    from dynamic_sparsity.learners.runs.result_files import has_own_threshold

    (entry,) = entries_of([result])
    trained, data = result["trained_on"], result["result"]["data"]
    other = trained["settings_sha256"] != data["settings_sha256"]
    where = f", trained on other data ({trained['policy']}, {trained['settings_sha256'][:12]})" if other else ""
    if not has_own_threshold(result):
        where += ", which are not here: the threshold is chosen on the data judged on"
    table = Table(title=f"{entry.task}, {entry.name}, seed {entry.seed}{where}", show_header=False)
    for row in benchmark_rows([result]):
        for column in ("local_graph_skill", "when_skill", "beyond_contact", "gap_closed"):
            value = getattr(row, column)
            table.add_row(f"{column} {row.truth}", "–" if value is None else f"{value:.4g}")
    shown = ("nmse", "open_loop_nmse", "jacobian_error", "relative_sparsity", "average_precision", "auroc", "f1")
    for column in (*shown, "hamming", "average_precision_switch", "edge_auroc", "contact_auroc"):
        value = getattr(entry, column)
        table.add_row(column, "–" if value is None else f"{value:.4g}")
    return table


@app.command("check-entry")
def check_entry(
    files: Annotated[list[Path], typer.Argument(help="Results, ….json, of evaluate --out.", show_default=False)],
) -> None:
    """Check whether results can be entered into the leaderboard: complete, numbers possible, protocol known.

    Example: [bold]dynamic-sparsity check-entry outputs/learners/mini/CheetahRun/noise/mine-none-0.json[/bold]
    """
    from dynamic_sparsity.learners.leaderboard.entry_check import check_entry as check

    console = PlainConsole(soft_wrap=True)
    refused = []
    for file in files:
        _, wrong, known = check(file)
        for line in known:
            console.print(f"{file}: to know: {line}", style="yellow")
        if wrong:
            refused.append(f"{file} can't be entered: {'; '.join(wrong)}")
        else:
            console.print(f"{file}: can be entered")
    if refused:
        raise InvalidSettingError("; ".join(refused))


@app.command()
def leaderboard(
    source: Annotated[
        Path,
        typer.Argument(
            help="Folder of results, or a leaderboard.csv (with a benchmark.csv beside it).", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("outputs/LEADERBOARD.md"),
    benchmark: Annotated[
        Path | None,
        typer.Option(
            help="Folder for benchmark.csv and a page per track: the measures of local graphs.",
            show_default="benchmark, beside the page",
        ),
    ] = None,
    earlier: Annotated[
        Path | None,
        typer.Option(
            help="A benchmark.csv whose rows stay where no result here has their dynamics, policies, learner, seed, "
            "truth and protocol.",
            show_default=False,
        ),
    ] = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", help="Also write a table, a line per result.", show_default=False)
    ] = None,
    figure: Annotated[
        Path | None, typer.Option("--figure", help="Also draw the paper's Figure 8 into this file.", show_default=False)
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that this command did not make there.")
    ] = False,
) -> None:
    """Turn results into tables: tasks by learners, mean and spread over seeds, and the paper's Figure 8.

    A file that is there already is replaced only if this command made it there.

    Example: [bold]dynamic-sparsity leaderboard results/learners --csv results/leaderboard.csv[/bold]
    """
    output_file(out, "--out")
    output_file(csv, "--csv")
    output_file(figure, "--figure", FIGURE_SUFFIXES)
    output_folder(benchmark, "--benchmark")
    from dynamic_sparsity.learners.leaderboard.writing import (
        read_benchmark_rows,
        write_benchmark,
        write_leaderboard,
    )

    folder = benchmark or out.parent / "benchmark"
    console, errors = PlainConsole(), PlainConsole(stderr=True, soft_wrap=True)
    rows = read_benchmark_rows(source, earlier) if source.exists() else []
    results = write_leaderboard(
        source,
        out,
        rows=rows,
        benchmark=folder,
        table=csv,
        figure=figure,
        overwrite=overwrite,
        on_skipped=lambda error: errors.print(f"Left out: {error}", style="yellow"),
    )
    if figure is not None:
        console.print(f"{figure}: Figure 8")
    console.print(f"{out}: {results} {'result' if results == 1 else 'results'}")
    if csv is not None:
        console.print(f"{csv}: the same, a line per result")
    if rows:
        for file in write_benchmark(rows, folder, overwrite=overwrite):
            console.print(f"{file}: local graphs")
