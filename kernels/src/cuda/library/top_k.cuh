// Keys whose order as unsigned integers is that of numbers; NaN is the greatest, zeros are equal.
DEVICE unsigned ordered(unsigned x) { return x; }
DEVICE unsigned ordered(int x) { return (unsigned)x ^ 0x80000000u; }
DEVICE unsigned long long ordered(unsigned long long x) { return x; }
DEVICE unsigned long long ordered(long long x) {
    return (unsigned long long)x ^ 0x8000000000000000ull;
}
DEVICE unsigned ordered(float x) {
    if (x != x) return 0xffffffffu;
    unsigned bits = x == 0.0f ? 0u : __float_as_uint(x);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
DEVICE unsigned long long ordered(double x) {
    if (x != x) return 0xffffffffffffffffull;
    unsigned long long bits = x == 0.0 ? 0ull : (unsigned long long)__double_as_longlong(x);
    return bits & 0x8000000000000000ull ? ~bits : bits | 0x8000000000000000ull;
}

// Sorts `n`, a power of two, keys and their places, equal keys by place (Batcher 1968).
template <class Key>
DEVICE void sort_keys(Key* keys, unsigned* places, unsigned n) {
    for (unsigned size = 2; size <= n; size *= 2) {
        for (unsigned step = size / 2; step > 0; step /= 2) {
            __syncthreads();
            for (unsigned i = threadIdx.x; i < n / 2; i += blockDim.x) {
                unsigned a = 2 * step * (i / step) + i % step, b = a + step;
                Key x = keys[a], y = keys[b];
                unsigned p = places[a], q = places[b];
                bool descends = y < x || (y == x && q < p);
                if (descends == ((a & size) == 0)) {
                    keys[a] = y;
                    keys[b] = x;
                    places[a] = q;
                    places[b] = p;
                }
            }
        }
    }
    __syncthreads();
}

// Leaves the `k` least of `n` keys, of equal ones those of least place, in front of `keys`, which
// have room for `room`; `key_of` gives a key. Finds the last key taken digit by digit, then gathers.
template <class Key, class KeyOf>
DEVICE void select_keys(Key* keys, unsigned* places, unsigned room, unsigned n, unsigned k, KeyOf key_of) {
    SHARED unsigned counts[256];
    SHARED unsigned digit, fewer, n_less, warp_equal[32];
    Key last = 0, known = 0;
    unsigned left = k;
    for (int shift = 8 * (int)sizeof(Key) - 8; shift >= 0; shift -= 8) {
        for (unsigned i = threadIdx.x; i < 256; i += blockDim.x) counts[i] = 0;
        __syncthreads();
        for (unsigned i = threadIdx.x; i < n; i += blockDim.x) {
            Key key = key_of(i);
            if ((key & known) == last) atomicAdd(&counts[(unsigned)(key >> shift) & 255], 1u);
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            unsigned sum = 0, d = 0;
            while (sum + counts[d] < left) sum += counts[d++];
            digit = d;
            fewer = sum;
            n_less = 0;
        }
        __syncthreads();
        last |= (Key)digit << shift;
        known |= (Key)255 << shift;
        left -= fewer;
        __syncthreads();
    }
    for (unsigned i = k + threadIdx.x; i < room; i += blockDim.x) {
        keys[i] = ~(Key)0;
        places[i] = 0xffffffffu;
    }
    const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32, n_warps = blockDim.x / 32;
    unsigned taken = 0;
    for (unsigned base = 0; base < n; base += blockDim.x) {
        unsigned i = base + threadIdx.x;
        Key key = i < n ? key_of(i) : ~(Key)0;
        if (i < n && key < last) {
            unsigned slot = atomicAdd(&n_less, 1u);
            keys[slot] = key;
            places[slot] = i;
        }
        unsigned equal = ballot(i < n && key == last);
        if (lane == 0) warp_equal[warp] = (unsigned)__popc(equal);
        __syncthreads();
        unsigned rank = taken + (unsigned)__popc(equal & ((1u << lane) - 1));
        for (unsigned w = 0; w < n_warps; w++) {
            if (w < warp) rank += warp_equal[w];
            taken += warp_equal[w];
        }
        if (i < n && key == last && rank < left) {
            keys[k - left + rank] = key;
            places[k - left + rank] = i;
        }
        __syncthreads();
    }
}
