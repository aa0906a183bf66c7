"""The environment is read once, typed, and refused in words that name the variable."""

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from threadline.environment import Source
from threadline.settings import (
    Settings,
    SettingsError,
    WorkerSettings,
    export_variables,
    load_settings,
    variables_for_program,
)

NO_FILE = Path("/nonexistent/.env")


def load(flags: dict[str, str] | None = None, /, **environ: str) -> Settings:
    return load_settings(flags, environ=environ, env_file=NO_FILE)


def refusal(flags: dict[str, str] | None = None, /, **environ: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load(flags, **environ)
    return str(caught.value)


def test_an_empty_environment_gives_every_default() -> None:
    assert load() == Settings()


def test_an_empty_value_means_the_default() -> None:
    assert load(DATABASE_URL="", THREADLINE_PORT=" ") == Settings()


@pytest.mark.parametrize("name", ["DATABASE_URL", "DATABASE_URI", "POSTGRES_URI"])
def test_the_database_is_found_under_each_known_name(name: str) -> None:
    url = load(**{name: "postgresql://me@db/app"}).database.url
    assert url is not None
    assert url.get_secret_value() == "postgresql://me@db/app"


def test_a_libpq_connection_string_is_a_database_too() -> None:
    url = load(DATABASE_URL="host=/run/postgresql dbname=app").database.url
    assert url is not None
    assert url.get_secret_value() == "host=/run/postgresql dbname=app"


def test_two_names_with_one_value_are_accepted() -> None:
    url = load(DATABASE_URL="postgresql:///a", POSTGRES_URI="postgresql:///a").database.url
    assert url is not None
    assert url.get_secret_value() == "postgresql:///a"


def test_two_names_with_different_values_are_refused_without_showing_them() -> None:
    message = refusal(DATABASE_URL="postgresql://me:first@db/a", POSTGRES_URI="postgresql://me:second@db/a")
    assert message == (
        "DATABASE_URL='postgresql://***' and POSTGRES_URI='postgresql://***' (from the environment) "
        "are names of one setting: keep one of them"
    )


@pytest.mark.parametrize(
    "value",
    [
        "mysql://me:hunter2@db/app",
        "postgresql+psycopg://me:hunter2@db/app",
        "hunter2",
        "postgresql://me:hunter2@[",
    ],
)
def test_a_database_that_is_not_postgres_is_refused_without_its_password(value: str) -> None:
    message = refusal(DATABASE_URL=value)
    assert message.startswith("DATABASE_URL='")
    assert "postgresql://user:password@host:5432/name" in message
    assert "hunter2" not in message


def test_a_direct_url_needs_the_url_that_it_goes_past() -> None:
    message = refusal(DATABASE_DIRECT_URL="postgresql://me:hunter2@db/app")
    assert message == "DATABASE_DIRECT_URL='***' is refused: it must have DATABASE_URL beside it"


def test_secrets_are_masked_wherever_settings_are_printed() -> None:
    settings = load(DATABASE_URL="postgresql://me:hunter2@db/app", OPENAI_API_KEY="sk-hunter2")
    assert "hunter2" not in repr(settings)


def test_secrets_of_webhooks_are_a_list_separated_by_commas() -> None:
    new, old = "whsec_" + "bmV3" * 8, "whsec_" + "b2xk" * 8
    secrets = load(THREADLINE_WEBHOOK_SECRET=f"{new}, {old}").webhooks.secrets
    assert [secret.get_secret_value() for secret in secrets] == [new, old]
    assert "bmV3" not in repr(secrets)


@pytest.mark.parametrize(
    "secret", ["hunter2hunter2", "whsec_aHVudGVyMg==", "whsec_hunter2!" * 3, "whsec_" + "aaaa" * 22]
)
def test_a_secret_of_webhooks_that_is_none_is_refused_without_showing_it(secret: str) -> None:
    message = refusal(THREADLINE_WEBHOOK_SECRET=f"whsec_{'bmV3' * 8},{secret}")
    assert message == (
        "THREADLINE_WEBHOOK_SECRET='***' (from the environment) is refused: it must be `whsec_` and 24 to 64 bytes in "
        "base64, several with commas between them"
    )


def test_durations_are_given_in_seconds() -> None:
    worker = load(
        THREADLINE_LEASE_SECONDS="4.5",
        THREADLINE_LEASE_RENEW_SECONDS="1.5",
        BG_JOB_TIMEOUT_SECS="90",
        BG_JOB_SHUTDOWN_GRACE_PERIOD_SECS="0",
    ).worker
    assert worker.lease == timedelta(seconds=4.5)
    assert worker.lease_renew == timedelta(seconds=1.5)
    assert worker.run_timeout == timedelta(seconds=90)
    assert worker.drain == timedelta(0)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("THREADLINE_PORT", "65536", "a port from 0 to 65535"),
        ("THREADLINE_HOST", "http://localhost", "a host name or an address, without scheme or port"),
        ("DATABASE_POOL_SIZE", "0", "a whole number, 1 or more"),
        ("THREADLINE_MAX_ATTEMPTS", "many", "a whole number, 1 or more"),
        ("THREADLINE_LEASE_SECONDS", "nan", "a number of seconds above 0"),
        ("THREADLINE_POLL_SECONDS", "1e400", "a number of seconds above 0"),
        ("BG_JOB_TIMEOUT_SECS", "1e300", "a number of seconds above 0"),
        ("BG_JOB_SHUTDOWN_GRACE_PERIOD_SECS", "-1", "a number of seconds, 0 or more"),
        ("DATABASE_POOLER", "maybe", "true or false"),
        ("THREADLINE_SETTLED_DAYS", "-1", "a whole number of days, 0 or more"),
        ("SSL_CERT_FILE", "/dev/null", "a readable PEM file of certificates"),
        ("LOG_LEVEL", "loud", "debug, info, warning or error"),
        ("OPENAI_BASE_URL", "localhost:1234", "an http:// or https:// URL"),
    ],
)
def test_nonsense_is_refused_with_variable_value_and_remedy(name: str, value: str, expected: str) -> None:
    message = refusal(**{name: value})
    assert message == f"{name}={value!r} (from the environment) is refused: it must be {expected}"


