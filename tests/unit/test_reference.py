"""The reference model against the table and the rules of section 2 of the design, cell by cell."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference import (
    SHIPPED,
    Catalogue,
    InvariantError,
    Model,
    Record,
    assignment_id,
    replay,
    replay_checked,
    right_partition,
    violations,
)
from tests.traffic import as_records, catalogues, hostile, lifecycle, logs

ONE, TWO, THREE = (
    "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
    "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
    "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy",
)
COOLING: Catalogue = {**SHIPPED, "BTC": replace(SHIPPED["BTC"], cooldown_minutes=30)}
FINAL = ("completed", "cancelled", "failed")


class Log:
    """A model with a pen: each call writes the next record of Bitcoin's partition and returns its outcome."""

    def __init__(self, catalogue: Catalogue = SHIPPED) -> None:
        self.model = Model(catalogue=catalogue)
        self.partition = right_partition(b"BTC")
        self.offset = -1

    def pending(self, order: str, amount: str = "0.01", **fields: object) -> str:
        recipient = {"email": "ann@example.com"}
        return self.status(order, "pending", amount=amount, recipient=recipient, **fields)

    def status(self, order: str, status: str, **fields: object) -> str:
        return self.write("order_status_changed", order_id=order, status=status, **fields)

    def added(self, address: str = ONE) -> str:
        return self.write("wallet_added", address=address)

    def retired(self, address: str = ONE) -> str:
        return self.write("wallet_retired", address=address)

    def cooled(self, assigned_at: int, address: str = ONE) -> str:
        made = assignment_id(self.partition, assigned_at)
        return self.write("wallet_cooled", address=address, assignment_id=str(made))

    def write(self, kind: str, **fields: object) -> str:
        time = "2026-01-01T00:00:00Z"
        event = {"type": kind, "event_id": "e", "currency": "BTC", "occurred_at": time, **fields}
        self.offset += 1
        value = json.dumps(event).encode()
        outcome = self.model.take(Record(self.partition, self.offset, 1_000_000, b"BTC", value))
        assert not violations(self.model, records=self.offset + 1)
        return outcome

    def order(self, order: str) -> str:
        """What is to be said of an order in one word: its status, with its wallet or "waits"."""
        found = self.model.orders["BTC", order]
        words = [found.status, found.address or "", "" if found.place is None else "waits"]
        return " ".join(word for word in words if word)

    def wallet(self, address: str = ONE) -> str:
        return self.model.wallets["BTC", "bitcoin", address].status

    def waiting(self) -> list[str]:
        return [order for _, order in self.model.queues.get(("BTC", "bitcoin"), [])]

    def free(self) -> list[str]:
        return [address for _, address in self.model.free.get(("BTC", "bitcoin"), [])]


def log_with(state: str, catalogue: Catalogue = SHIPPED) -> Log:
    """A log in which the order "a" is in one of the rows of the table, and "b" waits behind it."""
    log = Log(catalogue)
    if state == "unknown":
        return log
    if state != "waiting":
        log.added()
    log.pending("a")
    if state in ("paid", "processing"):
        log.status("a", state)
    if state in FINAL:
        log.status("a", state)
    else:
        log.pending("b")
    return log


# The table: unknown


def test_pending_of_a_new_order_gets_the_free_wallet() -> None:
    log = Log()
    log.added()
    assert log.pending("a") == "applied"
    assert log.order("a") == f"pending {ONE}"
    assert log.wallet() == "occupied"


def test_pending_of_a_new_order_waits_where_no_wallet_is_free() -> None:
    log = Log()
    assert log.pending("a") == "applied"
    assert log.order("a") == "pending waits"


@pytest.mark.parametrize("status", ["paid", "processing"])
def test_progress_of_an_unknown_order_is_a_dead_letter(status: str) -> None:
    assert Log().status("a", status) == "unknown_order"


@pytest.mark.parametrize("status", FINAL)
def test_final_of_an_unknown_order_is_remembered_and_its_late_pending_gets_nothing(status: str) -> None:
    log = Log()
    log.added()
    assert log.status("a", status) == "applied"
    assert log.pending("a") == "applied"
    assert log.order("a") == status
    assert log.free() == [ONE]


def test_timeout_of_an_unknown_order_is_remembered() -> None:
    log = Log()
    assert log.status("a", "cancelled", reason="payment_timeout") == "applied"
    assert log.order("a") == "cancelled"


def test_late_pending_is_remembered_so_that_a_different_one_is_a_conflict() -> None:
    log = Log()
    log.status("a", "cancelled")
    assert log.pending("a", "0.01") == "applied"
    assert log.pending("a", "0.010") == "no_effect"
    assert log.pending("a", "0.02") == "conflicting_order"


# The table: pending again


