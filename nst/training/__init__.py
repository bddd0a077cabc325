"""Training the VGG19 on labelled pictures."""
