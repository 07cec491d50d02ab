// Group norm with what follows it, on CUDA; see group_norm.h, which says what is computed, and has the same names.
// One block of threads works on one group of one sample.

namespace ldm_norm {

constexpr int THREADS = 512;

struct Shape {
    long long n, c, h, w, groups, maps, rows;
    float eps;
    bool silu;

    __device__ long long p() const { return h * w; }
    __device__ long long per_group() const { return c / groups; }
    __device__ long long sample() const { return blockIdx.x / groups; }
    __device__ long long first_channel() const { return blockIdx.x % groups * per_group(); }
    int blocks() const { return int(n * groups); }
};

struct Inputs {
    const float *x, *gamma, *beta, *affine, *null_gamma, *null_beta;
};

struct Affine {
    float scale, shift;
    __device__ Affine(const Shape& s, const Inputs& in, long long i, long long c) : scale(1), shift(0) {
        if (!s.rows) return;
        const float* row = in.affine + (i < s.rows ? i : s.rows - 1) * 2 * s.c;
        scale += row[c], shift = row[s.c + c];
    }
};

// Sum over the threads of the block, known to all of them.
__device__ inline float block_sum(float value) {
    __shared__ float partial[THREADS];
    partial[threadIdx.x] = value;
    __syncthreads();
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) partial[threadIdx.x] += partial[threadIdx.x + half];
        __syncthreads();
    }
    float total = partial[0];
    __syncthreads();
    return total;
}

struct Stats {
    float mean, rstd;
};

__device__ inline Stats stats(const float* x, long long count, float eps) {
    float sum = 0, squares = 0;
    for (long long i = threadIdx.x; i < count; i += blockDim.x) sum += x[i];
    float mean = block_sum(sum) / count;
    for (long long i = threadIdx.x; i < count; i += blockDim.x) squares += (x[i] - mean) * (x[i] - mean);
    return {mean, rsqrtf(block_sum(squares) / count + eps)};
}

__device__ inline float sigmoid(float v) { return 1 / (1 + expf(-v)); }

// Where pixel `p` of a map is found among its corners, edges and middle.
__device__ inline int patch(const Shape& s, long long p) {
    long long row = p / s.w, column = p % s.w;
    return (row == 0 ? 0 : row == s.h - 1 ? 6 : 3) + (column == 0 ? 0 : column == s.w - 1 ? 2 : 1);
}

__global__ void forward_kernel(Shape s, Inputs in, float* y) {
    long long i = s.sample(), first = s.first_channel(), pixels = s.p();
    long long start = (i * s.c + first) * pixels, count = s.per_group() * pixels;
    Stats group = stats(in.x + start, count, s.eps);
    for (long long at = threadIdx.x; at < count; at += blockDim.x) {
        long long c = first + at / pixels, p = at % pixels;
        float v = (in.x[start + at] - group.mean) * group.rstd;
        Affine to(s, in, i, c);
        if (!s.maps)
            v = v * in.gamma[c] + in.beta[c];
        else if (i < s.maps)
            v = v * in.gamma[start + at] + in.beta[start + at];
        else
            v = v * in.null_gamma[9 * c + patch(s, p)] + in.null_beta[9 * c + patch(s, p)];
        v = v * to.scale + to.shift;
        y[start + at] = s.silu ? v * sigmoid(v) : v;
    }
}

__global__ void backward_kernel(Shape s, Inputs in, const float* grad_y, float* grad_x, float* grad_gamma,
                                float* grad_beta, float* grad_affine) {
    long long i = s.sample(), first = s.first_channel(), pixels = s.p(), start = (i * s.c + first) * pixels;
    Stats group = stats(in.x + start, s.per_group() * pixels, s.eps);
    float total = 0, projected = 0;  // this thread's share of the gradient of norm(x), and of its product with norm(x)
    for (long long c = first; c < first + s.per_group(); c++) {
        long long row = i * s.c + c;
        Affine to(s, in, i, c);
        float to_scale = 0, to_shift = 0, to_gamma = 0, to_beta = 0;
        for (long long at = row * pixels + threadIdx.x; at < (row + 1) * pixels; at += blockDim.x) {
            float gamma = in.gamma[s.maps ? at : c], beta = in.beta[s.maps ? at : c];
            float normed = (in.x[at] - group.mean) * group.rstd;
            float mapped = normed * gamma + beta;
            float v = mapped * to.scale + to.shift, grad = grad_y[at];
            if (s.silu) grad *= sigmoid(v) * (1 + v * (1 - sigmoid(v)));
            to_scale += grad * mapped;
            to_shift += grad;
            grad *= to.scale;
            if (s.maps) {
                grad_gamma[at] = grad * normed;
                grad_beta[at] = grad;
            }
            to_gamma += grad * normed;
            to_beta += grad;
            grad *= gamma;
            grad_x[at] = grad;
            total += grad;
            projected += grad * normed;
        }
        to_scale = block_sum(to_scale), to_shift = block_sum(to_shift);
        to_gamma = block_sum(to_gamma), to_beta = block_sum(to_beta);
        if (threadIdx.x == 0 && s.rows)
            grad_affine[i * 2 * s.c + c] = to_scale, grad_affine[(i * 2 + 1) * s.c + c] = to_shift;
        if (threadIdx.x == 0 && !s.maps) grad_gamma[row] = to_gamma, grad_beta[row] = to_beta;
    }
    long long count = s.per_group() * pixels;
    float mean = block_sum(total) / count, slope = block_sum(projected) / count;
    for (long long c = first; c < first + s.per_group(); c++) {
        long long row = (i * s.c + c) * pixels;
        for (long long at = row + threadIdx.x; at < row + pixels; at += blockDim.x)
            grad_x[at] = group.rstd * (grad_x[at] - mean - (in.x[at] - group.mean) * group.rstd * slope);
    }
}

inline void forward(const Shape& s, const Inputs& in, float* y) {
    forward_kernel<<<s.blocks(), THREADS>>>(s, in, y);
}

inline void backward(const Shape& s, const Inputs& in, const float* grad_y, float* grad_x, float* grad_gamma,
                     float* grad_beta, float* grad_affine) {
    backward_kernel<<<s.blocks(), THREADS>>>(s, in, grad_y, grad_x, grad_gamma, grad_beta, grad_affine);
}

}  // namespace ldm_norm
