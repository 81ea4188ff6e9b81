"""Small models of a user's own, as public examples have them: each does one thing of Triton's Python backend."""

from __future__ import annotations

from pathlib import Path

HEAD = (
    "import json, os, threading, time\nimport numpy as np\nimport triton_python_backend_utils as pb_utils\n"
)
ONE = """
class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

"""
FLOATS = """
backend: "python" max_batch_size: 4
input [ { name: "X" data_type: TYPE_FP32 dims: [ 3 ] } ]
output [ { name: "Y" data_type: TYPE_FP32 dims: [ 3 ] } ]
"""
NUMBERS = FLOATS.replace("max_batch_size: 4", "max_batch_size: 0").replace("[ 3 ]", "[ 1 ]")

ROUTER = (
    HEAD
    + ONE
    + """
    def answer(self, request):
        x = pb_utils.get_input_tensor_by_name(request, "X")
        inner = pb_utils.InferenceRequest(model_name="helper", requested_output_names=["Y"], inputs=[x])
        answer = inner.exec()
        if answer.has_error():
            raise pb_utils.TritonModelException(answer.error().message())
        y = pb_utils.get_output_tensor_by_name(answer, "Y").as_numpy()
        return pb_utils.InferenceResponse([pb_utils.Tensor("Y", y + 1)])
"""
)
HELPER = (
    HEAD
    + "from .scaling import double\n"
    + ONE
    + """
    def answer(self, request):
        x = pb_utils.get_input_tensor_by_name(request, "X").as_numpy()
        return pb_utils.InferenceResponse([pb_utils.Tensor("Y", double(x))])
"""
)
SCALING = "def double(array):\n    return array * 2\n"
TICKER = (
    HEAD
    + """
class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            threading.Thread(target=self.tick, args=(request, request.get_response_sender())).start()

    def tick(self, request, sender):
        count = int(pb_utils.get_input_tensor_by_name(request, "COUNT").as_numpy()[0])
        for number in range(count + 2):
            tick = pb_utils.Tensor("TICK", np.array([number], dtype=np.int32))
            sender.send(pb_utils.InferenceResponse([tick]))
        sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""
)
TICKS = """
backend: "python" max_batch_size: 0
input [ { name: "COUNT" data_type: TYPE_INT32 dims: [ 1 ] } ]
output [ { name: "TICK" data_type: TYPE_INT32 dims: [ 1 ] } ]
model_transaction_policy { decoupled: true }
"""
CONDUCTOR = (
    HEAD
    + """
class TritonPythonModel:
    async def execute(self, requests):
        return [await self.answer(request) for request in requests]

    async def answer(self, request):
        count = pb_utils.Tensor("COUNT", np.array([2], np.int32))
        ticks = pb_utils.InferenceRequest(model_name="ticker", requested_output_names=["TICK"], inputs=[count])
        total = 0
        for response in await ticks.async_exec(decoupled=True):
            if response.has_error():
                raise pb_utils.TritonModelException(response.error().message())
            tick = pb_utils.get_output_tensor_by_name(response, "TICK")
            total += 0 if tick is None else int(tick.as_numpy()[0])
        x = pb_utils.get_input_tensor_by_name(request, "X").as_numpy()
        return pb_utils.InferenceResponse([pb_utils.Tensor("Y", x + np.float32(total))])
"""
)
SHOUT = (
    HEAD
    + ONE
    + """
    def initialize(self, args):
        config = json.loads(args["model_config"])
        self.dtype = pb_utils.triton_string_to_numpy(pb_utils.get_output_config_by_name(config, "LOUD")["data_type"])
        self.family = pb_utils.MetricFamily("shouts", "how often", pb_utils.MetricFamily.COUNTER)
        self.count = self.family.Metric(labels={"model": args["model_name"]})

    def answer(self, request):
        self.count.increment(1)
        pb_utils.Logger.log_verbose(f"{request.request_id()} {request.correlation_id()} {request.parameters()}")
        text = pb_utils.get_input_tensor_by_name(request, "TEXT").as_numpy()
        loud = [[cell.decode("utf-8").upper() + "!" for cell in row] for row in text]
        return pb_utils.InferenceResponse([pb_utils.Tensor("LOUD", np.array(loud, dtype=self.dtype))])
"""
)
SHOUTS = """
backend: "python" max_batch_size: 8
input [ { name: "TEXT" data_type: TYPE_STRING dims: [ 1 ] } ]
output [ { name: "LOUD" data_type: TYPE_STRING dims: [ 1 ] } ]
"""
TWICE = """
platform: "ensemble" max_batch_size: 8
input [ { name: "TEXT" data_type: TYPE_STRING dims: [ 1 ] } ]
output [ { name: "LOUD" data_type: TYPE_STRING dims: [ 1 ] } ]
ensemble_scheduling { step [
  { model_name: "shout" model_version: -1
    input_map { key: "TEXT" value: "once" } output_map { key: "LOUD" value: "LOUD" } },
  { model_name: "shout" model_version: -1
    input_map { key: "TEXT" value: "TEXT" } output_map { key: "LOUD" value: "once" } } ] }
"""
# An ensemble is decoupled where one of its steps is.
COUNTED = """
platform: "ensemble" max_batch_size: 0
input [ { name: "COUNT" data_type: TYPE_INT32 dims: [ 1 ] } ]
output [ { name: "TICK" data_type: TYPE_INT32 dims: [ 1 ] } ]
ensemble_scheduling { step [
  { model_name: "STEP" model_version: -1
    input_map { key: "COUNT" value: "COUNT" } output_map { key: "TICK" value: "TICK" } } ] }
"""
PICTURE = (
    HEAD
    + ONE
    + """
    def answer(self, request):
        data = pb_utils.get_input_tensor_by_name(request, "PGM").as_numpy().tobytes()
        if data[:3] != b"P5 ":
            return pb_utils.InferenceResponse(error=pb_utils.TritonError("no picture"))
        _, width, height, _, pixels = data.split(b" ", 4)
        pixels = np.frombuffer(pixels, np.uint8).reshape(int(height), int(width)).astype(np.float32)
        return pb_utils.InferenceResponse([pb_utils.Tensor("PIXELS", pixels)])
"""
)
PICTURES = """
backend: "python" max_batch_size: 0
input [ { name: "PGM" data_type: TYPE_UINT8 dims: [ -1 ] } ]
output [ { name: "PIXELS" data_type: TYPE_FP32 dims: [ -1, -1 ] } ]
"""
PGM = b"P5 3 2 255 \x00\x01\x02\x03\x04\x05"
WARM_UP = f"""
model_warmup [ {{ name: "a picture" batch_size: 1
  inputs {{ key: "PGM" value: {{ data_type: TYPE_UINT8 dims: [ {len(PGM)} ] input_data_file: "small" }} }} }} ]
"""
COMPLETED = (
    HEAD
    + ONE
    + """
    @staticmethod
    def auto_complete_config(auto_complete_model_config):
        auto_complete_model_config.set_max_batch_size(2)
        auto_complete_model_config.add_input({"name": "X", "data_type": "TYPE_FP32", "dims": [3]})
        auto_complete_model_config.add_output({"name": "Y", "data_type": "TYPE_FP32", "dims": [3]})
        auto_complete_model_config.set_dynamic_batching()
        return auto_complete_model_config

    def initialize(self, args):
        config = json.loads(args["model_config"])
        assert config["max_batch_size"] == 2 and config["output"][0]["dims"] == [3], config
        assert config["dynamic_batching"]["preferred_batch_size"] == [2], config
        assert config["optimization"]["input_pinned_memory"] == {"enable": True}, config
        assert config["version_policy"] == {"latest": {"num_versions": 1}}, config
        assert config["default_model_filename"] == "model.py", config
        (group,) = config["instance_group"]
        assert (group["name"], group["host_policy"], args["model_instance_name"]) == ("completed", "", "completed_0")
        assert set(args) == {"model_config", "model_instance_kind", "model_instance_name",
                             "model_instance_device_id", "model_repository", "model_version", "model_name"}, args

    def answer(self, request):
        x = pb_utils.get_input_tensor_by_name(request, "X").as_numpy()
        return pb_utils.InferenceResponse([pb_utils.Tensor("Y", x * 3)])
"""
)
# A hook that works on a server and not in the probe.
SHY = COMPLETED.replace(
    "        auto_complete_model_config.set_max",
    '        import sys\n        assert "_envbuilder_guest" not in sys.modules\n'
    "        auto_complete_model_config.set_max",
    1,
).replace('"completed", "", "completed_0"', '"shy", "", "shy_0"')
VARYING = (
    HEAD
    + ONE
    + """
    def answer(self, request):
        return pb_utils.InferenceResponse([pb_utils.Tensor("Y", np.array([{value}], np.float32))])
"""
)
ROOT = (
    HEAD
    + "import math\n"
    + ONE
    + """
    def answer(self, request):
        x = pb_utils.get_input_tensor_by_name(request, "X").as_numpy()
        y = np.array([[math.sqrt(value) for value in row] for row in x], np.float32)
        return pb_utils.InferenceResponse([pb_utils.Tensor("Y", y)])
"""
)
NEVER = ROOT.replace("math.sqrt(value)", "math.nothing(value)")
UNTYPED = 'backend: "python"\ninput [ { name: "X" } ]\n'
UNCOMPLETED = COMPLETED.replace("set_max_batch_size(2)", "set_max_batch_size(-1)")
BROKEN = HEAD + ONE + '    def initialize(self, args):\n        raise OSError("no licence")\n'
# Where a server imports a model to complete its configuration, there is no such function yet.
EARLY = HELPER.replace("from .scaling", "pb_utils.get_model_dir()\nfrom .scaling")
FOREIGN = FLOATS.replace('"python"', '"onnxruntime"')
OLDER = FLOATS.replace('backend: "python"', 'platform: "onnxruntime_onnx"')


LOADER = ROUTER.replace('"helper"', '"spare"').replace(
    "        inner =",
    '        pb_utils.unload_model("spare")\n        pb_utils.load_model("spare")\n        inner =',
)
COUNTING = (
    HEAD
    + ONE
    + """
    def answer(self, request):
        def value(name):
            return pb_utils.get_input_tensor_by_name(request, name).as_numpy()

        assert value("ID").reshape(-1)[0] == request.correlation_id().encode()
        assert value("START").reshape(-1)[0] == 1 and value("END").all()
        total = value("TOTAL") + value("X")
        return pb_utils.InferenceResponse([pb_utils.Tensor("Y", total + 1), pb_utils.Tensor("KEPT", total)])
"""
)
SEQUENCES = (
    FLOATS
    + """
sequence_batching {
  control_input [
    { name: "START" control [ { kind: CONTROL_SEQUENCE_START fp32_false_true: [ 0, 1 ] } ] },
    { name: "END" control [ { kind: CONTROL_SEQUENCE_END bool_false_true: [ false, true ] } ] },
    { name: "ID" control [ { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_STRING } ] } ]
  state [ { input_name: "TOTAL" output_name: "KEPT" data_type: TYPE_FP32 dims: [ 3 ]
    initial_state { name: "zero" data_type: TYPE_FP32 dims: [ 3 ] zero_data: true } } ] }
"""
)
RESHAPING = (
    HEAD
    + ONE
    + """
    def answer(self, request):
        x = pb_utils.get_input_tensor_by_name(request, "X").as_numpy()
        assert x.ndim == 1, x.shape
        scale = pb_utils.get_input_tensor_by_name(request, "SCALE")
        x = x if scale is None else x * scale.as_numpy().reshape(-1)
        return pb_utils.InferenceResponse([pb_utils.Tensor("Y", x + 1)])
"""
)
RESHAPED = """
backend: "python" max_batch_size: 4
input [ { name: "X" data_type: TYPE_FP32 dims: [ 1 ] reshape: { shape: [ ] } },
        { name: "SCALE" data_type: TYPE_FP32 dims: [ 1 ] optional: true } ]
output [ { name: "Y" data_type: TYPE_FP32 dims: [ 1 ] reshape: { shape: [ ] } } ]
"""


# BF16 without torch: neither Triton nor the probe needs it.
HALF = (
    HEAD
    + ONE
    + """
    def answer(self, request):
        x = pb_utils.get_input_tensor_by_name(request, "X")
        return pb_utils.InferenceResponse([pb_utils.Tensor.from_dlpack("Y", x.to_dlpack())])
"""
)
HALVES = FLOATS.replace("TYPE_FP32", "TYPE_BF16")
MUTE = FLOATS.partition("output")[0]
STORED = (
    HEAD
    + ONE
    + """
    def answer(self, request):
        total = sum(pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in ("X", "TOTAL"))
        return pb_utils.InferenceResponse([pb_utils.Tensor("Y", total), pb_utils.Tensor("KEPT", total)])
"""
)
STATES = (
    FLOATS
    + """
sequence_batching {
  oldest { max_candidate_sequences: 4 }
  state [ { input_name: "TOTAL" output_name: "KEPT" data_type: TYPE_FP32 dims: [ 3 ]
    initial_state { name: "first" data_type: TYPE_FP32 dims: [ 3 ] data_file: "first" } } ] }
"""
)
FIRST = {"initial_state/first": b"\0\0\x80\x3f" * 3}
QUEUED = "dynamic_batching { default_queue_policy { max_queue_size: 1 } }\n"
ASK = {"model_name": "m", "inputs": [], "requested_output_names": ["y"]}
CALLS = [
    "pb.Tensor(name='y', data=np.ones(1))",
    "pb.Tensor(1, np.ones(1))",
    "pb.Tensor('y', [1.0])",
    "pb.Tensor('y', np.ones(1, np.complex64))",
    "pb.Tensor('y', np.array(['x']))",
    "pb.Tensor('y', np.ones(1)).y",
    "setattr(request, 'y', 1)",
    "pb.TritonError('x', 3)",
    "pb.TritonError(message='x', code=pb.TritonError.NOT_FOUND)",
    "int(pb.TritonError.INTERNAL)",
    "[][pb.TritonError.INTERNAL == 0]",
    "request.set_flags(flags=1)",
    "request.set_flags('x')",
    "request.set_release_flags(flags=1)",
    "pb.InferenceResponse((pb.Tensor('y', np.ones(1)),))",
    "pb.InferenceResponse([None])",
    "pb.InferenceResponse([1])",
    "pb.InferenceResponse(error='x')",
    "pb.InferenceRequest(**ASK, parameters={'a': 1, 'b': True, 'c': 'x'})",
    "pb.InferenceRequest(**ASK, parameters={'a': 1.5})",
    "pb.InferenceRequest(**ASK, parameters=[])",
    "pb.InferenceRequest(**ASK, correlation_id=-1)",
    "pb.InferenceRequest(**ASK, correlation_id=1.5)",
    "pb.InferenceRequest(**ASK, correlation_id='x')",
    "pb.InferenceRequest(**ASK, request_id=1)",
    "pb.InferenceRequest(**ASK, model_version='1')",
    "pb.InferenceRequest(**ASK, timeout=1.5)",
    "pb.InferenceRequest(**ASK, timeout=np.int64(5))",
    "pb.InferenceRequest(**ASK, flags=-1)",
    "pb.InferenceRequest(**ASK, preferred_memory=None)",
    "pb.InferenceRequest(**ASK, trace=None)",
    "pb.InferenceRequest(**ASK, priority=1)",
    "pb.InferenceRequest(**{**ASK, 'requested_output_names': 'ab'})",
    "pb.InferenceRequest(**{**ASK, 'model_name': None})",
    "pb.PreferredMemory(1)",
    "pb.PreferredMemory(pb.TRITONSERVER_MEMORY_CPU, 0)",
    "pb.Logger.log('x', 'info')",
    "pb.Logger.log('x', pb.Logger.WARNING)",
    "pb.Logger.log(1)",
    "pb.Logger()",
    "pb.Logger.log_warning('x')",
    "gauge.set('x')",
    "gauge.set(value=1)",
    "gauge.set(np.float32(1))",
    "pb.is_model_ready('named', 1)",
    "[][not pb.is_model_ready('named')]",
    "pb.load_model('nowhere', config=None)",
    "sender.send(1)",
    "sender.send()",
    "sender.send(flags=2)",
    "pb.InferenceResponseSender",
    "pb.Model",
    "open(__import__('sys').modules['__main__'].__file__)",
    "[][len(__import__('sys').argv)]",
]
"""Calls that the stub takes, or refuses with an error of some type."""
NAMED = (
    HEAD
    + f"CALLS = {CALLS!r}\nASK = {ASK!r}\n"
    + ONE
    + """
    def initialize(self, args):
        self.family = pb_utils.MetricFamily("gauges", "text", pb_utils.MetricFamily.GAUGE)
        self.gauge = self.family.Metric({"a": "b"})

    def answer(self, request):
        found = []
        for name in NAMES:
            owner, _, attribute = name.partition(".")
            made = {"InferenceRequest": request, "InferenceTrace": request.trace()}.get(owner)
            kind = getattr(pb_utils, owner, None) if made is None else made
            if owner == "InferenceResponseSender":
                kind = request.get_response_sender()
            if kind is not None and (not attribute or hasattr(kind, attribute)):
                found.append(name)
        scope = {"pb": pb_utils, "np": np, "request": request, "ASK": ASK, "sender": request.get_response_sender()}
        scope["gauge"] = self.gauge
        for call in CALLS:
            try:
                eval(call, dict(scope))
                found.append(f"{call}: done")
            except Exception as error:
                found.append(f"{call}: {type(error).__name__}")
        names = pb_utils.Tensor("NAMES", np.array([", ".join(found)], dtype=object))
        return pb_utils.InferenceResponse([names])
"""
)
"""Answers which of NAMES its release has, and what becomes of CALLS."""
NAMING = """
backend: "python" max_batch_size: 0
input [ { name: "X" data_type: TYPE_FP32 dims: [ 1 ] } ]
output [ { name: "NAMES" data_type: TYPE_STRING dims: [ 1 ] } ]
"""
OFFSET = HELPER.replace("from .scaling import double\n", "def double(array):\n    return array + 2\n\n")
PARAMETRIC = (
    HEAD
    + ONE
    + """
    def answer(self, request):
        x = pb_utils.get_input_tensor_by_name(request, "X").as_numpy()
        return pb_utils.InferenceResponse([pb_utils.Tensor("Y", x)], parameters={"took": 1})
"""
)
LOOSE = (
    HEAD
    + """
class TritonPythonModel:
    def execute(self, requests):
        (request,) = requests  # two at once come to a model with dynamic batching only
        x = pb_utils.get_input_tensor_by_name(request, "X").as_numpy()
        x *= 2  # the request's own memory
        tensors = {"Y": x, "NONE": x[:, :0], "WIDE": x.astype(np.float64), "UNKNOWN": x}
        return [pb_utils.InferenceResponse([pb_utils.Tensor(name, data) for name, data in tensors.items()])]

    def finalize(self):
        raise OSError("too late")
"""
)
SILENT = (
    HEAD
    + """
class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            request.get_response_sender().send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def finalize(self):
        os._exit(3)
"""
)
CROWDED = (
    HEAD
    + """
class TritonPythonModel:
    def execute(self, requests):
        time.sleep(0.02)
        x = pb_utils.get_input_tensor_by_name(requests[0], "X").as_numpy()
        return [pb_utils.InferenceResponse([pb_utils.Tensor("Y", x)])]
"""
)
LOOSELY = FLOATS.replace(
    "output [",
    """output [ { name: "NONE" data_type: TYPE_FP32 dims: [ -1 ] },
         { name: "WIDE" data_type: TYPE_FP32 dims: [ 3 ] },""",
)


def write(
    repository: Path, name: str, source: str | None, config: str | None, files: dict[str, bytes] | None = None
) -> Path:
    """Write a model directory; *files* by their paths in it."""
    folder = repository / name
    (folder / "1").mkdir(parents=True)
    if config is not None:
        (folder / "config.pbtxt").write_text(config)
    if source is not None:
        (folder / "1" / "model.py").write_text(source)
    for path, data in (files or {}).items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def write_repository(repository: Path) -> Path:
    """Write all of them but those that fail."""
    write(repository, "router", ROUTER, FLOATS)
    # A version folder with a zero before it is none.
    write(
        repository,
        "helper",
        HELPER,
        FLOATS,
        {"1/scaling.py": SCALING.encode(), "03/model.py": BROKEN.encode()},
    )
    write(repository, "ticker", TICKER, TICKS)
    write(repository, "silent", SILENT, TICKS)
    write(repository, "loader", LOADER, FLOATS)
    write(repository, "spare", HELPER, FLOATS, {"1/scaling.py": SCALING.encode()})
    write(repository, "reshaping", RESHAPING, RESHAPED)
    write(repository, "counting", COUNTING, SEQUENCES)
    write(repository, "loose", LOOSE, LOOSELY)
    write(repository, "conductor", CONDUCTOR, NUMBERS)
    write(repository, "shout", SHOUT, SHOUTS)
    write(repository, "twice", None, TWICE)
    write(repository, "counted", None, COUNTED.replace("STEP", "ticker"))
    write(repository, "picture", PICTURE, PICTURES + WARM_UP, {"warmup/small": PGM})
    write(repository, "refusing", PICTURE, PICTURES)
    write(repository, "root", ROOT, FLOATS)
    write(repository, "completed", COMPLETED, UNTYPED)
    write(repository, "shy", SHY, UNTYPED)
    bare = COMPLETED.replace('"completed", "", "completed_0"', '"bare", "", "bare_0"')
    write(repository, "bare", bare, None)
    base = {
        "1/base.py": COMPLETED.replace('"completed", "", "completed_0"', '"based", "", "based_0"').encode()
    }
    write(repository, "based", "from .base import TritonPythonModel\n", 'backend: "python"\n', base)
    write(repository, "half", HALF, HALVES)
    write(repository, "mute", CROWDED, MUTE)
    write(repository, "stored", STORED, STATES, FIRST)
    write(
        repository,
        "queued",
        RESHAPING.replace("assert x.ndim == 1, x.shape", "time.sleep(0.02)"),
        FLOATS + QUEUED,
    )
    write(repository, "process", VARYING.format(value="os.getpid()"), NUMBERS)
    write(repository, "dice", VARYING.format(value="float(int.from_bytes(os.urandom(2), 'big'))"), NUMBERS)
    write(repository, "foreign", None, FOREIGN, {"1/model.onnx": b"no model"})
    write(repository, "older", None, OLDER, {"1/model.onnx": b"no model"})
    return repository
