"""A plugin with small tools, good and bad: the test material of the workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

import agentkit
from agentkit import Context, Metric, Params, Resources, Unit

VALUE = Metric("value", 0, 1)


class Doses(Params):
    """Doses to measure; all of them are conditions `dose=x`."""

    doses: tuple[float, ...] = (0.25, 0.5, 1.0)
    seconds: Annotated[float, Field(ge=0)] = 0


@agentkit.tool(
    metrics=[VALUE, Metric("raw", -10, 10)], version="1", splits_conditions=True, seconds_per_unit=0.01
)
def doses(params: Doses, units: Sequence[Unit], ctx: Context) -> Any:
    """Scale one random number per unit by each dose; exact, vectorised over conditions, honours ctx.conditions."""
    import numpy as np

    from agentkit import Measurements

    names = [f"dose={d:g}" for d in params.doses if ctx.wants(f"dose={d:g}")]
    kept = [d for d in params.doses if ctx.wants(f"dose={d:g}")]
    base = np.array([u.rng("noise").random() for u in units])
    scale = np.array([0.0, *kept])
    for done in range(len(units)):
        time.sleep(params.seconds)
        ctx.progress(done + 1, len(units))
        if ctx.cancelled:
            break
    values = base[:, None] * scale[None, :]
    return Measurements.from_arrays(
        units, ["baseline", *names], {"value": values, "raw": np.sin(values * 7) * 3}
    )


class Nothing(Params):
    """No params."""


@agentkit.tool(metrics=[VALUE], version="1", seconds_per_unit=0.001)
def noop(params: Nothing, units: Sequence[Unit], ctx: Context) -> Any:
    """One value per unit."""
    return _table(units)


class Behave(Params):
    """How to misbehave."""

    how: str
    at: tuple[int, ...] = ()
    seconds: float = 30
    path: str = ""


@agentkit.tool(metrics=[VALUE], version="1", resources=Resources(memory=512 << 20))
def misbehave(params: Behave, units: Sequence[Unit], ctx: Context) -> Any:
    """Do what a broken plugin does; on the units named only, if any are named."""
    if params.at and not {u.index for u in units} & set(params.at):
        return _table(units)
    return _FAULTS[params.how](params, units, ctx)


def _raise(params: Behave, units: Sequence[Unit], ctx: Context) -> Any:
    raise RuntimeError("the site layers.9 was never hit")


def _nan(params: Behave, units: Sequence[Unit], ctx: Context) -> Any:
    from agentkit import Measurements

    return Measurements.from_array(units, ["baseline", "a"], "value", [[0.5, float("nan")]] * len(units))


def _text(params: Behave, units: Sequence[Unit], ctx: Context) -> Any:
    return "0.5"


def _wrong_unit(params: Behave, units: Sequence[Unit], ctx: Context) -> Any:
    return _table([Unit(index=u.index + 1000, seed=u.seed) for u in units])


def _no_baseline_value(params: Behave, units: Sequence[Unit], ctx: Context) -> Any:
    from agentkit.measurements import Measurements

    return Measurements.from_rows(
        [(u.index, "a", "value", 0.5) for u in units] + [(units[0].index, "baseline", "value", 0.5)]
    )


def _undeclared(params: Behave, units: Sequence[Unit], ctx: Context) -> Any:
    from agentkit import Measurements

    return Measurements.from_array(units, ["baseline"], "valu", [[0.5]] * len(units))


def _range(params: Behave, units: Sequence[Unit], ctx: Context) -> Any:
    from agentkit import Measurements

    bad = set(params.at) or {u.index for u in units}
    return Measurements.from_array(
        units, ["baseline", "a"], "value", [[0.5, 1.5 if u.index in bad else 0.25] for u in units]
    )


def _hang(params: Behave, units: Sequence[Unit], ctx: Context) -> Any:
    time.sleep(params.seconds)
    return _table(units)


def _patient(params: Behave, units: Sequence[Unit], ctx: Context) -> Any:
    """Looks whether it should stop, and gives up half-way when it should."""
    begin = time.monotonic()
    while time.monotonic() - begin < params.seconds:
        if ctx.cancelled:
            raise RuntimeError("stopped half-way")
        time.sleep(0.01)
    return _table(units)


def _stubborn(params: Behave, units: Sequence[Unit], ctx: Context) -> Any:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return _hang(params, units, ctx)


def _grandchild(params: Behave, units: Sequence[Unit], ctx: Context) -> Any:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", code])
    Path(params.path).write_text(f"{child.pid} {ctx.workdir}")
    time.sleep(params.seconds)
    return _table(units)


def _daemon(params: Behave, units: Sequence[Unit], ctx: Context) -> Any:
    """Leaves its session and its parent."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    Path(params.path).write_text(f"{child.pid} {ctx.workdir}")
    time.sleep(params.seconds)
    return _table(units)


