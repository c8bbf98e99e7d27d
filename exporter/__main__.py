"""Exit with what the command line returns."""

import sys

from exporter.cli import main

if __name__ == "__main__":
    sys.exit(main())
