"""The rules on Redis, a command or a pipeline at a time.

order:CURRENCY:ID                 hash: status, network, amount, email, locale, expires_at, address
wallet:CURRENCY:NETWORK:ADDRESS   hash: status (free, held, retiring, retired), order_id
queue:CURRENCY:NETWORK            list of the orders that wait; the oldest at the right
free:CURRENCY:NETWORK             list of the free wallets; the first at the right
wallet-events                     set of the ids of those that have been handled
"""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import uuid4

from redis.asyncio import Redis

from schemas.catalogue import Catalogue
from schemas.events import FINAL, PAYMENT_TIMEOUT, Event, OrderStatusChanged, WalletAdded, WalletAssigned, WalletRetired


class Pool(NamedTuple):
    """A pool and its keys."""

    currency: str
    network: str

    @property
    def queue(self) -> str:
        return f"queue:{self.currency}:{self.network}"

    @property
    def free(self) -> str:
        return f"free:{self.currency}:{self.network}"

    def wallet(self, address: str) -> str:
        return f"wallet:{self.currency}:{self.network}:{address}"

    def order(self, order_id: str) -> str:
        return f"order:{self.currency}:{order_id}"


class Allocation:
    """Applies events, one at a time for each currency; one that is delivered again has no effect."""

    def __init__(self, redis: Redis, catalogue: Catalogue) -> None:
        self._redis: Any = redis  # typed as if it might return bytes, which one with decode_responses does not
        self._catalogue = catalogue

    async def handle(self, event: Event, at: datetime) -> WalletAssigned | None:
        """Change what an event of this time changes; returns the notification that it leads to."""
        match event:
            case OrderStatusChanged(status="pending"):
                return await self._place(event, self._pool(event), at)
            case OrderStatusChanged(status="paid" | "processing"):
                await self._advance(event)
            case OrderStatusChanged():
                return await self._end(event, at)
            case WalletAdded():
                return await self._add(event, self._pool(event), at)
            case WalletRetired():
                await self._retire(event, self._pool(event))
        return None

    async def _place(self, event: OrderStatusChanged, pool: Pool, at: datetime) -> WalletAssigned | None:
        """A new order gets the first free wallet, or waits."""
        assert event.amount is not None
        assert event.recipient is not None
        order = pool.order(event.order_id)
        if not await self._redis.hsetnx(order, "status", "pending"):
            return None
        expires_at = event.expires_at or at + self._catalogue.expiry
        content = {
            "network": pool.network,
            "amount": event.amount,
            "email": event.recipient.email,
            "locale": event.recipient.locale or "",
            "expires_at": expires_at.isoformat(),
        }
        address = await self._redis.rpop(pool.free)
        async with self._redis.pipeline() as pipeline:
            if address is None:
                pipeline.hset(order, mapping=content)
                pipeline.lpush(pool.queue, event.order_id)
            else:
                pipeline.hset(order, mapping=content | {"address": address})
                pipeline.hset(pool.wallet(address), mapping={"status": "held", "order_id": event.order_id})
            await pipeline.execute()
        if address is None:
            return None
        return _notification(pool, address, event.order_id, event.amount, at, expires_at, waited=False)

    async def _advance(self, event: OrderStatusChanged) -> None:
        """Paid or processing; a status never goes back."""
        order = Pool(event.currency, "").order(event.order_id)
        status, address = await self._redis.hmget(order, ["status", "address"])
        if address and (status == "pending" or (status, event.status) == ("paid", "processing")):
            await self._redis.hset(order, "status", event.status)

    async def _end(self, event: OrderStatusChanged, at: datetime) -> WalletAssigned | None:
        """An order leaves the queue, or gives its wallet back."""
        order = Pool(event.currency, "").order(event.order_id)
        status, network, address = await self._redis.hmget(order, ["status", "network", "address"])
        timed_out = event.status == "cancelled" and event.reason == PAYMENT_TIMEOUT
        if status in FINAL or (timed_out and status in ("paid", "processing")):
            return None
        if status is None:  # its pending gets nothing when it comes
            await self._redis.hset(order, "status", event.status)
            return None
        pool = Pool(event.currency, network)
        async with self._redis.pipeline() as pipeline:
            pipeline.hset(order, "status", event.status)
            if address is None:
                pipeline.lrem(pool.queue, 1, event.order_id)
            else:
                pipeline.hget(pool.wallet(address), "status")
            *_, wallet_status = await pipeline.execute()
        if address is None:
            return None
        if wallet_status == "retiring":
            await self._redis.hset(pool.wallet(address), mapping={"status": "retired", "order_id": ""})
            return None
        return await self._offer(pool, address, at)

    async def _add(self, event: WalletAdded, pool: Pool, at: datetime) -> WalletAssigned | None:
        """A new wallet, a retired one that comes back, or a held one that stays."""
        if not await self._redis.sadd("wallet-events", event.event_id):
            return None
        status = await self._redis.hget(pool.wallet(event.address), "status")
        if status == "retiring":
            await self._redis.hset(pool.wallet(event.address), "status", "held")
        elif status in (None, "retired"):
            return await self._offer(pool, event.address, at)
        return None

    async def _retire(self, event: WalletRetired, pool: Pool) -> None:
        """A free wallet leaves at once, a held one when its order ends."""
        if not await self._redis.sadd("wallet-events", event.event_id):
            return
        wallet = pool.wallet(event.address)
        status = await self._redis.hget(wallet, "status")
        if status == "held":
            await self._redis.hset(wallet, "status", "retiring")
        elif status == "free":
            async with self._redis.pipeline() as pipeline:
                pipeline.lrem(pool.free, 1, event.address)
                pipeline.hset(wallet, "status", "retired")
                await pipeline.execute()

    async def _offer(self, pool: Pool, address: str, at: datetime) -> WalletAssigned | None:
        """The wallet goes to the order that has waited longest, else to the tail of the free list."""
        order_id = await self._redis.rpop(pool.queue)
        async with self._redis.pipeline() as pipeline:
            if order_id is None:
                pipeline.hset(pool.wallet(address), mapping={"status": "free", "order_id": ""})
                pipeline.lpush(pool.free, address)
            else:
                pipeline.hset(pool.wallet(address), mapping={"status": "held", "order_id": order_id})
                pipeline.hset(pool.order(order_id), "address", address)
                pipeline.hmget(pool.order(order_id), ["amount", "expires_at"])
            *_, content = await pipeline.execute()
        if order_id is None:
            return None
        amount, expires_at = content
        return _notification(pool, address, order_id, amount, at, datetime.fromisoformat(expires_at), waited=True)

    def _pool(self, event: Event) -> Pool:
        network = event.network or self._catalogue.currencies[event.currency].only_network
        assert network is not None, "an event names its network where its currency has several"
        return Pool(event.currency, network)


def _notification(
    pool: Pool, address: str, order_id: str, amount: str, at: datetime, expires_at: datetime, *, waited: bool
) -> WalletAssigned:
    return WalletAssigned(
        notification_id=uuid4(),
        order_id=order_id,
        currency=pool.currency,
        network=pool.network,
        address=address,
        amount=amount,
        waited=waited,
        assigned_at=at,
        expires_at=expires_at,
    )
