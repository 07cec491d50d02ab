// Convolution on the CPU. Where the processor has AVX-512, Winograd's algorithm takes 3x3, and small maps are one
// product of matrices. So are 1x1 convolutions. oneDNN takes all others.
#include <algorithm>
#include <cstdlib>
#include <dnnl.hpp>
#include <map>
#include <memory>
#include <omp.h>
#include <vector>
#include "channel_sums.h"
#include "executor.h"
#include "mem/allocator.h"
#include "winograd.h"

namespace ldm_conv {

using namespace dnnl;
using tag = memory::format_tag;
using dt = memory::data_type;
using Arguments = std::unordered_map<int, memory>;

// Maps below are small. With them transforming the weights costs more than Winograd saves, if they are the very
// smallest, or the weights more than stay in the caches.
constexpr int64_t FEW_PIXELS = 192, WINOGRAD_PIXELS = 48, WINOGRAD_WEIGHTS = 1 << 18;
constexpr int64_t POINTWISE_PIXELS = 384;

inline const engine& cpu() {
    static engine e(engine::kind::cpu, 0);
    return e;
}

// x [n,c,h,w], weight [o,c,k,k] -> y [n,o,oh,ow]
struct Shape {
    int64_t n, c, h, w, o, k, stride, pad;

    int64_t oh() const { return (h + 2 * pad - k) / stride + 1; }
    int64_t ow() const { return (w + 2 * pad - k) / stride + 1; }
    memory::dims x() const { return {n, c, h, w}; }
    memory::dims weight() const { return {o, c, k, k}; }
    memory::dims y() const { return {n, o, oh(), ow()}; }
    bool pointwise() const { return k == 1 && stride == 1 && pad == 0; }
    bool winograd() const {
        bool worth_it = h * w >= FEW_PIXELS || (h * w >= WINOGRAD_PIXELS && c * o <= WINOGRAD_WEIGHTS);
        return ldm_winograd::AVAILABLE && k == 3 && stride == 1 && pad == 1 && worth_it;
    }
    bool few_pixels() const { return ldm_winograd::AVAILABLE && oh() * ow() < FEW_PIXELS; }
};

inline memory::desc any(const memory::dims& dims) { return {dims, dt::f32, tag::any}; }

inline memory plain(const memory::dims& dims, const float* data) {
    return {{dims, dt::f32, dims.size() == 1 ? tag::a : tag::abcd}, cpu(), const_cast<float*>(data)};
}

inline convolution_forward::primitive_desc forward_desc(const Shape& s, bool bias,
                                                        prop_kind kind = prop_kind::forward_inference) {
    memory::dims strides{s.stride, s.stride}, pad{s.pad, s.pad};
    auto direct = algorithm::convolution_direct;
    if (bias)
        return {{kind, direct, any(s.x()), any(s.weight()), any({s.o}), any(s.y()), strides, pad, pad}, cpu()};
    return {{kind, direct, any(s.x()), any(s.weight()), any(s.y()), strides, pad, pad}, cpu()};
}

// oneDNN asks for the forward pass when it makes a backward one.
inline convolution_forward::primitive_desc forward_hint(const Shape& s) {
    return forward_desc(s, false, prop_kind::forward_training);
}

inline stream& queue() {
    static stream s(cpu());
    return s;
}

// While one lives, OpenMP has as many threads as the process started with. How a primitive sums depends on the number
// that it is made for, and a result is to be the same however many there are when it is computed.
struct AllThreads {
    int now = omp_get_max_threads();
    AllThreads() {
        const char* wished = std::getenv("OMP_NUM_THREADS");
        int count = wished ? std::atoi(wished) : 0;
        omp_set_num_threads(count > 0 ? count : omp_get_num_procs());
    }
    ~AllThreads() { omp_set_num_threads(now); }
};

// Runs a forward primitive on the threads that there are now, where by itself it would ask for all.
inline void execute(const primitive& forward, const Arguments& arguments) {
    int count = omp_get_max_threads();
#if __GNUC__ >= 9
#pragma omp teams num_teams(1) thread_limit(count)
#endif
    forward.execute(queue(), arguments);
}

// One kind of convolution, made once per shape.
template <class Primitive>
struct Conv {
    typename Primitive::primitive_desc desc;
    Primitive primitive;
    explicit Conv(const typename Primitive::primitive_desc& desc) : desc(desc), primitive(desc) {}
};

// The convolution that `make()` describes, from the second call on out of a cache.
template <class Primitive, class Make>
Conv<Primitive>& cached(const Shape& s, bool bias, Make make) {
    static std::map<std::vector<int64_t>, std::unique_ptr<Conv<Primitive>>> made;
    auto& slot = made[{s.n, s.c, s.h, s.w, s.o, s.k, s.stride, s.pad, bias}];
    if (!slot) slot.reset(new Conv<Primitive>(make()));
    return *slot;
}

inline void copy(memory source, memory target) { reorder(source, target).execute(queue(), source, target); }

// oneDNN's kernels load whole cache lines; Jittor aligns its memory to less.
constexpr size_t ALIGNMENT = 64;

// An array in the layout that a primitive wants: itself where it is so already, else memory out of the pool that the
// activations come from, where `alloc_temp` would keep memory apart.
struct Laid {
    memory outer, inner;
    std::unique_ptr<jittor::Allocation> pool;

