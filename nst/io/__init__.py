"""From files to tensors: reading, decoding, sizes, tensors, colour, and writing files whole."""
