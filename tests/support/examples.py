"""How many examples hypothesis tries: FLOWCONV_EXAMPLES=1000 adds so many to each test."""

import os

MORE_EXAMPLES = int(os.environ.get("FLOWCONV_EXAMPLES", "0"))
