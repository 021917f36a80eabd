"""Real servers for the tests, chosen by WALLETQ_TEST_SERVERS=embedded|containers|external.

Unset: containers where a Docker engine answers and has the images, else embedded. Every choice offers the same
`Servers`; the fixtures in tests/conftest.py are built on it.
"""
