package kafka_streams;

import com.fasterxml.jackson.annotation.JsonFormat;

/**
 * A wallet as it is kept.
 *
 * @param place its number in its pool's line while it is free, or null
 */
@JsonFormat(shape = JsonFormat.Shape.ARRAY)
record Wallet(State state, Long place) {
    static final Wallet OCCUPIED = new Wallet(State.OCCUPIED, null);
    /** Occupied, and leaves when its order ends. */
    static final Wallet RETIRING = new Wallet(State.RETIRING, null);

    static final Wallet RETIRED = new Wallet(State.RETIRED, null);

    enum State {
        FREE,
        OCCUPIED,
        RETIRING,
        RETIRED
    }

    static Wallet free(long place) {
        return new Wallet(State.FREE, place);
    }

    boolean hasPlace() {
        return place != null;
    }
}
