"""What a character Transformer learns from a million characters of Python, and what it writes.

Writes results/python_source.json, which chapter 13 shows: bits per character after pre-training,
texts that the model writes and how many of its functions Python can parse; then fine-tuning on a
module of PyTorch, beside training on that module alone. About 15 minutes on one CPU core; what is
recorded already with the same settings is kept, and so are the weights, in runs/.
"""

from __future__ import annotations

import ast
import re
import time
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer
from language_models import RESULTS, Record, Run, bits, count, difference, quiet, shown
from torch import Tensor

from course_lib import datasets, transformer
from course_lib.autoregressive import generate
from course_lib.checkpoints import load_checkpoint, read_card, save_checkpoint
from course_lib.data_types import TextData
from course_lib.transformer import TransformerLanguageModel

WEIGHTS = RESULTS.parent / "runs" / "python_source.safetensors"
CURVE = 100  # points of the curve of the loss, at most

PRETRAINING: dict[str, Any] = {
    "steps": 3600,
    "batch_size": 12,
    "context": 128,
    "layers": 2,
    "heads": 4,
    "width": 128,
    "positions": "rotary",
    "learning_rate": 4e-3,
    "warmup_steps": 100,
    "dropout": 0.0,
    "weight_decay": 0.1,
}
# The module's first characters to learn from, those after them held out, then those that the number
# of steps is chosen with.
LEARNT, HELD_OUT, ASIDE = 20_000, 20_000, 10_000
STUDENTS: dict[
    str, tuple[dict[str, Any], list[int]]
] = {  # the settings, and the numbers of steps of which the best is kept
    "fine-tuned": (
        {"batch_size": 4, "learning_rate": 1e-3, "dropout": 0.1, "warmup_steps": 10},
        [200, 400, 800],
    ),
    "from scratch": (
        {"batch_size": 4, "learning_rate": 3e-3, "dropout": 0.1, "warmup_steps": 50},
        [400, 800, 1600],
    ),
}

CONTINUED = 400  # characters after each prompt
DRAWN: dict[str, Any] = {"temperature": 0.8, "top_p": 0.95}
PROMPTS: list[tuple[str, dict[str, Any]]] = [
    ("\ndef ", DRAWN),
    ("\nclass ", DRAWN),
    ("\nimport ", DRAWN),
    ("\n    def __init__(self", DRAWN),
    ("\nfor i in range(", DRAWN),
    ("\ndef ", {"temperature": 0.0}),
    ("class ", DRAWN),  # without the newline, which says that a line begins here
]
FUNCTIONS, LONGEST = 50, 600  # functions to draw, and the characters after "def " of each
STATEMENT = re.compile(r"\n(?=\S)")  # what ends a function: a line that is not indented


RECORD = Record(
    "python_source",
    "pre-training: a Transformer learns the first 900,000 characters of python_source (Python's "
    "standard library); bits_per_character is of the 100,000 held-out ones, lower is better, and "
    "train_bits_per_character of the first 100,000 that it learnt from. curve is the mean of the "
    "training loss over the steps since the last point, in bits a character. The learning rate is "
    "the best of 1e-3, 4e-3 and 8e-3 in runs of about 700 steps, and not tuned further. samples "
    f"are continuations of {CONTINUED} characters, one a prompt, whose place in the list is the "
    "seed; none was chosen. functions: "
    f'{FUNCTIONS} texts drawn after "def " at the beginning of a line, {LONGEST} characters each, '
    "with the same temperature and top_p. A function is whole if a line that is not indented "
    "follows within these characters; it is cut there, and parsed if ast.parse accepts it. "
    "lines are those of the texts, without blank ones, comments and the last one; lines_parsed "
    "those that ast.parse accepts alone, without indentation and with pass after a final colon. "
    "real_functions: the same of every line of the held-out text that begins with def. "
    f"The other rows: loss.py of torch.nn.modules, {LEARNT:,} characters to learn from and "
    f"the {HELD_OUT:,} after them held out; bits_per_character is of these. The pre-trained model "
    "alone has seen none of it; fine-tuned begins with its weights, from scratch with random ones. "
    "Both train as many steps as, of those in steps_tried and with the seed 0, predict "
    f"{ASIDE:,} further characters best (bits_aside). A seed gives the order of training, dropout "
    "and the random weights; the pre-trained model and the texts are the same. difference is from "
    "scratch minus fine-tuned over the seeds.",
    ["pre-training", "pre-trained alone", *STUDENTS],
    difference,
)


# --- What a model writes -------------------------------------------------------------------------


def continuations(
    data: TextData, model: TransformerLanguageModel, prompts: list[tuple[str, dict[str, Any]]]
) -> list[Run]:
    """One text a prompt, which it begins with."""
    runs = []
    for seed, (prompt, drawn) in enumerate(prompts):
        text = generate(model, data.encode(prompt)[None], CONTINUED, seed=seed, **drawn)
        runs.append({"prompt": prompt, **drawn, "text": data.decode(text[0])})
    return runs


