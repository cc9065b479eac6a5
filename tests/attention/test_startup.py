import subprocess
import sys

CODE = """
import sys
import agentkit_attention as plugin
found = []
plugin.agentkit_register_tools(found.append)
plugin.agentkit_register_targets(found.append)
plugin.agentkit_register_commands(lambda *args, **options: found.append(args))
heavy = {"torch", "numpy", "scipy", "transformers", "diffusers", "sklearn", "matplotlib"}
print(len(found), sorted(heavy & set(sys.modules)))
"""


def test_registering_imports_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout == "17 []\n"
