"""Owns the differences from the reference that are known: those that stay, and those that are still to go."""

from threadline.tests.contract.rules import Rule

GONE = "<missing>"

# What an entry means, and why it stays, is said under its name in docs/compatibility.md.
INTENDED = (
    Rule("error-text", "body.detail"),
    Rule("cancel-reason", "body.error.message", theirs="*via POST*|client*", ours="interrupt requested"),
    Rule("refused-nonsense", "status", call="GET *=*", theirs="200*|400*", ours="422*"),
    Rule("refused-nonsense", "status", call="POST /threads/zzz/copy", theirs="400*", ours="422*"),
    Rule("refused-nonsense", "status", call="POST /assistants/*/latest", theirs="404 *None*", ours="422*"),
    Rule("refused-nonsense", "status", call="POST /threads/zzz/runs/*", theirs="400*", ours="422*"),
    Rule("refused-nonsense", "status", call="*cancel?action=zzz", theirs="404*", ours="422*"),
    Rule("refused-nonsense", "status", scenario="an_unknown_command_is_a_mistake", ours="422*"),
    Rule("refused-nonsense", "status", scenario="a_resumable_stream_is_replayed", ours="422*Last-Event-ID*"),
    Rule("history-limit", "body", call="GET */history"),
    Rule("history-before", "status", call="POST */history", theirs="500*|422*", ours="200*"),
    Rule("event-ids", "events[].id", theirs=GONE, ours="<event id>"),
    Rule("root-chunks", "events", scenario="langchain_events_are_streamed"),
    Rule("root-chunks", "events", scenario="subgraphs_are_streamed"),
    Rule("both-message-modes", "events", scenario="several_modes_are_streamed_together"),
    Rule("thread-fields", "body*.error", theirs=GONE, ours="None", call="* /threads*"),
    Rule("thread-fields", "body*.interrupts", theirs=GONE, ours="{}", call="* /threads*"),
    Rule("thread-config", "body.config.configurable", theirs="{}", ours=GONE),
    Rule("thread-graph", "body*.metadata.graph_id", scenario="a_second_run_*"),
    Rule("thread-graph", "body*.metadata.assistant_id", scenario="a_second_run_*"),
    Rule("rollback-leaves-no-error", "body.error", theirs="*UserRollback*", ours="None"),
    Rule("rollback-of-pending", "body.status", scenario="a_delayed_run_is_rolled_back", theirs="busy", ours="idle"),
    Rule("run-kwargs", "*.kwargs.config.configurable.*", ours=GONE),
    Rule("run-kwargs", "*.kwargs.config.metadata", ours=GONE),
    Rule("run-kwargs", "*.kwargs.checkpoint_during"),
    Rule("run-kwargs", "*.kwargs.stream_mode", scenario="several_modes_are_streamed_together"),
    Rule("run-configurable", "events[].*config.configurable.*", ours=GONE),
    Rule("run-metadata", "*langgraph_*", ours=GONE),
    Rule("run-metadata", "*.metadata.user_id", theirs="", ours=GONE),
    Rule("run-metadata", "*.metadata.thread_id", ours=GONE),
    Rule("run-metadata", "*.metadata.graph_id", ours=GONE),
    Rule("run-metadata", "*.metadata.checkpoint_*", ours=GONE),
    Rule("run-metadata", "body.metadata.graph_id", call="POST /runs", theirs=GONE),
    Rule("run-deletion", "body*", scenario="a_run_is_created_and_looked_up", call="GET */state"),
    Rule("claimed-at-once", "body*.status", theirs="pending", ours="running"),
    Rule("stateless-location", "headers.location", call="POST /runs/stream", ours="/threads/*"),
    Rule("stateless-location", "call*", scenario="a_run_without_a_thread_is_streamed"),
    Rule("stateless-thread", "status", scenario="a_run_without_a_thread_is_created", theirs="404*", ours="200*"),
    Rule("exposed-headers", "headers.access-control-expose-headers"),
    Rule("private-network", "status", call="OPTIONS *", theirs="400*", ours="200*"),
    Rule("private-network", "headers.access-control-allow-private-network", ours=GONE),
    Rule("trailing-slash", "status", call="GET /threads/", theirs="307*", ours="404*"),
    Rule("info", "body.host", call="GET /info", ours=GONE),
    Rule("info", "body.flags.*", call="GET /info"),
    Rule("early-answer", "body*", scenario="an_odd_command_is_told"),
    Rule("interrupted-siblings", "body*.log", scenario="a_command_goes_elsewhere", theirs="[]", ours="*after*"),
    Rule("interrupted-siblings", "body*.n", scenario="a_command_goes_elsewhere", theirs="50", ours="51"),
    Rule("unknown-checkpoint", "status", call="* /threads/*/state/*", theirs="200*|422*", ours="404 *Checkpoint*"),
    Rule("unknown-run", "status", theirs="200*", ours="404 *Run with ID*"),
    Rule("checkpoint-form", "body.checkpoint.checkpoint_ns", theirs=GONE, ours=""),
    Rule("graph-names", "status", call="GET /assistants/*", theirs="422*", ours="200*"),
    Rule("whole-versions", "body.context.*", scenario="an_assistant_has_versions"),
    Rule("thread-config", "body.config.*", scenario="a_run_inherits_from_its_assistant_and_thread"),
    Rule("copy-of-nothing", "status", call="POST /threads/*/copy", theirs="409*", ours="404*"),
    Rule("thread-copy", "body.values", scenario="*thread_is_copied*", theirs=GONE),
    Rule("thread-copy", "body.config.configurable", scenario="*thread_is_copied*", theirs=GONE, ours="{}"),
    Rule("thread-copy", "body.status", scenario="*_copied*", theirs="idle", ours="interrupted"),
    Rule("thread-copy", "body.*", scenario="an_interrupted_thread_is_copied"),
    Rule("keep-latest", "status", call="POST /threads/prune", theirs="422*in-memory*", ours="200*"),
    Rule("superstep-failure", "status", call="POST /threads", theirs="201*", ours="400*"),
    Rule("thread-ttl", "body.ttl", call="GET /threads/*", theirs=GONE),
    Rule("stream-place", "events", scenario="a_run_with_a_gate_streams_what_follows"),
)


def _not_yet(part: str, *scenarios: str) -> tuple[Rule, ...]:
    """Return that these scenarios meet what is not built, or not alike."""
    return tuple(Rule(part, "*", scenario=scenario) for scenario in scenarios)


NOT_YET = (
    *_not_yet("crons", "*cron*"),
    *_not_yet("webhooks", "*webhook*"),
    *_not_yet(
        "events",
        "a_run_is_started_by_a_command",
        "only_the_channels_*",
        "messages_are_sent_in_parts",
        "a_subgraph_has_*",
        "a_failed_run_says_so",
        "a_question_is_asked_by_*",
        "commands_of_nonsense_*",
        "event_streams_of_nonsense_*",
        "events_are_taken_up_*",
    ),
    *_not_yet("agents", "the_mcp_*", "a_tool_*", "an_agent_*"),
    *_not_yet("store", "an_item_*", "items_*", "namespaces_are_*"),
    *_not_yet("runs", "runs_are_*cancelled*", "all_pending_*", "several_runs_*", "a_run_is_not_created_from_nonsense"),
    *_not_yet("streams", "a_thread_is_followed"),
)
