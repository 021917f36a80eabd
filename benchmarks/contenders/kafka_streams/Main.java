package kafka_streams;

import java.io.IOException;
import java.nio.file.Path;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;

/** Runs until SIGTERM: {@code Main BOOTSTRAP_SERVERS ORDERS NOTIFICATIONS CATALOGUE STATE_FOLDER}. */
public final class Main {
    private static final int THREADS = 2;
    private static final long CACHE_BYTES = 256L << 20;

    private Main() {}

    public static void main(String[] arguments) throws IOException {
        String bootstrapServers = arguments[0];
        String orders = arguments[1];
        String notifications = arguments[2];
        Catalogue catalogue = Catalogue.read(Path.of(arguments[3]));
        String stateFolder = arguments[4];

        KafkaStreams streams = new KafkaStreams(
                topology(orders, notifications, catalogue), settings(bootstrapServers, orders, stateFolder));
        streams.setUncaughtExceptionHandler(problem -> {
            problem.printStackTrace();
            Runtime.getRuntime().halt(1); // as a crash would: what is not committed is aborted
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
    }

    private static Topology topology(String orders, String notifications, Catalogue catalogue) {
        return new Topology()
                .addSource("orders", Serdes.String().deserializer(), Serdes.ByteArray().deserializer(), orders)
                .addProcessor("allocation", Allocation.supplier(catalogue), "orders")
                .addSink(
                        "notifications",
                        notifications,
                        Serdes.String().serializer(),
                        Json.serde(Notification.class).serializer(),
                        "allocation");
    }

    private static Properties settings(String bootstrapServers, String orders, String stateFolder) {
        String application = orders + ".kafka-streams"; // a topic of a run's own, so no other run has this id
        Properties settings = new Properties();
        settings.putAll(Map.of(
                StreamsConfig.APPLICATION_ID_CONFIG, application,
                StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrapServers,
                StreamsConfig.STATE_DIR_CONFIG, stateFolder,
                StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2,
                StreamsConfig.NUM_STREAM_THREADS_CONFIG, THREADS,
                StreamsConfig.REPLICATION_FACTOR_CONFIG, 1,
                StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, CACHE_BYTES));
        // Static members: after kill -9 and a restart the tasks are there again without waiting for a session to end.
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.GROUP_INSTANCE_ID_CONFIG), application);
        // Partitions without news must not hold up the others, which wait for the same answer of the broker.
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.FETCH_MAX_WAIT_MS_CONFIG), 20);
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 128 << 10);
        return settings;
    }
}
