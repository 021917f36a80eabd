package kafka_streams;

import java.time.Instant;
import java.util.Set;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.ProcessorSupplier;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.processor.api.RecordMetadata;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;

/** The one processor of the topology: reads the event of a record, applies the rules to the stores of its partition. */
final class Allocation implements Processor<String, byte[], String, Notification> {
    private static final String ORDERS = "orders";
    private static final String WALLETS = "wallets";
    private static final String LINES = "lines";

    private final Catalogue catalogue;
    private ProcessorContext<String, Notification> context;
    private Rules rules;
    private Record<String, byte[]> current;

    private Allocation(Catalogue catalogue) {
        this.catalogue = catalogue;
    }

    /** Processors, each with its stores: cached, so that a commit writes an entry once that has changed many times. */
    static ProcessorSupplier<String, byte[], String, Notification> supplier(Catalogue catalogue) {
        return new ProcessorSupplier<>() {
            @Override
            public Processor<String, byte[], String, Notification> get() {
                return new Allocation(catalogue);
            }

            @Override
            public Set<StoreBuilder<?>> stores() {
                return Set.of(
                        store(ORDERS, Json.serde(Order.class)),
                        store(WALLETS, Json.serde(Wallet.class)),
                        store(LINES, Serdes.String()));
            }
        };
    }

    private static <V> StoreBuilder<KeyValueStore<String, V>> store(String name, Serde<V> values) {
        return Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(name), Serdes.String(), values)
                .withCachingEnabled();
    }

    @Override
    public void init(ProcessorContext<String, Notification> context) {
        this.context = context;
        rules = new Rules(
                catalogue,
                context.getStateStore(ORDERS),
                context.getStateStore(WALLETS),
                context.getStateStore(LINES),
                this::announce);
    }

    @Override
    public void process(Record<String, byte[]> record) {
        current = record;
        try {
            rules.apply(Event.read(record.value()), record.key(), Instant.ofEpochMilli(record.timestamp()));
        } catch (Refused refused) {
            System.err.println(origin() + ": " + refused.getMessage());
        }
    }

    private void announce(Pool pool, String orderId, Order order, boolean waited) {
        Instant at = Instant.ofEpochMilli(current.timestamp());
        Notification notification = Notification.of(pool, orderId, order, waited, origin(), at);
        context.forward(current.withKey(orderId).withValue(notification));
    }

    private String origin() {
        RecordMetadata metadata = context.recordMetadata().orElseThrow();
        return metadata.topic() + "/" + metadata.partition() + "/" + metadata.offset();
    }
}