def _fork_many(params: Behave, units: Sequence[Unit], ctx: Context) -> Any:
    for _ in range(120):
        subprocess.Popen(["/bin/sleep", "600"])
    time.sleep(params.seconds)
    return _table(units)


def _eat_memory(params: Behave, units: Sequence[Unit], ctx: Context) -> Any:
    held = []
    begin = time.monotonic()
    while time.monotonic() - begin < params.seconds:
        held.append(bytearray(os.urandom(1 << 20) * 32))
        time.sleep(0.02)
    return _table(units)


def _memory_error(params: Behave, units: Sequence[Unit], ctx: Context) -> Any:
    raise MemoryError("cannot allocate 1 PiB")


def _flood(params: Behave, units: Sequence[Unit], ctx: Context) -> Any:
    block = bytes(range(256)) * 4096
    for _ in range(10):
        os.write(1, block)
        sys.stderr.buffer.write(block[:1000])
    return _table(units)


def _big_flood(params: Behave, units: Sequence[Unit], ctx: Context) -> Any:
    """Prints 10 MB and then fails: the row must still say why."""
    _flood(params, units, ctx)
    raise RuntimeError("nothing but noise")


def _speak(params: Behave, units: Sequence[Unit], ctx: Context) -> Any:
    print("hello from the tool")
    print("and a warning", file=sys.stderr)
    return _table(units)


def _exit(params: Behave, units: Sequence[Unit], ctx: Context) -> Any:
    sys.exit(3)


def _exit_hard(params: Behave, units: Sequence[Unit], ctx: Context) -> Any:
    os._exit(7)


def _segfault(params: Behave, units: Sequence[Unit], ctx: Context) -> Any:
    os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(5)


def _big(params: Behave, units: Sequence[Unit], ctx: Context) -> Any:
    import numpy as np

    from agentkit import Measurements

    names = ["baseline", *(f"c{i}" for i in range(400_000))]
    return Measurements.from_array(
        units, names, "value", np.random.default_rng(0).random((len(units), len(names)))
    )


def _environment(params: Behave, units: Sequence[Unit], ctx: Context) -> Any:
    print("\n".join(f"{k}={v}" for k, v in sorted(os.environ.items())))
    ctx.artifact("environment.json", dict(os.environ))
    return _table(units)


def _workdir(params: Behave, units: Sequence[Unit], ctx: Context) -> Any:
    import tempfile

    assert Path.cwd() == ctx.workdir.resolve(), (Path.cwd(), ctx.workdir)
    assert tempfile.gettempdir() == str(ctx.workdir)
    assert ctx.workdir.stat().st_mode & 0o777 == 0o700
    (ctx.workdir / "left-behind").write_text("x")
    print(ctx.workdir)
    return _table(units)


def _artifacts(params: Behave, units: Sequence[Unit], ctx: Context) -> Any:
    import numpy as np

    for name in ("a.npz", "a.safetensors"):
        ctx.artifact(name, {"x": np.arange(6, dtype=np.float32).reshape(2, 3)})
    ctx.artifact("rows.csv", [{"head": "L3.H2", "effect": -0.5}])
    ctx.artifact("facts.json", {"b": 1, "a": [1.5, None]})
    return _table(units)


def _foreign_artifact(params: Behave, units: Sequence[Unit], ctx: Context) -> Any:
    ctx.artifact("a.pickle", {"x": 1})
    return _table(units)


_FAULTS = {
    name.removeprefix("_"): value
    for name, value in list(globals().items())
    if callable(value)
    and name
    in {
        "_raise",
        "_nan",
        "_text",
        "_wrong_unit",
        "_no_baseline_value",
        "_undeclared",
        "_range",
        "_hang",
        "_stubborn",
        "_patient",
        "_grandchild",
        "_daemon",
        "_fork_many",
        "_eat_memory",
        "_memory_error",
        "_flood",
        "_big_flood",
        "_speak",
        "_exit",
        "_exit_hard",
        "_segfault",
        "_big",
        "_environment",
        "_workdir",
        "_artifacts",
        "_foreign_artifact",
    }
}


class DeviceMemory(Params):
    """Raise torch's own out-of-memory error above some number of units or rows."""

    most_units: int = 2
    most_rows: int | None = None
    path: str = ""


@agentkit.tool(metrics=[VALUE], version="1")
def device_memory(params: DeviceMemory, units: Sequence[Unit], ctx: Context) -> Any:
    """Runs out of device memory as it is told to; each call is written to a file."""
    import torch

    with Path(params.path).open("a") as file:
        file.write(f"{len(units)} {ctx.batch}\n")
    if len(units) > params.most_units or (params.most_rows and (ctx.batch or 10**6) > params.most_rows):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    return _table(units)


