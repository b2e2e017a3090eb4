"""``railscribe policy``: the verbs about policies, each in a module of its own."""

from __future__ import annotations

import typer

from railscribe.cli import (
    policy_compile,
    policy_diff,
    policy_lint,
    policy_log,
    policy_push,
    policy_show,
    policy_test,
)

app = typer.Typer(
    help="Policies: what they say, and what becomes of them.", no_args_is_help=True, rich_markup_mode=None
)
app.command("compile")(policy_compile.compile_)
app.command("lint")(policy_lint.lint_policies)
app.command("test")(policy_test.run_cases)
app.command("show")(policy_show.show)
app.command("diff")(policy_diff.diff_)
app.command("push")(policy_push.push)
app.command("tag")(policy_push.tag_)
app.command("list")(policy_log.list_)
app.command("log")(policy_log.log)
