"""A pretended CUDA machine: a pytest plug-in whose tensors say `cuda:0`, compute on the CPU, and refuse what CUDA does.

    python -m pytest -p tests.pretend_gpu -m gpu tests/test_gpu.py

It replaces functions of torch for the whole process, so it needs a process of its own. Two devices are pretended.
Errors of CUDA have its words and its class. Faults that a GPU would not report, but answer with wrong numbers or a
crash, raise an `Objection`:

- RuntimeError or TypeError: tensors of different devices meet; `.numpy()` of a device tensor; inside a capture a wait
  for the device, a copy between host and device or an index by a host tensor; a capture ends with streams unjoined.
- Objection: a kernel touches memory that another stream writes or reads and that was not waited for; a graph is
  replayed over memory that was freed; a kernel inside a capture runs on a stream that takes no part in it, or on one
  that is used for the first time; two living graphs have one capture stream.

The order between streams is followed by vector clocks. A captured graph is a list of operations on fixed memory: a
capture leaves memory as it was, and a replay repeats the operations in the same memory, so a buffer that Python
replaced is out of date. Libraries (cuBLAS), allocator, driver and limits of memory are not pretended, nor is the reuse
of freed memory by another stream.
"""

import contextlib
import itertools
import weakref
from collections import Counter
from types import SimpleNamespace

import torch
from torch.nn.utils import clip_grad
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICES = 2
aten = torch.ops.aten


class Objection(AssertionError):
    """A fault that a GPU would not report."""


class Counts:
    """Operations since the last `reset`: kernels by name, waits by cause, copies from and to the host."""

    def __init__(self):
        self.reset()

    def reset(self):
        self.kernels, self.waits, self.uploads, self.downloads = Counter(), Counter(), 0, 0


class Machine:
    """State of the pretended machine.

    Attributes:
        current: stream on which each device computes; `device` the current one.
        streams: all streams.
        host: vector clock of the host: work that it has waited for is done before any later kernel.
        graph: the graph that is being captured.
        writer: storage → (stream, its time) of the last write; `readers` storage → {stream: time} of reads since then.
    """

    def __init__(self):
        self.device, self.graph, self.host = 0, None, Counter()
        self.writer, self.readers = {}, {}
        self.current = [Stream(device) for device in range(DEVICES)]
        self.streams = list(self.current)


class Stream:
    """A stream with its vector clock: for each stream, the time up to which its work is done before this one's."""

    ids = itertools.count(1)

    def __init__(self, device=None, priority=0):
        self.id, self.clock, self.device = next(Stream.ids), Counter(), torch.device("cuda", index_of(device))
        self.graphs = weakref.WeakSet()
        if MACHINE is not None:
            MACHINE.streams.append(self)

    def wait_stream(self, other):
        self.clock |= other.clock

    def wait_event(self, event):
        self.clock |= event.clock

    def record_event(self, event=None):
        event = event or Event()
        event.record(self)
        return event

    def synchronize(self):
        wait_for(self, "stream.synchronize")

    def query(self):
        return True


class Event:
    def __init__(self, *_, **__):
        self.clock = Counter()

    def record(self, stream=None):
        self.clock = (stream or current_stream()).clock.copy()

    def wait(self, stream=None):
        (stream or current_stream()).wait_event(self)

    def synchronize(self):
        wait_for(SimpleNamespace(clock=self.clock), "event.synchronize")

    def elapsed_time(self, other):
        return 1.0

    def query(self):
        return True


def index_of(device):
    """Number of a device given as torch and its users give it."""
    if device is None or isinstance(device, int):
        return MACHINE.device if device is None else device
    number = torch.device(device).index
    return MACHINE.device if number is None else number


MACHINE = None
MACHINE = Machine()
COUNTS = Counts()


def current_stream(device=None):
    return MACHINE.current[index_of(device)]


def set_stream(stream):
    if stream is not None:
        MACHINE.device = stream.device.index
        MACHINE.current[MACHINE.device] = stream


class Device(contextlib.AbstractContextManager):
    """`torch.cuda.device`."""

    def __init__(self, device):
        self.index = index_of(device)

    def __enter__(self):
        self.before, MACHINE.device = MACHINE.device, self.index

    def __exit__(self, *_):
        MACHINE.device = self.before


class UseStream(contextlib.AbstractContextManager):
    """`torch.cuda.stream`."""

    def __init__(self, stream):
        self.stream = stream

    def __enter__(self):
        self.device = MACHINE.device
        if self.stream is not None:
            self.before = current_stream(self.stream.device)
            set_stream(self.stream)

    def __exit__(self, *_):
        if self.stream is not None:
            set_stream(self.before)
        MACHINE.device = self.device


