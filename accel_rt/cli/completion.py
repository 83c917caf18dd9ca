"""``accel-rt completion``: the script that completes commands and options in a shell."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script for SHELL.

    \b
    bash: add  eval "$(accel-rt completion bash)"  to ~/.bashrc
    zsh:  add  eval "$(accel-rt completion zsh)"   to ~/.zshrc
    fish: accel-rt completion fish > ~/.config/fish/completions/accel-rt.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None  # click has every shell that the argument allows
    cli = context.find_root().command
    click.echo(kind(cli, {}, "accel-rt", "_ACCEL_RT_COMPLETE").source())
