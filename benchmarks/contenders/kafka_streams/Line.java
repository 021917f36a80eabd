package kafka_streams;

import org.apache.kafka.streams.state.KeyValueStore;

/**
 * First in, first out, for each pool: members are numbered as they come, and the numbers of both ends are kept beside.
 *
 * <p>Every step reads single keys. A range scan for the oldest member would walk over all that has been deleted before
 * it, and a caching store copies the keys of a range first: its cost would grow with the line.
 */
final class Line {
    /** All numbers have as many digits, so that neighbours in the line are neighbours in the store. */
    private static final long FIRST = 1_000_000_000_000L;

    private final KeyValueStore<String, String> store;
    private final String name;

    Line(KeyValueStore<String, String> store, String name) {
        this.store = store;
        this.name = name;
    }

    /** The member joins the end; returns its number. */
    long join(Pool pool, String member) {
        long number = end(pool, "next");
        store.put(slot(pool, number), member);
        moveEnd(pool, "next", number + 1);
        return number;
    }

    /** Takes out the oldest member, or returns null where there is none. */
    String takeFirst(Pool pool) {
        long first = end(pool, "first");
        long next = end(pool, "next");
        String member = null;
        long number = first;
        while (member == null && number < next) { // who has left has an empty slot
            member = store.get(slot(pool, number));
            number++;
        }
        if (member != null) {
            store.delete(slot(pool, number - 1));
        }
        if (number != first) {
            moveEnd(pool, "first", number);
        }
        return member;
    }

    /** The member with this number leaves, wherever it stands. */
    void leave(Pool pool, long number) {
        store.delete(slot(pool, number));
    }

    private long end(Pool pool, String which) {
        String number = store.get(pool.key() + "|" + name + "|" + which);
        return number == null ? FIRST : Long.parseLong(number);
    }

    private void moveEnd(Pool pool, String which, long number) {
        store.put(pool.key() + "|" + name + "|" + which, Long.toString(number));
    }

    private String slot(Pool pool, long number) {
        return pool.key() + "|" + name + "|" + number;
    }
}
