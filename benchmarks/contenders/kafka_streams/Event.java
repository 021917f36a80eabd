package kafka_streams;

import static kafka_streams.Fields.isAmount;
import static kafka_streams.Fields.isName;
import static kafka_streams.Fields.isRemark;
import static kafka_streams.Fields.isTime;

import com.fasterxml.jackson.databind.ObjectReader;
import java.io.IOException;

/** An event of any type on the topic of orders: members that its type has not, or that it leaves out, are null. */
record Event(
        String type,
        String eventId,
        String orderId,
        String currency,
        String network,
        Status status,
        String amount,
        Recipient recipient,
        String expiresAt,
        String reason,
        String actor,
        String address,
        String assignmentId,
        String occurredAt) {

    static final String ORDER_STATUS_CHANGED = "order_status_changed";
    static final String WALLET_ADDED = "wallet_added";
    static final String WALLET_RETIRED = "wallet_retired";
    static final String WALLET_COOLED = "wallet_cooled";

    private static final ObjectReader READER = Json.MAPPER.readerFor(Event.class);

    /** Who gets the mail; English where no locale is given. */
    record Recipient(String email, String locale) {
        Recipient {
            locale = locale == null ? "en" : locale;
        }

        boolean isValid() {
            return Fields.isEmail(email) && Fields.isLocale(locale);
        }
    }

    /** The event in a record's value, every member of it checked. */
    static Event read(byte[] value) {
        Event event;
        try {
            event = value == null ? null : READER.readValue(value);
        } catch (IOException notAnEvent) {
            throw new Refused("invalid_event");
        }
        if (event == null || !event.isValid()) {
            throw new Refused("invalid_event");
        }
        return event;
    }

    private boolean isValid() {
        if (type == null || !isName(currency, 64)) {
            return false;
        }
        return switch (type) {
            case ORDER_STATUS_CHANGED -> isName(orderId, 64) && status != null && (status.isFinal() || isLiving());
            case WALLET_ADDED, WALLET_RETIRED -> isName(address, 128) && hasOrigin();
            case WALLET_COOLED -> isName(address, 128) && Fields.isUuid(assignmentId) && hasOrigin();
            default -> false;
        };
    }

    /** What a status that is not final needs besides: a final one is never refused for form. */
    private boolean isLiving() {
        boolean whole = status != Status.PENDING || amount != null && recipient != null;
        return whole
                && hasOrigin()
                && (amount == null || isAmount(amount))
                && (recipient == null || recipient.isValid())
                && (expiresAt == null || isTime(expiresAt));
    }

    private boolean hasOrigin() {
        return isName(eventId, 128)
                && isTime(occurredAt)
                && (network == null || isName(network, 64))
                && (reason == null || isRemark(reason))
                && (actor == null || isRemark(actor));
    }
}
