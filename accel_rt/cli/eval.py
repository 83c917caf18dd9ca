"""``accel-rt eval``: what a model gains on labelled video. Without a subcommand: ``run``."""

from __future__ import annotations

from typing import Any

import click

from accel_rt.cli.eval_diff import diff
from accel_rt.cli.eval_kept import kept
from accel_rt.cli.eval_paper import paper
from accel_rt.cli.eval_run import run
from accel_rt.cli.eval_schedules import schedules


class _RunByDefault(click.Group):
    """A group whose first argument may be ``run``'s."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.commands:
            args = [run.name or "run", *args]
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0].startswith("-") and args[0] not in ctx.help_option_names:
            args = [run.name or "run", *args]
        return super().parse_args(ctx, args)


@click.group(name="eval", cls=_RunByDefault, no_args_is_help=True)
def evaluation(**_: Any) -> None:
    """Measure accuracy, steadiness and cost on labelled video.

    'accel-rt eval DATA' is 'accel-rt eval run DATA'. DATA is a folder in Cityscapes' or CamVid's
    layout or with images/, labels/ and classes.json, or street:SEED:FRAMES for a rendered drive.
    """


for _command in (run, paper, schedules, kept, diff):
    evaluation.add_command(_command)
