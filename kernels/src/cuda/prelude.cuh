// What generated kernels may use, in parts: a source gets the parts whose names it holds, and those
// that they use. Host code that emulates a device defines what needs __CUDACC_RTC__ itself.

// part: always
#pragma nv_diag_suppress 177
#pragma nv_diag_suppress 550
#define DEVICE static __device__ __forceinline__
#define FAULT_POSITION 1u
#ifdef __CUDACC_RTC__
#define SHARED __shared__
#define DYNAMIC_SHARED(name) extern __shared__ __align__(128) unsigned char name[]
#define FULL_WARP 0xffffffffu
#endif

// part: Bits128
struct alignas(16) Bits128 {
    unsigned long long low, high;
};

// part: wait_for_previous
#ifdef __CUDACC_RTC__
// Waits until the launches before this one are complete and their results are visible.
DEVICE void wait_for_previous() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
#endif

// part: allow_next
#ifdef __CUDACC_RTC__
// Lets the next launch start; it waits for this one to complete where it says wait_for_previous.
DEVICE void allow_next() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
#endif

// part: copy_async_16 copy_async_8 copy_async_4 copy_async_commit copy_async_wait
#ifdef __CUDACC_RTC__
// Asynchronous copies from global to shared memory; zeros where not `valid`, and then `from` is not
// touched (but must be an address).
DEVICE void copy_async_16(void* to, const void* from, bool valid = true) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::
        "r"((unsigned)__cvta_generic_to_shared(to)), "l"(from), "r"(valid ? 16 : 0) : "memory");
}
DEVICE void copy_async_8(void* to, const void* from, bool valid = true) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::
        "r"((unsigned)__cvta_generic_to_shared(to)), "l"(from), "r"(valid ? 8 : 0) : "memory");
}
DEVICE void copy_async_4(void* to, const void* from, bool valid = true) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::
        "r"((unsigned)__cvta_generic_to_shared(to)), "l"(from), "r"(valid ? 4 : 0) : "memory");
}
// Ends a group of copies.
DEVICE void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most `pending` of this thread's latest groups are under way.
template <int pending> DEVICE void copy_async_wait() {
    asm volatile("cp.async.wait_group %0;" :: "n"(pending) : "memory");
}
#endif

// part: read_shared
#ifdef __CUDACC_RTC__
// Reads 8 or 16 bytes of shared memory here. Plain reads wander to where their values are used, which
// then wait.
template <class T> DEVICE T read_shared(const void* from) {
    const unsigned at = (unsigned)__cvta_generic_to_shared(from);
    if constexpr (sizeof(T) == 8) {
        uint2 words;
        asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(words.x), "=r"(words.y) : "r"(at));
        return *(const T*)&words;
    } else {
        static_assert(sizeof(T) == 16);
        uint4 words;
        asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
            : "=r"(words.x), "=r"(words.y), "=r"(words.z), "=r"(words.w) : "r"(at));
        return *(const T*)&words;
    }
}
#endif

// part: Fragment
// What a lane holds of a tile of a tensor core's factor: tf32 in the upper bits of each word.
template <int n> struct Fragment {
    unsigned x[n];
};

// part: round_tf32
#ifdef __CUDACC_RTC__
// The nearest tf32; lower bits are zero. Infinite numbers and those that are none stay so.
DEVICE unsigned round_tf32(float x) {
    unsigned nearest;
#if __CUDA_ARCH__ >= 900
    asm("cvt.rn.tf32.f32 %0, %1;" : "=r"(nearest) : "f"(x));
#else
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(nearest) : "f"(x));
#endif
    return nearest;
}
#endif

// part: split_tf32
// The nearest tf32, and what it leaves: no number if the factor is infinite or none.
DEVICE void split_tf32(float x, unsigned& big, unsigned& small) {
    big = (__float_as_uint(x) + 0x1000u) & ~0x1fffu;
    small = __float_as_uint(x - __uint_as_float(big));
}

