"""The allocator's own code against simulated servers: seeded faults at every call, invariants after every step.

    python -m tests.simulation --seeds 10000       # or: make simulate SEEDS=10000
    python -m tests.simulation --plan '{…}'        # replays a failure exactly

loop        an event loop in virtual time: the same plan takes the same steps
plan        a log, faults and moves of the group, all from one seed
database    the allocator's session with an in-memory database that locks, loses replies and kills sessions
broker      the log, and the topics that are published to
group       processes, and which of them may own the partition
world       one plan, played to its end
checks      what must hold after every commit and every publish
shrink      the shortest plan that still fails
"""
