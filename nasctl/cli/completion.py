"""`nasctl completion`: the script by which a shell completes commands, options, groups and their options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from nasctl.cli.examples import ExampleCommand

__all__ = ["completion"]

BASH = r"""_nasctl_completion() {
    # bash ends a word at "="; the line itself is asked, and what stands before the last "=" is not repeated
    local line="${COMP_LINE:0:COMP_POINT}" words word reply kind value
    read -r -a words <<< "$line"
    [[ "$line" == *" " ]] && words+=("")
    word="${words[-1]}"
    reply=$(env COMP_WORDS="$line" COMP_CWORD=$((${#words[@]} - 1)) _NASCTL_COMPLETE=bash_complete "$1")
    COMPREPLY=()
    while IFS=',' read -r kind value; do
        case "$kind" in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain)
                [[ "$value" == *= ]] && compopt -o nospace
                [[ "$word" == *=* && "$COMP_WORDBREAKS" == *=* ]] && value="${value#*=}"
                COMPREPLY+=("$value") ;;
        esac
    done <<< "$reply"
}
complete -o nosort -F _nasctl_completion nasctl
"""
"""click's own script takes the words as bash splits them, which no KEY=VALUE survives."""

EXAMPLES = """
nasctl completion bash >> ~/.bashrc
nasctl completion zsh >> ~/.zshrc
nasctl completion fish > ~/.config/fish/completions/nasctl.fish
"""


@click.command(cls=ExampleCommand, examples=EXAMPLES)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the shell script that completes commands and settings."""
    known = get_completion_class(shell)
    if shell == "bash" or known is None:
        click.echo(BASH, nl=False)
    else:
        click.echo(known(ctx.find_root().command, {}, "nasctl", "_NASCTL_COMPLETE").source())
