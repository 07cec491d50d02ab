// Sums over the samples and pixels of each channel, in an order that does not depend on threads, nor on who holds which
// samples: pixels first, in float64, then samples as the sum of two halves, each of which is summed so too.
#include <algorithm>
#include <cstdint>
#include <vector>

namespace ldm_sums {

// x [count,size] -> y [size]. Arrays are added, because -Ofast gives sums of single numbers another order.
inline void halves(const float* x, int64_t count, int64_t size, float* y) {
    if (count == 1) return (void)std::copy_n(x, size, y);
    std::vector<float> second(size);
    halves(x, count / 2, size, y);
    halves(x + count / 2 * size, count - count / 2, size, second.data());
    for (int64_t i = 0; i < size; i++) y[i] += second[i];
}

// x [batch,channels,pixels] -> y [channels]
inline void channels(const float* x, int64_t batch, int64_t channels, int64_t pixels, float* y) {
    std::vector<float> sums(batch * channels);
#pragma omp parallel for
    for (int64_t i = 0; i < batch * channels; i++) {
        double sum = 0;
        for (int64_t pixel = i * pixels; pixel < (i + 1) * pixels; pixel++) sum += x[pixel];
        sums[i] = sum;
    }
    halves(sums.data(), batch, channels, y);
}

}  // namespace ldm_sums
