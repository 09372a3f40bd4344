// Keys whose order as unsigned integers is the total order of floats (IEEE 754-2019, 5.10).
DEVICE unsigned totally_ordered(float x) {
    unsigned bits = __float_as_uint(x);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// A box by its least and greatest coordinates.
struct Area {
    double least[2], greatest[2];
};
DEVICE Area area_of(float a, float b, float c, float d, bool center_point) {
    const double x[2] = {a, b}, y[2] = {c, d};
    Area area;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        area.least[i] = center_point ? x[i] - y[i] / 2.0 : fmin(x[i], y[i]);
        area.greatest[i] = center_point ? x[i] + y[i] / 2.0 : fmax(x[i], y[i]);
    }
    return area;
}
DEVICE double size_of(const Area& a) {
    return (a.greatest[0] - a.least[0]) * (a.greatest[1] - a.least[1]);
}
// Intersection over union; 0 if either is empty.
DEVICE double overlap(const Area& a, const Area& b) {
    Area common;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        common.least[i] = fmax(a.least[i], b.least[i]);
        common.greatest[i] = fmin(a.greatest[i], b.greatest[i]);
        if (common.greatest[i] <= common.least[i]) return 0.0;
    }
    double x = size_of(a), y = size_of(b), both = size_of(common);
    return x <= 0.0 || y <= 0.0 ? 0.0 : both / (x + y - both);
}

// The greatest of the threads' numbers, in all of them.
template <int n_warps> DEVICE unsigned long long greatest_of_block(unsigned long long x) {
    SHARED unsigned long long by_warp[n_warps];
#pragma unroll
    for (int m = 16; m > 0; m /= 2) {
        unsigned long long other = shuffle_xor(x, m);
        if (other > x) x = other;
    }
    if (threadIdx.x % 32 == 0) by_warp[threadIdx.x / 32] = x;
    __syncthreads();
    for (int w = 0; w < n_warps; w++) {
        if (by_warp[w] > x) x = by_warp[w];
    }
    __syncthreads();
    return x;
}
