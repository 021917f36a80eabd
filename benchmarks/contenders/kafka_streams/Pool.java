package kafka_streams;

/** The wallets of one currency on one network, and the orders for them. Neither name has a bar in it. */
record Pool(String currency, String network) {
    /** An order is identified by its currency and its id. */
    static String orderKey(String currency, String orderId) {
        return currency + "|" + orderId;
    }

    String key() {
        return currency + "|" + network;
    }

    String walletKey(String address) {
        return currency + "|" + network + "|" + address;
    }
}