def wait_for(stream, cause):
    """The host waits for the work of a stream."""
    COUNTS.waits[cause] += 1
    refuse_in_capture(cause)
    MACHINE.host |= stream.clock


def synchronize(device=None):
    refuse_in_capture("torch.cuda.synchronize")
    for stream in MACHINE.streams:
        wait_for(stream, "torch.cuda.synchronize")


def refuse_in_capture(cause):
    if MACHINE.graph is not None:
        MACHINE.graph.invalid = True
        raise RuntimeError(f"CUDA error: operation not permitted when stream is capturing: {cause}")


def transfer(device, download):
    """A copy between host and device, for which the host waits because its memory is pageable."""
    if download:
        COUNTS.downloads += 1
    else:
        COUNTS.uploads += 1
    refuse_in_capture("a copy between host and device")
    wait_for(current_stream(device), "copy to the host" if download else "copy to the device")


def launch(name, device, reads, writes, fresh=()):
    """A kernel on the current stream of a device reads, overwrites and allocates storages."""
    stream, graph = current_stream(device), MACHINE.graph
    COUNTS.kernels[name] += 1
    if graph is not None:
        if stream.clock[graph.stream.id] < graph.began:
            raise Objection(f"{name} runs on stream {stream.id} during a capture in which that stream takes no part")
        if not stream.clock[stream.id]:
            raise Objection(
                f"stream {stream.id} is used for the first time inside a capture: run the work on it before"
            )
        graph.used.add(stream)
    stream.clock |= MACHINE.host
    for key in reads | writes:
        if key in fresh:
            continue
        before = [MACHINE.writer[key]] if key in MACHINE.writer else []
        if key in writes:
            before += MACHINE.readers.get(key, {}).items()
        for other, time in before:
            if other is not stream and stream.clock[other.id] < time:
                verb = "overwrites" if key in writes else "reads"
                raise Objection(
                    f"a race: {name} on stream {stream.id} {verb} memory of stream {other.id} without a wait"
                )
    stream.clock[stream.id] += 1
    for key in {*writes, *fresh}:
        MACHINE.writer[key] = stream, stream.clock[stream.id]
        MACHINE.readers.pop(key, None)
    for key in reads - writes:
        MACHINE.readers.setdefault(key, {})[stream] = stream.clock[stream.id]


def storage_of(tensor):
    return tensor.untyped_storage()._cdata


def tensors_in(tree):
    return [value for value in tree_leaves(tree) if isinstance(value, torch.Tensor)]


# ------------------------------------------------------------------------------------------------------------- graphs
class Graph:
    """`torch.cuda.CUDAGraph`: operations on fixed memory."""

    def __init__(self, *_, **__):
        self.operations, self.invalid = None, False

    def capture_begin(self, *_, **__):
        if MACHINE.graph is not None:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing: another capture")
        self.stream = current_stream()
        if any(graph.operations is not None for graph in self.stream.graphs):
            raise Objection(
                f"two graphs are captured on stream {self.stream.id}: destroying one clears the workspaces of the other"
            )
        if not self.stream.clock[self.stream.id]:
            raise Objection(
                f"stream {self.stream.id} is used for the first time by a capture: run the work on it before"
            )
        self.operations, self.saved, self.inside, self.foreign, self.used = [], {}, set(), set(), set()
        self.before = MACHINE.writer.copy(), {key: times.copy() for key, times in MACHINE.readers.items()}
        self.stream.clock[self.stream.id] += 1
        self.began = self.stream.clock[self.stream.id]
        MACHINE.graph = self

    def capture_end(self):
        MACHINE.graph = None
        for storage, content in self.saved.values():
            storage.copy_(content)
        # Nothing has run.
        MACHINE.writer, MACHINE.readers = self.before
        self.written, self.saved, self.before = set(self.saved), {}, None
        unjoined = [s.id for s in self.used if self.stream.clock[s.id] < s.clock[s.id]]
        if self.invalid or unjoined:
            self.operations = None
            cause = f"unjoined work on streams {unjoined}" if unjoined else "a previous error during capture"
            raise RuntimeError(f"CUDA error: operation failed due to {cause}")
        self.stream.graphs.add(self)
        # Memory from before the capture, with a tensor on it; `held` counts the tensors of the graph itself.
        made, self.outside, self.program = set(self.inside), {}, []
        for function, args, kwargs, outs in self.operations:
            inputs, fixed = tensors_in((args, kwargs)), tensors_in(outs)
            for t in inputs:
                if storage_of(t) in self.foreign - made:
                    self.outside.setdefault(storage_of(t), t)
            made |= {storage_of(t) for t in fixed} - self.outside.keys()
            if function._schema.is_mutable:
                self.program.append((function, args, kwargs, ()))
            elif not {storage_of(t) for t in fixed} <= {storage_of(t) for t in inputs}:  # no view
                self.program.append((function, args, kwargs, fixed))
        tensors = {id(t): t for node in self.operations for t in tensors_in(node[1:])}
        self.held = Counter(storage_of(t) for t in tensors.values())

    def replay(self):
        for key, t in self.outside.items():
            # One more: the storage's own Python object.
            if torch._C._storage_Use_Count(key) <= self.held[key] + 1:
                raise Objection(f"a graph is replayed over memory that was freed: {tuple(t.shape)} {t.dtype}")
        launch("graph.replay", self.stream.device, set(self.outside), self.written & self.outside.keys())
        for function, args, kwargs, fixed in self.program:
            outs = function(*args, **kwargs)
            if fixed:
                for old, new in zip(fixed, tensors_in(outs), strict=True):
                    aten.copy_.default(old, new)

    def reset(self):
        self.operations = None

    def pool(self):
        return 0, 0

    def record(self, function, args, kwargs, outs):
        # Under other names, so that the tensors of the program can be distinguished from those of the graph.
        alias = tree_map(lambda t: t.detach() if isinstance(t, torch.Tensor) else t, (args, kwargs, outs))
        self.operations.append((function, *alias))

    def save(self, storage):
        if storage._cdata not in self.saved:
            self.saved[storage._cdata] = storage, storage.clone()