// part: multiply_add_tf32
#ifdef __CUDACC_RTC__
// Adds the product of 16 by 8 and 8 by 8 elements, which the lanes of a warp hold.
DEVICE void multiply_add_tf32(float (&sums)[4], const Fragment<4>& left, const Fragment<2>& right) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(left.x[0]), "r"(left.x[1]), "r"(left.x[2]), "r"(left.x[3]), "r"(right.x[0]), "r"(right.x[1]));
}
#endif

// part: shuffle shuffle_xor shuffle_up shuffle_down ballot warp_sync
#ifdef __CUDACC_RTC__
// Exchanges between the lanes of a warp, all of which take part.
template <class T> DEVICE T shuffle(T x, int lane) { return __shfl_sync(FULL_WARP, x, lane); }
template <class T> DEVICE T shuffle_xor(T x, int mask) { return __shfl_xor_sync(FULL_WARP, x, mask); }
template <class T> DEVICE T shuffle_up(T x, int delta) { return __shfl_up_sync(FULL_WARP, x, delta); }
template <class T> DEVICE T shuffle_down(T x, int delta) { return __shfl_down_sync(FULL_WARP, x, delta); }
DEVICE unsigned ballot(bool x) { return __ballot_sync(FULL_WARP, x); }
DEVICE void warp_sync() { __syncwarp(); }
#endif

// part: pause_spin
#ifdef __CUDACC_RTC__
// A pause in a loop that waits for another block.
DEVICE void pause_spin() { __nanosleep(20); }
#endif

// part: load_acquire
#ifdef __CUDACC_RTC__
DEVICE unsigned load_acquire(const unsigned* p) {
    unsigned x;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(x) : "l"(p) : "memory");
    return x;
}
#endif

// part: store_release
#ifdef __CUDACC_RTC__
DEVICE void store_release(unsigned* p, unsigned x) {
    asm volatile("st.release.gpu.global.u32 [%0], %1;" :: "l"(p), "r"(x) : "memory");
}
#endif

// part: sync_grid leave_grid
// How many blocks of a launch have passed counters[0] how often; for launches whose blocks all run
// at once. `round` starts at 0 in every thread. Takes two counters, zero again after the last
// block's leave_grid.
DEVICE void sync_grid(unsigned* counters, unsigned n_blocks, unsigned& round) {
    round += 1;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0 && threadIdx.y == 0 && threadIdx.z == 0) {
        atomicAdd(counters, 1u);
        while (load_acquire(counters) < round * n_blocks) pause_spin();
        __threadfence();
    }
    __syncthreads();
}
DEVICE void leave_grid(unsigned* counters, unsigned n_blocks) {
    __syncthreads();
    if (threadIdx.x == 0 && threadIdx.y == 0 && threadIdx.z == 0) {
        if (atomicAdd(counters + 1, 1u) == n_blocks - 1) {
            counters[0] = 0;
            counters[1] = 0;
        }
    }
}

// part: arrive_last
// Whether this block is the last of `n_blocks` to come here; what the others wrote before is then
// visible to all its threads. The counter is zero again afterwards.
DEVICE bool arrive_last(unsigned* counter, unsigned n_blocks) {
    SHARED unsigned arrived_before;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0 && threadIdx.y == 0 && threadIdx.z == 0) {
        arrived_before = atomicAdd(counter, 1u);
    }
    __syncthreads();
    bool last = arrived_before == n_blocks - 1;
    if (last) {
        if (threadIdx.x == 0 && threadIdx.y == 0 && threadIdx.z == 0) *counter = 0;
        __threadfence();
    }
    return last;
}

// part: from_f16
#ifdef __CUDACC_RTC__
DEVICE float from_f16(unsigned short x) {
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x));
    return y;
}
#endif

// part: to_f16
#ifdef __CUDACC_RTC__
DEVICE unsigned short to_f16(float x) {
    unsigned short y;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y) : "f"(x));
    return y;
}
#endif

// part: to_bf16
#ifdef __CUDACC_RTC__
DEVICE unsigned short to_bf16(float x) {
    unsigned short y;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y) : "f"(x));
    return y;
}
#endif

// part: from_bf16
DEVICE float from_bf16(unsigned short x) { return __uint_as_float((unsigned)x << 16); }

