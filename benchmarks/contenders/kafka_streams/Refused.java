package kafka_streams;

/** A record that the rules of the design make a dead letter. It changes nothing; the message is the reason. */
final class Refused extends RuntimeException {
    Refused(String reason) {
        super(reason, null, false, false); // no stack trace: it is an answer, not a fault
    }
}
