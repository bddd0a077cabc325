"""What is built on `stylize`: batches, inspection of the network, benchmarks, example pictures."""
