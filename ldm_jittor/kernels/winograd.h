// 3x3 convolutions by Winograd's algorithm F(4x4, 3x3) (Lavin & Gray 2016), on processors with AVX-512.
//
// The result is cut into tiles of 4x4, each of which depends on 6x6 pixels. Transforms make 36 values of these pixels
// and of each channel's nine weights. The values of the result are their products, summed over the channels: 36
// products of matrices, which take a quarter of the multiplications. Another transform makes the results of them.
//
// In the paper's letters u are the values of weights, v those of pixels, and m their products.
// A vector holds 16 channels. All sums run over the channels in their order. So a tile's result does not depend on the
// batch, nor on how threads share the tiles.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <omp.h>
#ifdef __AVX512F__
#include "vectors.h"
#endif

namespace ldm_winograd {

// Where the weight from channel i to channel o begins, [3,3]; for the way back the weights are turned around.
struct Weights {
    int64_t in, out, in_stride, out_stride;
    bool turned;
};

#ifdef __AVX512F__
constexpr bool AVAILABLE = true;

using namespace ldm_vectors;

constexpr int64_t TILE = 4, SIDE = 6, VALUES = SIDE * SIDE, TAPS = 9;
constexpr int64_t STRIP = 16;  // the most tiles side by side that are transformed together
constexpr int64_t ROOM = STRIP * TILE + 2;  // for their pixels in a row
// A block is transformed and multiplied at once: as many tiles as stay in a core's cache, but enough to use each weight
// that is fetched more than once.
constexpr int64_t BLOCK_BYTES = 512 << 10, BACKWARD_BYTES = 2 << 20, LEAST_TILES = 24, MOST_TILES = 48;
// So many channels ahead the weights are called for: they lie in rows far apart, which the processor does not foresee.
constexpr int64_t AHEAD = 7;
// The values are those of polynomials at 0, +-A, +-B and infinity. These points cost float32 less than 1 and 2 do.
constexpr float A = 0.625f, B = 1.5f, A2 = A * A, B2 = B * B;

// The transforms in one direction, by the paper's names. B^T d, of six pixels.
inline void of_pixels(const Vec d[SIDE], Vec t[SIDE]) {
    Vec even = d[4] - B2 * d[2], odd = A * (d[3] - B2 * d[1]);
    t[1] = even + odd, t[2] = even - odd;
    even = d[4] - A2 * d[2], odd = B * (d[3] - A2 * d[1]);
    t[3] = even + odd, t[4] = even - odd;
    t[0] = d[4] + (A2 * B2) * d[0] - (A2 + B2) * d[2];
    t[5] = d[5] + (A2 * B2) * d[1] - (A2 + B2) * d[3];
}

// G g, of three weights.
inline void of_weights(const Vec g[3], Vec t[SIDE]) {
    constexpr float at_zero = 1 / (A2 * B2), at_a = 1 / (2 * A2 * (A2 - B2)), at_b = 1 / (2 * B2 * (B2 - A2));
    Vec even = at_a * (g[0] + A2 * g[2]), odd = (at_a * A) * g[1];
    t[1] = even + odd, t[2] = even - odd;
    even = at_b * (g[0] + B2 * g[2]), odd = (at_b * B) * g[1];
    t[3] = even + odd, t[4] = even - odd;
    t[0] = at_zero * g[0];
    t[5] = g[2];
}

// G^T t, its transpose: from the gradient of the values to that of the weights.
inline void to_weights(const Vec t[SIDE], Vec g[3]) {
    constexpr float at_zero = 1 / (A2 * B2), at_a = 1 / (2 * A2 * (A2 - B2)), at_b = 1 / (2 * B2 * (B2 - A2));
    Vec even_a = at_a * (t[1] + t[2]), even_b = at_b * (t[3] + t[4]);
    g[0] = at_zero * t[0] + even_a + even_b;
    g[1] = (at_a * A) * (t[1] - t[2]) + (at_b * B) * (t[3] - t[4]);
    g[2] = A2 * even_a + B2 * even_b + t[5];
}

// A y, of the gradients of four results.
inline void of_gradients(const Vec y[TILE], Vec t[SIDE]) {
    Vec even = y[0] + A2 * y[2], odd = A * (y[1] + A2 * y[3]);
    t[1] = even + odd, t[2] = even - odd;
    even = y[0] + B2 * y[2], odd = B * (y[1] + B2 * y[3]);
    t[3] = even + odd, t[4] = even - odd;
    t[0] = y[0];
    t[5] = y[3];
}

// A^T t: from the values to the four results.
inline void to_results(const Vec t[SIDE], Vec y[TILE]) {
    Vec even_a = t[1] + t[2], odd_a = A * (t[1] - t[2]), even_b = t[3] + t[4], odd_b = B * (t[3] - t[4]);
    y[0] = t[0] + even_a + even_b;
    y[1] = odd_a + odd_b;
    y[2] = A2 * even_a + B2 * even_b;
    y[3] = A2 * odd_a + B2 * odd_b + t[5];
}

// How an image [n,c,h,w] is cut. A strip is a row of up to STRIP tiles. A block is some strips, and `tiles` tiles.
struct Cut {
    int64_t n, h, w, rows, strips, width, strips_a_block, blocks, tiles;