def parses(code: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes in strings
            ast.parse(code)
    except SyntaxError:
        return False
    return True


def judge(texts: list[str]) -> dict[str, int]:
    """How many functions are whole, and what of them and of their lines Python can parse.

    Args:
        texts: each begins with a function.
    """
    ends = [(text, STATEMENT.search(text)) for text in texts]
    whole = [text[: end.start()] for text, end in ends if end is not None]
    lines = [line.strip() for text in texts for line in text.split("\n")[:-1]]
    lines = [line for line in lines if line and not line.startswith("#")]
    return {
        "drawn": len(texts),
        "whole": len(whole),
        "parsed": sum(map(parses, whole)),
        "lines": len(lines),
        "lines_parsed": sum(parses(line + " pass" * line.endswith(":")) for line in lines),
    }


def functions(data: TextData, model: TransformerLanguageModel) -> dict[str, dict[str, int]]:
    """The model's functions, and those of the held-out text cut to the same length."""
    prompt = data.encode("\n\n\ndef ").expand(FUNCTIONS, -1)
    drawn = [data.decode(text)[3:] for text in generate(model, prompt, LONGEST, seed=0, **DRAWN)]
    held_out = data.decode(data.test_tokens)
    starts = [match.end() for match in re.finditer(r"\n(?=def )", held_out)]
    real = [held_out[start : start + len("def ") + LONGEST] for start in starts]
    return {"functions": judge(drawn), "real_functions": judge(real)}


# --- Pre-training --------------------------------------------------------------------------------


def pretrained(data: TextData) -> TransformerLanguageModel:
    """The model that knows the standard library: read from runs/, or trained and recorded."""
    config, size = transformer.configure("quick", **PRETRAINING), len(data.vocabulary)
    settings = shown(asdict(config))
    model = transformer.build(config, size)
    if not WEIGHTS.exists() or read_card(WEIGHTS)["settings"] != settings:
        since = time.process_time()
        trained = transformer.train_transformer(
            data.train_tokens, size, trainer=quiet(0), **PRETRAINING
        )
        seconds = round(time.process_time() - since, 1)
        every = -(-config.steps // CURVE)
        losses = np.array(trained.history["cross_entropy"]) / np.log(2)
        ends = [*range(every, config.steps, every), config.steps]
        curve = {
            "steps": ends,
            "bits": [round(float(losses[max(0, end - every) : end].mean()), 4) for end in ends],
        }
        card = {
            "preset": "quick",
            "data": data.name,
            "seed": 0,
            "metrics": {"processor_seconds": seconds, "curve": curve},
            "settings": settings,
        }
        save_checkpoint(WEIGHTS, trained.model, card)
    metrics = load_checkpoint(WEIGHTS, model)["metrics"]
    model.eval()
    drawing = {"prompts": PROMPTS, "continued": CONTINUED, "functions": [FUNCTIONS, LONGEST]}
    if not RECORD.has("pre-training", 0, settings | drawing):
        run = {
            "seed": 0,
            "bits_per_character": bits(model, data.test_tokens),
            "train_bits_per_character": bits(model, data.train_tokens[:100_000]),
            "steps": config.steps,
            "parameters": count(model),
            **metrics,
            **functions(data, model),
            "samples": continuations(data, model, PROMPTS),
        }
        RECORD.keep("pre-training", run, settings | drawing)
    return model


# --- Fine-tuning ---------------------------------------------------------------------------------


def module(data: TextData) -> tuple[Tensor, ...]:
    """The characters to learn from, those held out, and those to choose the steps with."""
    path = Path(torch.nn.__file__).parent / "modules" / "loss.py"
    text = "".join(c for c in path.read_text(encoding="utf-8") if c in data.vocabulary)
    return data.encode(text[: LEARNT + HELD_OUT + ASIDE]).split([LEARNT, HELD_OUT, ASIDE])


def main(seeds: int = 3) -> None:
    """Pre-train once, then learn the module with every seed in both ways."""
    torch.set_num_threads(1)
    data = datasets.python_source()
    start, size = pretrained(data), len(data.vocabulary)
    learnt, held_out, aside = module(data)
    pretraining = asdict(transformer.configure("quick", **PRETRAINING))
    alone: Run = {"seed": 0, "bits_per_character": bits(start, held_out)}
    RECORD.keep("pre-trained alone", alone, pretraining)
    for row, (changes, grid) in STUDENTS.items():
        config = asdict(transformer.configure("quick", **(PRETRAINING | changes)))
        settings = config | {"pretraining": pretraining, "steps_tried": grid}
        for seed in range(seeds):
            if RECORD.has(row, seed, settings):
                continue
            # The first seed chooses for all.
            steps_tried = grid if seed == 0 else [RECORD.runs(row)[0]["steps"]]
            since, models, tried = time.process_time(), {}, {}
            for steps in steps_tried:
                models[steps] = transformer.train_transformer(
                    *(learnt, size),
                    start=start if row == "fine-tuned" else None,
                    trainer=quiet(seed),
                    **(PRETRAINING | changes | {"steps": steps}),
                ).model
                tried[steps] = bits(models[steps], aside)
            best = min(tried, key=tried.__getitem__)
            run: Run = {
                "seed": seed,
                "bits_per_character": bits(models[best], held_out),
                "train_bits_per_character": bits(models[best], learnt),
                "steps": best,
                "bits_aside": tried,
                "processor_seconds": round(time.process_time() - since, 1),
            }
            if seed == 0:
                run["samples"] = continuations(data, models[best], [("\nclass Linear(", DRAWN)])
            RECORD.keep(row, run, settings)


if __name__ == "__main__":
    typer.run(main)