    Laid(const memory::desc& wanted, memory plain) : outer(plain), inner(plain) {
        void* start = plain.get_data_handle();
        if (wanted == plain.get_desc() && reinterpret_cast<size_t>(start) % ALIGNMENT == 0) return;
        size_t size = wanted.get_size(), room = size + ALIGNMENT;
        pool.reset(new jittor::Allocation(jittor::exe.allocator, room));
        start = pool->ptr;
        inner = memory(wanted, cpu(), std::align(ALIGNMENT, size, start, room));
    }
    Laid& in() {
        if (pool) copy(outer, inner);
        return *this;
    }
    void out() {
        if (pool) copy(inner, outer);
    }
};

// A 1x1 convolution is a matrix product, in the layout that is there already. Each thread multiplies whole blocks of
// pixels by itself: oneDNN's own threads gain little on such small products.
inline void pointwise(const Shape& s, const float* x, const float* weight, const float* bias, float* y) {
    int64_t pixels = s.h * s.w, blocks = (pixels + POINTWISE_PIXELS - 1) / POINTWISE_PIXELS;
#pragma omp parallel for
    for (int64_t task = 0; task < s.n * blocks; task++) {
        int64_t i = task / blocks, first = task % blocks * POINTWISE_PIXELS;
        int64_t count = std::min(POINTWISE_PIXELS, pixels - first);
        float* target = y + i * s.o * pixels + first;
        for (int64_t o = 0; o < s.o && bias; o++) std::fill_n(target + o * pixels, count, bias[o]);
        dnnl_sgemm('N', 'N', s.o, count, s.c, 1.f, weight, s.c, x + i * s.c * pixels + first, pixels, bias ? 1.f : 0.f,
                   target, pixels);
    }
}

inline void direct(const Shape& s, const float* x, const float* weight, const float* bias, float* y) {
    auto& conv = cached<convolution_forward>(s, bias != nullptr, [&] {
        AllThreads all;
        return forward_desc(s, bias != nullptr);
    });
    Laid source(conv.desc.src_desc(), plain(s.x(), x)), kernel(conv.desc.weights_desc(), plain(s.weight(), weight));
    Laid target(conv.desc.dst_desc(), plain(s.y(), y));
    std::unique_ptr<Laid> offset;
    Arguments arguments = {{DNNL_ARG_SRC, source.in().inner},
                           {DNNL_ARG_WEIGHTS, kernel.in().inner},
                           {DNNL_ARG_DST, target.inner}};
    if (bias) {
        offset.reset(new Laid(conv.desc.bias_desc(), plain({s.o}, bias)));
        arguments.insert({DNNL_ARG_BIAS, offset->in().inner});
    }
    execute(conv.primitive, arguments);
    target.out();
}

#ifdef __AVX512F__
// A convolution with few results: they side by side are the columns of one product, with the weights as they are.
inline void in_columns(const Shape& s, const float* x, const float* weight, const float* bias, float* y) {
    using namespace ldm_vectors;
    constexpr int64_t TOGETHER = 12;  // rows of the product
    int64_t side = s.oh() * s.ow(), taps = s.k * s.k, rows = s.c * taps, groups = divided(s.n * side, GROUP);
    std::vector<int32_t> places(groups * taps * GROUP, -1);  // of a result's pixel for a tap, in the first channel
    for (int64_t at = 0; at < s.n * side; at++)
        for (int64_t tap = 0; tap < taps; tap++) {
            int64_t from_y = at % side / s.ow() * s.stride + tap / s.k - s.pad;
            int64_t from_x = at % s.ow() * s.stride + tap % s.k - s.pad;
            if (from_y >= 0 && from_y < s.h && from_x >= 0 && from_x < s.w)
                places[(at / GROUP * taps + tap) * GROUP + at % GROUP] =
                    (at / side * s.c * s.h + from_y) * s.w + from_x;
        }
    Scratch scratch(groups * rows * GROUP);
    float* columns = scratch.data();
#pragma omp parallel
    {
#pragma omp for collapse(2)
        for (int64_t group = 0; group < groups; group++)
            for (int64_t c = 0; c < s.c; c++) {
                const int32_t* place = &places[group * taps * GROUP];
                const float* channel = x + c * s.h * s.w;
                float* column = columns + (group * rows + c * taps) * GROUP;
                for (int64_t i = 0; i < taps * GROUP; i++) column[i] = place[i] >= 0 ? channel[place[i]] : 0;
            }
#pragma omp for
        for (int64_t first = 0; first < s.o; first += TOGETHER) {
            int64_t count = std::min(TOGETHER, s.o - first);
            float products[TOGETHER * GROUP];
            for (int64_t group = 0; group < groups; group++) {
                multiply_rows({weight + first * rows, rows, 1}, count, columns + group * rows * GROUP, GROUP, rows,
                              false, products);
                for (int64_t o = 0; o < count; o++)
                    for (int64_t at = group * GROUP; at < std::min((group + 1) * GROUP, s.n * side); at++)
                        y[(at / side * s.o + first + o) * side + at % side] =
                            products[o * GROUP + at % GROUP] + (bias ? bias[first + o] : 0);
            }
        }
    }
}
#else
inline void in_columns(const Shape&, const float*, const float*, const float*, float*) {}
#endif

inline ldm_winograd::Weights weights(const Shape& s) { return {s.c, s.o, 9, 9 * s.c, false}; }
inline ldm_winograd::Weights turned_weights(const Shape& s) { return {s.o, s.c, 9 * s.c, 9, true}; }

// A sample's result does not depend on its batch.
inline void forward(const Shape& s, const float* x, const float* weight, const float* bias, float* y) {
    if (s.pointwise()) return pointwise(s, x, weight, bias, y);
    if (s.winograd()) return ldm_winograd::convolve(s.n, s.h, s.w, weights(s), x, weight, bias, y);
    if (s.few_pixels()) return in_columns(s, x, weight, bias, y);
    direct(s, x, weight, bias, y);
}

inline void backward_data(const Shape& s, const float* weight, const float* grad_y, float* grad_x) {
    if (s.winograd())
        return ldm_winograd::convolve(s.n, s.h, s.w, turned_weights(s), grad_y, weight, nullptr, grad_x);
    auto& conv = cached<convolution_backward_data>(s, false, [&] {
        return convolution_backward_data::primitive_desc(
            {algorithm::convolution_direct, any(s.x()), any(s.weight()), any(s.y()), {s.stride, s.stride},
             {s.pad, s.pad}, {s.pad, s.pad}}, cpu(), forward_hint(s));
    });
    Laid kernel(conv.desc.weights_desc(), plain(s.weight(), weight));
    Laid gradient(conv.desc.diff_dst_desc(), plain(s.y(), grad_y));
    Laid target(conv.desc.diff_src_desc(), plain(s.x(), grad_x));
    conv.primitive.execute(queue(), {{DNNL_ARG_WEIGHTS, kernel.in().inner},
                                     {DNNL_ARG_DIFF_DST, gradient.in().inner},
                                     {DNNL_ARG_DIFF_SRC, target.inner}});
    target.out();
}

inline void backward_weight(const Shape& s, const float* x, const float* grad_y, float* grad_weight) {
    if (s.winograd()) return ldm_winograd::backward_weight(s.n, s.h, s.w, weights(s), x, grad_y, grad_weight);
    auto& conv = cached<convolution_backward_weights>(s, false, [&] {
        return convolution_backward_weights::primitive_desc(
            {algorithm::convolution_direct, any(s.x()), any(s.weight()), any(s.y()), {s.stride, s.stride},
             {s.pad, s.pad}, {s.pad, s.pad}}, cpu(), forward_hint(s));
    });
    Laid source(conv.desc.src_desc(), plain(s.x(), x));
    Laid gradient(conv.desc.diff_dst_desc(), plain(s.y(), grad_y));
    Laid target(conv.desc.diff_weights_desc(), plain(s.weight(), grad_weight));
    conv.primitive.execute(queue(), {{DNNL_ARG_SRC, source.in().inner},
                                     {DNNL_ARG_DIFF_DST, gradient.in().inner},
                                     {DNNL_ARG_DIFF_WEIGHTS, target.inner}});
    target.out();
}

// The same for each sample alone, whatever its batch.
inline void backward_data_by_sample(const Shape& s, const float* weight, const float* grad_y, float* grad_x) {
    Shape one = s;
    one.n = 1;
    for (int64_t i = 0; i < s.n; i++)
        backward_data(one, weight, grad_y + i * s.o * s.oh() * s.ow(), grad_x + i * s.c * s.h * s.w);
}

// The same as the sum of what each sample gives alone. Halves of the batch are added, which are sums of their halves.
inline void backward_weight_by_sample(const Shape& s, const float* x, const float* grad_y, float* grad_weight) {
    if (s.n == 1) return backward_weight(s, x, grad_y, grad_weight);
    Shape first = s, second = s;
    first.n = s.n / 2, second.n = s.n - first.n;
    backward_weight_by_sample(first, x, grad_y, grad_weight);
    int64_t count = s.o * s.c * s.k * s.k;
    jittor::Allocation part(jittor::exe.allocator, count * sizeof(float));
    float* added = (float*)part.ptr;
    backward_weight_by_sample(second, x + first.n * s.c * s.h * s.w, grad_y + first.n * s.o * s.oh() * s.ow(), added);
    for (int64_t i = 0; i < count; i++) grad_weight[i] += added[i];
}

}  // namespace ldm_conv