    Cut(int64_t n, int64_t channels, int64_t h, int64_t w, int64_t bytes = BLOCK_BYTES) : n(n), h(h), w(w) {
        rows = divided(h, TILE), strips = divided(divided(w, TILE), STRIP), width = divided(divided(w, TILE), strips);
        int64_t fitting = bytes / (VALUES * divided(channels, LANES) * sizeof(Vec));
        fitting = std::max(LEAST_TILES, std::min(fitting, MOST_TILES)) / width;
        strips_a_block = std::max<int64_t>(1, fitting < 3 ? fitting : fitting / 3 * 3);
        strips_a_block = std::min(strips_a_block, n * rows * strips);
        blocks = divided(n * rows * strips, strips_a_block);
        tiles = strips_a_block * width;
    }

    int64_t strips_in(int64_t block) const {
        return std::min(strips_a_block, n * rows * strips - block * strips_a_block);
    }
};

// Where a strip begins: its sample, row and column.
struct Place {
    int64_t sample, y, x;
    Place(const Cut& cut, int64_t strip)
        : sample(strip / (cut.rows * cut.strips)), y(strip / cut.strips % cut.rows * TILE),
          x(strip % cut.strips * cut.width * TILE) {}
};

// Pixels (y, x) to (y, x + count) of up to 16 planes, channels side by side; zero outside of the image.
inline void gather(const float* planes, int64_t channels, int64_t h, int64_t w, int64_t y, int64_t x, int64_t count,
                   Vec* to) {
    if (y < 0 || y >= h) {
        std::fill_n(to, count, Vec{});
        return;
    }
    const float* row = planes + y * w;
    int64_t at = 0;
    if (channels == LANES)
        for (; at + LANES <= std::min(count, w - x); at += LANES) {
            Vec v[LANES];
            for (int64_t c = 0; c < LANES; c++) v[c] = load(row + c * h * w + x + at);
            transpose(v);
            for (int64_t i = 0; i < LANES; i++) to[at + i] = v[i];
        }
    for (; at < count; at++) {
        to[at] = Vec{};
        for (int64_t c = 0; c < channels && x + at < w; c++) to[at][c] = row[c * h * w + x + at];
    }
}

// The other way: `count` pixels with their channels side by side, plus offset, into a row of up to 16 planes.
inline void scatter(const Vec* from, Vec offset, int64_t count, int64_t plane, int64_t channels, float* row) {
    for (int64_t at = 0; at < count; at += LANES) {
        Vec v[LANES];
        for (int64_t i = 0; i < LANES; i++) v[i] = from[at + i] + offset;
        transpose(v);
        for (int64_t c = 0; c < channels; c++)
            if (count - at >= LANES)
                store(row + c * plane + at, v[c]);
            else
                std::memcpy(row + c * plane + at, &v[c], (count - at) * sizeof(float));
    }
}

// The values of a strip, of which rows has the pixels' or gradients' first FROM rows and has room for SIDE of them. The
// columns are transformed first, and then each tile's rows; they go to to[VALUES][tiles][stride].
template <int FROM, void (*transform)(const Vec*, Vec*)>
inline void transform_strip(Vec (*rows)[ROOM], int64_t columns, int64_t tiles, float* to, int64_t stride,
                            int64_t plane) {
    for (int64_t i = 0; i < columns; i++) {
        Vec column[FROM], done[SIDE];
#pragma GCC unroll 6
        for (int y = 0; y < FROM; y++) column[y] = rows[y][i];
        transform(column, done);
#pragma GCC unroll 6
        for (int y = 0; y < SIDE; y++) rows[y][i] = done[y];
    }
    for (int64_t t = 0; t < tiles; t++, to += stride) {
#pragma GCC unroll 6
        for (int y = 0; y < SIDE; y++) {
            Vec done[SIDE];
            transform(rows[y] + t * TILE, done);
#pragma GCC unroll 6
            for (int x = 0; x < SIDE; x++) store(to + (y * SIDE + x) * plane, done[x]);
        }
    }
}

// The values of a block's pixels for 16 channels: planes [<=16,h,w] of each sample -> v[VALUES][tiles][stride].
inline void transform_pixels(const Cut& cut, int64_t block, const float* x, int64_t all_channels, int64_t first_channel,
                             float* v, int64_t stride, int64_t plane) {
    Vec rows[SIDE][ROOM];
    int64_t channels = std::min(LANES, all_channels - first_channel), columns = cut.width * TILE + 2;
    for (int64_t strip = 0; strip < cut.strips_in(block); strip++) {
        Place at(cut, block * cut.strips_a_block + strip);
        const float* planes = x + (at.sample * all_channels + first_channel) * cut.h * cut.w;
        for (int64_t row = 0; row < SIDE; row++) {
            gather(planes, channels, cut.h, cut.w, at.y + row - 1, at.x, columns - 1, rows[row] + 1);
            rows[row][0] = Vec{};
            int64_t y = at.y + row - 1;
            if (at.x > 0 && y >= 0 && y < cut.h)
                for (int64_t c = 0; c < channels; c++) rows[row][0][c] = planes[(c * cut.h + y) * cut.w + at.x - 1];
        }
        transform_strip<SIDE, of_pixels>(rows, columns, cut.width, v + strip * cut.width * stride + first_channel,
                                         stride, plane);
    }
}

// Results of a block for 16 channels: m[VALUES][tiles][GROUP] -> y [n,all_channels,h,w].
inline void transform_results(const Cut& cut, int64_t block, const float* m, const float* bias, int64_t all_channels,
                              int64_t first_channel, int64_t plane, float* y) {
    Vec rows[TILE][STRIP * TILE + LANES], offset = {};
    int64_t channels = std::min(LANES, all_channels - first_channel);
    for (int64_t c = 0; bias && c < channels; c++) offset[c] = bias[first_channel + c];
    for (int64_t strip = 0; strip < cut.strips_in(block); strip++) {
        Place at(cut, block * cut.strips_a_block + strip);
        const float* from = m + strip * cut.width * GROUP;
        for (int64_t t = 0; t < cut.width; t++, from += GROUP) {
            Vec half[TILE][SIDE];
#pragma GCC unroll 6
            for (int x = 0; x < SIDE; x++) {
                Vec column[SIDE], done[TILE];
#pragma GCC unroll 6
                for (int y = 0; y < SIDE; y++) column[y] = load(from + (y * SIDE + x) * plane);
                to_results(column, done);
#pragma GCC unroll 4
                for (int y = 0; y < TILE; y++) half[y][x] = done[y];
            }
#pragma GCC unroll 4
            for (int y = 0; y < TILE; y++) to_results(half[y], rows[y] + t * TILE);
        }
        int64_t columns = std::min(cut.width * TILE, cut.w - at.x);
        for (int64_t row = 0; row < std::min(TILE, cut.h - at.y); row++)
            scatter(rows[row], offset, columns, cut.h * cut.w, channels,
                    y + (at.sample * all_channels + first_channel) * cut.h * cut.w + (at.y + row) * cut.w + at.x);
    }
}

// Their values are u[groups][VALUES][in][GROUP], with a cache line between any two of the VALUES.
inline int64_t values_plane(const Weights& w) { return w.in * GROUP + LANES; }
inline int64_t values_size(const Weights& w) { return divided(w.out, GROUP) * VALUES * values_plane(w); }

inline void transform_weights(const Weights& w, const float* weight, float* u) {
    int64_t groups = divided(w.out, GROUP), plane = values_plane(w), size = TAPS * w.in * w.out;
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t group = 0; group < groups; group++)
        for (int64_t in = 0; in < w.in; in++)
            for (int64_t half = 0; half < 2; half++) {
                int64_t first = group * GROUP + half * LANES;
                Vec g[LANES] = {}, rows[SIDE * 3];
                for (int64_t lane = 0; lane < std::min(LANES, w.out - first); lane++) {
                    int64_t at = in * w.in_stride + (first + lane) * w.out_stride;
                    __builtin_prefetch(weight + at + AHEAD * w.in_stride);
                    if (at + LANES <= size)  // more than the nine that count, but in one go
                        g[lane] = load(weight + at);
                    else
                        std::memcpy(&g[lane], weight + at, TAPS * sizeof(float));
                }
                transpose(g);
                if (w.turned) std::reverse(g, g + TAPS);
                for (int64_t x = 0; x < 3; x++) {
                    Vec column[3] = {g[x], g[3 + x], g[6 + x]}, done[SIDE];
                    of_weights(column, done);
                    for (int64_t y = 0; y < SIDE; y++) rows[y * 3 + x] = done[y];
                }
                float* to = u + group * VALUES * plane + in * GROUP + half * LANES;
                for (int64_t y = 0; y < SIDE; y++) {
                    Vec done[SIDE];
                    of_weights(rows + y * 3, done);
                    for (int64_t x = 0; x < SIDE; x++) store(to + (y * SIDE + x) * plane, done[x]);
                }
            }
}

