"""The compiled sum over neighbours against PyTorch in double precision, with derivatives of first and second order."""

import pytest
import torch

from redoxmd.config.sections import Member, Train
from redoxmd.model.fast import build
from redoxmd.model.fast.filtered_sum import filtered_sum, plain_sum
from redoxmd.train.trainer import Trainer
from tests.train.test_train import dataset

pytestmark = pytest.mark.skipif(build.kernels() is None, reason="no C++ compiler")

# Of the largest value: single precision, other order of summation.
SINGLE = 5e-6


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def all_orders(function, arrays):
    """The sum, the gradient of a function of it, and the gradient of a function of that gradient."""
    arrays = [array.clone().requires_grad_() for array in arrays]
    result = function(*arrays)
    first = torch.autograd.grad((result**2).sum() / 2, arrays, create_graph=True)
    second = torch.autograd.grad(sum((gradient**2).sum() for gradient in first), arrays)
    return [result, *first, *second]


@pytest.mark.parametrize(
    ("blocks", "columns", "rows", "functions", "width"),
    [(4, 40, 40, 20, 128), (2, 7, 5, 3, 37), (1, 1, 1, 1, 1), (3, 41, 13, 12, 56), (1, 6, 3, 5, 16)],
)
def test_values_and_derivatives(blocks, columns, rows, functions, width):
    draw = torch.Generator().manual_seed(width)
    sizes = (blocks, columns, rows * functions), (blocks, columns, width), (functions, width)
    arrays = [torch.randn(size, generator=draw) for size in sizes]
    found = all_orders(filtered_sum, arrays)
    assert type(found[0].grad_fn).__name__ == "_SumBackward"
    expected = all_orders(plain_sum, [array.double() for array in arrays])
    for compiled, plain in zip(found, expected, strict=True):
        assert (compiled.double() - plain).abs().max() <= SINGLE * plain.abs().max()


def test_third_derivatives_too():
    arrays = [torch.randn(size, generator=torch.Generator().manual_seed(1)) for size in ((1, 3, 8), (1, 3, 5), (4, 5))]

    def third(function, arrays):
        x = arrays[1].clone().requires_grad_()
        value = function(arrays[0], x, arrays[2])
        for _ in range(3):
            (value,) = torch.autograd.grad((value**2).sum(), x, create_graph=True)
        return value

    found, expected = third(filtered_sum, arrays), third(plain_sum, [array.double() for array in arrays])
    assert (found.double() - expected).abs().max() <= SINGLE * expected.abs().max()


def test_other_precisions_and_several_threads_are_left_to_torch():
    arrays = [torch.randn(1, 3, 8), torch.randn(1, 3, 5), torch.randn(4, 5, requires_grad=True)]
    assert type(filtered_sum(*(array.double() for array in arrays)).grad_fn).__name__ != "_SumBackward"
    torch.set_num_threads(2)
    assert type(filtered_sum(*arrays).grad_fn).__name__ != "_SumBackward"


def test_a_training_goes_the_same_way():
    settings = Train(radial_functions=8, cutoff_A=4.0, device="cpu")

    def losses(evaluation):
        trainer = Trainer(dataset(), Member(features=24, layers=2), settings, 0, 7, None, "t", evaluation)
        return [trainer.gradient_step() for _ in range(10)]

    assert losses("auto") == pytest.approx(losses("plain"), rel=1e-4)
    assert losses("auto") != losses("plain")
