import static java.nio.charset.StandardCharsets.UTF_8;
import static org.apache.kafka.clients.producer.ProducerConfig.ACKS_CONFIG;
import static org.apache.kafka.clients.producer.ProducerConfig.BOOTSTRAP_SERVERS_CONFIG;
import static org.apache.kafka.clients.producer.ProducerConfig.ENABLE_IDEMPOTENCE_CONFIG;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.Map;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Publishes the events of standard input, one JSON object on each line, and prints where each is now.
 *
 * <p>java -cp 'jars/*' Publish.java BOOTSTRAP_SERVERS TOPIC &lt; events.jsonl, with kafka-clients and jackson-databind
 * and what they need among the jars.
 */
public final class Publish {
    public static void main(String[] args) throws Exception {
        var topic = args[1];
        // W3C trace context of what you are doing, such as OpenTelemetry's propagator gives it.
        var traceparent = System.getenv("TRACEPARENT");
        var json = new ObjectMapper();
        var settings =
                Map.<String, Object>of(
                        BOOTSTRAP_SERVERS_CONFIG, args[0],
                        // Both are the defaults since Kafka 3.0. What is sent again after a lost reply is not there
                        // twice, or out of order.
                        ENABLE_IDEMPOTENCE_CONFIG, true,
                        ACKS_CONFIG, "all");
        // No partitioner.class: the built-in one takes murmur2 of the key.
        try (var producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer());
                var events = new BufferedReader(new InputStreamReader(System.in, UTF_8))) {
            for (String event; (event = events.readLine()) != null; ) {
                var record = new ProducerRecord<>(topic, json.readTree(event).get("currency").textValue(), event);
                if (traceparent != null) {
                    record.headers().add("traceparent", traceparent.getBytes(UTF_8));
                }
                var placed = producer.send(record).get();
                System.out.println(placed.partition() + " " + placed.offset());
            }
        }
    }
}
