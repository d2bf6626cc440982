"""The command ``course`` (= ``python -m course_lib``): train, look, measure, record.

Commands only put the library's functions together. What takes long to import, torch above all, is
imported inside them, so that help comes at once.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup


class _Commands(TyperGroup):
    """Failures that the user can mend are one line on stderr, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort):  # RuntimeErrors, but no failures
            raise
        except Exception as error:
            code = _exit_code(error)
            if code is None:
                raise
            text = str(error) if code == 130 else f"course: {' '.join(str(error).split())}"
            if isinstance(error, ModuleNotFoundError):
                text += '; the packages for data and pictures: pip install "course-lib[data,plots]"'
            typer.echo(text, err=True)
            raise typer.Exit(code) from error


def _exit_code(error: Exception) -> int | None:
    """2 for bad input, 1 for what went wrong, 130 for Ctrl-C; None for a fault of our own."""
    if isinstance(error, ValueError):
        return 2
    if isinstance(error, ImportError | OSError):
        return 1
    names = {kind.__name__ for kind in type(error).__mro__}  # without importing torch for it
    if names & {"TrainingDivergedError", "OutOfMemoryError"}:
        return 1
    return 130 if "Stopped" in names else None


app = typer.Typer(
    cls=_Commands,
    help="Train the course's generative models, look at their samples, and measure them.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, or its weights.")]
Seed = Annotated[int, typer.Option(help="Where all chance comes from.")]
Device = Annotated[str, typer.Option(help="auto (a GPU if there is one) or cpu.")]


def main() -> None:
    """Run the command line."""
    warnings.formatwarning = lambda message, *_, **__: f"note: {message}\n"
    app(prog_name="course")


# --- Training ------------------------------------------------------------------------------------


