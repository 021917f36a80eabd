package kafka_streams;

import com.fasterxml.jackson.annotation.JsonProperty;

/** What an order comes to, in this order: no order ever goes back to an earlier one. */
enum Status {
    @JsonProperty("pending")
    PENDING,
    @JsonProperty("paid")
    PAID,
    @JsonProperty("processing")
    PROCESSING,
    @JsonProperty("completed")
    COMPLETED,
    @JsonProperty("cancelled")
    CANCELLED,
    @JsonProperty("failed")
    FAILED;

    boolean isFinal() {
        return compareTo(PROCESSING) > 0;
    }
}
