"""Owns which permission a route asks for, by its method and path: the one list that the guard goes by.

A route that is not listed is closed wherever the project has rules of its own. Routes that create, search, or take
ids in their body are marked as asking by themselves: `runs.callers.permit` is what they ask.
"""

import re
from typing import NamedTuple

# Whether the server lives, and which it is: asked for by those who have no key yet.
OPEN_PATHS = frozenset({"/", "/ok", "/info"})


class Rule(NamedTuple):
    """What a route needs: `action` on the `resource` that its path names. Without a resource it asks by itself."""

    methods: frozenset[str]
    path: re.Pattern[str]
    resource: str | None
    action: str


def _rule(methods: str, template: str, resource: str | None = None, action: str = "") -> Rule:
    pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", template).replace("*", ".*")
    return Rule(frozenset(methods.split("|")), re.compile(pattern), resource, action)


ANY = "GET|HEAD|POST|PUT|PATCH|DELETE"
THREAD = "/threads/{thread_id}"

# The first that matches counts.
RULES = (
    _rule("POST", "/threads"),
    _rule("POST", "/threads/search"),
    _rule("POST", "/threads/count"),
    _rule("POST", "/threads/prune"),
    _rule("PATCH", THREAD),
    _rule("POST", f"{THREAD}/runs(?:/wait|/stream)?", "threads", "read"),
    _rule("POST", f"{THREAD}/runs/crons", "threads", "read"),
    _rule("POST", f"{THREAD}/(?:history|state/checkpoint)", "threads", "read"),
    _rule("POST", f"{THREAD}/(?:fork|copy)", "threads", "read"),
    # What a command does is asked about by what it asks for.
    _rule("POST", f"{THREAD}/(?:commands|stream/events)", "threads", "read"),
    _rule("GET|HEAD", f"{THREAD}/runs/{{run_id}}(?:/*)?", "threads", "read"),
    _rule("GET|HEAD", f"{THREAD}(?:/*)?", "threads", "read"),
    _rule("DELETE", f"{THREAD}/runs/{{run_id}}", "threads", "delete"),
    _rule("DELETE", f"{THREAD}(?:/*)?", "threads", "delete"),
    _rule("POST", f"{THREAD}/runs/{{run_id}}/*", "threads", "update"),
    _rule(ANY, f"{THREAD}/*", "threads", "update"),
    _rule("POST", "/assistants"),
    _rule("POST", "/assistants/search"),
    _rule("POST", "/assistants/count"),
    _rule("POST", "/assistants/{assistant_id}/versions", "assistants", "read"),
    _rule("GET|HEAD", "/assistants/{assistant_id}(?:/*)?", "assistants", "read"),
    _rule("DELETE", "/assistants/{assistant_id}(?:/*)?", "assistants", "delete"),
    _rule(ANY, "/assistants/{assistant_id}(?:/*)?", "assistants", "update"),
    _rule("POST", "/runs(?:/wait|/stream|/batch|/cancel)?"),
    _rule("POST", "/runs/crons(?:/search|/count)?"),
    _rule("GET|HEAD", "/runs/crons/{cron_id}", "crons", "read"),
    _rule("PATCH", "/runs/crons/{cron_id}", "crons", "update"),
    _rule("DELETE", "/runs/crons/{cron_id}", "crons", "delete"),
    # Whose the thread of a delivery is, is asked where it is looked up.
    _rule("GET|HEAD", "/webhooks/deliveries(?:/{webhook_id})?"),
    _rule("POST", "/webhooks/deliveries/{webhook_id}/redeliver"),
    _rule("GET|HEAD", "/runs/crons/{cron_id}/fires", "crons", "read"),
    _rule("POST", "/runs/crons/{cron_id}/fires/{fire_id}/retry", "crons", "update"),
    _rule("PUT|GET|HEAD|DELETE", "/store/items"),
    _rule("POST", "/store/(?:items/search|namespaces)"),
    # As with runs: the system's assistants are everybody's, and whose a thread is, is asked where it is looked up.
    _rule("POST", "/mcp/?"),
    _rule("GET|HEAD|POST", "/a2a/{assistant_id}(?:/*)?"),
    _rule("GET|HEAD", r"/\.well-known/agent-card\.json"),
    # What it tells is about all users, but nothing of any: whoever scrapes it has a token of its own.
    _rule("GET|HEAD", "/metrics"),
    _rule("GET|HEAD", "/(?:docs|docs/assets/[^/]+|openapi.json)"),
)


def find_rule(method: str, path: str) -> tuple[Rule, dict[str, str]] | None:
    """Return the rule of a route, and the ids in its path."""
    for rule in RULES:
        if method in rule.methods and (found := rule.path.fullmatch(path)):
            return rule, {name: value for name, value in found.groupdict().items() if value is not None}
    return None
