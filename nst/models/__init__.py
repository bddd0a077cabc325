"""Networks: VGG19 and its layers, checkpoints, the Hub, model cards."""