// y [n,out,h,w] = x [n,in,h,w] convolved with the weights, plus bias [out] or nothing.
inline void convolve(int64_t n, int64_t h, int64_t w, const Weights& weights, const float* x, const float* weight,
                     const float* bias, float* y) {
    Scratch values(values_size(weights));
    float* u = values.data();
    transform_weights(weights, weight, u);
    Cut cut(n, weights.in, h, w);
    int64_t in_blocks = divided(weights.in, LANES), groups = divided(weights.out, GROUP), stride = in_blocks * LANES;
    // a cache line more, so that the values of a tile do not all fall into the same set of a cache
    int64_t plane = cut.tiles * stride + LANES, product = cut.tiles * GROUP + LANES;
    int64_t block_size = VALUES * plane, product_size = VALUES * product;
    int64_t threads = omp_get_max_threads(), together = std::min(cut.blocks, threads);
    Scratch pixels(together * block_size), products(threads * product_size);
    float *v = pixels.data(), *all_products = products.data();
#pragma omp parallel
    for (int64_t first = 0; first < cut.blocks; first += together) {
        int64_t count = std::min(together, cut.blocks - first);
        float* m = all_products + omp_get_thread_num() * product_size;
#pragma omp for collapse(2) schedule(static)
        for (int64_t block = 0; block < count; block++)
            for (int64_t i = 0; i < in_blocks; i++)
                transform_pixels(cut, first + block, x, weights.in, i * LANES, v + block * block_size, stride,
                                 plane);
#pragma omp for collapse(2) schedule(static)
        for (int64_t block = 0; block < count; block++)
            for (int64_t group = 0; group < groups; group++) {
                for (int64_t i = 0; i < VALUES; i++)
                    multiply_rows({v + block * block_size + i * plane, stride, 1},
                                  cut.strips_in(first + block) * cut.width,
                                  u + (group * VALUES + i) * values_plane(weights), GROUP, weights.in, false,
                                  m + i * product);
                for (int64_t half = 0; half < 2 && group * GROUP + half * LANES < weights.out; half++)
                    transform_results(cut, first + block, m + half * LANES, bias, weights.out,
                                      group * GROUP + half * LANES, product, y);
            }
    }
}

