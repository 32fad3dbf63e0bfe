"""`python -m diabolo`."""

import sys

from diabolo.cli import main

sys.exit(main())