class capture:
    """`torch.cuda.graph`: if the capture fails its stream stays current; without a stream, all captures share one."""

    default_capture_stream = None

    def __init__(self, graph, pool=None, stream=None, capture_error_mode="global"):
        if stream is None and capture.default_capture_stream is None:
            capture.default_capture_stream = Stream()
        self.graph, self.context = graph, UseStream(stream or capture.default_capture_stream)

    def __enter__(self):
        synchronize()
        self.context.__enter__()
        self.graph.capture_begin()

    def __exit__(self, *failure):
        self.graph.capture_end()
        self.context.__exit__(None, None, None)


# ------------------------------------------------------------------------------------------------------------ tensors
INDEXING = {"index", "_unsafe_index", "index_put_", "index_put", "_index_put_impl_"}
# The host waits for their result.
WAITING = {"nonzero", "_local_scalar_dense", "item", "equal", "masked_select", "unique_dim", "_unique2", "is_nonzero"}
WAITING |= {"_linalg_check_errors", "repeat_interleave", "bincount"}
# They launch no kernel.
VIEWS = {
    "view",
    "_unsafe_view",
    "detach",
    "alias",
    "t",
    "transpose",
    "expand",
    "slice",
    "select",
    "unsqueeze",
    "squeeze",
}
VIEWS |= {
    "split",
    "split_with_sizes",
    "unbind",
    "permute",
    "as_strided",
    "_reshape_alias",
    "lift_fresh",
    "view_as_real",
}
VIEWS |= {"unfold", "diagonal"}
EMPTY = {"empty", "new_empty", "empty_like", "new_empty_strided", "empty_strided"}


class Pretend(torch.Tensor):
    """A tensor of a device around a tensor `elem` of the host."""

    @staticmethod
    def __new__(cls, elem, index, requires_grad=False):
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            elem.size(),
            strides=elem.stride(),
            storage_offset=elem.storage_offset(),
            dtype=elem.dtype,
            layout=elem.layout,
            device=elem.device,
            requires_grad=requires_grad,
        )
        made.elem, made.index = elem, index
        return made

    device = property(lambda self: torch.device("cuda", self.index))
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)
    __torch_function__ = torch._C._disabled_torch_function_impl

    def numpy(self, *_, **__):
        words = "Use Tensor.cpu() to copy the tensor to host memory first."
        raise TypeError(f"can't convert {self.device} device type tensor to numpy. {words}")

    def __array__(self, *_, **__):
        return self.numpy()

    def tolist(self):
        return Move.to_host(self.detach()).tolist()

    def __repr__(self):
        return f"Pretend({self.elem!r}, device={self.device})"

    def __deepcopy__(self, memo):
        copied = self.detach().clone().requires_grad_(self.requires_grad)
        if getattr(self, "_is_param", False):
            copied._is_param = True
        memo[id(self)] = copied
        return copied

    def __reduce_ex__(self, protocol):
        # As it is read with map_location="cpu".
        return Move.to_host(self.detach()).__reduce_ex__(protocol)

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return execute(function, args, kwargs or {})