// The values of a block's gradients for 16 channels: planes [<=16,h,w] of each sample -> v[VALUES][tiles][stride].
inline void transform_gradients(const Cut& cut, int64_t block, const float* grad_y, int64_t all_channels,
                                int64_t first_channel, float* v, int64_t stride, int64_t plane) {
    Vec rows[SIDE][ROOM];
    int64_t channels = std::min(LANES, all_channels - first_channel), columns = cut.width * TILE;
    for (int64_t strip = 0; strip < cut.strips_in(block); strip++) {
        Place at(cut, block * cut.strips_a_block + strip);
        const float* planes = grad_y + (at.sample * all_channels + first_channel) * cut.h * cut.w;
        for (int64_t row = 0; row < TILE; row++)
            gather(planes, channels, cut.h, cut.w, at.y + row, at.x, columns, rows[row]);
        transform_strip<TILE, of_gradients>(rows, columns, cut.width, v + strip * cut.width * stride + first_channel,
                                            stride, plane);
    }
}

// The gradient of the weights [out,in,3,3] from that of their values, laid out as transform_weights does.
inline void transform_to_weights(const Weights& w, const float* u, float* weight) {
    int64_t groups = divided(w.out, GROUP), plane = values_plane(w);
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t group = 0; group < groups; group++)
        for (int64_t in = 0; in < w.in; in++)
            for (int64_t half = 0; half < 2; half++) {
                int64_t first = group * GROUP + half * LANES;
                const float* from = u + group * VALUES * plane + in * GROUP + half * LANES;
                Vec g[LANES] = {}, rows[3 * SIDE];
                for (int64_t x = 0; x < SIDE; x++) {
                    Vec column[SIDE], done[3];
                    for (int64_t y = 0; y < SIDE; y++) column[y] = load(from + (y * SIDE + x) * plane);
                    to_weights(column, done);
                    for (int64_t y = 0; y < 3; y++) rows[y * SIDE + x] = done[y];
                }
                for (int64_t y = 0; y < 3; y++) to_weights(rows + y * SIDE, g + y * 3);
                transpose(g);
                for (int64_t lane = 0; lane < std::min(LANES, w.out - first); lane++)
                    std::memcpy(weight + in * w.in_stride + (first + lane) * w.out_stride, &g[lane],
                                TAPS * sizeof(float));
            }
}