// part: to_odd
// To float with a last bit that tells inexact numbers from exact ones, so that rounding to fewer
// bits rounds once (Boldo and Melquiond 2008).
DEVICE float to_odd(double x) {
    float y = __double2float_rz(x);
    return (double)y == x || x != x ? y : __uint_as_float(__float_as_uint(y) | 1u);
}

// part: round_f16
DEVICE float round_f16(float x) { return from_f16(to_f16(x)); }
DEVICE float round_f16(double x) { return round_f16(to_odd(x)); }

// part: round_bf16
DEVICE float round_bf16(float x) { return from_bf16(to_bf16(x)); }
DEVICE float round_bf16(double x) { return round_bf16(to_odd(x)); }

// part: is_nan is_infinite
DEVICE bool is_nan(float x) { return x != x; }
DEVICE bool is_nan(double x) { return x != x; }
DEVICE bool is_infinite(float x) { return fabsf(x) == __uint_as_float(0x7f800000u); }
DEVICE bool is_infinite(double x) { return fabs(x) == __longlong_as_double(0x7ff0000000000000ll); }

// part: truncate_i64 truncate_u64
// Truncated toward zero; out of range saturates, NaN gives 0.
DEVICE long long truncate_i64(float x) { return x != x ? 0 : __float2ll_rz(x); }
DEVICE long long truncate_i64(double x) { return x != x ? 0 : __double2ll_rz(x); }
DEVICE unsigned long long truncate_u64(float x) {
    return x >= 0.0f ? __float2ull_rz(x) : (unsigned long long)truncate_i64(x);
}
DEVICE unsigned long long truncate_u64(double x) {
    return x >= 0.0 ? __double2ull_rz(x) : (unsigned long long)truncate_i64(x);
}

// part: minimum maximum
#ifdef __CUDACC_RTC__
// The lesser, or the greater; NaN if either is NaN.
DEVICE float minimum(float x, float y) {
    float z;
    asm("min.NaN.f32 %0, %1, %2;" : "=f"(z) : "f"(x), "f"(y));
    return z;
}
DEVICE float maximum(float x, float y) {
    float z;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(z) : "f"(x), "f"(y));
    return z;
}
#endif

// part: minimum maximum
DEVICE double minimum(double x, double y) { return x < y || x != x ? x : y; }
DEVICE double maximum(double x, double y) { return x > y || x != x ? x : y; }
#define MINIMUM_MAXIMUM(T) \
    DEVICE T minimum(T x, T y) { return x < y ? x : y; } \
    DEVICE T maximum(T x, T y) { return x > y ? x : y; }
MINIMUM_MAXIMUM(int)
MINIMUM_MAXIMUM(unsigned)
MINIMUM_MAXIMUM(long long)
MINIMUM_MAXIMUM(unsigned long long)

// part: sign
DEVICE float sign(float x) { return x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : x; }
DEVICE double sign(double x) { return x > 0.0 ? 1.0 : x < 0.0 ? -1.0 : x; }
#define SIGNED_SIGN(T, U) \
    DEVICE T sign(T x) { return (T)((x > 0) - (x < 0)); }
SIGNED_SIGN(int, unsigned)
SIGNED_SIGN(long long, unsigned long long)
#define UNSIGNED_SIGN(U) \
    DEVICE U sign(U x) { return x != 0; }
UNSIGNED_SIGN(unsigned)
UNSIGNED_SIGN(unsigned long long)

// part: sigmoid
DEVICE float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }
DEVICE double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }

// part: softplus
DEVICE float softplus(float x) { return fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x))); }
DEVICE double softplus(double x) { return fmax(x, 0.0) + log1p(exp(-fabs(x))); }

// part: power_half
// x to the 1/2, which is not quite its square root.
DEVICE float power_half(float x) {
    return x == -__uint_as_float(0x7f800000u) ? -x : x == 0.0f ? 0.0f : sqrtf(x);
}

// part: add subtract multiply negate absolute
// Integers that wrap.
#define SIGNED_ARITHMETIC(T, U) \
    DEVICE T add(T x, T y) { return (T)((U)x + (U)y); } \
    DEVICE T subtract(T x, T y) { return (T)((U)x - (U)y); } \
    DEVICE T multiply(T x, T y) { return (T)((U)x * (U)y); } \
    DEVICE T negate(T x) { return (T)(0 - (U)x); } \
    DEVICE T absolute(T x) { return x < 0 ? negate(x) : x; }
