"""Owns the command line of `threadline`: its commands, their flags, and how each ends. What they do is in `commands`.

Modules are imported by the command that needs them, so that `--help` and `migrate` need not wait for the others.
"""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path

from threadline.commands.arguments import (
    add_adopt_arguments,
    add_diff_arguments,
    add_doctor_arguments,
    add_export_arguments,
    add_fork_arguments,
    add_history_arguments,
    add_replay_arguments,
)
from threadline.commands.collector import collect_seldom
from threadline.commands.encryption import add_encryption_commands
from threadline.commands.exits import CommandFailed, ExitCode, leave_output
from threadline.graphs.configuration import Configuration
from threadline.graphs.errors import ConfigurationError
from threadline.preparation import FLAGS, flags_of, read_setup, set_up
from threadline.settings import SettingsError, load_settings

logger = logging.getLogger("threadline.cli")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that is named and return its exit code."""
    collect_seldom()
    words = sys.argv[1:] if arguments is None else arguments
    parser = _make_child_parser() if words[:1] == ["child"] else _make_parser()
    options = parser.parse_args(words)
    command: Callable[[argparse.Namespace], None] = options.command
    try:
        command(options)
        sys.stdout.flush()
    except BrokenPipeError:
        return leave_output()
    except (SettingsError, ConfigurationError) as error:
        return _fail(options, error, ExitCode.MISUSED)
    except CommandFailed as error:
        return _fail(options, error, error.code)
    except KeyboardInterrupt:
        return ExitCode.ABANDONED
    except Exception as error:
        from threadline.commands.databases import is_of_the_database

        if not is_of_the_database(error):
            raise
        return _fail(options, error, ExitCode.FAILED)
    return ExitCode.DONE


def _fail(options: argparse.Namespace, error: Exception, code: ExitCode) -> int:
    print(f"threadline {options.name}: {error}", file=sys.stderr)
    return code


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="threadline",
        description="Runs LangGraph workflows durably on your own PostgreSQL.",
        epilog="Settings are variables; flags win over them. `threadline COMMAND --help` says more.",
    )
    parser.add_argument("--version", action="version", version=f"threadline {version('threadline')}")
    commands = parser.add_subparsers(title="commands", dest="name", metavar="COMMAND", required=True)
    everything = tuple(flag for flag in FLAGS if flag != "database")
    _add(
        commands, "serve", _serve, everything, "serve the API and execute runs, with a PostgreSQL of its own if need be"
    )
    _add(commands, "api", _api, ("host", "port", "config", "data-dir"), "serve the API only; workers execute the runs")
    _add(commands, "worker", _worker, ("config", "data-dir"), "execute runs only, without a port")
    _add(commands, "migrate", _migrate, ("config", "data-dir"), "bring the database's schema up to date")
    serve = commands.choices["serve"]
    serve.add_argument(
        "--local-model", action="store_true", help="let a small model of this machine write the answers, with no key"
    )
    _add_migration(commands)
    add_encryption_commands(commands, _add, set_up)
    ingest = _add(commands, "ingest", _ingest, ("config", "data-dir"), "put documents into the assistant's index")
    ingest.add_argument("paths", metavar="PATH", nargs="+", type=Path, help="a file or folder of documents")
    _add_past(commands)
    demo = _add(commands, "demo", _demo, (), "play the life of a run through HTTP, and exit")
    demo.add_argument("--docs", metavar="PATH", type=Path, help="your own documents instead of the project's")
    traces = commands.add_parser("traces", help="send traces to LangSmith that it did not take")
    of_traces = traces.add_subparsers(title="commands", dest="action", metavar="COMMAND", required=True)
    summary = "send what waits in the folder of unsent traces, and remove it from there"
    _add(of_traces, "resend", _resend_traces, ("config", "data-dir"), summary)
    return parser


def _make_child_parser() -> argparse.ArgumentParser:
    """The command of a child of `serve`, which starts it: not for people, so it is listed nowhere."""
    parser = argparse.ArgumentParser(prog="threadline", add_help=False)
    parser.add_argument("name")
    parser.add_argument("link", type=int)
    parser.set_defaults(command=_child)
    return parser


def _add_migration(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands for people who come from another server."""
    summary = "say what of a langgraph.json and of an existing database will work, and what will not"
    add_doctor_arguments(_add(commands, "doctor", _doctor, ("config", "database", "data-dir"), summary))
    summary = "make threads that LangGraph's PostgresSaver left known to clients"
    add_adopt_arguments(_add(commands, "adopt", _adopt, ("config", "database", "data-dir"), summary))


