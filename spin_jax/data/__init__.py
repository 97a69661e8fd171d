"""Reading logs of decisions: TFDS shards of RLDS episodes into arrays on the device."""
