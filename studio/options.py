"""What the host of the app decides: limits, folders, and which backbones visitors may choose."""

import tempfile

MAX_SIZE = 1024  # px: what two cores paint in minutes
KEEP_SECONDS = 3600  # how long uploads and results stay on the server
RESULTS = tempfile.mkdtemp(prefix="nst-results-")
BACKBONES = [("CIFAR-100 (bundled)", "cifar100"), ("ImageNet (downloads 548 MB once)", "imagenet")]
