-- Held deliveries wait for an operator and are counted every few seconds; those that have ended are many.
CREATE INDEX deliveries_held ON deliveries (state) WHERE state = 'held';
