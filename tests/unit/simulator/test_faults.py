import pytest

from dingwire.simulator.faults import Faults, FaultsError, ReplyFault


def test_a_good_day_is_the_default():
    faults = Faults()

    assert faults.ticket_ttl_s == 90
    assert faults.session_ttl_s == 5400
    assert faults.ping_every_s == 30
    assert faults.reply_rate_limit == 0


def test_json_values_take_the_switches_own_types():
    faults = Faults().changed(ping_every_s=5, banned_words=["rude"])

    assert faults.ping_every_s == 5.0
    assert faults.banned_words == ("rude",)


@pytest.mark.parametrize(
    ("switch", "value"),
    [
        ("ping_every_s", "often"),
        ("ping_every_s", -1),
        ("ping_every_s", True),
        ("ticket_reuse", 1),
        ("ticket_reject_status", 401.5),
        ("banned_words", "rude"),
        ("banned_words", [1]),
        ("registration", "moody"),
        ("distribution", "all"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_by_name(switch, value):
    with pytest.raises(FaultsError, match=switch):
        Faults().changed(**{switch: value})


def test_a_misspelt_switch_is_refused_by_name():
    with pytest.raises(FaultsError, match="ping_evry_s"):
        Faults().changed(ping_evry_s=5)


def test_only_the_clock_may_go_backwards():
    assert Faults(clock_skew_s=-30).clock_skew_s == -30.0


def test_a_reply_fault_is_used_up_and_keeps_to_its_conversation():
    fault = ReplyFault(times=2, conversation_id="cid1", errcode=-1)

    assert not fault.applies_to("cid2")
    fault.met = 1
    assert fault.applies_to("cid1")
    fault.met = 2
    assert not fault.applies_to("cid1")


def test_a_reply_that_hangs_is_accepted_unless_told_otherwise():
    assert not ReplyFault(hang_s=5).refuses
    assert ReplyFault(hang_s=5, accept=False).refuses
    assert ReplyFault(status=500).refuses
