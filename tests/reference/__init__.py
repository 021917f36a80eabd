"""The rules of the design, written a second time: one record at a time, plain lists, no database.

The allocator is compared with this model, so nothing here may come from the allocator. Where the two
differ, `docs/architecture.md` decides which of them is wrong.

    model = replay(records)                  # or: model = Model(); model.take(record)
    model.orders, model.wallets, model.assignments, model.dead_letters, model.counts
    violations(model)                        # I1 to I4 and I6, in words; empty when all hold
    replay_checked(records)                  # asks for them after every record
"""

from tests.reference.addresses import normalised
from tests.reference.catalogue import SHIPPED, Catalogue, Currency
from tests.reference.invariants import InvariantError, replay_checked, violations
from tests.reference.model import Assignment, DeadLetter, Model, Order, Wallet, assignment_id, replay
from tests.reference.records import PARTITIONS, Record, murmur2, right_partition

__all__ = [
    "PARTITIONS",
    "SHIPPED",
    "Assignment",
    "Catalogue",
    "Currency",
    "DeadLetter",
    "InvariantError",
    "Model",
    "Order",
    "Record",
    "Wallet",
    "assignment_id",
    "murmur2",
    "normalised",
    "replay",
    "replay_checked",
    "right_partition",
    "violations",
]
