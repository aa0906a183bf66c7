"""Owns the command line of `threadline`: its commands, their flags, and how each ends. What they do is in `commands`.

Modules are imported by the command that needs them, so that `--help` and `migrate` need not wait for the others.
"""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from threadline.commands.exits import CommandFailed, ExitCode
from threadline.commands.logs import Facts, set_up_logging
from threadline.environment import Source
from threadline.graphs.configuration import Configuration, load_configuration
from threadline.graphs.errors import ConfigurationError
from threadline.settings import Settings, SettingsError, export_variables, load_settings

logger = logging.getLogger("threadline.cli")

# Flag to variable: a flag is the strongest source of a setting, and is checked and refused like one.
FLAGS = {
    "host": ("THREADLINE_HOST", "address to listen on"),
    "port": ("THREADLINE_PORT", "port to listen on; 0 takes a free one"),
    "workers": ("THREADLINE_WORKERS", "processes, each with API and worker"),
    "config": ("THREADLINE_CONFIG", "the langgraph.json that names the graphs"),
    "data-dir": ("THREADLINE_DATA_DIR", "folder of the embedded PostgreSQL, used without DATABASE_URL"),
}


class Setup(NamedTuple):
    """What a command starts from."""

    settings: Settings
    configuration: Configuration
    flags: dict[str, str]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that is named and return its exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    parser = _make_child_parser() if words[:1] == ["child"] else _make_parser()
    options = parser.parse_args(words)
    command: Callable[[argparse.Namespace], None] = options.command
    try:
        command(options)
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
    everything = tuple(FLAGS)
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
    ingest = _add(commands, "ingest", _ingest, ("config", "data-dir"), "put documents into the assistant's index")
    ingest.add_argument(
        "paths", metavar="PATH", nargs="+", type=Path, help="a file or folder of Markdown, HTML, text and PDF"
    )
    demo = _add(commands, "demo", _demo, (), "play the life of a run through HTTP, and exit")
    demo.add_argument("--docs", metavar="PATH", type=Path, help="your own documents instead of the project's")
    return parser


def _make_child_parser() -> argparse.ArgumentParser:
    """The command of a child of `serve`, which starts it: not for people, so it is listed nowhere."""
    parser = argparse.ArgumentParser(prog="threadline", add_help=False)
    parser.add_argument("name")
    parser.add_argument("link", type=int)
    parser.set_defaults(command=_child)
    return parser


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
    parser.set_defaults(command=command)
    return parser


def _set_up(options: argparse.Namespace, *, needs_graphs: bool = True, facts: Facts = dict) -> Setup:
    """Read what the command was given. Raises SettingsError or ConfigurationError."""
    names = (variable for variable, _ in FLAGS.values())
    flags = {name: value for name in names if (value := getattr(options, name, None)) is not None}
    return _read(flags, needs_graphs=needs_graphs, facts=facts)


def _read(flags: dict[str, str], *, needs_graphs: bool = True, facts: Facts = dict) -> Setup:
    settings = load_settings(flags)
    path = settings.server.config
    if not needs_graphs and not path.exists():
        set_up_logging(settings.server.log_level, as_json=settings.server.log_json)
        return Setup(settings, Configuration(path, {}), flags)
    configuration = load_configuration(path)
    # What langgraph.json sets for its graphs counts for us as well, as it does on other servers.
    settings = load_settings(flags, graphs=Source(str(configuration.path), configuration.env))
    export_variables(configuration.env)
    set_up_logging(settings.server.log_level, as_json=settings.server.log_json, facts=facts)
    return Setup(settings, configuration, flags)


def _warn_of_keys(configuration: Configuration) -> None:
    """Say what langgraph.json asks for in vain. What only the building of images reads is left to that."""
    unused = [key for key in configuration.unused_keys if key in configuration.sections]
    if unused or configuration.unknown_keys:
        facts = {"not_supported": ",".join(unused), "unknown": ",".join(configuration.unknown_keys)}
        logger.warning("config.keys_ignored", extra={"file": str(configuration.path), **facts})


def _serve(options: argparse.Namespace) -> None:
    from threadline.commands.serve import serve

    setup = _set_up(options)
    _warn_of_keys(setup.configuration)
    serve(setup.settings, setup.flags, local_model=options.local_model)


def _child(options: argparse.Namespace) -> None:
    from threadline.commands.child import run_child
    from threadline.commands.link import ParentLink
    from threadline.commands.process import graph_facts

    parent = ParentLink(options.link)
    orders = parent.read_orders()
    setup = _read(dict(orders.flags), facts=graph_facts)
    run_child(setup.settings, setup.configuration, orders, parent)


def _api(options: argparse.Namespace) -> None:
    from threadline.commands.process import graph_facts
    from threadline.commands.roles import serve_api

    setup = _set_up(options, facts=graph_facts)
    _warn_of_keys(setup.configuration)
    serve_api(setup.settings, setup.configuration)


def _worker(options: argparse.Namespace) -> None:
    from threadline.commands.process import graph_facts
    from threadline.commands.roles import work

    setup = _set_up(options, facts=graph_facts)
    _warn_of_keys(setup.configuration)
    work(setup.settings, setup.configuration)


def _migrate(options: argparse.Namespace) -> None:
    from threadline.commands.migrate import migrate_database

    migrate_database(_set_up(options, needs_graphs=False).settings)


def _ingest(options: argparse.Namespace) -> None:
    from threadline.commands.ingest import ingest

    ingest(_set_up(options, needs_graphs=False).settings, options.paths)


def _demo(options: argparse.Namespace) -> None:
    from threadline.commands.demo.story import play

    play(load_settings().database, options.docs)


if __name__ == "__main__":
    sys.exit(main())
