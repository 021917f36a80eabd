"""walletq, broken on purpose: each mutant is one mistake that somebody could make, and the tests that must see it.

    python -m tests.mutants              # all of them; or: make mutants
    python -m tests.mutants NAME…        # these

mutants    the list
scratch    a copy of the project with one mutant in it, and its tests
"""
