"""The recording against the reference itself, which may have changed since."""

import pytest

from threadline.tests.contract.catalogue import load_catalogue
from threadline.tests.contract.comparing import compare
from threadline.tests.contract.recording import play_reference, read_recording
from threadline.tests.contract.servers import REFERENCE


@pytest.mark.slow
def test_the_reference_still_answers_as_recorded() -> None:
    """Slow: the reference looks for work every half second, so that the catalogue takes it half a minute."""
    assert REFERENCE.exists(), "make reference"
    recorded = read_recording()
    played = play_reference(load_catalogue())
    different = [str(each) for name, calls in played.items() for each in compare(name, recorded[name], calls)]
    assert not different, "make contract-record, and see what changed:\n" + "\n".join(different)
