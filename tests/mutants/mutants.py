"""The mutants: what is broken, where, and which tests must see it."""

from typing import NamedTuple

SIMULATION = "simulation"
"Seen by `python -m tests.simulation`."

OWNER = "consumers/allocator/owner.py"
STORE = "consumers/allocator/store.py"
SESSION = "consumers/allocator/session.py"
OUTBOX = "consumers/allocator/outbox.py"
MESSAGES = "consumers/messages.py"
PUBLISHING = "consumers/allocator/publishing.py"
DECIDE = "consumers/allocator/decide.py"
NEEDS = "consumers/allocator/needs.py"
HANDLER = "consumers/allocator/handler.py"
ALLOCATOR_SQL = "storage/queries/allocator.sql"
APPLY_SQL = "storage/migrations/0009_apply_step.sql"
MAILER_SQL = "storage/queries/mailer.sql"
DATABASE = "storage/database.py"

PORTS = "tests/integration/test_ports.py"
INDEXES = "tests/integration/test_indexes.py"
FENCE = "tests/integration/test_allocator_fence.py"
OUTBOX_TESTS = "tests/integration/test_allocator_outbox.py"


class Mutant(NamedTuple):
    """One mistake."""

    name: str
    file: str
    before: str
    "What the file says; it must say it exactly once."
    after: str
    seen_by: str
    "SIMULATION, or the tests that pytest is to run."
    explained: str = ""
    "Why nothing can see it, where nothing can."


