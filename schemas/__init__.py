"""The contract: events, catalogue, addresses, topics, settings, and their export as JSON Schema and AsyncAPI.

Imports nothing of ours, and no driver: an upstream service can depend on this folder alone.
"""
