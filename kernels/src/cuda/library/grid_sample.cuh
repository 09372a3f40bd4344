// Along one axis of `n` elements: modes are 0 nearest, 1 linear, 2 cubic; paddings 0 zeros, 1 border,
// 2 reflection.
DEVICE double mirrored_between(double x, double low, double high) {
    double span = high - low;
    if (span <= 0.0) return low;
    double along = fmod(x - low, 2.0 * span);
    if (along < 0.0) along += 2.0 * span;
    return low + (along < 2.0 * span - along ? along : 2.0 * span - along);
}
DEVICE double clamped_between(double x, double low, double high) {
    return x < low ? low : x > high ? high : x;
}

// Where the position `at`, from -1 to 1, lies.
template <int mode, int padding, bool corners>
DEVICE double coordinate(double at, double n) {
    double x = corners ? (at + 1.0) / 2.0 * (n - 1.0) : ((at + 1.0) * n - 1.0) / 2.0;
    if (mode == 0) x = rint((double)(float)x);
    double low = corners ? 0.0 : -0.5, high = corners ? n - 1.0 : n - 0.5;
    if ((x >= low && x <= high) || padding == 0) return x;
    return padding == 1 ? clamped_between(x, 0.0, n - 1.0) : mirrored_between(x, low, high);
}

// The weight of an element at distance `d` in cubic convolution (Keys 1981, equation 4).
DEVICE double cubic_weight(double d) {
    const double a = -0.75;
    d = fabs(d);
    if (d <= 1.0) return ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0;
    return d < 2.0 ? a * (((d - 5.0) * d + 8.0) * d - 4.0) : 0.0;
}

// Tap `t` of coordinate `x`: its position, -1 outside, and weight.
template <int mode, int padding, bool corners>
DEVICE void find_tap(double x, int t, double n, long long& position, double& weight) {
    double p = floor(x) + (mode == 2 ? t - 1 : t);
    weight = mode == 0 ? 1.0 : mode == 1 ? fmax(1.0 - fabs(p - x), 0.0) : cubic_weight(p - x);
    if (x != x) weight = x;
    double low = corners ? 0.0 : -0.5, high = corners ? n - 1.0 : n - 0.5, last = n - 1.0;
    if (!(p >= 0.0 && p <= last)) {
        if (padding == 0) {
            position = -1;
            return;
        }
        if (padding == 2) p = mirrored_between(p, low, high);
        p = clamped_between(p, 0.0, last);
    }
    position = p != p ? 0 : (long long)p;
}