@pytest.mark.parametrize("state", ["waiting", "with wallet", "paid", "processing", *FINAL])
def test_second_pending_of_a_known_order_has_no_effect(state: str) -> None:
    log = log_with(state)
    before = log.order("a")
    assert log.pending("a", "0.0100") == "no_effect"
    assert log.order("a") == before


@pytest.mark.parametrize("state", ["waiting", "with wallet", "paid", "processing", *FINAL])
def test_second_pending_with_another_amount_is_a_conflict(state: str) -> None:
    log = log_with(state)
    before = log.order("a")
    assert log.pending("a", "0.02") == "conflicting_order"
    assert log.order("a") == before


def test_second_pending_may_name_the_network_that_the_first_left_out() -> None:
    log = log_with("waiting")
    assert log.pending("a", network="bitcoin") == "no_effect"


def test_second_pending_with_another_network_is_a_conflict() -> None:
    model = Model()
    outcomes = [model.take(_usdt(offset, network=network)) for offset, network in enumerate(("TRC-20", "ERC-20"))]
    assert outcomes == ["applied", "conflicting_order"]


# The table: paid and processing


@pytest.mark.parametrize("status", ["paid", "processing"])
def test_progress_of_a_waiting_order_is_a_dead_letter(status: str) -> None:
    log = log_with("waiting")
    assert log.status("a", status) == "no_wallet"
    assert log.order("a") == "pending waits"


@pytest.mark.parametrize(
    ("state", "status", "outcome", "becomes"),
    [
        ("with wallet", "paid", "applied", "paid"),
        ("with wallet", "processing", "applied", "processing"),
        ("paid", "paid", "no_effect", "paid"),
        ("paid", "processing", "applied", "processing"),
        ("processing", "paid", "no_effect", "processing"),
        ("processing", "processing", "no_effect", "processing"),
    ],
)
def test_progress_of_an_order_with_a_wallet(state: str, status: str, outcome: str, becomes: str) -> None:
    log = log_with(state)
    assert log.status("a", status) == outcome
    assert log.order("a") == f"{becomes} {ONE}"


@pytest.mark.parametrize("ended", FINAL)
@pytest.mark.parametrize("status", ["paid", "processing"])
def test_progress_of_an_ended_order_is_a_dead_letter(ended: str, status: str) -> None:
    assert log_with(ended).status("a", status) == "invalid_transition"


# The table: final


@pytest.mark.parametrize("status", FINAL)
def test_final_of_a_waiting_order_leaves_the_queue(status: str) -> None:
    log = log_with("waiting")
    assert log.status("a", status) == "applied"
    assert log.order("a") == status
    assert log.waiting() == ["b"]


@pytest.mark.parametrize("status", FINAL)
@pytest.mark.parametrize("state", ["with wallet", "paid", "processing"])
def test_final_releases_the_wallet_and_serves_the_queue(state: str, status: str) -> None:
    log = log_with(state)
    assert log.status("a", status) == "applied"
    assert log.order("a") == status
    assert log.order("b") == f"pending {ONE}"
    assert [(made.order_id, made.waited) for made in log.model.assignments] == [("a", False), ("b", True)]
    assert log.model.assignments[0].released_offset == log.offset == log.model.assignments[1].assigned_offset


@pytest.mark.parametrize("ended", FINAL)
@pytest.mark.parametrize("status", FINAL)
def test_second_final_has_no_effect_if_the_same_and_else_is_a_dead_letter(ended: str, status: str) -> None:
    log = log_with(ended)
    assert log.status("a", status) == ("no_effect" if status == ended else "invalid_transition")
    assert log.order("a") == ended


# payment_timeout


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        ("waiting", "applied"),
        ("with wallet", "applied"),
        ("paid", "no_effect"),
        ("processing", "no_effect"),
        ("cancelled", "no_effect"),
        ("completed", "invalid_transition"),
        ("failed", "invalid_transition"),
    ],
)
def test_payment_timeout_acts_only_on_a_pending_order(state: str, outcome: str) -> None:
    assert log_with(state).status("a", "cancelled", reason="payment_timeout") == outcome


@pytest.mark.parametrize("status", ["completed", "failed"])
def test_payment_timeout_means_nothing_on_another_final_status(status: str) -> None:
    assert log_with("paid").status("a", status, reason="payment_timeout") == "applied"


# First in, first out


def test_released_wallet_goes_to_the_oldest_waiting_order() -> None:
    log = Log()
    log.added()
    for order in "abcd":
        log.pending(order)
    log.status("b", "cancelled")
    log.status("a", "completed")
    assert (log.order("c"), log.order("d")) == (f"pending {ONE}", "pending waits")


def test_released_wallet_joins_the_tail_of_the_free_list() -> None:
    log = Log()
    for address in (ONE, TWO, THREE):
        log.added(address)
    log.pending("a")
    log.status("a", "completed")
    assert log.free() == [TWO, THREE, ONE]
    log.pending("b")
    assert log.order("b") == f"pending {TWO}"


