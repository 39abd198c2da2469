// The functions that MXNet looks up in a library: one operator, which runs a native program.
//
// MXNet passes arrays as pointers and shapes, and return values report failures, so no exception
// leaves a function of this file. Functions that MXNet never calls, as the library has no passes
// and partitioners, are at the end.
#include <mxnet/lib_api.h>

#include <cstdlib>
#include <cstring>

#include "plan.h"
#include "processor.h"

using namespace mxnet::ext;

// Of the classes that lib_api.h declares only this one has objects here.
CustomStatefulOp::CustomStatefulOp() : ignore_warn(true), created(false) {}
CustomStatefulOp::~CustomStatefulOp() {}

namespace {

// The last error of this thread. MXNet reads it after a failure, more than once.
std::string& message() {
  thread_local std::string text;
  return text;
}

template <class Body>
int guarded(const Body& body) {
  std::string text;
  try {
    body();
    return MX_SUCCESS;
  } catch (const dnnl::error& error) {
    text = std::string("oneDNN: ") + error.what();
  } catch (const std::exception& error) {
    text = error.what();
  } catch (...) {
    text = "an unknown error";
  }
  message() = "gluon_attention: " + text;
  return MX_FAIL;
}

int number_of(const char* const* keys, const char* const* values, int count) {
  for (int i = 0; i < count; ++i)
    if (!std::strcmp(keys[i], "program")) return std::stoi(values[i]);
  throw native::Error("the operator needs the number of a program");
}

std::vector<native::Dims> shapes_of(unsigned** shapes, const int* dims, int count) {
  std::vector<native::Dims> all;
  for (int i = 0; i < count; ++i) all.emplace_back(shapes[i], shapes[i] + dims[i]);
  return all;
}

// One call of the operator, from forward to backward.
class State : public CustomStatefulOp {
 public:
  explicit State(std::shared_ptr<const native::Plan> plan)
      : plan_(std::move(plan)), stream_(native::cpu()) {}

  MXReturnValue Forward(std::vector<MXTensor>*, std::vector<MXTensor>*,
                        const OpResource&) override {
    return MX_FAIL;  // run() is called instead
  }

  void run(bool forward, void** in, int count_in, void** out, int count_out) {
    int inputs = plan_->program().inputs, outputs = plan_->program().outputs;
    if (plan_->inference()) return plan_->infer(in[0], out, stream_);
    native::Run run;
    run.offsets = &plan_->offsets();
    run.stream = stream_;
    if (forward) {
      if (count_in != inputs || count_out != outputs) throw native::Error("arrays are missing");
      if (!arena_) arena_ = native::Arena(plan_->bytes());
      run.arena = arena_.base(), run.inputs = in, run.outputs = out;
      plan_->forward(run);
      return;
    }
    // Gradients of outputs, then inputs, then outputs; gradients of inputs are computed.
    if (count_in != outputs + inputs + outputs || count_out != inputs)
      throw native::Error("arrays of a backward pass are missing");
    if (!arena_) throw native::Error("backward twice: what it needs is gone after the first");
    run.arena = arena_.base(), run.head_gradients = in, run.inputs = in + outputs;
    run.outputs = in + outputs + inputs, run.gradients = out;
    plan_->backward(run);
    arena_ = native::Arena();
  }

 private:
  std::shared_ptr<const native::Plan> plan_;
  dnnl::stream stream_;
  native::Arena arena_;
};

// MXNet only checks that these exist, and passes them to the functions below.
MXReturnValue parse(const std::unordered_map<std::string, std::string>&, int*, int*) {
  return MX_FAIL;
}
MXReturnValue types(const std::unordered_map<std::string, std::string>&, std::vector<int>*,
                    std::vector<int>*) {
  return MX_FAIL;
}
MXReturnValue shapes(const std::unordered_map<std::string, std::string>&,
                     std::vector<std::vector<unsigned>>*, std::vector<std::vector<unsigned>>*) {
  return MX_FAIL;
}
MXReturnValue create(const std::unordered_map<std::string, std::string>&, const MXContext&,
                     const std::vector<std::vector<unsigned>>&, const std::vector<int>,
                     CustomStatefulOp**) {
  return MX_FAIL;
}

const char* device[] = {"cpu"};
createOpState_t creators[] = {create};

template <class T>
T* allocated(std::size_t count) {
  auto* memory = static_cast<T*>(std::malloc(sizeof(T) * (count ? count : 1)));
  if (!memory) throw std::bad_alloc();
  return memory;
}

void hand_over(const std::vector<native::Dims>& shapes, unsigned*** values, int** dims) {
  *values = allocated<unsigned*>(shapes.size());
  *dims = allocated<int>(shapes.size());
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    (*dims)[i] = static_cast<int>(shapes[i].size());
    (*values)[i] = allocated<unsigned>(shapes[i].size());
    for (std::size_t k = 0; k < shapes[i].size(); ++k)
      (*values)[i][k] = static_cast<unsigned>(shapes[i][k]);
  }
}

