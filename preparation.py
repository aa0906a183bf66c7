"""Owns what every command starts from: its flags, the settings, the langgraph.json, and the log."""

import argparse
from typing import NamedTuple

from threadline.commands.logs import Facts, set_up_logging
from threadline.commands.project import use_project
from threadline.environment import Source
from threadline.graphs.configuration import Configuration, load_configuration
from threadline.settings import Settings, export_variables, load_settings

# Flag to variable: a flag is the strongest source of a setting, and is checked and refused like one.
FLAGS = {
    "host": ("THREADLINE_HOST", "address to listen on"),
    "port": ("THREADLINE_PORT", "port to listen on; 0 takes a free one"),
    "workers": ("THREADLINE_WORKERS", "processes, each with API and worker"),
    "config": ("THREADLINE_CONFIG", "the langgraph.json that names the graphs"),
    "database": ("DATABASE_URL", "the database, instead of the configured one"),
    "data-dir": ("THREADLINE_DATA_DIR", "folder of the embedded PostgreSQL, used without DATABASE_URL"),
}


class Setup(NamedTuple):
    """What a command starts from."""

    settings: Settings
    configuration: Configuration
    flags: dict[str, str]


def flags_of(options: argparse.Namespace) -> dict[str, str]:
    """Return what was set on the command line, by variable."""
    names = (variable for variable, _ in FLAGS.values())
    return {name: value for name in names if (value := getattr(options, name, None)) is not None}


def set_up(options: argparse.Namespace, *, needs_graphs: bool = True, facts: Facts = dict) -> Setup:
    """Read what the command was given. Raises SettingsError or ConfigurationError."""
    return read_setup(flags_of(options), needs_graphs=needs_graphs, facts=facts)


def read_setup(flags: dict[str, str], *, needs_graphs: bool = True, facts: Facts = dict) -> Setup:
    """Read what a command with these flags starts from, by variable; raises as `set_up` does."""
    settings = load_settings(flags)
    path = settings.server.config
    if not needs_graphs and not path.exists():
        set_up_logging(settings.server.log_level, as_json=settings.server.log_json)
        return Setup(settings, Configuration(path, {}), flags)
    configuration = load_configuration(path)
    # What langgraph.json sets for its graphs counts for us as well, as it does on other servers.
    settings = load_settings(flags, graphs=Source(str(configuration.path), configuration.env))
    export_variables(configuration.env)
    use_project(configuration)
    set_up_logging(settings.server.log_level, as_json=settings.server.log_json, facts=facts)
    return Setup(settings, configuration, flags)
