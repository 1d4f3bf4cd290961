"""Progress bars: widgets in a live notebook, plain lines where a terminal watches."""

import os

from tqdm import tqdm as plain
from tqdm.auto import tqdm as automatic

# The runner sets this: a widget of a headless kernel would be seen by nobody, its plain lines reach the terminal.
tqdm = plain if os.environ.get("ADVLOOK_PLAIN_PROGRESS") else automatic