std::string& reply() {
  thread_local std::string text;
  return text;
}

}  // namespace

#pragma GCC visibility push(default)

extern "C" {

MXReturnValue initialize(int version) {
  native::allow_amx();
  return version >= 10900 && version < 20000 ? MX_SUCCESS : MX_FAIL;
}

int _opVersion() { return MX_LIBRARY_VERSION; }
int _opRegSize() { return 1; }

void _opRegGet(int, const char** name, int* isSGop, const char*** forward_ctx, fcomp_t** forward_fp,
               int* forward_count, const char*** backward_ctx, fcomp_t** backward_fp,
               int* backward_count, const char*** create_op_ctx, createOpState_t** create_op_fp,
               int* create_op_count, parseAttrs_t* parse_, inferType_t* type, inferSType_t* stype,
               inferShape_t* shape, mutateInputs_t* mutate) {
  *name = "gluon_attention_native";
  *isSGop = 0;
  *forward_ctx = *backward_ctx = nullptr;
  *forward_fp = *backward_fp = nullptr;
  *forward_count = *backward_count = 0;
  *create_op_ctx = device, *create_op_fp = creators, *create_op_count = 1;
  *parse_ = parse, *type = types, *shape = shapes;
  *stype = nullptr, *mutate = nullptr;
}

void _opCallFree(void* memory) { std::free(memory); }

int _opCallParseAttrs(parseAttrs_t, const char* const* keys, const char* const* vals, int num,
                      int* num_in, int* num_out) {
  return guarded([&] {
    auto program = native::program(number_of(keys, vals, num));
    *num_in = program->inputs, *num_out = program->outputs;
  });
}

int _opCallInferShape(inferShape_t, const char* const* keys, const char* const* vals, int num,
                      unsigned** inshapes, int* indims, int num_in, unsigned*** mod_inshapes,
                      int** mod_indims, unsigned*** outshapes, int** outdims, int) {
  return guarded([&] {
    auto shapes_in = shapes_of(inshapes, indims, num_in);
    auto plan = native::plan(number_of(keys, vals, num), shapes_in);
    hand_over(shapes_in, mod_inshapes, mod_indims);
    hand_over(plan->output_shapes(), outshapes, outdims);
  });
}

int _opCallInferType(inferType_t, const char* const*, const char* const*, int, int* intypes,
                     int num_in, int* outtypes, int num_out) {
  return guarded([&] {
    for (int i = 0; i < num_in; ++i) {
      if (intypes[i] != kFloat32 && intypes[i] != -1)
        throw native::Error("arrays of a native program are of float32");
      intypes[i] = kFloat32;
    }
    for (int i = 0; i < num_out; ++i) outtypes[i] = kFloat32;
  });
}

int _opCallInferSType(inferSType_t, const char* const*, const char* const*, int, int*, int, int*,
                      int) {
  return MX_FAIL;
}

int _opCallFCompute(fcomp_t, const char* const*, const char* const*, int, const int64_t**, int*,
                    void**, int*, size_t*, const char**, int*, int, const int64_t**, int*, void**,
                    int*, size_t*, const char**, int*, int, xpu_malloc_t, void*, xpu_malloc_t,
                    void*, void*, sparse_malloc_t, void*, int*, int*, void**, void**, void**,
                    void**, int64_t*, int64_t*, int64_t*, int64_t*, void*, void*) {
  return MX_FAIL;
}

int _opCallMutateInputs(mutateInputs_t, const char* const*, const char* const*, int, int**, int*) {
  return MX_FAIL;
}

int _opCallCreateOpState(createOpState_t, const char* const* keys, const char* const* vals,
                         int num, const char*, int, unsigned** inshapes, int* indims, int num_in,
                         const int*, void** state_op) {
  return guarded([&] {
    auto shapes = shapes_of(inshapes, indims, num_in);
    *state_op = CustomStatefulOp::create<State>(native::plan(number_of(keys, vals, num), shapes));
  });
}

void _opCallDestroyOpState(void* state) { delete static_cast<CustomStatefulOp*>(state); }

int _opCallFStatefulCompute(int is_forward, void* state_op, const int64_t**, int*, void** indata,
                            int*, size_t*, const char**, int*, int num_in, const int64_t**, int*,
                            void** outdata, int*, size_t*, const char**, int*, int num_out,
                            xpu_malloc_t, void*, xpu_malloc_t, void*, void*, sparse_malloc_t,
                            void*, int*, int*, void**, void**, void**, void**, int64_t*, int64_t*,
                            int64_t*, int64_t*, void*, void*) {
  return guarded([&] {
    auto* state = static_cast<State*>(static_cast<CustomStatefulOp*>(state_op));
    state->run(is_forward != 0, indata, num_in, outdata, num_out);
  });
}

int _msgSize() { return message().empty() ? 0 : 1; }
void _msgGet(int, const char** msg) { *msg = message().c_str(); }

// For Python. Text stays valid until the next call in the same thread.
int gluon_attention_program(const char* text) {
  int number = -1;
  try {
    number = native::add_program(text);
  } catch (const std::exception& error) {
    reply() = error.what();
  }
  return number;
}
int gluon_attention_constant(int program, const float* values, const std::int64_t* dims,
                             int count) {
  return guarded([&] {
    native::Constant constant{native::Dims(dims, dims + count), {}};
    std::int64_t size = 1;
    for (std::int64_t dim : constant.dims) size *= dim;
    constant.values.assign(values, values + size);
    native::add_constant(program, std::move(constant));
  });
}
void gluon_attention_forget(int program) { native::forget(program); }
const char* gluon_attention_error() { return reply().c_str(); }
int gluon_attention_bfloat16_pays() { return native::bfloat16_pays(); }
const char* gluon_attention_instruction_set() {
  reply() = native::instruction_set();
  return reply().c_str();
}
std::size_t gluon_attention_memory() { return native::arena_bytes(); }
void gluon_attention_profile(int on) { native::profile(on != 0); }
const char* gluon_attention_profiled() {
  reply() = native::profiled();
  return reply().c_str();
}

// This library has neither partitioners nor passes.
int _partRegSize() { return 0; }
int _partRegGetCount(int, const char**) { return 0; }
void _partRegGet(int, int, const char**, supportedOps_t*, createSelector_t*, reviewSubgraph_t*,
                 const char**) {}
int _partCallSupportedOps(supportedOps_t, const char*, int, int*, const char* const*,
                          const char* const*, int) {
  return MX_FAIL;
}
int _partCallCreateSelector(createSelector_t, const char*, void**, const char* const*,
                            const char* const*, int) {
  return MX_FAIL;
}
void _partCallSelect(void*, int, int*) {}
void _partCallSelectInput(void*, int, int, int*) {}
void _partCallSelectOutput(void*, int, int, int*) {}
void _partCallFilter(void*, int*, int, int**, int*) {}
void _partCallReset(void*) {}
int _partCallReviewSubgraph(reviewSubgraph_t, const char*, int, int*, const char* const*,
                            const char* const*, int, char***, char***, int*, const char* const*,
                            int, void* const*, const int64_t* const*, const int*, const int*,
                            const size_t*, const char* const*, const int*, const char* const*, int,
                            void* const*, const int64_t* const*, const int*, const int*,
                            const size_t*, const char* const*, const int*) {
  return MX_FAIL;
}
int _passRegSize() { return 0; }
void _passRegGet(int, graphPass_t*, const char**) {}
int _passCallGraphPass(graphPass_t, const char*, char**, const char* const*, const char* const*,
                       int, const char*, const char* const*, int, void* const*,
                       const int64_t* const*, const int*, const int*, const size_t*,
                       const char* const*, const int*, const char* const*, int, void* const*,
                       const int64_t* const*, const int*, const int*, const size_t*,
                       const char* const*, const int*, nd_malloc_t, const void*) {
  return MX_FAIL;
}

}  // extern "C"

#pragma GCC visibility pop
