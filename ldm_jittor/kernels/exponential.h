// The exponential function, in a form of which the compiler makes vectors. A library's it would call.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace ldm_math {

// 2^n times the series of e^r, |r| <= ln(2)/2, to 1e-7.
inline float exponential(float v) {
    v = std::min(std::max(v, -87.f), 88.f);
    float n = std::nearbyint(v * 1.44269504f), r = v - n * 0.693359375f + n * 2.12194440e-4f;
    float series = 1 + r * (1 + r * (0.5f + r * (1 / 6.f + r * (1 / 24.f + r * (1 / 120.f + r * (1 / 720.f))))));
    int32_t bits = (int32_t(n) + 127) << 23;
    float power;
    std::memcpy(&power, &bits, sizeof power);
    return series * power;
}

}  // namespace ldm_math
