"""The network: VGG19, its checkpoints, the Hub, and model cards."""