@app.command()
def train(
    model: Annotated[
        str,
        typer.Argument(help="gan, dcgan, autoencoder, vae, mlp, lstm or transformer."),
    ],
    preset: Annotated[str, typer.Option(help="The settings; see `course models`.")] = "quick",
    data: Annotated[
        str | None, typer.Option(metavar="SPEC", help="A data set; see `course data`.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="[default: runs/MODEL-DATA-PRESET-seedN]")
    ] = None,
    device: Device = "auto",
    precision: Annotated[str, typer.Option(help="fp32, bf16 or fp16.")] = "fp32",
    seed: Seed = 0,
    steps: Annotated[int | None, typer.Option(help="Instead of the preset's.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Another setting of the preset."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in DIR.")] = False,
    compile: Annotated[bool, typer.Option("--compile", help="Use torch.compile.")] = False,
    accumulate: Annotated[
        int, typer.Option(help="Parts a batch is cut into: the losses take less memory.")
    ] = 1,
    save_seconds: Annotated[float, typer.Option(help="Between two saved states.")] = 60,
    save_steps: Annotated[int | None, typer.Option(help="Save after so many steps too.")] = None,
) -> None:
    """Train a model; Ctrl-C stops it, and the same command with --resume goes on exactly.

    \b
    Examples:
      course train gan
      course train dcgan --preset full --precision bf16 --data folder:~/faces
      course train vae --steps 500 --set latent_dim=2 --set learning_rate=3e-4
      course train lstm --data surnames
      torchrun --nproc-per-node 4 -m course_lib train gan --preset full
    """
    from course_lib.launch import Request, launch

    launch(
        Request(
            *(model, preset, data, out, device, precision, seed, steps, tuple(settings or ())),
            *(resume, compile, accumulate, save_seconds, save_steps),
        )
    )


# --- What a run gave -----------------------------------------------------------------------------


@app.command()
def sample(
    run: RunPath,
    n: Annotated[int, typer.Option("--n", "-n", help="How many.")] = 64,
    out: Annotated[
        Path | None, typer.Option(help="A .png; for texts a .txt. [default: samples.png, or print]")
    ] = None,
    seed: Seed = 0,
) -> None:
    """Draw samples from a trained model.

    \b
    Example: course sample runs/gan-mnist5k-quick-seed0 --n 100 --out digits.png
    """
    from course_lib import families, results

    model, card = families.load_model(run)
    family = families.find(card["family"])
    if out is not None and out.suffix != (".txt" if family.text else ".png"):
        raise ValueError(f"--out must end in {'.txt' if family.text else '.png'}; got {out}")
    drawn = family.sample(model, n, seed=seed)
    if family.text and out is None:
        typer.echo(results.as_text(drawn, card), nl=False)
        return
    path = (out or Path("samples.png")).with_suffix("")
    typer.echo(f"{n} samples: {results.draw_samples(drawn, path, card)}")


@app.command()
def evaluate(
    run: RunPath,
    n: Annotated[int, typer.Option("--n", "-n", help="Samples to judge.")] = 1000,
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure a trained model, beside real held-out data and something worthless.

    Images: the share of samples that a classifier is sure of and the classes it finds, where the
    data have classes, and the mean distance to the nearest training image. A VAE: ELBO and IWAE
    bound of held-out images, in nats. Points: covered modes. Texts: bits a character.

    \b
    Example: course evaluate runs/gan-mnist5k-quick-seed0
    """
    from course_lib import families, results

    model, card = families.load_model(run)
    family, config = families.find(card["family"]), families.config_of(card)
    data = families.data_for(family, config, card["data"])
    now = families.describe(card["family"], card["preset"], config, data, card["data"])
    if now["shape"] != card["shape"] or now.get("vocabulary") != card.get("vocabulary"):
        raise ValueError(
            f"the data {card['data']} are not those of the run any more: shape {now['shape']}, "
            f"{card['shape']} when it was trained; bring back the data as they were"
        )
    if now["data_digest"] != card["data_digest"]:
        warnings.warn(f"the data {card['data']} have changed since the training", stacklevel=1)
    report = results.evaluate(family, config, model, data, n=n, seed=seed, device=device)
    typer.echo(json.dumps(report, indent=1) if as_json else results.report_table(report))


@app.command("results")
def show_results(
    run: Annotated[
        Path | None, typer.Option("--record", metavar="RUN", help="Add this finished run.")
    ] = None,
    folder: Annotated[Path, typer.Option(metavar="DIR", help="Where the record is.")] = Path(
        "results"
    ),
) -> None:
    """List the recorded full-size runs, or record one.

    \b
    Example: course results --record runs/dcgan-mnist5k-full-seed0
    """
    from course_lib import results

    if run is not None:
        typer.echo(f"recorded: {results.record(run, folder)}")
        return
    rows = results.recorded(folder)
    typer.echo(results.table(rows) if rows else f"no run is recorded in {folder} yet")


# --- What there is -------------------------------------------------------------------------------


@app.command()
def models() -> None:
    """List the models with their presets, and what training them needs.

    \b
    Example: course models
    """
    from course_lib.families import overview
    from course_lib.results import table

    typer.echo(table(overview()))
    typer.echo("\nTrain one with, for example: course train gan --preset quick")


@app.command("data")
def show_data(
    name: Annotated[
        str | None, typer.Argument(metavar="[SPEC]", help="A data set, a folder or a text file.")
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw its first examples: a .png.")] = None,
) -> None:
    """List the built-in data sets, or look at one, or at a folder or text of your own.

    \b
    Examples:
      course data
      course data glyphs --picture glyphs.png
    """
    from course_lib import datasets, families, results

    if name is None:
        rows = [
            {"name": key, "what": about.description, "licence": about.licence}
            for key, about in datasets.BUILT_IN.items()
        ]
        typer.echo(results.table(rows))
        typer.echo("\nBesides: a folder of images, a text file, and hub:NAME")
        return
    data = families.load(name)
    typer.echo(repr(data))
    typer.echo(f"source    {getattr(data, 'source', 'generated')}")
    typer.echo(f"licence   {getattr(data, 'licence', 'none needed')}")
    first = families.halves(data)[0]
    if not first.is_floating_point():
        typer.echo(data.decode(first[:400]))  # type: ignore[union-attr]
    if picture is not None:
        if picture.suffix != ".png" or not first.is_floating_point():
            raise ValueError(f"--picture must be a .png of images or points; got {picture}")
        shown = first[:64] if first.ndim == 4 else first[:2000]
        typer.echo(f"picture   {results.draw_samples(shown, picture.with_suffix(''))}")


@app.command()
def bench() -> None:
    """Measure how fast the models train on this machine.

    \b
    Example: course bench
    """
    from course_lib import bench

    typer.echo(bench.table(bench.measure()))
