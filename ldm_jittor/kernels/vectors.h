// 16 floats at a time, as GCC's vectors: memory for them, transposition, and products of matrices.
#include <cstdint>
#include <cstring>
#include <new>
#include "executor.h"
#include "mem/allocator.h"

namespace ldm_vectors {

typedef float Vec __attribute__((vector_size(64)));
typedef int Lanes __attribute__((vector_size(64)));

constexpr int64_t LANES = 16;
constexpr int64_t GROUP = 2 * LANES;  // columns of a product

// How many parts of this size hold all.
inline int64_t divided(int64_t count, int64_t by) { return (count + by - 1) / by; }

// Memory out of the pool that activations come from, aligned to vectors.
struct Scratch {
    jittor::Allocation pool;
    explicit Scratch(int64_t floats) : pool(jittor::exe.allocator, (floats + LANES) * sizeof(float)) {
        if (!pool.ptr) throw std::bad_alloc();
    }
    float* data() {
        auto at = reinterpret_cast<uintptr_t>(pool.ptr);
        return reinterpret_cast<float*>((at + sizeof(Vec) - 1) / sizeof(Vec) * sizeof(Vec));
    }
};

inline Vec load(const float* from) {
    Vec v;
    std::memcpy(&v, from, sizeof v);
    return v;
}

inline void store(float* to, const Vec& v) { std::memcpy(to, &v, sizeof v); }

// 16 vectors of pixels <-> 16 vectors of channels.
inline void transpose(Vec v[LANES]) {
#pragma GCC unroll 4
    for (int distance = LANES / 2; distance; distance /= 2) {
        Lanes low, high;
        for (int lane = 0; lane < LANES; lane++) {
            bool second = lane & distance;
            low[lane] = second ? LANES + lane - distance : lane;
            high[lane] = second ? LANES + lane : lane + distance;
        }
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) {
            if (i & distance) continue;
            Vec first = v[i], second = v[i + distance];
            v[i] = __builtin_shuffle(first, second, low);
            v[i + distance] = __builtin_shuffle(first, second, high);
        }
    }
}

// A matrix whose element (row, k) is at from[row * row_step + k * step].
struct Matrix {
    const float* from;
    int64_t row_step, step;
};

// The product of ROWS rows of v, from `row` on, with u, whose row k is the GROUP floats at u + k * u_step. It is stored
// in m, [GROUP] a row, or added to it.
template <int ROWS>
inline void multiply(const Matrix& v, int64_t row, const float* u, int64_t u_step, int64_t count, bool add, float* m) {
    Vec left[ROWS] = {}, right[ROWS] = {};
    const float* from = v.from + row * v.row_step;
    for (int64_t k = 0; k < count; k++, from += v.step, u += u_step) {
        Vec u_left = load(u), u_right = load(u + LANES);
#pragma GCC unroll 12
        for (int r = 0; r < ROWS; r++) {
            left[r] += from[r * v.row_step] * u_left;
            right[r] += from[r * v.row_step] * u_right;
        }
    }
    m += row * GROUP;
#pragma GCC unroll 12
    for (int r = 0; r < ROWS; r++, m += GROUP) {
        store(m, add ? load(m) + left[r] : left[r]);
        store(m + LANES, add ? load(m + LANES) + right[r] : right[r]);
    }
}

inline void multiply_rows(const Matrix& v, int64_t rows, const float* u, int64_t u_step, int64_t count, bool add,
                          float* m) {
    int64_t row = 0;
    for (; row + 12 <= rows; row += 12) multiply<12>(v, row, u, u_step, count, add, m);
    for (; row + 4 <= rows; row += 4) multiply<4>(v, row, u, u_step, count, add, m);
    for (; row < rows; row++) multiply<1>(v, row, u, u_step, count, add, m);
}

}  // namespace ldm_vectors
