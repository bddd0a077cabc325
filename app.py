"""The web app, and the file that a Hugging Face Space starts: `python app.py [options]` serves the page.

`python app.py --help` lists the options. The page itself is `nst/web/layout.py`, its server `nst/web/server.py`.
"""

import sys

from nst.web.server import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