def _add_past(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands that look back; none of them executes anything."""
    flags = ("config", "data-dir")
    summary = "play a stored run again, without executing anything"
    add_replay_arguments(_add(commands, "replay", _replay, flags, summary))
    summary = "show a thread's steps: nodes, times, and what changed"
    add_history_arguments(_add(commands, "history", _history, flags, summary))
    add_diff_arguments(_add(commands, "diff", _diff, flags, "compare two checkpoints, of one thread or of two"))
    add_fork_arguments(_add(commands, "fork", _fork, flags, "begin a new thread where another one was"))
    add_export_arguments(_add(commands, "export", _export, flags, "write threads, runs, events and steps to files"))


def _add(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    command: Callable[[argparse.Namespace], None],
    flags: Sequence[str],
    summary: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=summary, description=f"{summary[:1].upper()}{summary[1:]}.")
    for flag in flags:
        variable, meaning = FLAGS[flag]
        # As text: the settings check it, and tell what is wrong with it in their own words.
        parser.add_argument(f"--{flag}", dest=variable, metavar=flag.upper(), help=f"{meaning} ({variable})")
    parser.set_defaults(command=partial(_checked, command) if flags else command)
    return parser


def _checked(command: Callable[[argparse.Namespace], None], options: argparse.Namespace) -> None:
    """Refuse settings that cannot be meant before the command imports what it needs, for which nobody need wait."""
    load_settings(flags_of(options))
    command(options)


def _check_keys(configuration: Configuration) -> None:
    """Name what langgraph.json asks for in vain."""
    for notice in configuration.notices:
        facts = {"file": str(configuration.path), "key": notice.key, "problem": notice.text}
        logger.warning("config.key_ignored", extra=facts)


def _serve(options: argparse.Namespace) -> None:
    from threadline.commands.serve import serve

    setup = set_up(options)
    _check_keys(setup.configuration)
    serve(setup.settings, setup.flags, local_model=options.local_model)


def _child(options: argparse.Namespace) -> None:
    from threadline.commands.child import run_child
    from threadline.commands.link import ParentLink
    from threadline.commands.process import graph_facts

    parent = ParentLink(options.link)
    orders = parent.read_orders()
    setup = read_setup(dict(orders.flags), facts=graph_facts)
    run_child(setup.settings, setup.configuration, orders, parent)


def _api(options: argparse.Namespace) -> None:
    from threadline.commands.process import graph_facts
    from threadline.commands.roles import serve_api

    setup = set_up(options, facts=graph_facts)
    _check_keys(setup.configuration)
    serve_api(setup.settings, setup.configuration)


def _worker(options: argparse.Namespace) -> None:
    from threadline.commands.process import graph_facts
    from threadline.commands.roles import work

    setup = set_up(options, facts=graph_facts)
    _check_keys(setup.configuration)
    work(setup.settings, setup.configuration)


def _migrate(options: argparse.Namespace) -> None:
    from threadline.commands.migrate import migrate_database

    migrate_database(set_up(options, needs_graphs=False).settings)


def _doctor(options: argparse.Namespace) -> None:
    from threadline.commands.doctor import diagnose

    setup = set_up(options)
    diagnose(setup.settings, setup.configuration, threads=options.threads, as_json=options.json)


def _adopt(options: argparse.Namespace) -> None:
    from threadline.commands.adopt import adopt

    setup = set_up(options)
    adopt(setup.settings, setup.configuration, options.graph, options.metadata)


def _ingest(options: argparse.Namespace) -> None:
    from threadline.commands.ingest import ingest

    ingest(set_up(options, needs_graphs=False).settings, options.paths)


def _resend_traces(options: argparse.Namespace) -> None:
    from threadline.commands.traces import resend_traces

    resend_traces(set_up(options, needs_graphs=False).settings)


def _replay(options: argparse.Namespace) -> None:
    from threadline.commands.replay import Selection, make_pace, replay

    selection = Selection(options.run, options.thread, options.from_seq, options.internal)
    replay(set_up(options, needs_graphs=False).settings, selection, make_pace(options.speed, options.max_gap))


def _history(options: argparse.Namespace) -> None:
    from threadline.commands.history import show_history

    settings = set_up(options, needs_graphs=False).settings
    show_history(settings, options.thread, limit=options.limit, subgraphs=options.subgraphs, as_json=options.json)


def _diff(options: argparse.Namespace) -> None:
    from threadline.commands.diff import show_diff

    show_diff(set_up(options, needs_graphs=False).settings, options.a, options.b, as_json=options.json)


def _fork(options: argparse.Namespace) -> None:
    from threadline.commands.fork import fork_thread

    fork_thread(set_up(options, needs_graphs=False).settings, options.thread, options.at, options.set)


def _export(options: argparse.Namespace) -> None:
    from threadline.commands.export import export_threads, make_order

    order = make_order(options.out, options.format, options.thread, options.since)
    export_threads(set_up(options, needs_graphs=False).settings, order)


def _demo(options: argparse.Namespace) -> None:
    from threadline.commands.demo.story import play

    play(load_settings().database, options.docs)


if __name__ == "__main__":
    sys.exit(main())