SIGNED_ARITHMETIC(int, unsigned)
SIGNED_ARITHMETIC(long long, unsigned long long)
#define UNSIGNED_ARITHMETIC(U) \
    DEVICE U add(U x, U y) { return x + y; } \
    DEVICE U subtract(U x, U y) { return x - y; } \
    DEVICE U multiply(U x, U y) { return x * y; } \
    DEVICE U negate(U x) { return 0 - x; } \
    DEVICE U absolute(U x) { return x; }
UNSIGNED_ARITHMETIC(unsigned)
UNSIGNED_ARITHMETIC(unsigned long long)

// part: divide
// Division by zero gives 0.
#define SIGNED_DIVIDE(T, U) \
    DEVICE T divide(T x, T y) { return y == 0 ? 0 : y == -1 ? (T)(0 - (U)x) : x / y; }
SIGNED_DIVIDE(int, unsigned)
SIGNED_DIVIDE(long long, unsigned long long)
#define UNSIGNED_DIVIDE(U) \
    DEVICE U divide(U x, U y) { return y == 0 ? 0 : x / y; }
UNSIGNED_DIVIDE(unsigned)
UNSIGNED_DIVIDE(unsigned long long)

// part: truncated_remainder modulo
// Remainders with the sign of the dividend, and (modulo) of the divisor; of zero they are 0.
#define SIGNED_REMAINDER(T, U) \
    DEVICE T truncated_remainder(T x, T y) { return y == 0 || y == -1 ? 0 : x % y; } \
    DEVICE T modulo(T x, T y) { \
        T r = truncated_remainder(x, y); \
        return r != 0 && (r < 0) != (y < 0) ? r + y : r; \
    }
SIGNED_REMAINDER(int, unsigned)
SIGNED_REMAINDER(long long, unsigned long long)
#define UNSIGNED_REMAINDER(U) \
    DEVICE U truncated_remainder(U x, U y) { return y == 0 ? 0 : x % y; } \
    DEVICE U modulo(U x, U y) { return truncated_remainder(x, y); }
UNSIGNED_REMAINDER(unsigned)
UNSIGNED_REMAINDER(unsigned long long)
DEVICE float modulo(float x, float y) {
    float r = fmodf(x, y);
    return r != 0.0f && (r < 0.0f) != (y < 0.0f) ? r + y : r;
}
DEVICE double modulo(double x, double y) {
    double r = fmod(x, y);
    return r != 0.0 && (r < 0.0) != (y < 0.0) ? r + y : r;
}
DEVICE float truncated_remainder(float x, float y) { return fmodf(x, y); }
DEVICE double truncated_remainder(double x, double y) { return fmod(x, y); }

// part: power
// Wrapping. Negative powers are those of doubles: zero gives the greatest 64-bit integer, wrapped, and
// exponents beyond 2^53 are even.
#define SIGNED_POWER(T, U) \
    DEVICE T power(T x, T y) { \
        if (y < 0) { \
            bool is_odd = (y & 1) && y > -(1ll << 53); \
            return x == 0 ? (T)0x7fffffffffffffffll : x == 1 ? 1 : x == -1 ? (is_odd ? -1 : 1) : 0; \
        } \
        U r = 1, b = (U)x; \
        for (U n = (U)y; n > 0; n >>= 1, b *= b) if (n & 1) r *= b; \
        return (T)r; \
    }
SIGNED_POWER(int, unsigned)
SIGNED_POWER(long long, unsigned long long)
#define UNSIGNED_POWER(U) \
    DEVICE U power(U x, U y) { \
        U r = 1; \
        for (U n = y; n > 0; n >>= 1, x *= x) if (n & 1) r *= x; \
        return r; \
    }
UNSIGNED_POWER(unsigned)
UNSIGNED_POWER(unsigned long long)
DEVICE float power(float x, float y) { return powf(x, y); }
DEVICE double power(double x, double y) { return pow(x, y); }

