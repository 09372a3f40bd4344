// A device on the host, for generated kernels: the threads of a block are fibers of one thread of
// the host, which run one after the other from wait to wait. What this file names like the prelude
// is what the prelude defines for devices only.
#pragma once
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <utility>

#define __global__ static
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static thread_local
#define __constant__ static const
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)
#define SHARED static thread_local
#define DYNAMIC_SHARED(name) unsigned char* const name = emulation::dynamic_shared()
#define FULL_WARP 0xffffffffu

struct Extent3 {
    unsigned x, y, z;
};
extern thread_local Extent3 threadIdx, blockIdx, blockDim, gridDim;

#define VECTOR_TYPES(name, T, bytes) \
    struct alignas(2 * bytes) name##2 { T x, y; }; \
    struct name##3 { T x, y, z; }; \
    struct alignas(4 * bytes > 16 ? 16 : 4 * bytes) name##4 { T x, y, z, w; }; \
    inline name##2 make_##name##2(T x, T y) { return {x, y}; } \
    inline name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; } \
    inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
VECTOR_TYPES(char, signed char, 1)
VECTOR_TYPES(uchar, unsigned char, 1)
VECTOR_TYPES(short, short, 2)
VECTOR_TYPES(ushort, unsigned short, 2)
VECTOR_TYPES(int, int, 4)
VECTOR_TYPES(uint, unsigned, 4)
VECTOR_TYPES(longlong, long long, 8)
VECTOR_TYPES(ulonglong, unsigned long long, 8)
VECTOR_TYPES(float, float, 4)
VECTOR_TYPES(double, double, 8)