def name_of(function):
    return function._schema.name.removeprefix("aten::")


def execute(function, args, kwargs):
    """Run an operation on pretended tensors, after the checks that CUDA makes and those that it does not."""
    name = name_of(function)

    def inner(value):
        return value.elem if isinstance(value, Pretend) else value

    if kwargs.get("device") == torch.device("meta"):  # zero tensors of functorch ask for shapes alone
        return function(*tree_map(inner, args), **kwargs)
    tensors = tensors_in((args, kwargs))
    ours = [t for t in tensors if isinstance(t, Pretend)]
    device = ours[0].index if ours else MACHINE.device
    host = [t for t in tensors if not isinstance(t, Pretend) and not t._is_zerotensor()]
    copied = check_devices(function, args, ours, host, device)
    if name in WAITING:
        wait_for(current_stream(device), str(function))
    graph, mutable = MACHINE.graph, function._schema.is_mutable
    bare_args, bare_kwargs = tree_map(inner, args), tree_map(inner, kwargs)
    bare_kwargs = {k: torch.device("cpu") if isinstance(v, torch.device) else v for k, v in bare_kwargs.items()}
    inputs = {storage_of(t.elem) for t in ours}
    if graph is not None:
        graph.foreign |= inputs
        for t in ours if mutable else ():
            graph.save(t.elem.untyped_storage())
    outs = function(*bare_args, **bare_kwargs)
    if graph is not None:
        graph.record(function, bare_args, bare_kwargs, outs)
    known = {id(t.elem): t for t in ours} | {id(t): t for t in host}

    def wrap(value):
        if not isinstance(value, torch.Tensor):
            return value
        return known[id(value)] if id(value) in known else Pretend(value, device)

    wrapped = tree_map(wrap, outs)
    fresh = {storage_of(t.elem) for t in tree_leaves(wrapped) if isinstance(t, Pretend)} - inputs
    if name in EMPTY:
        for key in fresh:
            MACHINE.writer.pop(key, None)
            MACHINE.readers.pop(key, None)
    elif name not in VIEWS and (mutable or fresh):
        marks = zip(args, function._schema.arguments, strict=False)
        changed = [value for value, mark in marks if mark.alias_info is not None and mark.alias_info.is_write]
        written = {storage_of(t.elem) for t in tensors_in(changed) if isinstance(t, Pretend)}
        launch(name, device, inputs, written, fresh)
    if copied:
        MACHINE.host |= current_stream(device).clock
    return wrapped


def check_devices(function, args, ours, host, device):
    """Refuse tensors of several devices in one operation; whether it is a copy between host and device."""
    name = name_of(function)
    if name in ("copy_", "_to_copy"):
        if host and ours:
            transfer(device, download=not isinstance(args[0], Pretend))
        return bool(host and ours)
    other = next((t.device for t in ours if t.index != device), None)
    if other is None and any(t.dim() for t in host):
        # Zeros that the autograd engine makes in C++ where an output had no gradient.
        if torch._C._current_autograd_node() is not None and not any(bool(t.any()) for t in host):
            return False
        value = args[2] if len(args) > 2 else None
        on_host = isinstance(value, torch.Tensor) and not isinstance(value, Pretend) and value.dim() > 0
        if name in INDEXING and isinstance(args[0], Pretend) and not on_host:
            transfer(device, download=False)
        else:
            other = "cpu"
    if other is not None:
        if MACHINE.graph is not None:
            MACHINE.graph.invalid = True
        words = "Expected all tensors to be on the same device, but found at least two devices"
        raise RuntimeError(f"{words}, cuda:{device} and {other}! ({name})")
    if name in INDEXING and any(isinstance(i, Pretend) and i.dtype in (torch.bool, torch.uint8) for i in args[1]):
        wait_for(current_stream(device), f"{name} by a mask")
    return False


class Move(torch.autograd.Function):
    """A copy to another device, which gradients pass in the opposite direction."""

    @staticmethod
    def to_device(t, index, dtype=None):
        if isinstance(t, Pretend) and t.index == index and dtype in (None, t.dtype):
            return t
        return Move.apply(t, index, dtype or t.dtype)

    @staticmethod
    def to_host(t, dtype=None):
        return Move.apply(t, None, dtype or t.dtype) if isinstance(t, Pretend) else t.to(dtype or t.dtype)

    @staticmethod
    def forward(ctx, t, index, dtype):
        source = t.index if isinstance(t, Pretend) else None
        ctx.back = source, t.dtype
        values = (t if source is None else t.elem).to(dtype, copy=True)
        name, here = "copy", index if source is None else source
        reads = set() if source is None else {storage_of(t.elem)}
        fresh = set() if index is None else {storage_of(values)}
        if (source is None) != (index is None):
            refuse_in_capture("a copy between host and device")
        launch(name, here, reads, set(), fresh)
        if MACHINE.graph is not None:
            MACHINE.graph.foreign |= reads
            MACHINE.graph.record(aten._to_copy.default, (t.elem,), {"dtype": dtype}, values)
        if index is None or source is None:
            transfer(here, download=index is None)
        return values if index is None else Pretend(values, index)

    @staticmethod
    def backward(ctx, gradient):
        return Move.apply(gradient, *ctx.back), None, None


