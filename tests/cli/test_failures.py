"""What goes wrong in a command is said where its log goes."""

import io
import json
import threading

from flowconv.cli.failures import explained
from flowconv.cli.log import JsonLog
from flowconv.events import json_log


def test_a_thread_that_fails_is_an_event_of_the_json_log() -> None:
    def fail() -> None:
        raise KeyError("secret=hush")

    stream = io.StringIO()
    with json_log(stream), explained(JsonLog(), as_json=False):
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["event"] == "error"
    assert "this is a bug of flowconv: KeyError" in json.loads(line)["message"]
    assert "hush" not in line
