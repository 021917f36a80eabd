"""What publishes events: publish, order set-status, wallets add and retire; and wallets list."""

from typing import Annotated

import typer

from operations.commands.options import (
    Actor,
    Addresses,
    AddressFile,
    Currency,
    Json,
    Network,
    OrderCurrency,
    Target,
    WalletStatus,
    operator,
    read_seconds,
)

app = typer.Typer()
order = typer.Typer(name="order", help="An order, as an operator sees it.", no_args_is_help=True)
wallets = typer.Typer(name="wallets", help="The wallets of a pool.", no_args_is_help=True)
app.add_typer(order)
app.add_typer(wallets)


@app.command(epilog="Example: walletq publish events.jsonl")
def publish(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="JSON lines, an event each; - is standard input.")],
    skip_invalid: Annotated[
        bool, typer.Option("--skip-invalid", help="Publish the valid lines although others are not.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Publish events from JSON lines.

    Each is checked as the allocator would; where a line is invalid, nothing is published.
    """
    from operations.process import run, settings_for_command
    from operations.publishing import publish as run_publish

    settings = settings_for_command()
    raise typer.Exit(run(settings, run_publish(settings, file, skip_invalid=skip_invalid, as_json=as_json)))


@order.command(
    "set-status", epilog="Example: walletq order set-status ord-7f3c cancelled --reason client_request --wait"
)
def order_set_status(
    order_id: Annotated[str, typer.Argument(metavar="ORDER", help="The order's id.")],
    status: Annotated[Target, typer.Argument(metavar="STATUS", help="paid, processing, completed, cancelled, failed.")],
    currency: OrderCurrency = None,
    reason: Annotated[
        str | None,
        typer.Option("--reason", "-r", metavar="R", help="Such as client_request; free text up to 200 characters."),
    ] = None,
    actor: Actor = None,
    force: Annotated[
        bool, typer.Option("--force", help="Publish even what the order's status as we know it does not allow.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the allocator has applied it.")] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="S", parser=read_seconds, help="With --wait: at most so long.")
    ] = 30,
    as_json: Json = False,
) -> None:
    """Set an order's status.

    A final one releases its wallet to the oldest waiting order. What the order's present status does not allow is
    refused with exit code 1.
    """
    from operations.orders import Change, change_status
    from operations.process import run, settings_for_command

    settings = settings_for_command()
    change = Change(
        order_id=order_id,
        status=status.value,
        currency=currency,
        reason=reason,
        actor=actor or operator(),
        force=force,
        wait_seconds=timeout if wait else None,
    )
    raise typer.Exit(run(settings, change_status(settings, change, as_json=as_json)))


@wallets.command("add", epilog="Example: walletq wallets add --currency USDT --network TRC-20 --file addresses.txt")
def wallets_add(
    addresses: Addresses = None,
    *,
    currency: Currency,
    network: Network = None,
    file: AddressFile = None,
    actor: Actor = None,
    as_json: Json = False,
) -> None:
    """Add wallets to a pool.

    Waiting orders get them at once, the oldest first. Where an address is invalid, none is added.
    """
    from operations.process import run, settings_for_command
    from operations.wallets import change_pool, read_addresses

    settings = settings_for_command()
    work = change_pool(
        settings,
        "add",
        currency,
        network,
        read_addresses(addresses or [], file),
        actor=actor or operator(),
        as_json=as_json,
    )
    raise typer.Exit(run(settings, work))


@wallets.command(
    "retire",
    epilog="Example: walletq wallets retire --currency BTC bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4 --reason lost",
)
def wallets_retire(
    addresses: Addresses = None,
    *,
    currency: Currency,
    network: Network = None,
    file: AddressFile = None,
    reason: Annotated[
        str | None,
        typer.Option("--reason", "-r", metavar="R", help="Free text up to 200 characters."),
    ] = None,
    actor: Actor = None,
    as_json: Json = False,
) -> None:
    """Take wallets out of a pool.

    Free ones at once, occupied ones when their order ends.
    """
    from operations.process import run, settings_for_command
    from operations.wallets import change_pool, read_addresses

    settings = settings_for_command()
    work = change_pool(
        settings,
        "retire",
        currency,
        network,
        read_addresses(addresses or [], file),
        reason=reason,
        actor=actor or operator(),
        as_json=as_json,
    )
    raise typer.Exit(run(settings, work))


@wallets.command("list", epilog="Example: walletq wallets list --currency USDT --status occupied")
def wallets_list(
    currency: Annotated[
        str | None,
        typer.Option("--currency", "-c", metavar="C", help="Only this currency."),
    ] = None,
    network: Annotated[
        str | None,
        typer.Option("--network", "-n", metavar="N", help="Only this network."),
    ] = None,
    status: Annotated[
        WalletStatus | None,
        typer.Option("--status", "-s", help="Only wallets with this status."),
    ] = None,
    as_json: Json = False,
) -> None:
    """List wallets and who holds them."""
    from operations.process import run, settings_for_command
    from operations.wallets import list_wallets

    settings = settings_for_command()
    wanted = status.value if status else None
    raise typer.Exit(run(settings, list_wallets(settings, currency, network, wanted, as_json=as_json)))
