package kafka_streams;

import com.fasterxml.jackson.annotation.JsonFormat;
import java.time.Instant;
import kafka_streams.Event.Recipient;

/**
 * An order as it is kept. One whose final status came before any pending has a status and little else.
 *
 * @param expiresAt in milliseconds since 1970
 * @param address of the wallet that it holds, or null
 * @param place its number in its pool's line while it waits, or null
 */
@JsonFormat(shape = JsonFormat.Shape.ARRAY)
record Order(
        Status status,
        String network,
        String amount,
        Recipient recipient,
        long expiresAt,
        String address,
        Long place) {

    static Order begun(Event event, String network, Instant expiry) {
        return new Order(
                event.status(), network, event.amount(), event.recipient(), expiry.toEpochMilli(), null, null);
    }

    static Order known(Status status) {
        return new Order(status, null, null, null, 0, null, null);
    }

    Order with(Status next) {
        return new Order(next, network, amount, recipient, expiresAt, address, place);
    }

    Order asking(String forNetwork, String forAmount) {
        return new Order(status, forNetwork, forAmount, recipient, expiresAt, address, place);
    }

    Order waiting(long number) {
        return new Order(status, network, amount, recipient, expiresAt, null, number);
    }

    Order holding(String wallet) {
        return new Order(status, network, amount, recipient, expiresAt, wallet, null);
    }

    Order ended(Status last) {
        return new Order(last, network, amount, recipient, expiresAt, null, null);
    }
}
