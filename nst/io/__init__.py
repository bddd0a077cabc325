"""From files to tensors: pictures, colours, and files that are written whole."""
