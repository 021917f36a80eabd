package kafka_streams;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.math.BigDecimal;
import java.nio.file.Path;
import java.util.Map;

/** The currencies, with their networks and limits: the project's catalogue as JSON. */
record Catalogue(long expiryMinutes, Map<String, Currency> currencies) {

    /** The limits of an amount are inclusive; what there is to know of a network is not needed here. */
    record Currency(int decimals, BigDecimal minAmount, BigDecimal maxAmount, Map<String, JsonNode> networks) {
        /** The network of an event that names this one, or none. */
        String network(String named) {
            if (named == null && networks.size() > 1) {
                throw new Refused("network_required");
            }
            String network = named == null ? networks.keySet().iterator().next() : named;
            if (!networks.containsKey(network)) {
                throw new Refused("unknown_network");
            }
            return network;
        }

        /** The amount of an order, which must be one that this currency has. */
        BigDecimal amount(String digits) {
            BigDecimal amount = new BigDecimal(digits);
            if (amount.scale() > decimals) {
                throw new Refused("invalid_event");
            }
            if (amount.compareTo(minAmount) < 0 || amount.compareTo(maxAmount) > 0) {
                throw new Refused("amount_out_of_range");
            }
            return amount;
        }
    }

    static Catalogue read(Path file) throws IOException {
        return Json.MAPPER.readValue(file.toFile(), Catalogue.class);
    }

    Currency currency(String code) {
        Currency currency = currencies.get(code);
        if (currency == null) {
            throw new Refused("unknown_currency");
        }
        return currency;
    }
}