// The gradient of the weights from x [n,in,h,w] and that of y [n,out,h,w].
inline void backward_weight(int64_t n, int64_t h, int64_t w, const Weights& weights, const float* x,
                            const float* grad_y, float* grad_weight) {
    Cut cut(n, weights.in + weights.out, h, w, BACKWARD_BYTES);
    int64_t in_blocks = divided(weights.in, LANES), groups = divided(weights.out, GROUP);
    int64_t in_stride = in_blocks * LANES, out_stride = groups * GROUP;
    int64_t in_plane = cut.tiles * in_stride + LANES, out_plane = cut.tiles * out_stride + LANES;
    int64_t together = std::min<int64_t>(cut.blocks, omp_get_max_threads());
    Scratch pixels(together * VALUES * in_plane), gradients(together * VALUES * out_plane), sums(values_size(weights));
    float *v = pixels.data(), *g = gradients.data(), *u = sums.data();
#pragma omp parallel
    for (int64_t first = 0; first < cut.blocks; first += together) {
        int64_t count = std::min(together, cut.blocks - first);
#pragma omp for collapse(2) schedule(static)
        for (int64_t block = 0; block < count; block++)
            for (int64_t i = 0; i < in_blocks + 2 * groups; i++) {
                if (i < in_blocks)
                    transform_pixels(cut, first + block, x, weights.in, i * LANES, v + block * VALUES * in_plane,
                                     in_stride, in_plane);
                else
                    transform_gradients(cut, first + block, grad_y, weights.out, (i - in_blocks) * LANES,
                                        g + block * VALUES * out_plane, out_stride, out_plane);
            }
#pragma omp for collapse(2) schedule(static)
        for (int64_t i = 0; i < VALUES; i++)
            for (int64_t group = 0; group < groups; group++)
                for (int64_t block = 0; block < count; block++)
                    multiply_rows({v + (block * VALUES + i) * in_plane, 1, in_stride}, weights.in,
                                  g + (block * VALUES + i) * out_plane + group * GROUP, out_stride,
                                  cut.strips_in(first + block) * cut.width, first + block > 0,
                                  u + (group * VALUES + i) * values_plane(weights));
    }
    transform_to_weights(weights, u, grad_weight);
}

#else
constexpr bool AVAILABLE = false;
inline void convolve(int64_t, int64_t, int64_t, const Weights&, const float*, const float*, const float*, float*) {}
inline void backward_weight(int64_t, int64_t, int64_t, const Weights&, const float*, const float*, float*) {}
#endif

}  // namespace ldm_winograd