def test_pools_of_one_currency_do_not_share_wallets_or_queues() -> None:
    model = Model()
    tron = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"
    wallet = {"type": "wallet_added", "address": tron, "network": "TRC-20"}
    assert model.take(_usdt(0, **wallet)) == "applied"
    assert model.take(_usdt(1, network="ERC-20")) == "applied"
    assert model.orders["USDT", "a"].place == 1
    assert model.take(_usdt(2, network="TRC-20", order_id="b")) == "applied"
    assert model.orders["USDT", "b"].address == tron


# Wallets


def test_added_wallet_serves_the_oldest_waiting_order() -> None:
    log = log_with("waiting")
    assert log.added() == "applied"
    assert log.order("a") == f"pending {ONE}"
    assert log.waiting() == ["b"]


def test_adding_a_known_wallet_in_another_spelling_has_no_effect() -> None:
    log = Log()
    log.added(ONE)
    assert log.added(ONE.upper()) == "no_effect"
    assert log.free() == [ONE]


def test_adding_an_occupied_wallet_has_no_effect() -> None:
    assert log_with("paid").added() == "no_effect"


def test_retired_free_wallet_leaves_at_once_and_comes_back_at_the_tail() -> None:
    log = Log()
    log.added(ONE)
    log.added(TWO)
    assert log.retired(ONE) == "applied"
    assert log.free() == [TWO]
    assert log.retired(ONE) == "no_effect"
    assert log.added(ONE) == "applied"
    assert log.free() == [TWO, ONE]


def test_returning_wallet_serves_the_oldest_waiting_order() -> None:
    log = Log()
    log.added()
    log.retired()
    log.pending("a")
    assert log.added() == "applied"
    assert log.order("a") == f"pending {ONE}"


def test_retired_occupied_wallet_leaves_when_its_order_ends() -> None:
    log = log_with("with wallet")
    assert log.retired() == "applied"
    assert log.retired() == "no_effect"
    assert log.wallet() == "occupied"
    log.status("a", "completed")
    assert log.wallet() == "retired"
    assert log.order("b") == "pending waits"


def test_adding_a_retiring_wallet_takes_back_its_retirement() -> None:
    log = log_with("with wallet")
    log.retired()
    assert log.added() == "applied"
    assert log.added() == "no_effect"
    log.status("a", "completed")
    assert log.order("b") == f"pending {ONE}"


def test_retiring_or_cooling_an_unknown_wallet_is_a_dead_letter() -> None:
    log = Log()
    assert log.retired() == "unknown_wallet"
    assert log.cooled(0) == "unknown_wallet"


@pytest.mark.parametrize("kind", ["wallet_added", "wallet_retired"])
def test_address_with_a_wrong_checksum_is_a_dead_letter(kind: str) -> None:
    assert Log().write(kind, address=ONE[:-1] + "5") == "invalid_address"


# Cooling: the order "a" got its wallet at offset 1


def test_released_wallet_cools_and_serves_nobody_until_it_has_cooled() -> None:
    log = log_with("with wallet", COOLING)
    log.status("a", "completed")
    assert (log.wallet(), log.order("b")) == ("cooling", "pending waits")
    assert log.added() == "no_effect"
    assert log.cooled(1) == "applied"
    assert log.order("b") == f"pending {ONE}"
    assert log.cooled(1) == "no_effect"


def test_cooled_for_another_assignment_has_no_effect() -> None:
    log = log_with("with wallet", COOLING)
    log.status("a", "completed")
    assert log.cooled(2) == "no_effect"
    assert log.wallet() == "cooling"


def test_cooled_wallet_joins_the_free_list_at_the_event_that_freed_it() -> None:
    log = Log(COOLING)
    log.added(ONE)
    log.pending("a")
    log.status("a", "completed")
    log.added(TWO)
    assert log.cooled(1) == "applied"
    assert log.free() == [TWO, ONE]


@pytest.mark.parametrize("state", ["with wallet", "paid"])
def test_cooled_of_a_wallet_that_is_not_cooling_has_no_effect(state: str) -> None:
    assert log_with(state, COOLING).cooled(1) == "no_effect"


def test_retired_cooling_wallet_leaves_at_once() -> None:
    log = log_with("with wallet", COOLING)
    log.status("a", "completed")
    assert log.retired() == "applied"
    assert log.wallet() == "retired"
    assert log.cooled(1) == "no_effect"


def test_retiring_wallet_does_not_cool() -> None:
    log = log_with("with wallet", COOLING)
    log.retired()
    log.status("a", "completed")
    assert log.wallet() == "retired"


# What is kept of an order


