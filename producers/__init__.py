"""Who writes `order-status`.

- `publisher.Publisher`: for upstream services; the only way in which an event of ours leaves
- `checks.checked`: what a producer can check against the catalogue before it publishes
- `operator`: the operator's actions as events
- `clock.run_clock`: expired orders and cooled wallets, as events
"""
