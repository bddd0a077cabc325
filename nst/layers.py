"""VGG19's convolutions by the papers' names, for whoever needs them without waiting for torch."""

BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))  # channels and convolutions between two poolings
LAYERS = tuple(f"conv{b}_{i}" for b, (_, depth) in enumerate(BLOCKS, 1) for i in range(1, depth + 1))
CHANNELS = {f"conv{b}_{i}": width for b, (width, depth) in enumerate(BLOCKS, 1) for i in range(1, depth + 1)}