// part: shift_left shift_right
// Shifts by `bits` or more give 0; to the right they are logical in `bits` bits.
#define SHIFTS(T, U, WIDTH) \
    DEVICE T shift_left(T x, T y, unsigned bits) { return (U)y >= bits ? 0 : (T)((U)x << (U)y); } \
    DEVICE T shift_right(T x, T y, unsigned bits) { \
        return (U)y >= bits ? 0 : (T)((((U)x << (WIDTH - bits)) >> (WIDTH - bits)) >> (U)y); \
    }
SHIFTS(int, unsigned, 32)
SHIFTS(unsigned, unsigned, 32)
SHIFTS(long long, unsigned long long, 64)
SHIFTS(unsigned long long, unsigned long long, 64)

// part: Vector load_vector store_vector load_head store_head is_aligned
// Elements that lie side by side. Accessed at once where `aligned` says that their address is a
// multiple of their size, one by one elsewhere; heads access the first `n` elements only.
template <class T, int n> struct alignas(sizeof(T) * n) Vector {
    T at[n];
};
template <int bytes> DEVICE bool is_aligned(const void* p) { return (size_t)p % bytes == 0; }
template <int n, class T> DEVICE Vector<T, n> load_vector(const T* p, bool aligned) {
    if (aligned) return *(const Vector<T, n>*)p;
    Vector<T, n> v;
#pragma unroll
    for (int j = 0; j < n; j++) v.at[j] = p[j];
    return v;
}
template <int n, class T> DEVICE void store_vector(T* p, const Vector<T, n>& v, bool aligned) {
    if (aligned) {
        *(Vector<T, n>*)p = v;
    } else {
#pragma unroll
        for (int j = 0; j < n; j++) p[j] = v.at[j];
    }
}
template <int n, class T> DEVICE Vector<T, n> load_head(const T* p, unsigned long long size, bool aligned) {
    if (size >= n) return load_vector<n>(p, aligned);
    Vector<T, n> v;
#pragma unroll
    for (int j = 0; j < n; j++) v.at[j] = j < size ? p[j] : T();
    return v;
}
template <int n, class T> DEVICE void store_head(T* p, const Vector<T, n>& v, unsigned long long size, bool aligned) {
    if (size >= n) {
        store_vector(p, v, aligned);
    } else {
#pragma unroll
        for (int j = 0; j < n; j++) if (j < size) p[j] = v.at[j];
    }
}

// part: picked
// The position that data gives for an extent; negative ones count from the end. One out of range is
// a fault, and the first is taken instead.
DEVICE long long picked(long long position, long long extent, unsigned* fault) {
    if (position < 0) position += extent;
    if (position >= 0 && position < extent) return position;
    *fault = FAULT_POSITION;
    return 0;
}

// part: n_inside
// How many of `n` positions from `first` on, `step` apart, lie in an extent.
DEVICE long long n_inside(long long first, long long extent, long long n, long long step) {
    long long before = first < 0 ? (-first + step - 1) / step : 0;
    long long after = first < extent ? (extent - first + step - 1) / step : 0;
    long long last = after < n ? after : n;
    return last > before ? last - before : 0;
}

// part: wrapped mirrored
// Positions outside of an extent: from the opposite side, and mirrored at the first and last one.
DEVICE long long wrapped(long long i, long long n) {
    long long r = i % n;
    return r < 0 ? r + n : r;
}
DEVICE long long mirrored(long long i, long long n) {
    if (n == 1) return 0;
    long long r = wrapped(i, 2 * (n - 1));
    return r < n ? r : 2 * (n - 1) - r;
}

// part: nearest_i64 nearest_u64
// The nearest integer in a range, of two the even one; NaN gives 0 or what is nearest to it.
DEVICE long long nearest_i64(double x, long long low, long long high) {
    double r = rint(x);
    long long i = r != r ? 0 : __double2ll_rz(r);
    return i < low ? low : i > high ? high : i;
}
DEVICE unsigned long long nearest_u64(double x) {
    double r = rint(x);
    return r > 0.0 ? __double2ull_rz(r) : 0;
}
