import pytest

from agentkit.errors import TargetError, TargetUnavailableError
from agentkit_attention import targets


def test_a_model_that_is_neither_folder_nor_cached_says_how_to_fetch_it(tmp_path):
    with pytest.raises(TargetUnavailableError, match="download nobody/nothing"):
        targets.hf.fingerprint("nobody/nothing")
    with pytest.raises(TargetError, match="hf:NAME"):
        targets.hf.fingerprint("")


@pytest.mark.parametrize("loader", [targets.digits_dit, targets.digits_judge])
def test_unknown_rests_are_refused(loader):
    with pytest.raises(TargetError, match="unknown"):
        loader.fingerprint("large")
