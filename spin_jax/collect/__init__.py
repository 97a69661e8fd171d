"""Makes the data: behaviour policies, roll-outs, shipped weights, the TFDS builder."""
