"""Tools built on `stylize`: batches, inspection of the network, and the benchmark."""
