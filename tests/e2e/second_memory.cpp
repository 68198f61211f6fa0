// A GPU of tests: a device of PyTorch with a memory of its own. What lies in it must be copied there
// and back, what lies elsewhere is refused by its operators, and every byte is counted. It computes
// nothing itself: an operator copies what it is given to the CPU, runs there, and copies back what
// comes of it.
//
// It takes the place of Intel's GPUs, which a PyTorch for CPUs knows by name and has nothing for.
// After PyTorch's own test/cpp_extensions/open_registration_extension, whose device it would not
// exchange tensors with in place, as offloading does.

#include <ATen/EmptyTensor.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/native/Resize.h>
#include <ATen/ops/_local_scalar_dense.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/convolution.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/resize_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <c10/core/impl/alloc_cpu.h>
#include <torch/library.h>

#include <algorithm>
#include <atomic>

namespace {

constexpr auto DEVICE = c10::DeviceType::XPU;

std::atomic<int64_t> held{0}, peak{0};

struct Block {
  void* data;
  int64_t bytes;
};

void give_back(void* context) {
  auto* block = static_cast<Block*>(context);
  held -= block->bytes;
  c10::free_cpu(block->data);
  delete block;
}

struct Memory final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    auto* block = new Block{c10::alloc_cpu(bytes), static_cast<int64_t>(bytes)};
    int64_t now = held += block->bytes;
    peak = std::max(peak.load(), now);
    return {block->data, block, &give_back, c10::Device(DEVICE, 0)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return nullptr; }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }
};

Memory memory;
REGISTER_ALLOCATOR(DEVICE, &memory);
C10_REGISTER_GUARD_IMPL(XPU, c10::impl::NoOpDeviceGuardImpl<DEVICE>);

// Lets the CPU look into the memory of the device, which only a copy may do.
at::Tensor seen(const at::Tensor& tensor) {
  if (tensor.is_cpu()) {
    return tensor;
  }
  return at::from_blob(tensor.data_ptr(), tensor.sizes(), tensor.strides(),
                       tensor.options().device(at::kCPU));
}

at::Tensor& copy(at::Tensor& to, const at::Tensor& from, bool) {
  seen(to).copy_(seen(from));
  return to;
}

// How what an operator left on the CPU is brought back.
at::Tensor copy_from_and_resize(const at::Tensor& from, const at::Tensor& to) {
  return to.resize_(from.sizes()).copy_(from);
}

at::Scalar local_scalar_dense(const at::Tensor& tensor) {
  return at::_local_scalar_dense(seen(tensor));
}

at::Tensor empty(at::IntArrayRef size, std::optional<at::ScalarType> dtype,
                 std::optional<at::Layout>, std::optional<at::Device>, std::optional<bool>,
                 std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(size, &memory, c10::DispatchKeySet(c10::DispatchKey::XPU),
                                   c10::dtype_or_default(dtype), format);
}

at::Tensor empty_strided(at::IntArrayRef size, at::IntArrayRef stride,
                         std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
                         std::optional<at::Device>, std::optional<bool>) {
  return at::detail::empty_strided_generic(size, stride, &memory,
                                           c10::DispatchKeySet(c10::DispatchKey::XPU),
                                           c10::dtype_or_default(dtype));
}

at::Tensor as_strided(const at::Tensor& tensor, at::IntArrayRef size, at::IntArrayRef stride,
                      std::optional<int64_t> offset) {
  return at::native::as_strided_tensorimpl(tensor, size, stride, offset);
}

at::Tensor view(const at::Tensor& tensor, at::IntArrayRef size) {
  return at::native::view(tensor, size);
}

at::Tensor reshape_alias(const at::Tensor& tensor, at::IntArrayRef size, at::IntArrayRef stride) {
  return at::native::_reshape_alias(tensor, size, stride);
}

at::Tensor unfold(const at::Tensor& tensor, int64_t dimension, int64_t size, int64_t step) {
  return at::native::unfold(tensor, dimension, size, step);
}

const at::Tensor& resize(const at::Tensor& tensor, at::IntArrayRef size,
                         std::optional<at::MemoryFormat> format) {
  return at::native::resize_(tensor, size, format);
}

// As on a GPU, whose kernels do not reach the memory of the CPU; a single number is handed to them.
void refuse_elsewhere(const at::Tensor& tensor) {
  TORCH_CHECK(!tensor.defined() || tensor.dim() == 0 || tensor.device().type() == DEVICE,
              "Expected all tensors to be on the same device, but found one on ", tensor.device());
}

// Devices bring a convolution of their own; there is no operator for the CPU under this name.
at::Tensor convolution(const at::Tensor& input, const at::Tensor& weight,
                       const std::optional<at::Tensor>& bias, at::IntArrayRef stride,
                       at::IntArrayRef padding, at::IntArrayRef dilation, bool transposed,
                       at::IntArrayRef output_padding, int64_t groups) {
  at::Tensor offset = bias.value_or(at::Tensor());
  for (const auto& tensor : {input, weight, offset}) {
    refuse_elsewhere(tensor);
  }
  if (offset.defined()) {
    offset = offset.cpu();
  }
  return at::convolution(input.cpu(), weight.cpu(), offset, stride, padding, dilation, transposed,
                         output_padding, groups)
      .to(input.device());
}

void on_the_cpu(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  for (const auto& value : torch::jit::last(*stack, op.schema().arguments().size())) {
    if (value.isTensor()) {
      refuse_elsewhere(value.toTensor());
    } else if (value.isTensorList()) {
      for (const auto& tensor : value.toTensorVector()) {
        refuse_elsewhere(tensor);
      }
    }
  }
  at::native::cpu_fallback(op, stack);
}

TORCH_LIBRARY_IMPL(aten, XPU, m) {
  m.impl("empty.memory_format", &empty);
  m.impl("empty_strided", &empty_strided);
  m.impl("as_strided", &as_strided);
  m.impl("view", &view);
  m.impl("_reshape_alias", &reshape_alias);
  m.impl("unfold", &unfold);
  m.impl("resize_", &resize);
  m.impl("copy_", &copy);
  m.impl("_copy_from_and_resize", &copy_from_and_resize);
  m.impl("_local_scalar_dense", &local_scalar_dense);
  // It would look for kernels that a GPU of this kind brings.
  m.impl("scaled_dot_product_attention",
         torch::CppFunction::makeFromBoxedFunction<&on_the_cpu>());
  m.impl("convolution_overrideable", &convolution);
}

TORCH_LIBRARY_IMPL(_, XPU, m) {
  m.fallback(torch::CppFunction::makeFromBoxedFunction<&on_the_cpu>());
}

TORCH_LIBRARY(second_memory, m) {
  m.def("held() -> int", [] { return held.load(); });
  m.def("peak() -> int", [] { return peak.load(); });
  m.def("reset_peak() -> ()", [] { peak = held.load(); });
}

}  // namespace