def test_a_bad_value_is_told_under_the_name_that_was_written() -> None:
    assert refusal(N_JOBS_PER_WORKER="-3").startswith("N_JOBS_PER_WORKER='-3'")


def test_everything_wrong_is_told_at_once() -> None:
    lines = refusal(THREADLINE_PORT="x", LOG_JSON="x", MODEL="x", OPENAI_BASE_URL="x").splitlines()
    assert [line.partition("=")[0] for line in lines] == ["THREADLINE_PORT", "LOG_JSON", "OPENAI_BASE_URL"]


def test_renewing_too_late_for_the_lease_is_refused() -> None:
    message = refusal(THREADLINE_LEASE_SECONDS="1")
    assert "THREADLINE_LEASE_RENEW_SECONDS='0.5' is refused" in message
    assert "at most a third of THREADLINE_LEASE_SECONDS='1'" in message


def test_a_pooler_without_a_direct_url_is_polled_often() -> None:
    assert load(DATABASE_POOLER="on").worker.poll == timedelta(seconds=0.1)
    assert load(DATABASE_POOLER="on", THREADLINE_POLL_SECONDS="2").worker.poll == timedelta(seconds=2)
    urls = {"DATABASE_URL": "postgresql://pooler/a", "DATABASE_DIRECT_URL": "postgresql://db/a"}
    assert load(DATABASE_POOLER="on", **urls).worker.poll == timedelta(seconds=0.5)


def test_a_misspelt_variable_is_told_what_was_meant() -> None:
    assert refusal(THREADLINE_LEASE_SECOND="5") == (
        "THREADLINE_LEASE_SECOND (from the environment) is no setting: did you mean THREADLINE_LEASE_SECONDS?"
    )


def test_a_variable_of_another_release_is_left_alone() -> None:
    assert load(THREADLINE_SOMETHING_FROM_TOMORROW="5") == Settings()