class OnDevice(Params):
    """Shares of the device's memory to allocate before computing: once, and for each unit of a call."""

    hog: float = 0
    hog_per_unit: float = 0


@agentkit.tool(metrics=[VALUE], version="1", atol=1e-5)
def on_device(params: OnDevice, units: Sequence[Unit], ctx: Context) -> Any:
    """A matrix product on the job's device; says which device it was and how many it sees."""
    import torch

    from agentkit import Measurements

    print(ctx.device, torch.cuda.device_count())
    share = params.hog + params.hog_per_unit * len(units)
    held = None
    if share and ctx.device != "cpu":
        total = torch.cuda.get_device_properties(0).total_memory
        held = torch.empty(int(share * total), dtype=torch.uint8, device=ctx.device)
    rows = []
    for unit in units:
        matrix = torch.rand(64, 64, generator=unit.torch_generator("matrix")).to(ctx.device)
        rows.append([0.5, float((matrix @ matrix).mean() / 64)])
    del held
    return Measurements.from_array(units, ["baseline", "product"], "value", rows)


class OnTarget(Params):
    """A tool on targets."""

    target: str = "net:small"
    write: str = ""
    also: str = ""


@agentkit.tool(metrics=[VALUE], version="1")
def on_target(params: OnTarget, units: Sequence[Unit], ctx: Context) -> Any:
    """Read a small torch network, or write to it as no tool should."""
    import torch

    net = ctx.target(params.target)
    if params.also:
        ctx.target(params.also)
    with torch.no_grad():
        if params.write == "in_place":
            net.weight.mul_(2)
        elif params.write == "data":
            net.weight.data.mul_(2)
        elif params.write == "restored":
            before = net.weight.clone()
            net.weight.mul_(2)
            net.weight.copy_(before)
        outputs = net(torch.ones(net.in_features)).abs().clamp(0, 1)
    from agentkit import Measurements

    return Measurements.from_array(units, ["baseline"], "value", [[float(outputs[0])]] * len(units))


@agentkit.tool(metrics=[VALUE], version="1")
def on_table(params: OnTarget, units: Sequence[Unit], ctx: Context) -> Any:
    """Read a table of numbers, or write to it as no tool should."""
    from agentkit import Measurements

    table = ctx.target(params.target)
    if params.write:
        table *= 2
    return Measurements.from_array(units, ["baseline"], "value", [[float(table[0])]] * len(units))


@agentkit.tool(metrics=[Metric("cosine", -1, 1, baseline=1)], version="1", resources=Resources(gpus=1))
def wants_gpu(params: Nothing, units: Sequence[Unit], ctx: Context) -> Any:
    """Asks for a device."""
    from agentkit import Measurements

    return Measurements.from_array(units, ["baseline"], "cosine", [[1.0]] * len(units))


def _net_fingerprint(rest: str) -> str:
    path = Path(rest.partition("@")[2]) if "@" in rest else None
    return f"net-{rest}-{path.read_text()}" if path else f"net-{rest}"


@agentkit.target("net", fingerprint=_net_fingerprint)
def net(rest: str, device: str) -> Any:
    """A linear layer: `net:small`, `net:big…` (1 MiB), `net:broken`, `net:slow`, `net:log@PATH`."""
    import torch

    name, _, path = rest.partition("@")
    if name == "broken":
        raise FileNotFoundError("weights.bin")
    if name == "slow":
        time.sleep(60)
    if path:
        with Path(f"{path}.loads").open("a") as file:
            file.write(f"{os.getpid()}\n")
    size = 512 if name.startswith("big") else 4
    torch.manual_seed(0)
    return torch.nn.Linear(size, size, bias=False).to(device).eval()


@agentkit.target("table", fingerprint=lambda rest: f"table-{rest}")
def table(rest: str, device: str) -> Any:
    """1 MiB of numbers without torch; `table:slow…` takes a moment to load, `table:never` a minute."""
    import numpy as np

    time.sleep(60 if rest == "never" else 0.3 if rest.startswith("slow") else 0)
    return np.full(1 << 17, 0.5)


def _table(units: Sequence[Unit]) -> Any:
    from agentkit import Measurements

    return Measurements.from_array(
        units, ["baseline", "a"], "value", [[0.5, u.rng("noise").random()] for u in units]
    )


@agentkit.hookimpl
def agentkit_register_tools(register: Any) -> None:
    for tool in (doses, noop, misbehave, device_memory, on_target, on_table, on_device, wants_gpu):
        register(tool)


@agentkit.hookimpl
def agentkit_register_targets(register: Any) -> None:
    register(net)
    register(table)
