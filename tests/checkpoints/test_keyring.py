"""A sealed value opens at its place and with its key, as it was sealed, and otherwise not at all."""

import json
from base64 import b64decode, b64encode
from uuid import UUID

import pytest

from threadline.checkpoints.aes_vault import make_vault
from threadline.checkpoints.eax import open_eax
from threadline.checkpoints.keyring import Keyring, read_keys
from threadline.checkpoints.sealing import blob_place, events_place, open_events, seal_events, thread_place
from threadline.checkpoints.vault import NotSealed, Place, Tampered, UnknownKey
from threadline.tests.checkpoints.sealed_world import NEW, OLD, vault_with

PLACE = blob_place("t", "", "messages", "3")

# Made by pycryptodome, which LangGraph's serialiser encrypts with: AES.new(key, AES.MODE_EAX, nonce=bytes(range(16))).
OF_LANGGRAPH = [
    (b"0123456789abcdef", b"", "AAECAwQFBgcICQoLDA0OD6606/xcRuDisKqqNwHacpw="),
    (b"0123456789abcdef", b"\xa5hello", "AAECAwQFBgcICQoLDA0OD5Z3EDgPxPX18p+zrjgCRZyqLLSKsPk="),
    (
        b"0123456789abcdef",
        b"more than two blocks of sixteen bytes",
        "AAECAwQFBgcICQoLDA0OD7D7m5vww8tH32C98FDsEf9iK6OD/OL/9QabMJPdt2quMddpL4tgp9fpHt/QRFkQ1mhWNdBX",
    ),
    (b"0123456789abcdef01234567", b"", "AAECAwQFBgcICQoLDA0OD4kf+tQTeF7LNDSsPFspQJA="),
    (b"0123456789abcdef01234567", b"\xa5hello", "AAECAwQFBgcICQoLDA0ODxOVsAvaxLLIUsUKABP3oHwLIynTIaY="),
    (
        b"0123456789abcdef01234567",
        b"more than two blocks of sixteen bytes",
        "AAECAwQFBgcICQoLDA0OD1jF9M/aLmJlDSL3ZFxNBw/DJD7abb20j7mXJbtIcdmeIhllgJJ28+unrGdUh4hLb45W60gy",
    ),
    (b"0123456789abcdef0123456789abcdef", b"", "AAECAwQFBgcICQoLDA0OD0Yy7G7sAM8y6+FzCST6DDs="),
    (b"0123456789abcdef0123456789abcdef", b"\xa5hello", "AAECAwQFBgcICQoLDA0OD6CizXZt+ihPqCTwxrPd43eBEWfzU3U="),
    (
        b"0123456789abcdef0123456789abcdef",
        b"more than two blocks of sixteen bytes",
        "AAECAwQFBgcICQoLDA0OD9G6lR0hBq3P7hCQ3aC51OxJFnD6H25wq2zxkmvQV7jyENhModHqdHhuO4wTSMVX5/QT+DSx",
    ),
]


@pytest.fixture
def ring() -> Keyring:
    return vault_with(NEW, OLD).keyring


@pytest.mark.parametrize("data", [b"", b"a", b"\0\xff" * 5000])
def test_what_was_sealed_opens_as_it_was(ring: Keyring, data: bytes) -> None:
    sealed = ring.seal(PLACE, data)
    assert ring.open(PLACE, sealed) == data
    assert ring.seal(PLACE, data) != sealed
    assert not data.strip(b"a") or data not in sealed


@pytest.mark.parametrize(
    "elsewhere",
    [
        blob_place("u", "", "messages", "3"),
        blob_place("t", "sub", "messages", "3"),
        blob_place("t", "", "title", "3"),
        blob_place("t", "", "messages", "4"),
        Place("checkpoint_writes", "blob", PLACE.key),
        Place("checkpoint_blobs", "blob", ("t", "", "messages3", "")),
    ],
    ids=str,
)
def test_a_value_does_not_open_elsewhere(ring: Keyring, elsewhere: Place) -> None:
    with pytest.raises(Tampered, match="moved from another place"):
        ring.open(elsewhere, ring.seal(PLACE, b"secret"))