class Api(TorchFunctionMode):
    """Calls of torch that name a device."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function is torch.Tensor.cuda:
            return Move.to_device(args[0], index_of(args[1] if len(args) > 1 else kwargs.get("device")))
        if function is torch.Tensor.cpu:
            return Move.to_host(args[0])
        if function is torch.Tensor.pin_memory:
            return args[0]
        if function is torch._C._nn.one_hot and isinstance(args[0], Pretend):
            # Its C++ code asks for the device, which is the host's to it; that of CUDA does not wait either.
            classes = created(torch.arange, args[1:], {}, args[0].index)
            return (args[0].unsqueeze(-1) == classes).long()
        if function is torch.Tensor.to:
            device, dtype = kwargs.get("device"), kwargs.get("dtype")
            for value in args[1:]:
                if isinstance(value, torch.Tensor):
                    device, dtype = value.device, value.dtype
                elif isinstance(value, torch.dtype):
                    dtype = value
                elif isinstance(value, str | torch.device):
                    device = value
            if device is None:
                return function(*args, **kwargs)
            if torch.device(device).type == "cuda":
                return Move.to_device(args[0], index_of(device), dtype)
            return Move.to_host(args[0], dtype)
        device = kwargs.get("device")
        named = isinstance(device, str | torch.device) and torch.device(device).type == "cuda"
        if named and function is not torch._C._nn._parse_to:
            return created(function, args, kwargs, index_of(device))
        return function(*args, **kwargs)


def created(function, args, kwargs, index):
    """A new tensor of a device, by a function that names it."""
    values = function(*args, **{**kwargs, "device": torch.device("cpu")})
    if isinstance(values, Pretend):
        return values
    made = Pretend(values.detach(), index).requires_grad_(values.requires_grad)
    key, graph = storage_of(made.elem), MACHINE.graph
    if function in (torch.tensor, torch.as_tensor):
        transfer(index, download=False)
    if function is torch.empty:  # launches no kernel
        MACHINE.writer.pop(key, None)
        MACHINE.readers.pop(key, None)
    else:
        launch(getattr(function, "__name__", str(function)), index, set(), set(), {key})
    if graph is not None:
        graph.inside.add(key)
        graph.record(aten.copy_.default, (made.elem, made.elem.clone()), {}, made.elem)
    return made


def grouped(lists, with_indices=False):
    """Tensors of one list by device and precision; the C++ code takes the device for the host's."""
    (tensors,) = lists
    groups = {}
    for place, tensor in enumerate(tensors):
        (members,), places = groups.setdefault((tensor.device, tensor.dtype), ([[]], []))
        members.append(tensor)
        places.append(place)
    return groups


def properties(device=None):
    index = index_of(device)
    return SimpleNamespace(name="a pretended GPU", uuid=f"pretended-{index}", total_memory=2**40)


def install():
    """Replace the functions of torch."""
    torch.cuda.__dict__.update(
        is_available=lambda: True,
        device_count=lambda: DEVICES,
        current_device=lambda: MACHINE.device,
        set_device=lambda device: setattr(MACHINE, "device", index_of(device)),
        device=Device,
        get_device_properties=properties,
        get_device_name=lambda device=None: properties(device).name,
        Stream=Stream,
        Event=Event,
        CUDAGraph=Graph,
        graph=capture,
        stream=UseStream,
        set_stream=set_stream,
        current_stream=current_stream,
        default_stream=lambda device=None: MACHINE.streams[index_of(device)],
        is_current_stream_capturing=lambda: MACHINE.graph is not None,
        synchronize=synchronize,
        empty_cache=lambda: None,
        reset_peak_memory_stats=lambda device=None: None,
        max_memory_allocated=lambda device=None: 0,
        memory_allocated=lambda device=None: 0,
    )
    clip_grad._group_tensors_by_device_and_dtype = grouped
    # Parameters cannot take the storage of a tensor of another type.
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    Api().__enter__()


def pytest_configure(config):
    install()
