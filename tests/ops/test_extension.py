import subprocess
import sys
import textwrap

import torch

from accel_rt.ops import extension_status
from tests.need import need
from tests.ops.executors import SIMD_LEVELS


def test_status_of_the_loaded_extension():
    status = extension_status()
    assert status.loaded, status.reason
    assert status.path.is_file()
    assert status.reason == ""
    assert status.simd in SIMD_LEVELS


def run_without_extension(script: str) -> str:
    """Runs `script` in a process where the library refuses to load; returns what it printed."""
    program = """
        import warnings
        import torch

        def refuse(path):
            raise OSError("no such symbol")

        torch.ops.load_library = refuse
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            import accel_rt.ops as ops
            from accel_rt.ops import extension_status
        said = [str(w.message) for w in caught if issubclass(w.category, RuntimeWarning)]
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program) + textwrap.dedent(script)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_missing_extension_is_said_once_with_its_cause():
    printed = run_without_extension("print(len(said), said[0], extension_status())")
    assert printed.startswith("1 accel_rt runs without its compiled operators")
    assert "does not load under torch" in printed
    assert "no such symbol" in printed
    assert "loaded=False" in printed


def test_a_library_without_our_operators_is_said():
    """Such as one that was built of no sources."""
    program = """
        import ctypes
        import warnings
        import torch

        torch.ops.load_library = lambda path: None
        ctypes.CDLL = lambda path: object()
        warnings.simplefilter("ignore")
        from accel_rt.ops import extension_status
        print(extension_status())
    """
    printed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True
    ).stdout
    assert "loaded=False" in printed
    assert "accel_rt_simd" in printed


def test_twins_stand_in_for_a_missing_extension():
    """All four give the compiled operators' results, and gradients flow."""
    script = """
        torch.manual_seed(0)
        image = torch.randn(1, 8, 5, 6, requires_grad=True)
        flow = torch.randn(1, 2, 5, 6, requires_grad=True)
        offset = torch.randn(1, 18, 5, 6, requires_grad=True)
        weight = torch.randn(4, 8, 3, 3, requires_grad=True)
        bias = torch.randn(4)
        warped = ops.flow_warp(image, flow)
        into = torch.empty(1, 8, 5, 6)
        ops.flow_warp(image.detach(), flow.detach(), out=into)
        convolved = ops.deform_conv2d(image, offset, weight, bias, padding=1)
        scored = ops.warp_score(image, flow, weight[:, :, 0, 0], bias)
        labels = ops.upsample_argmax(scored, (40, 50))
        (warped.square().sum() + convolved.square().sum()).backward()
        tensors = (warped, into, convolved, scored, labels, image.grad, flow.grad, offset.grad)
        print([t.double().sum().item() for t in tensors])
        print([t.double().square().sum().item() for t in tensors])
    """
    without = [eval(line) for line in run_without_extension(script).splitlines()]
    loaded = subprocess.run(
        [sys.executable, "-c", "import torch, accel_rt.ops as ops\n" + textwrap.dedent(script)],
        capture_output=True,
        text=True,
        check=True,
    )
    with_extension = [eval(line) for line in loaded.stdout.splitlines()]
    for one, other in zip(without, with_extension, strict=True):
        torch.testing.assert_close(torch.tensor(one), torch.tensor(other), rtol=1e-3, atol=1e-3)


def test_library_keeps_to_the_stable_abi():
    """It needs no symbol of Python, nor any C++ symbol of torch."""
    needed = subprocess.run(
        [need("nm"), "-D", "-C", "--undefined-only", extension_status().path],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    symbols = [line.split(maxsplit=1)[1] for line in needed.splitlines()]
    assert "torch_call_dispatcher" in symbols
    assert [s for s in symbols if s.startswith(("Py", "_Py"))] == []
    assert [s for s in symbols if s.startswith(("c10::", "at::", "torch::"))] == []