def test_no_changed_byte_goes_unnoticed(ring: Keyring) -> None:
    sealed = ring.seal(PLACE, b"secret")
    for position in range(5, len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        with pytest.raises((Tampered, UnknownKey)):
            ring.open(PLACE, bytes(changed))
    for length in range(4, len(sealed)):
        with pytest.raises((Tampered, UnknownKey)):
            ring.open(PLACE, sealed[:length])


def test_a_missing_key_is_named_with_the_place() -> None:
    sealed = vault_with(OLD).keyring.seal(PLACE, b"secret")
    with pytest.raises(UnknownKey, match=r"checkpoint_blobs.blob of t / messages / 3 .* key '2025'.*\(2026\)"):
        vault_with(NEW).keyring.open(PLACE, sealed)
    assert vault_with(NEW, OLD).keyring.open(PLACE, sealed) == b"secret"


def test_another_key_of_the_same_id_opens_nothing() -> None:
    sealed = vault_with(OLD).keyring.seal(PLACE, b"secret")
    with pytest.raises(Tampered, match="another one now"):
        vault_with(NEW.replace("2026", "2025")).keyring.open(PLACE, sealed)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("nothing", "id:base64"),
        ("a b:AAAA", "id:base64"),
        ("a:!!!", "'a' is no base64"),
        (f"a:{b64encode(bytes(16)).decode()}", "16 bytes instead of 32"),
        (f"{NEW},{NEW}", "'2026' is taken"),
        (",", "no key"),
    ],
)
def test_keys_that_cannot_be_meant_are_refused_without_showing_them(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as refused:
        read_keys(text)
    assert "AAAA" not in str(refused.value)


@pytest.mark.parametrize(("key", "data", "sealed"), OF_LANGGRAPH)
def test_what_langgraph_encrypted_is_read(key: bytes, data: bytes, sealed: str) -> None:
    assert open_eax(key, b64decode(sealed)) == data
    with pytest.raises(ValueError, match="authentic"):
        open_eax(key[::-1], b64decode(sealed))


async def test_values_of_langgraph_are_read_only_while_a_database_is_moved() -> None:
    key, data, sealed = OF_LANGGRAPH[1]
    given = [(PLACE, "msgpack+aes", b64decode(sealed))]
    assert await vault_with(langgraph_key=key.decode(), plain=True).open_typed(given) == [("msgpack", data)]
    with pytest.raises(NotSealed, match="threadline rotate"):
        await vault_with(langgraph_key=key.decode()).open_typed(given)
    with pytest.raises(UnknownKey, match="LANGGRAPH_AES_KEY"):
        await vault_with(NEW).open_typed(given)
    with pytest.raises(Tampered, match="LANGGRAPH_AES_KEY"):
        await vault_with(langgraph_key="f" * 16, plain=True).open_typed(given)


def test_without_a_key_there_is_no_vault() -> None:
    assert make_vault(None, None, reads_plaintext=False) is None


@pytest.mark.parametrize("text", ['{"a":"\\u0000\\ud800"}', "[1,2]", '"text"', "12", "{}"])
async def test_json_opens_as_postgres_would_have_returned_it(text: str) -> None:
    vault = vault_with(NEW)
    place = thread_place("values", "t")
    (sealed,) = await vault.seal_json([(place, text)])
    assert text == "{}" or "$sealed" in sealed
    assert await vault.open_json([(place, json.loads(sealed))]) == [json.loads(text)]


@pytest.mark.parametrize(
    "value", [{"a": 1}, {"$sealed": 1}, {"$sealed": "2026:&"}, {"$sealed": "x", "b": 1}, "text", [1]]
)
async def test_plain_json_is_refused_unless_a_database_is_being_moved(value: object) -> None:
    place = thread_place("values", "t")
    with pytest.raises(NotSealed, match="THREADLINE_ENCRYPTION_READ_PLAINTEXT"):
        await vault_with(NEW).open_json([(place, value)])
    assert await vault_with(NEW, plain=True).open_json([(place, value)]) == [value]


async def test_chunks_of_events_must_come_in_the_order_they_were_written_in() -> None:
    vault, thread, run = vault_with(NEW), UUID(int=1), UUID(int=2)
    contents = [["values", 2, 17]]
    first, second = [await seal_events(vault, thread, run, contents, b"{}", at) for at in (1, 2)]

    def rows(*payloads: bytes) -> list[tuple[UUID, UUID, list[list[object]], bytes]]:
        return [(thread, run, contents, payload) for payload in payloads]

    assert await open_events(vault, rows(first, second)) == [b"{}", b"{}"]
    for wrong in ((second, first), (first, first)):
        with pytest.raises(Tampered, match="order"):
            await open_events(vault, rows(*wrong))
    assert str(events_place(thread, run, contents)).startswith("run_events.payload of 0000")


async def test_the_event_that_the_database_writes_itself_may_say_no_more_than_it_does() -> None:
    vault, thread, run = vault_with(NEW), UUID(int=1), UUID(int=2)
    payload = f'{{"run_id":"{run}","attempt":2}}'.encode()
    contents = [["metadata", len(payload), 17]]
    assert await open_events(vault, [(thread, run, contents, payload)]) == [payload]
    for wrong in (payload[:-1] + b',"x":"y"}', payload.replace(b"2}", b'"2"}')):
        with pytest.raises(NotSealed):
            await open_events(vault, [(thread, run, contents, wrong)])
