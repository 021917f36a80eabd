package kafka_streams;

import java.math.BigDecimal;
import java.time.Duration;
import java.time.Instant;
import java.time.OffsetDateTime;
import kafka_streams.Catalogue.Currency;
import org.apache.kafka.streams.state.KeyValueStore;

/** What an event does to the orders and wallets of its partition. An event that is refused has changed nothing. */
final class Rules {
    private static final String PAYMENT_TIMEOUT = "payment_timeout";

    private final Catalogue catalogue;
    private final KeyValueStore<String, Order> orders;
    private final KeyValueStore<String, Wallet> wallets;
    private final Line waiting;
    private final Line free;
    private final Assigned assigned;

    /** Is told of each assignment. */
    interface Assigned {
        void accept(Pool pool, String orderId, Order order, boolean waited);
    }

    Rules(
            Catalogue catalogue,
            KeyValueStore<String, Order> orders,
            KeyValueStore<String, Wallet> wallets,
            KeyValueStore<String, String> lines,
            Assigned assigned) {
        this.catalogue = catalogue;
        this.orders = orders;
        this.wallets = wallets;
        this.waiting = new Line(lines, "waiting");
        this.free = new Line(lines, "free");
        this.assigned = assigned;
    }

    /** Applies the event of a record with this key and time. */
    void apply(Event event, String key, Instant at) {
        Currency currency = catalogue.currency(event.currency());
        if (!event.currency().equals(key)) {
            throw new Refused("wrong_key");
        }
        switch (event.type()) {
            case Event.ORDER_STATUS_CHANGED -> changeOrder(event, currency, at);
            case Event.WALLET_ADDED -> addWallet(event, currency);
            case Event.WALLET_RETIRED -> retireWallet(event, currency);
            default -> {} // wallet_cooled: no wallet cools in this design
        }
    }

    private void changeOrder(Event event, Currency currency, Instant at) {
        Order order = orders.get(Pool.orderKey(event.currency(), event.orderId()));
        if (event.status() == Status.PENDING) {
            begin(event, order, currency, at);
        } else if (event.status().isFinal()) {
            end(event, order);
        } else {
            progress(event, order, currency);
        }
    }

    private void begin(Event event, Order order, Currency currency, Instant at) {
        Pool pool = new Pool(event.currency(), currency.network(event.network()));
        BigDecimal amount = currency.amount(event.amount());
        if (order == null) {
            takeWalletOrWait(pool, event.orderId(), Order.begun(event, pool.network(), expiry(event, at)));
        } else if (order.amount() == null) { // it had ended before it began
            keep(event, order.asking(pool.network(), event.amount()));
        } else if (!order.network().equals(pool.network()) || new BigDecimal(order.amount()).compareTo(amount) != 0) {
            throw new Refused("conflicting_order");
        }
    }

    private Instant expiry(Event event, Instant at) {
        return event.expiresAt() == null
                ? at.plus(Duration.ofMinutes(catalogue.expiryMinutes()))
                : OffsetDateTime.parse(event.expiresAt()).toInstant();
    }

    private void takeWalletOrWait(Pool pool, String orderId, Order order) {
        String address = free.takeFirst(pool);
        if (address == null) {
            orders.put(Pool.orderKey(pool.currency(), orderId), order.waiting(waiting.join(pool, orderId)));
        } else {
            wallets.put(pool.walletKey(address), Wallet.OCCUPIED);
            assign(pool, orderId, order.holding(address), false);
        }
    }

    /** Paid and processing. */
    private void progress(Event event, Order order, Currency currency) {
        if (event.network() != null) {
            currency.network(event.network());
        }
        if (order == null) {
            throw new Refused("unknown_order");
        }
        if (order.status().isFinal()) {
            throw new Refused("invalid_transition");
        }
        if (order.address() == null) {
            throw new Refused("no_wallet");
        }
        if (event.status().compareTo(order.status()) > 0) {
            keep(event, order.with(event.status()));
        }
    }

    private void end(Event event, Order order) {
        if (order == null) {
            keep(event, Order.known(event.status()));
        } else if (order.status().isFinal()) {
            if (order.status() != event.status()) {
                throw new Refused("invalid_transition");
            }
        } else if (order.status() == Status.PENDING || !PAYMENT_TIMEOUT.equals(event.reason())) {
            keep(event, order.ended(event.status()));
            Pool pool = new Pool(event.currency(), order.network());
            if (order.address() == null) {
                waiting.leave(pool, order.place());
            } else {
                release(pool, order.address());
            }
        } // a customer who has paid in time keeps the wallet
    }

    private void release(Pool pool, String address) {
        if (wallets.get(pool.walletKey(address)).equals(Wallet.RETIRING)) {
            wallets.put(pool.walletKey(address), Wallet.RETIRED);
        } else {
            offer(pool, address);
        }
    }

    private void addWallet(Event event, Currency currency) {
        Pool pool = new Pool(event.currency(), currency.network(event.network()));
        String key = pool.walletKey(event.address());
        Wallet wallet = wallets.get(key);
        if (Wallet.RETIRING.equals(wallet)) {
            wallets.put(key, Wallet.OCCUPIED);
        } else if ((wallet == null || wallet.equals(Wallet.RETIRED)) && offer(pool, event.address())) {
            wallets.put(key, Wallet.OCCUPIED);
        }
    }

    private void retireWallet(Event event, Currency currency) {
        Pool pool = new Pool(event.currency(), currency.network(event.network()));
        String key = pool.walletKey(event.address());
        Wallet wallet = wallets.get(key);
        if (wallet == null) {
            throw new Refused("unknown_wallet");
        }
        if (wallet.hasPlace()) {
            free.leave(pool, wallet.place());
            wallets.put(key, Wallet.RETIRED);
        } else if (wallet.equals(Wallet.OCCUPIED)) {
            wallets.put(key, Wallet.RETIRING);
        }
    }

    /** The wallet goes to the oldest waiting order, else it is free; returns whether an order took it. */
    private boolean offer(Pool pool, String address) {
        String orderId = waiting.takeFirst(pool);
        if (orderId == null) {
            wallets.put(pool.walletKey(address), Wallet.free(free.join(pool, address)));
            return false;
        }
        Order order = orders.get(Pool.orderKey(pool.currency(), orderId));
        assign(pool, orderId, order.holding(address), true);
        return true;
    }

    private void assign(Pool pool, String orderId, Order order, boolean waited) {
        orders.put(Pool.orderKey(pool.currency(), orderId), order);
        assigned.accept(pool, orderId, order, waited);
    }

    private void keep(Event event, Order order) {
        orders.put(Pool.orderKey(event.currency(), event.orderId()), order);
    }
}
