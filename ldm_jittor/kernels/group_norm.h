// Group norm with what follows it in one pass over memory, on the CPU:
//   y = act((norm(x) * gamma + beta) * scale + shift)
// x [n,c,h,w]; gamma, beta [m,c,h,w] or absent; scale, shift [r,c], where samples beyond the last row share it. Samples
// beyond the last of the m take null_gamma and null_beta [c,3,3]: corners, edges and middle of maps that are constant
// but for their border.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace ldm_norm {

struct Shape {
    int64_t n, c, h, w, groups, maps, rows;
    float eps;
    bool silu;

    int64_t p() const { return h * w; }
    int64_t per_group() const { return c / groups; }
    int64_t row(int64_t i) const { return std::min(i, rows - 1) * c; }
};

struct Inputs {
    const float *x, *scale, *shift, *gamma, *beta, *null_gamma, *null_beta;
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

// 2^n times the series of e^r, |r| <= ln(2)/2, to 1e-7. The compiler makes vectors of it, which it can't of a library's.
inline float exponential(float v) {
    v = std::min(std::max(v, -87.f), 88.f);
    float n = std::nearbyint(v * 1.44269504f), r = v - n * 0.693359375f + n * 2.12194440e-4f;
    float series = 1 + r * (1 + r * (0.5f + r * (1 / 6.f + r * (1 / 24.f + r * (1 / 120.f + r * (1 / 720.f))))));
    int32_t bits = (int32_t(n) + 127) << 23;
    float power;
    std::memcpy(&power, &bits, sizeof power);
    return series * power;
}

inline float sigmoid(float v) { return 1 / (1 + exponential(-v)); }

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
#pragma omp parallel for schedule(static, 1)  // samples with a mask of their own take longer: each thread gets its share
    for (int64_t task = 0; task < s.n * s.groups; task++) {
        int64_t i = task / s.groups, first = task % s.groups * size;
        Stats group = stats(in.x + (i * s.c + first) * s.p(), size * s.p(), s.eps);
        float a = group.rstd, b = -group.mean * group.rstd;
        for (int64_t c = first; c < first + size; c++) {
            int64_t at = (i * s.c + c) * s.p();
            float scale = in.scale[s.row(i) + c], shift = in.shift[s.row(i) + c];
            if (!in.gamma)
                activate(in.x + at, a * scale, b * scale + shift, s.p(), s.silu, y + at);
            else if (i < s.maps)
                modulate(in.x + at, a, b, in.gamma + at, in.beta + at, scale, shift, s.p(), s.silu, y + at);
            else
                modulate_null(s, in.x + at, a, b, in.null_gamma + 9 * c, in.null_beta + 9 * c, scale, shift, y + at);
        }
    }
}

// Sums over the pixels of a channel, of products with the gradient of: what scale multiplies; 1; and norm(x).
struct Sums {
    double scale = 0, shift = 0, normed = 0, normed_x = 0;
};

// Gradients of `count` pixels of a channel, that of norm(x) in grad_x. Without a modulation the last four are absent.
template <bool SILU, bool MODULATED>
inline void backward_pixels(const float* x, const float* grad_y, float a, float b, float scale, float shift,
                            int64_t count, Sums& sums, float* grad_x, const float* gamma, const float* beta,
                            float* grad_gamma, float* grad_beta) {
    float to_scale = 0, to_shift = 0, to_normed = 0, to_x = 0;
#pragma GCC ivdep
    for (int64_t p = 0; p < count; p++) {
        float normed = x[p] * a + b, grad = grad_y[p];
        float mapped = MODULATED ? normed * gamma[p] + beta[p] : normed;
        if (SILU) {
            float v = mapped * scale + shift, gate = sigmoid(v);
            grad *= gate * (1 + v * (1 - gate));
        }
        to_scale += grad * mapped;
        to_shift += grad;
        grad *= scale;
        if (MODULATED) {
            grad_gamma[p] = grad * normed;
            grad_beta[p] = grad;
            grad *= gamma[p];
        }
        grad_x[p] = grad;
        to_normed += grad;
        to_x += grad * normed;
    }
    sums.scale += to_scale, sums.shift += to_shift, sums.normed += to_normed, sums.normed_x += to_x;
}

// Gradients of all inputs from that of y; maps and rows must be one per sample. grad_gamma is absent with gamma.
inline void backward(const Shape& s, const Inputs& in, const float* grad_y, float* grad_x, float* grad_scale,
                     float* grad_shift, float* grad_gamma, float* grad_beta) {
    constexpr int64_t BLOCK = 4096;  // pixels whose sums are floats
    int64_t size = s.per_group(), pixels = s.p();
    const float* x = in.x;
    auto part = in.gamma ? s.silu ? backward_pixels<true, true> : backward_pixels<false, true>
                         : s.silu ? backward_pixels<true, false> : backward_pixels<false, false>;
#pragma omp parallel for
    for (int64_t task = 0; task < s.n * s.groups; task++) {
        int64_t i = task / s.groups, first = task % s.groups * size, start = (i * s.c + first) * pixels;
        Stats group = stats(x + start, size * pixels, s.eps);
        float a = group.rstd, b = -group.mean * group.rstd;
        double total = 0, projected = 0;  // of the gradient of norm(x), and of its product with norm(x)
        for (int64_t c = i * s.c + first; c < i * s.c + first + size; c++) {
            Sums sums;
            for (int64_t p = c * pixels; p < (c + 1) * pixels; p += BLOCK)
                part(x + p, grad_y + p, a, b, in.scale[c], in.shift[c], std::min(BLOCK, (c + 1) * pixels - p), sums,
                     grad_x + p, in.gamma + p, in.beta + p, grad_gamma + p, grad_beta + p);
            grad_scale[c] = sums.scale;
            grad_shift[c] = sums.shift;
            total += sums.normed;
            projected += sums.normed_x;
        }
        float mean = total / (size * pixels), slope = projected / (size * pixels);
        for (int64_t p = start; p < start + size * pixels; p++) grad_x[p] = a * (grad_x[p] - mean - (x[p] * a + b) * slope);
    }
}

}  // namespace ldm_norm
