from agentkit.testing import ToolCase

from agentkit_dropwords import drop_words


class TestDropWords(ToolCase):
    tool = drop_words
    params = {"rate": 0.3, "items": 4}
    zero = {"rate": 0.0, "items": 4}
