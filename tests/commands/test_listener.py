"""The one socket: where it listens, and what is said when it cannot."""

import socket

import httpx
import pytest

from threadline.commands.exits import CommandFailed
from threadline.commands.listener import listen, url_of


def test_port_zero_takes_a_free_port_that_the_address_names() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert port
        assert url_of(listener) == f"http://127.0.0.1:{port}"


def test_a_name_with_two_addresses_listens_on_the_one_that_all_try() -> None:
    with listen("localhost", 0) as listener:
        assert listener.family is socket.AF_INET


def test_all_addresses_are_reached_by_a_client_on_this_machine() -> None:
    with listen("0.0.0.0", 0) as listener, socket.create_connection(("127.0.0.1", listener.getsockname()[1])):
        assert httpx.URL(url_of(listener)).host == "127.0.0.1"


def test_a_program_that_is_started_does_not_inherit_the_socket() -> None:
    with listen("127.0.0.1", 0) as listener:
        assert not listener.get_inheritable()


@pytest.mark.parametrize(("host", "advice"), [("no-such-host.invalid", "--host"), ("203.0.113.1", "--host")])
def test_an_address_that_is_not_ours_is_refused_in_plain_words(host: str, advice: str) -> None:
    with pytest.raises(CommandFailed, match=advice) as caught:
        listen(host, 0)
    assert str(caught.value).startswith(f"{host}:0 cannot be listened on: ")


def test_a_socket_on_all_addresses_finds_a_port_of_one_address_taken() -> None:
    with listen("127.0.0.1", 0) as listener, pytest.raises(CommandFailed, match="already in use"):
        listen("0.0.0.0", listener.getsockname()[1])
