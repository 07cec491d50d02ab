// Group norm with what follows it in one pass over memory, on the CPU:
//   y = act((norm(x) * gamma + beta) * (1 + scale) + shift)
// x [n,c,h,w]; gamma, beta [c], or maps [maps,c,h,w]; affine: scale and shift side by side, [rows,2c], where samples
// beyond the last row share it, or absent. Samples beyond the last map take null_gamma and null_beta [c,3,3]: corners,
// edges and middle of maps that are constant but for their border.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>
#include "exponential.h"

namespace ldm_norm {

struct Shape {
    int64_t n, c, h, w, groups, maps, rows;
    float eps;
    bool silu;

    int64_t p() const { return h * w; }
    int64_t per_group() const { return c / groups; }
};

struct Inputs {
    const float *x, *gamma, *beta, *affine, *null_gamma, *null_beta;
};

struct Affine {
    float scale, shift;
    Affine(const Shape& s, const Inputs& in, int64_t i, int64_t c) : scale(1), shift(0) {
        if (!s.rows) return;
        const float* row = in.affine + std::min(i, s.rows - 1) * 2 * s.c;
        scale += row[c], shift = row[s.c + c];
    }
};

struct Stats {
    float mean, rstd;
};

// Sums run over a fixed number of pixels in float and over those partial sums in double.
template <class Term>
inline double sum(int64_t count, Term term) {
    constexpr int64_t BLOCK = 4096;
    double total = 0;
    for (int64_t start = 0; start < count; start += BLOCK) {
        int64_t end = std::min(count, start + BLOCK);
        float partial = 0;
        for (int64_t i = start; i < end; i++) partial += term(i);
        total += partial;
    }
    return total;
}

inline Stats stats(const float* x, int64_t count, float eps) {
    float mean = sum(count, [=](int64_t i) { return x[i]; }) / count;
    double variance = sum(count, [=](int64_t i) { return (x[i] - mean) * (x[i] - mean); }) / count;
    return {mean, float(1 / std::sqrt(variance + eps))};
}

inline float sigmoid(float v) { return 1 / (1 + ldm_math::exponential(-v)); }

// y = act(x * a + b), a and b constant over the row
inline void activate(const float* x, float a, float b, int64_t count, bool silu, float* y) {
    if (silu)
        for (int64_t i = 0; i < count; i++) {
            float v = x[i] * a + b;
            y[i] = v * sigmoid(v);
        }
    else
        for (int64_t i = 0; i < count; i++) y[i] = x[i] * a + b;
}

// y = act(((x * a + b) * gamma + beta) * scale + shift)
inline void modulate(const float* x, float a, float b, const float* gamma, const float* beta, float scale, float shift,
                     int64_t count, bool silu, float* y) {
    if (silu)
        for (int64_t i = 0; i < count; i++) {
            float v = ((x[i] * a + b) * gamma[i] + beta[i]) * scale + shift;
            y[i] = v * sigmoid(v);
        }
    else
        for (int64_t i = 0; i < count; i++) y[i] = ((x[i] * a + b) * gamma[i] + beta[i]) * scale + shift;
}

// As `modulate`, for one channel of maps given by their corners, edges and middle.
inline void modulate_null(const Shape& s, const float* x, float a, float b, const float* gamma, const float* beta,
                          float scale, float shift, float* y) {
    std::vector<float> row_gamma(s.w), row_beta(s.w);
    for (int64_t row = 0; row < s.h; row++, x += s.w, y += s.w) {
        int64_t band = row == 0 ? 0 : row == s.h - 1 ? 6 : 3;
        if (row < 2 || row == s.h - 1) {  // the rows between are alike
            std::fill(row_gamma.begin(), row_gamma.end(), gamma[band + 1]);
            std::fill(row_beta.begin(), row_beta.end(), beta[band + 1]);
            row_gamma.back() = gamma[band + 2], row_beta.back() = beta[band + 2];
            row_gamma[0] = gamma[band], row_beta[0] = beta[band];
        }
        modulate(x, a, b, row_gamma.data(), row_beta.data(), scale, shift, s.w, s.silu, y);
    }
}

inline void forward(const Shape& s, const Inputs& in, float* y) {
    int64_t size = s.per_group();
// samples with a mask of their own take longer: each thread gets its share
#pragma omp parallel for schedule(static, 1)
    for (int64_t task = 0; task < s.n * s.groups; task++) {
        int64_t i = task / s.groups, first = task % s.groups * size;
        Stats group = stats(in.x + (i * s.c + first) * s.p(), size * s.p(), s.eps);
        float a = group.rstd, b = -group.mean * group.rstd;
        for (int64_t c = first; c < first + size; c++) {
            int64_t at = (i * s.c + c) * s.p();
            Affine to(s, in, i, c);
            if (!s.maps)
                activate(in.x + at, a * in.gamma[c] * to.scale, (b * in.gamma[c] + in.beta[c]) * to.scale + to.shift,
                         s.p(), s.silu, y + at);
            else if (i < s.maps)
                modulate(in.x + at, a, b, in.gamma + at, in.beta + at, to.scale, to.shift, s.p(), s.silu, y + at);
            else
                modulate_null(s, in.x + at, a, b, in.null_gamma + 9 * c, in.null_beta + 9 * c, to.scale, to.shift,
                              y + at);
        }
    }
}

// Sums over the pixels of a channel: of the gradients of what scale and shift, gamma and beta are for the channel, of
// norm(x), and of the product of the last with norm(x).
struct Sums {
    double scale = 0, shift = 0, gamma = 0, beta = 0, normed = 0, normed_x = 0;
};

// The gradient of act(v).
template <bool SILU>
inline float through_activation(float grad, float v) {
    if (!SILU) return grad;
    float gate = sigmoid(v);
    return grad * gate * (1 + v * (1 - gate));
}

// Gradients of `count` pixels of a channel with one gamma and one beta; that of norm(x) goes to grad_x.
template <bool SILU>
inline void backward_channel(const float* x, const float* grad_y, float a, float b, float gamma, float beta, Affine to,
                             int64_t count, Sums& sums, float* grad_x) {
    float sum = 0, sum_normed = 0, slope = gamma * to.scale, offset = beta * to.scale + to.shift;
#pragma GCC ivdep
    for (int64_t p = 0; p < count; p++) {
        float normed = x[p] * a + b, grad = through_activation<SILU>(grad_y[p], normed * slope + offset);
        sum += grad;
        sum_normed += grad * normed;
        grad_x[p] = grad * slope;
    }
    sums.scale += gamma * sum_normed + beta * sum, sums.shift += sum;
    sums.gamma += to.scale * sum_normed, sums.beta += to.scale * sum;
    sums.normed += slope * sum, sums.normed_x += slope * sum_normed;
}

// The same with a gamma and a beta for each pixel.
template <bool SILU>
inline void backward_map(const float* x, const float* grad_y, float a, float b, const float* gamma, const float* beta,
                         Affine to, int64_t count, Sums& sums, float* grad_x, float* grad_gamma, float* grad_beta) {
    float to_scale = 0, to_shift = 0, to_normed = 0, to_x = 0;
#pragma GCC ivdep
    for (int64_t p = 0; p < count; p++) {
        float normed = x[p] * a + b, mapped = normed * gamma[p] + beta[p];
        float grad = through_activation<SILU>(grad_y[p], mapped * to.scale + to.shift);
        to_scale += grad * mapped;
        to_shift += grad;
        grad *= to.scale;
        grad_gamma[p] = grad * normed;
        grad_beta[p] = grad;
        grad *= gamma[p];
        grad_x[p] = grad;
        to_normed += grad;
        to_x += grad * normed;
    }
    sums.scale += to_scale, sums.shift += to_shift, sums.normed += to_normed, sums.normed_x += to_x;
}

// Gradients of all inputs from that of y. There are as many maps as samples, or none. Those of gamma and beta are maps,
// or else [n,c]: of each sample. That of affine is [n,2c], or absent.
template <bool SILU>
inline void backward(const Shape& s, const Inputs& in, const float* grad_y, float* grad_x, float* grad_gamma,
                     float* grad_beta, float* grad_affine) {
    constexpr int64_t BLOCK = 4096;  // pixels whose sums are floats
    int64_t size = s.per_group(), pixels = s.p();
    const float* x = in.x;
#pragma omp parallel for
    for (int64_t task = 0; task < s.n * s.groups; task++) {
        int64_t i = task / s.groups, first = task % s.groups * size, start = (i * s.c + first) * pixels;
        Stats group = stats(x + start, size * pixels, s.eps);
        float a = group.rstd, b = -group.mean * group.rstd;
        double total = 0, projected = 0;  // of the gradient of norm(x), and of its product with norm(x)
        for (int64_t c = first; c < first + size; c++) {
            Sums sums;
            Affine to(s, in, i, c);
            int64_t row = i * s.c + c;
            for (int64_t p = row * pixels; p < (row + 1) * pixels; p += BLOCK) {
                int64_t count = std::min(BLOCK, (row + 1) * pixels - p);
                if (s.maps)
                    backward_map<SILU>(x + p, grad_y + p, a, b, in.gamma + p, in.beta + p, to, count, sums, grad_x + p,
                                       grad_gamma + p, grad_beta + p);
                else
                    backward_channel<SILU>(x + p, grad_y + p, a, b, in.gamma[c], in.beta[c], to, count, sums,
                                           grad_x + p);
            }
            if (!s.maps) grad_gamma[row] = sums.gamma, grad_beta[row] = sums.beta;
            if (s.rows) grad_affine[i * 2 * s.c + c] = sums.scale, grad_affine[(i * 2 + 1) * s.c + c] = sums.shift;
            total += sums.normed;
            projected += sums.normed_x;
        }
        float mean = total / (size * pixels), slope = projected / (size * pixels);
        for (int64_t p = start; p < start + size * pixels; p++)
            grad_x[p] = a * (grad_x[p] - mean - (x[p] * a + b) * slope);
    }
}

inline void backward(const Shape& s, const Inputs& in, const float* grad_y, float* grad_x, float* grad_gamma,
                     float* grad_beta, float* grad_affine) {
    (s.silu ? backward<true> : backward<false>)(s, in, grad_y, grad_x, grad_gamma, grad_beta, grad_affine);
}

}  // namespace ldm_norm
