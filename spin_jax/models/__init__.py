"""Networks: flax modules and pure functions of arrays."""