def test_expiry_is_the_catalogues_from_the_records_time_where_it_is_missing() -> None:
    log = Log()
    log.pending("a")
    log.pending("b", expires_at="2026-01-01T02:00:00+01:00")
    came = datetime.fromtimestamp(1_000, UTC)
    assert log.model.orders["BTC", "a"].expires_at == came + timedelta(minutes=90)
    assert log.model.orders["BTC", "b"].expires_at == datetime(2026, 1, 1, 1, tzinfo=UTC)


def test_amount_is_kept_verbatim_and_the_locale_is_english_by_default() -> None:
    log = Log()
    log.pending("a", "00.010")
    order = log.model.orders["BTC", "a"]
    assert (order.amount, order.email, order.locale) == ("00.010", "ann@example.com", "en")


# A catalogue that shrank


def test_known_order_of_a_currency_that_left_the_catalogue_still_ends() -> None:
    log = log_with("with wallet")
    log.model.catalogue = {"ETH": SHIPPED["ETH"]}
    assert log.status("a", "paid") == "applied"
    assert log.status("a", "completed") == "applied"
    assert log.order("b") == f"pending {ONE}"
    assert log.status("z", "completed") == "unknown_currency"
    assert log.pending("a") == "unknown_currency"
    assert log.added(TWO) == "unknown_currency"


# Refused by the database


def test_record_that_the_database_refused_is_a_dead_letter_without_a_look_at_it() -> None:
    model = Model(refused=frozenset({(3, 7)}))
    assert model.take(Record(3, 7, 0, None, None)) == "storage_refused"
    assert model.dead_letters == [(3, 7, "storage_refused")]


# Properties


@settings(max_examples=150, deadline=None)
@given(data=st.data(), catalogue=catalogues())
def test_invariants_hold_after_every_record_of_any_log(data: st.DataObject, catalogue: Catalogue) -> None:
    replay_checked(data.draw(logs(catalogue)), catalogue)


@settings(max_examples=30, deadline=None)
@given(records=logs())
def test_partitions_do_not_depend_on_how_they_are_interleaved(records: list[Record]) -> None:
    together, apart = replay(records), replay(sorted(records))
    assert (together.orders, together.wallets) == (apart.orders, apart.wallets)
    assert (together.queues, together.free) == (apart.queues, apart.free)
    assert together.counts == apart.counts


@pytest.mark.parametrize("seed", range(3))
def test_invariants_hold_after_every_record_of_hostile_traffic(seed: int) -> None:
    replay_checked(as_records(hostile(seed, 400)))


def test_invariants_hold_at_the_end_of_longer_traffic() -> None:
    for messages in (list(lifecycle(5, 5_000)), list(hostile(5, 5_000))):
        assert violations(replay(as_records(messages)), records=len(messages)) == []


# The invariants themselves: each finds what it is there for


def test_two_holders_of_a_wallet_are_found() -> None:
    log = log_with("with wallet")
    log.model.orders["BTC", "b"].address = ONE
    assert any(found.startswith("I1") for found in violations(log.model))


def test_overlapping_assignments_are_found() -> None:
    log = log_with("with wallet")
    log.status("a", "completed")
    log.model.assignments[0].released_offset = log.offset + 1
    assert any(found.startswith("I1") for found in violations(log.model))


def test_second_wallet_of_an_order_is_found() -> None:
    log = log_with("with wallet")
    log.added(TWO)
    log.model.wallets["BTC", "bitcoin", TWO].held_by = "a"
    assert any(found.startswith("I2") for found in violations(log.model))


def test_free_wallet_beside_a_waiting_order_is_found() -> None:
    log = log_with("with wallet")
    log.model.free["BTC", "bitcoin"].append((9, TWO))
    assert any(found.startswith("I3") for found in violations(log.model))


def test_order_that_was_served_out_of_turn_is_found() -> None:
    log = log_with("waiting")
    log.model.queues["BTC", "bitcoin"].reverse()
    with pytest.raises(AssertionError):
        log.added()
    assert any(found.startswith("I4") for found in violations(log.model))


def test_record_without_an_outcome_is_found() -> None:
    log = log_with("waiting")
    assert any(found.startswith("I6") for found in violations(log.model, records=3))


def test_error_of_a_checked_replay_names_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Model, "take", lambda *_: "applied")
    with pytest.raises(InvariantError, match="I6: 1 records, 0 outcomes"):
        replay_checked([Record(0, 0, 0, None, None)])


def _usdt(offset: int, **fields: object) -> Record:
    event = {
        "type": "order_status_changed",
        "event_id": "e",
        "occurred_at": "2026-01-01T00:00:00Z",
        "currency": "USDT",
        "order_id": "a",
        "status": "pending",
        "amount": "10",
        "recipient": {"email": "ann@example.com"},
        **fields,
    }
    return Record(right_partition(b"USDT"), offset, 0, b"USDT", json.dumps(event).encode())