namespace emulation {

// The dynamic shared memory of the block.
unsigned char* dynamic_shared();
// Waits for all threads of the block.
void sync_block();
// Waits for all threads of the warp; gives what each of them offered, by lane. The place of a lane
// that has ended holds what it offered last.
const unsigned long long* exchange(unsigned long long offered);
void copy_async(void* to, const void* from, int bytes);
void commit_copies();
void wait_copies(int pending);
void note_wait();
void note_allowed();
void pause();
[[noreturn]] void fail(const char* why);

struct Launch {
    void (*function)(void** parameters);
    Extent3 grid, block;
    unsigned shared_bytes;
    bool cooperative, starts_early;
};
struct Case {
    const char* name;
    const Launch* launches;
    int n_launches;
    size_t workspace, counters;
    bool may_fault;
};

template <class... P, size_t... I>
inline void apply(void (*f)(P...), void** parameters, std::index_sequence<I...>) {
    f((P)parameters[I]...);
}
template <class... P> inline void apply(void (*f)(P...), void** parameters) {
    apply(f, parameters, std::index_sequence_for<P...>());
}
template <auto f> void call(void** parameters) { apply(f, parameters); }

// Runs the cases on the arguments in one file and writes what they leave to another.
int run(const Case* cases, int n_cases, int argc, char** argv);

template <class To, class From> inline To bits(From x) {
    static_assert(sizeof(To) == sizeof(From), "other numbers of bits");
    To y;
    memcpy(&y, &x, sizeof y);
    return y;
}
template <class T> inline T from_lane(T x, int from, bool exists) {
    static_assert(sizeof(T) <= 8, "too large to exchange");
    unsigned long long offered = 0;
    memcpy(&offered, &x, sizeof x);
    const unsigned long long* all = exchange(offered);
    if (exists) memcpy(&x, &all[from], sizeof x);
    return x;
}
inline int lane() {
    return (threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % 32;
}

}  // namespace emulation

inline void __syncthreads() { emulation::sync_block(); }
inline void __syncwarp() { emulation::exchange(0); }
inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline void __threadfence_block() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

inline void wait_for_previous() { emulation::note_wait(); }
inline void allow_next() { emulation::note_allowed(); }
inline void copy_async_16(void* to, const void* from, bool valid = true) {
    if ((uintptr_t)to % 16 || (uintptr_t)from % 16) emulation::fail("a copy of 16 bytes is not aligned");
    emulation::copy_async(to, valid ? from : nullptr, 16);
}
inline void copy_async_8(void* to, const void* from, bool valid = true) {
    if ((uintptr_t)to % 8 || (uintptr_t)from % 8) emulation::fail("a copy of 8 bytes is not aligned");
    emulation::copy_async(to, valid ? from : nullptr, 8);
}
inline void copy_async_4(void* to, const void* from, bool valid = true) {
    if ((uintptr_t)to % 4 || (uintptr_t)from % 4) emulation::fail("a copy of 4 bytes is not aligned");
    emulation::copy_async(to, valid ? from : nullptr, 4);
}
template <class T> inline T read_shared(const void* from) {
    if ((uintptr_t)from % sizeof(T)) emulation::fail("a read of shared memory is not aligned");
    return *(const T*)from;
}
inline void copy_async_commit() { emulation::commit_copies(); }
template <int pending> inline void copy_async_wait() { emulation::wait_copies(pending); }

template <class T> inline T shuffle(T x, int lane) { return emulation::from_lane(x, lane & 31, true); }
template <class T> inline T shuffle_xor(T x, int mask) {
    return emulation::from_lane(x, emulation::lane() ^ mask, true);
}
template <class T> inline T shuffle_up(T x, int delta) {
    int from = emulation::lane() - delta;
    return emulation::from_lane(x, from, from >= 0);
}
template <class T> inline T shuffle_down(T x, int delta) {
    int from = emulation::lane() + delta;
    return emulation::from_lane(x, from, from < 32);
}
inline unsigned ballot(bool x) {
    const unsigned long long* all = emulation::exchange(x);
    unsigned result = 0;
    for (int i = 0; i < 32; i++) result |= (unsigned)(all[i] & 1) << i;
    return result;
}
inline unsigned round_tf32(float x) {
    const unsigned bits = emulation::bits<unsigned>(x);
    if ((bits & 0x7f800000u) == 0x7f800000u) return bits & 0x7fffffu ? 0x7fffe000u : bits;
    return (bits + 0xfffu + (bits >> 13 & 1u)) & ~0x1fffu;
}
// Rows of `left` and columns of `right` by lane / 4, steps of the sum by lane % 4.
template <class Left, class Right>
inline void multiply_add_tf32(float (&sums)[4], const Left& left, const Right& right) {
    const auto gather = [](const unsigned* words, int n, float (*all)[32]) {
        for (int w = 0; w < n; w++) {
            const unsigned long long* offered = emulation::exchange(words[w]);
            for (int l = 0; l < 32; l++) all[w][l] = emulation::bits<float>((unsigned)offered[l] & ~0x1fffu);
        }
    };
    float lefts[4][32], rights[2][32];
    gather(left.x, 4, lefts);
    gather(right.x, 2, rights);
    const int lane = emulation::lane(), row = lane / 4, col = lane % 4 * 2;
    for (int q = 0; q < 4; q++) {
        double sum = sums[q];
        for (int k = 0; k < 8; k++) {
            const float l = lefts[q / 2 + k / 4 * 2][row * 4 + k % 4];
            sum += (double)l * rights[k / 4][(col + q % 2) * 4 + k % 4];
        }
        sums[q] = (float)sum;
    }
}
inline void warp_sync() { emulation::exchange(0); }
inline void pause_spin() { emulation::pause(); }
inline unsigned load_acquire(const unsigned* p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
inline void store_release(unsigned* p, unsigned x) { __atomic_store_n(p, x, __ATOMIC_RELEASE); }

template <class T> inline T atomicAdd(T* p, T x) { return __atomic_fetch_add(p, x, __ATOMIC_SEQ_CST); }
template <class T> inline T atomicOr(T* p, T x) { return __atomic_fetch_or(p, x, __ATOMIC_SEQ_CST); }
template <class T> inline T atomicExch(T* p, T x) { return __atomic_exchange_n(p, x, __ATOMIC_SEQ_CST); }
template <class T> inline T atomicCAS(T* p, T expected, T x) {
    __atomic_compare_exchange_n(p, &expected, x, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    return expected;
}
template <class T> inline T atomicMax(T* p, T x) {
    T old = __atomic_load_n(p, __ATOMIC_SEQ_CST);
    while (old < x && !__atomic_compare_exchange_n(p, &old, x, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
    }
    return old;
}
template <class T> inline T atomicMin(T* p, T x) {
    T old = __atomic_load_n(p, __ATOMIC_SEQ_CST);
    while (x < old && !__atomic_compare_exchange_n(p, &old, x, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
    }
    return old;
}

template <class T> inline T __ldg(const T* p) { return *p; }
template <class T> inline T __ldcg(const T* p) { return *p; }
template <class T> inline T __ldcs(const T* p) { return *p; }
template <class T> inline void __stcg(T* p, T x) { *p = x; }
template <class T> inline void __stcs(T* p, T x) { *p = x; }
template <class T> inline T min(T x, T y) { return y < x ? y : x; }
template <class T> inline T max(T x, T y) { return x < y ? y : x; }

inline unsigned __float_as_uint(float x) { return emulation::bits<unsigned>(x); }
inline int __float_as_int(float x) { return emulation::bits<int>(x); }
inline float __uint_as_float(unsigned x) { return emulation::bits<float>(x); }
inline float __int_as_float(int x) { return emulation::bits<float>(x); }
inline double __longlong_as_double(long long x) { return emulation::bits<double>(x); }
inline long long __double_as_longlong(double x) { return emulation::bits<long long>(x); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline long long __double2ll_rz(double x) {
    return x != x ? 0 : x >= 0x1p63 ? INT64_MAX : x < -0x1p63 ? INT64_MIN : (long long)x;
}
inline unsigned long long __double2ull_rz(double x) {
    return !(x > 0) ? 0 : x >= 0x1p64 ? UINT64_MAX : (unsigned long long)x;
}
inline long long __float2ll_rz(float x) { return __double2ll_rz(x); }
inline unsigned long long __float2ull_rz(float x) { return __double2ull_rz(x); }
inline float __double2float_rz(double x) {
    float y = (float)x;
    return fabs((double)y) > fabs(x) ? nextafterf(y, 0.0f) : y;
}

inline float from_f16(unsigned short x) {
    unsigned sign = (x & 0x8000u) << 16, exponent = x >> 10 & 31, fraction = x & 0x3ff;
    if (exponent == 31) return __uint_as_float(sign | 0x7f800000u | fraction << 13);
    float size = exponent ? ldexpf((float)(fraction | 0x400), (int)exponent - 25) : ldexpf((float)fraction, -24);
    return sign ? -size : size;
}
inline unsigned short to_f16(float x) {
    unsigned sign = __float_as_uint(x) >> 16 & 0x8000u;
    if (x != x) return (unsigned short)(sign | 0x7e00u);
    float size = fabsf(x);
    if (size >= 65520.0f) return (unsigned short)(sign | 0x7c00u);
    if (size < 0x1p-14f) return (unsigned short)(sign | (unsigned)rintf(size * 0x1p24f));
    int exponent;
    float fraction = frexpf(size, &exponent);
    unsigned rounded = (unsigned)rintf(fraction * 2048.0f);
    return (unsigned short)(sign | (((unsigned)(exponent + 13) << 10) + rounded));
}
inline unsigned short to_bf16(float x) {
    unsigned u = __float_as_uint(x);
    if (x != x) return (unsigned short)(u >> 16 | 0x40u);
    return (unsigned short)((u + 0x7fffu + (u >> 16 & 1)) >> 16);
}
inline float minimum(float x, float y) { return x < y || x != x ? x : y; }
inline float maximum(float x, float y) { return x > y || x != x ? x : y; }