MUTANTS = (
    # The fence
    Mutant(
        "no fence: a batch is written though the place has moved",
        STORE,
        "if not await self._live.apply(self.topic, self.partition, step):",
        "if not await self._live.apply(self.topic, self.partition, step) and not changes:",
        SIMULATION,
    ),
    Mutant(
        "no fence in the statement: any place may be moved",
        APPLY_SQL,
        "AND next_offset = batch_start;",
        "AND batch_start IS NOT NULL;",
        PORTS,
    ),
    Mutant(
        "fence with <=: a place that was passed counts as the own",
        APPLY_SQL,
        "AND next_offset = batch_start;",
        "AND next_offset <= batch_start;",
        PORTS,
    ),
    Mutant(
        "fence on the first record's offset: gaps of transaction markers fence the owner for ever",
        OWNER,
        "return Batch(start, entries[-1].offset + 1, entries)",
        "return Batch(entries[0].offset, entries[-1].offset + 1, entries)",
        SIMULATION,
    ),
    Mutant(
        "the place is read without waiting for the transaction that moves it",
        ALLOCATOR_SQL,
        "FROM partitions WHERE topic = $1 AND partition = $2 FOR UPDATE;",
        "FROM partitions WHERE topic = $1 AND partition = $2;",
        PORTS,
        explained="the statement before it, open_place, waits for the same row; and whoever reads the place too "
        "early is fenced, and takes it again (docs/protocol: what the model does not need)",
    ),
    Mutant(
        "a partition that the topic did not have gets a place",
        ALLOCATOR_SQL,
        "WHERE NOT EXISTS (SELECT FROM partitions WHERE topic = $1 AND (partition_count, cluster_id) <> ($3, $4))\n",
        "",
        PORTS,
    ),
    Mutant(
        "the catalogue that decided last is read before the place is waited for",
        SESSION,
        '        row = await self._connection.fetchrow(SQL["take_place"], topic, partition)\n',
        '        catalogue = await self._connection.fetchval(SQL["last_catalogue"], topic, partition)\n'
        '        row = await self._connection.fetchrow(SQL["take_place"], topic, partition)\n'
        "        return Place._make([*row, catalogue])\n",
        FENCE,
    ),
    Mutant(
        "default isolation level: the fence raises where it should say no",
        DATABASE,
        '        "default_transaction_isolation": "read committed",\n',
        "",
        PORTS,
    ),
    Mutant(
        "a state that others have moved on is decided on",
        STORE,
        "if place != batch.start:",
        "if place < batch.start:",
        FENCE,
    ),
    Mutant(
        "assignments begin before those that end have ended",
        APPLY_SQL,
        "    -- Before new ones begin",
        "    INSERT INTO assignments (partition, assignment_id, assigned_offset, currency, network, address,\n"
        "                             order_id, waited, assigned_at)\n"
        "    SELECT at_partition, * FROM unnest(\n"
        "        new_assignments[1]::uuid[], new_assignments[2]::bigint[], new_assignments[4]::text[],\n"
        "        new_assignments[5]::text[], new_assignments[6]::text[], new_assignments[7]::text[],\n"
        "        new_assignments[8]::boolean[], new_assignments[9]::timestamptz[]);\n"
        "    new_assignments := '{}';\n"
        "    -- Before new ones begin",
        PORTS,
    ),
    Mutant(
        "what a change of an order does not tell is emptied",
        APPLY_SQL,
        "paid_offset = coalesce(c.paid_offset, o.paid_offset),",
        "paid_offset = c.paid_offset,",
        PORTS,
    ),
    Mutant(
        "each release reads all assignments of its partition",
        APPLY_SQL,
        "WHERE a.partition = c.partition AND a.assigned_offset",
        "WHERE a.partition = at_partition AND a.assigned_offset",
        INDEXES,
    ),
    Mutant(
        "an order that ends asks for nobody who waits behind it",
        ALLOCATOR_SQL,
        "SELECT currency, network, 1 FROM named WHERE ends AND network IS NOT NULL",
        "SELECT currency, network, 1 FROM named WHERE ends AND network IS NULL",
        PORTS,
    ),
    Mutant(
        "a stopped owner may hold its locks for ever",
        DATABASE,
        '        "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_MS),\n',
        "",
        FENCE,
    ),
    # The outbox
    Mutant(
        "watermark moved before publishing",
        OWNER,
        "await self._store.apply(batch, changes, published_offset)",
        "await self._store.apply(batch, changes, batch.end)",
        SIMULATION,
    ),
    Mutant(
        "the watermark moves though a batch before is still being published",
        PUBLISHING,
        "        if before is not None:\n            await asyncio.wait([before])\n            before.result()\n",
        "",
        SIMULATION,
    ),
    Mutant(
        "a batch that was not published is passed over",
        PUBLISHING,
        "                self._line.popleft().result()",
        "                self._line.popleft().exception()",
        SIMULATION,
    ),
    Mutant(
        "publish before commit",
        OWNER,
        "            dead_letters = await self._store.apply(batch, changes, published_offset)\n",
        "            await self._outbox.publish(self._store.partition, changes.notifications)\n"
        "            dead_letters = await self._store.apply(batch, changes, published_offset)\n",
        SIMULATION,
    ),
    Mutant(
        "no republishing when a place is taken",
        OWNER,
        "if place.published_offset < place.next_offset:",
        "if place.next_offset < 0:",
        SIMULATION,
    ),
    Mutant(
        "no republishing after Fenced or a lost commit reply",
        OWNER,
        "        self.next_offset = place.next_offset\n        if place.published_offset < place.next_offset:",
        "        again, self.next_offset = self.next_offset is not None, place.next_offset\n"
        "        if place.published_offset < place.next_offset and not again:",
        SIMULATION,
    ),
    Mutant(
        "republishing leaves the dead letters out",
        STORE,
        "        after = start\n        while kept := await",
        "        after = end\n        while kept := await",
        SIMULATION,
    ),
    Mutant(
        "the watermark is not noted while no record comes",
        OWNER,
        "first_of(self._woken, IDLE_SECONDS):\n                    await self._note(publishing.published_offset)",
        "first_of(self._woken, IDLE_SECONDS):\n                    self._noted_offset = publishing.published_offset",
        SIMULATION,
    ),
    Mutant(
        "the watermark may go back",
        APPLY_SQL,
        "published_offset = greatest(published_offset, published),",
        "published_offset = published,",
        PORTS,
    ),
    Mutant(
        "a publish does not wait for the acknowledgements",
        MESSAGES,
        "    for acknowledgement in sent:\n        acknowledgement.result()\n",
        "",
        OUTBOX_TESTS,
    ),
    Mutant(
        "a failed publish is told to the first of those who wait for it, and the others wait for ever",
        OUTBOX,
        "                        one.acknowledged.set_exception(error)\n",
        "                        one.acknowledged.set_exception(error)\n                        break\n",
        OUTBOX_TESTS,
    ),
    # The place
    Mutant(
        "no seek on assignment",
        OWNER,
        "        self._source.seek(place.next_offset)\n",
        "        if self.next_offset == 0:\n            self._source.seek(place.next_offset)\n",
        SIMULATION,
    ),
    Mutant(
        "a seek past what may have been fetched by somebody else: one record is skipped",
        OWNER,
        "self._source.seek(place.next_offset)",
        "self._source.seek(place.next_offset + 1 if place.next_offset else 0)",
        SIMULATION,
    ),
    Mutant(
        "the state of a batch is kept from the attempt before",
        STORE,
        "        await self.close()\n        self._session = await self._connect",
        "        if self._session is not None:\n"
        "            return await self._session.take_place(self.topic, self.partition, partition_count, cluster_id)\n"
        "        self._session = await self._connect",
        SIMULATION,
    ),
    Mutant(
        "a change of the catalogue is not recorded",
        STORE,
        "catalogue = None if self._recorded_catalogue == self._catalogue.sha256 else self._catalogue",
        "catalogue = None if self._recorded_catalogue is not None else self._catalogue",
        SIMULATION,
    ),
    # Refused records
    Mutant(
        "skipping a refused record's neighbours",
        OWNER,
        "        if len(entries) > 1:\n",
        "        if len(entries) > 1:\n"
        "            refusal = Refusal(Reason.STORAGE_REFUSED, _name(error))\n"
        "            all_refused = batch._replace(entries=[e._replace(refusal=refusal) for e in entries])\n"
        "            await self._process(all_refused, publishing)\n"
        "            return\n",
        SIMULATION,
    ),
    Mutant(
        "half of a refused batch is forgotten",
        OWNER,
        "            await self._process(self._batch(entries[:middle]), publishing)\n"
        "            await self._process(self._batch(entries[middle:]), publishing)\n",
        "            await self._process(self._batch(entries[:middle]), publishing)\n"
        "            await self._process(Batch(entries[middle - 1].offset + 1, batch.end, entries[-1:]), publishing)\n",
        SIMULATION,
    ),
    Mutant(
        "a partition whose records gather is never fetched again",
        "consumers/allocator/source.py",
        "        await asyncio.sleep(seconds)\n        self._consumer.resume(self._tp)\n",
        "        await asyncio.sleep(seconds)\n",
        PORTS,
    ),
    Mutant(
        "a server that is out of memory or disk counts as one that refuses the record",
        DATABASE,
        "REFUSED = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)",
        "REFUSED = (asyncpg.PostgresError,)",
        "tests/integration/test_allocator_outages.py",
    ),
    # The rules
    Mutant(
        "LIFO: the youngest waiting order is served",
        DECIDE,
        "            order_id = next(iter(waiting))",
        "            order_id = next(reversed(waiting))",
        SIMULATION,
    ),
    Mutant(
        "LIFO in the statement: the youngest waiting orders are read",
        ALLOCATOR_SQL,
        "ORDER BY o.queue_place LIMIT pool.many",
        "ORDER BY o.queue_place DESC LIMIT pool.many",
        PORTS,
    ),
    Mutant(
        "too few of the queue are read for a batch with several releases",
        NEEDS,
        "            many[order.currency, order.network] += 1\n",
        "            many[order.currency, order.network] = 1\n",
        SIMULATION,
    ),
    Mutant(
        "release without serving the queue",
        DECIDE,
        "        if waiting := self._waiting.get(pool):",
        "        if (waiting := self._waiting.get(pool)) and isinstance(entry.event, WalletAdded):",
        SIMULATION,
    ),
    Mutant(
        "forgetting a late final: a pending that comes after it gets a wallet",
        DECIDE,
        "            _end(self._new_order(Order(event.currency, event.order_id, event.status)), entry, event)\n",
        "",
        SIMULATION,
    ),
    Mutant(
        "a timeout that releases a paid order's wallet",
        DECIDE,
        'if event.status == "cancelled" and event.reason == PAYMENT_TIMEOUT and order.status != "pending":',
        'if event.status == "cancelled" and event.reason == PAYMENT_TIMEOUT and order.status == "processing":',
        SIMULATION,
    ),
    Mutant(
        "a retiring wallet goes to the next order",
        DECIDE,
        '        if wallet.retiring:\n            _become(wallet, "retired")\n        elif',
        "        if",
        SIMULATION,
    ),
    Mutant(
        "any wallet_cooled ends a cooling",
        DECIDE,
        "if wallet.cooling_assignment_id != event.assignment_id:",
        "if wallet.cooling_assignment_id is None:",
        SIMULATION,
    ),
    Mutant(
        "an order that leaves the queue keeps its place in it",
        DECIDE,
        "            self._waiting.get(pool, {}).pop(order.order_id, None)\n",
        "            pass\n",
        SIMULATION,
    ),
    # The mailer
    Mutant(
        "claim without lease: a mailer that dies takes its mails with it",
        MAILER_SQL,
        "    WHERE next_attempt_at <= now() AND kind <> 'queued'",
        "    WHERE next_attempt_at <= now() AND state = 'due' AND kind <> 'queued'",
        "tests/integration/test_mailer_delivery.py",
    ),
    Mutant(
        "claim without lock: two mailers claim the same mail",
        MAILER_SQL,
        "    LIMIT $1\n    FOR UPDATE SKIP LOCKED\n), queued AS (\n",
        "    LIMIT $1\n), queued AS (\n",
        "tests/integration/test_mailer_leases.py",
    ),
    Mutant(
        "no check before sending: an order that has ended gets its mail",
        "consumers/mailer/endings.py",
        "(dossier.released or dossier.address is None)",
        "dossier.address is None",
        "tests/unit/test_mailer_decisions.py tests/integration/test_mailer_delivery.py",
    ),
    Mutant(
        "settle without lease: a mailer that woke up ends another's attempt",
        MAILER_SQL,
        "  AND deliveries.lease_holder = ended.lease_holder\n",
        "",
        "tests/integration/test_mailer_leases.py",
    ),
    Mutant(
        "an unknown outcome counts as sent",
        "consumers/mailer/endings.py",
        "        case Kind.SENT:\n",
        "        case Kind.SENT | Kind.UNKNOWN:\n",
        "tests/unit/test_mailer_decisions.py",
    ),
    Mutant(
        "what Postfix has against us, which it tells at RCPT, fails every mail",
        "consumers/mailer/verdicts.py",
        " or code in _AUTHENTICATION or _is_about_the_sender(text)",
        " or code in _AUTHENTICATION",
        "tests/unit/test_mailer_decisions.py",
    ),
    Mutant(
        "the mailer's fence is gone: a zombie moves the place",
        MAILER_SQL,
        "  AND partitions.next_offset = batch.start_offset\n",
        "",
        "tests/integration/test_mailer_intake.py",
    ),
    # The group
    Mutant(
        "two processes may have one member id",
        "consumers/member.py",
        'if not await connection.fetchval(SQL["hold_member"], group, member_id):',
        'if await connection.fetchval(SQL["hold_member"], group, member_id) is None:',
        "tests/integration/test_allocator_membership.py",
    ),
    # Dead letters that go out again
    Mutant(
        "nobody looks whether a begun replay went out: after a crash the event is there twice",
        "operations/dead_letters/commands.py",
        "        if not wish.dry_run and any(letter.unfinished for letter in letters):\n",
        "        if wish.dry_run and any(letter.unfinished for letter in letters):\n",
        "tests/integration/test_dead_letters.py",
    ),
    Mutant(
        "what the rules would refuse again is replayed",
        "operations/dead_letters/planning.py",
        "            if outcome.is_useful or terms.force:\n",
        "            if outcome.words:\n",
        "tests/integration/test_dead_letters.py",
    ),
)