def test_flags_win_over_environment_and_environment_over_file(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("THREADLINE_PORT=1\nTHREADLINE_HOST=file\nMODEL=file\nPASSWORD='a${b}'\n")
    environ = {"PORT": "2", "THREADLINE_HOST": "environment"}
    settings = load_settings({"THREADLINE_PORT": "3"}, environ=environ, env_file=env_file)
    assert (settings.server.port, settings.server.host, settings.model.name) == (3, "environment", "file")


def test_an_empty_variable_switches_the_file_off(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("DATABASE_URL=postgresql://db/app\n")
    assert load_settings(environ={"DATABASE_URL": ""}, env_file=env_file).database.url is None


def test_a_password_in_the_file_is_taken_as_it_stands(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("OPENAI_API_KEY=a${HOME}b\n")
    key = load_settings(environ={}, env_file=env_file).model.openai_api_key
    assert key is not None
    assert key.get_secret_value() == "a${HOME}b"


def test_a_bad_value_in_the_file_names_the_file(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("THREADLINE_WORKERS=none\n")
    with pytest.raises(SettingsError, match=f"THREADLINE_WORKERS='none' .from {env_file}. is refused"):
        load_settings(environ={}, env_file=env_file)


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_bytes(b"MODEL=\xff\xfe\n")
    with pytest.raises(SettingsError, match="must be UTF-8 text of NAME=value lines"):
        load_settings(environ={}, env_file=env_file)


def test_origins_are_a_list_separated_by_commas() -> None:
    settings = load(CORS_ALLOW_ORIGINS="https://a.example, https://b.example")
    assert settings.api.cors_allow_origins == ("https://a.example", "https://b.example")


def test_a_body_of_ten_megabytes_is_over_the_default_limit() -> None:
    assert load().api.max_body_bytes < 10_000_000


def test_a_home_folder_is_expanded() -> None:
    assert load(THREADLINE_DATA_DIR="~/data").database.data_dir == Path.home() / "data"


def test_a_section_built_in_code_reads_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THREADLINE_RUN_CONCURRENCY", "7")
    assert WorkerSettings(max_attempts=2).run_concurrency == 128


def test_a_section_cannot_be_changed_after_start() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load().server.port = 1  # type: ignore[misc]  # what mypy refuses is what is tested


def test_what_langgraph_json_gives_its_graphs_is_the_weakest_source(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("MODEL=from-the-file\n")
    graphs = Source("theirs/langgraph.json", {"MODEL": "from-the-graphs", "THREADLINE_WORKERS": "3"})
    settings = load_settings(environ={}, env_file=env_file, graphs=graphs)
    assert settings.model.name == "from-the-file"
    assert settings.server.workers == 3


def test_a_refusal_names_the_langgraph_json_that_it_is_about() -> None:
    graphs = Source("theirs/langgraph.json", {"THREADLINE_WORKERS": "none"})
    with pytest.raises(SettingsError, match=r"'none' \(from theirs/langgraph\.json\) is refused"):
        load_settings(environ={}, env_file=NO_FILE, graphs=graphs)


def test_variables_for_graphs_leave_those_that_are_set_as_they_are() -> None:
    environ = {"SET": "before", "EMPTY": ""}
    export_variables({"SET": "after", "EMPTY": "after", "NEW": "after"}, environ)
    assert environ == {"SET": "before", "EMPTY": "", "NEW": "after"}


def test_a_program_that_is_started_gets_our_variables_with_some_changed() -> None:
    environ = {"KEPT": "1", "CHANGED": "1"}
    assert variables_for_program({"CHANGED": "2", "NEW": "3"}, environ) == {"KEPT": "1", "CHANGED": "2", "NEW": "3"}
    assert environ == {"KEPT": "1", "CHANGED": "1"}


def test_rows_of_runs_are_not_removed_before_their_events() -> None:
    message = refusal(THREADLINE_KEEP_RUNS_SECONDS="60")
    assert "THREADLINE_KEEP_RUNS_SECONDS='60' is refused: it must have a THREADLINE_KEEP_EVENTS_SECONDS" in message
    assert "not longer" in refusal(THREADLINE_KEEP_RUNS_SECONDS="60", THREADLINE_KEEP_EVENTS_SECONDS="61")
    keep = load(THREADLINE_KEEP_RUNS_SECONDS="60", THREADLINE_KEEP_EVENTS_SECONDS="60").keep
    assert keep.runs == keep.events == timedelta(minutes=1)


def test_checkpoints_may_go_at_once_but_events_may_not() -> None:
    assert load(THREADLINE_KEEP_CHECKPOINTS_SECONDS="0").keep.checkpoints == timedelta(0)
    assert "a number of seconds above 0" in refusal(THREADLINE_KEEP_EVENTS_SECONDS="0")
