// Softmax attention on the CPU, out = v softmax(q^T k / sqrt(c))^T, in chunks of queries so that no matrix of all
// queries by all keys is ever held; the backward pass computes the weights again.
// q, out [n,c,queries]; k, v [n,c,keys]. From one sample of q, k or v to the next it is `step` floats: they can be parts
// of one array.
#include <algorithm>
#include <cmath>
#include <dnnl.h>
#include <omp.h>
#include "executor.h"
#include "mem/allocator.h"
#include "exponential.h"

namespace ldm_attention {

struct Shape {
    int64_t n, c, queries, keys, chunk, q_step, k_step;
    float scale() const { return 1 / std::sqrt(float(c)); }
};

// z [m,n] = alpha * a [m,k] b [k,n] + beta * z, row-major; 'T' says that the array holds the transpose
inline void product(char trans_a, char trans_b, int64_t m, int64_t n, int64_t k, float alpha, const float* a,
                    int64_t stride_a, const float* b, int64_t stride_b, float beta, float* z, int64_t stride_z) {
    dnnl_sgemm(trans_a, trans_b, m, n, k, alpha, a, stride_a, b, stride_b, beta, z, stride_z);
}

inline void softmax(float* row, int64_t count) {
    float largest = row[0], total = 0;
    for (int64_t j = 0; j < count; j++) largest = std::max(largest, row[j]);
    for (int64_t j = 0; j < count; j++) total += row[j] = ldm_math::exponential(row[j] - largest);
    float factor = 1 / total;
    for (int64_t j = 0; j < count; j++) row[j] *= factor;
}

// Attention weights [size,keys] of the queries from `start` on.
inline void weights(const Shape& s, const float* q, const float* k, int64_t start, int64_t size, float* scores) {
    product('T', 'N', size, s.keys, s.c, s.scale(), q + start, s.queries, k, s.keys, 0, scores, s.keys);
#pragma omp parallel for
    for (int64_t i = 0; i < size; i++) softmax(scores + i * s.keys, s.keys);
}

// Each thread takes whole chunks by itself: oneDNN's own threads gain little on such small products.
inline void forward(const Shape& s, const float* q, const float* k, const float* v, float* out) {
    int64_t chunks = (s.queries + s.chunk - 1) / s.chunk, tasks = s.n * chunks;
    int threads = std::min<int64_t>(omp_get_max_threads(), tasks);
    jittor::Allocation pool(jittor::exe.allocator, sizeof(float) * threads * s.chunk * s.keys);
#pragma omp parallel for num_threads(threads)
    for (int64_t task = 0; task < tasks; task++) {
        int64_t i = task / chunks, start = task % chunks * s.chunk, size = std::min(s.chunk, s.queries - start);
        float* scores = static_cast<float*>(pool.ptr) + omp_get_thread_num() * s.chunk * s.keys;
        int64_t at = i * s.q_step, other = i * s.k_step;
        weights(s, q + at, k + other, start, size, scores);
        product('N', 'T', s.c, size, s.keys, 1, v + other, s.keys, scores, s.keys, 0,
                out + i * s.c * s.queries + start, s.queries);
    }
}

// grad_weights becomes the gradient of the scores before the softmax.
inline void softmax_backward(const float* weights, int64_t rows, int64_t count, float* grad_weights) {
#pragma omp parallel for
    for (int64_t i = 0; i < rows; i++) {
        const float* w = weights + i * count;
        float *g = grad_weights + i * count, mean = 0;
        for (int64_t j = 0; j < count; j++) mean += w[j] * g[j];
        for (int64_t j = 0; j < count; j++) g[j] = w[j] * (g[j] - mean);
    }
}

// Each thread takes whole samples by itself where there are enough of them, else all share each product.
inline void backward(const Shape& s, const float* q, const float* k, const float* v, const float* grad_out,
                     float* grad_q, float* grad_k, float* grad_v) {
    int threads = omp_get_max_threads() <= s.n ? omp_get_max_threads() : 1;
    int64_t matrix = s.chunk * s.keys;
    jittor::Allocation pool(jittor::exe.allocator, sizeof(float) * threads * 2 * matrix);
#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < s.n; i++) {
        float *scores = static_cast<float*>(pool.ptr) + omp_get_thread_num() * 2 * matrix, *grads = scores + matrix;
        int64_t at = i * s.q_step, other = i * s.k_step;
        for (int64_t start = 0; start < s.queries; start += s.chunk) {
            int64_t size = std::min(s.chunk, s.queries - start);
            const float *queries = q + at + start, *outs = grad_out + i * s.c * s.queries + start;
            float more = start > 0;
            weights(s, q + at, k + other, start, size, scores);
            product('N', 'N', s.c, s.keys, size, 1, outs, s.queries, scores, s.keys, more, grad_v + other, s.keys);
            product('T', 'N', size, s.keys, s.c, 1, outs, s.queries, v + other, s.keys, 0, grads, s.keys);
            softmax_backward(scores, size, s.keys, grads);
            product('N', 'T', s.c, size, s.keys, s.scale(), k + other, s.keys, grads, s.keys, 0, grad_q + at + start,
                    s.queries);
            product('N', 'N', s.c, s.keys, size, s.scale(), queries, s.queries, grads, s.keys, more, grad_k + other,
                    s.keys);
        }
    }
}

}  // namespace ldm_attention
