"""Speed: hardware, fast convolutions, tiles, cached targets, GPU kernels."""
