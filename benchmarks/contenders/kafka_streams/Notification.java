package kafka_streams;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.time.Instant;
import java.util.UUID;

/** An order has its wallet. No recipient in it: whoever writes to the customer takes that from the order. */
record Notification(
        String type,
        UUID notificationId,
        String orderId,
        String currency,
        String network,
        String address,
        String amount,
        boolean waited,
        String assignedAt,
        String expiresAt) {

    /**
     * The notification of an assignment.
     *
     * @param origin names the record that led to it, which leads to no other
     * @param at the time of that record
     */
    static Notification of(Pool pool, String orderId, Order order, boolean waited, String origin, Instant at) {
        return new Notification(
                "wallet_assigned",
                UUID.nameUUIDFromBytes(origin.getBytes(UTF_8)),
                orderId,
                pool.currency(),
                pool.network(),
                order.address(),
                order.amount(),
                waited,
                at.toString(),
                Instant.ofEpochMilli(order.expiresAt()).toString());
    }
}
