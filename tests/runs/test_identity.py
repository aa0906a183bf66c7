"""The ids of runs: their form, their order, and that no two are the same."""

from concurrent.futures import ThreadPoolExecutor
from time import time_ns
from uuid import RFC_4122

from threadline.runs.identity import uuid7


def test_an_id_has_the_version_and_variant_of_the_standard() -> None:
    made = [uuid7() for _ in range(100)]
    assert {each.version for each in made} == {7}
    assert {each.variant for each in made} == {RFC_4122}


def test_an_id_begins_with_the_milliseconds_of_its_making() -> None:
    before = time_ns() // 1_000_000
    made = uuid7().int >> 80
    assert before <= made <= time_ns() // 1_000_000 + 1


def test_ids_of_a_burst_are_in_the_order_of_their_making() -> None:
    made = [uuid7() for _ in range(20_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_ids_of_several_threads_never_meet() -> None:
    with ThreadPoolExecutor(4) as executor:
        batches = list(executor.map(lambda _: [uuid7() for _ in range(5_000)], range(4)))
    assert len({each for batch in batches for each in batch}) == 20_000
    assert all(batch == sorted(batch) for batch in batches)
