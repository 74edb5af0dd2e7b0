"""The product's own code on fake AWS clients, in virtual time, under seeded faults."""
