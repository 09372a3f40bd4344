// A block computes BLOCK_Q queries of one problem, 16 lanes to ROWS of them, and goes over the keys
// in tiles of BLOCK_KV; scores are never stored. Sums are rescaled as greater scores appear (Milakov
// and Gimelshein 2018; Dao et al. 2022).

struct alignas(sizeof(T) == 4 ? 16 : 32) Four {
    T x[4];
};

constexpr int BLOCK_Q = THREADS / 16 * ROWS;
constexpr int COLUMNS = BLOCK_KV / 16;
constexpr int QK_PADDED = (QK_SIZE + 3) / 4 * 4;
constexpr int V_PADDED = (V_SIZE + 3) / 4 * 4;
constexpr int QK_PITCH = QK_PADDED + 4;
constexpr int V_GROUPS = (V_SIZE + 63) / 64;
constexpr int V_PITCH = V_GROUPS * 64;
constexpr int WEIGHTS_PITCH = BLOCK_KV + 4;

// Rows first and following of a matrix of n_rows to shared memory, with zeros after its last row and
// its last column. Neighbouring threads take neighbouring elements.
template <int rows, int size, int pitch>
DEVICE void load_tile(T* to, const E* from, OFFSET row_stride, OFFSET stride, int first, int n_rows) {
    constexpr int padded = (size + 3) / 4 * 4;
    if (ASYNC && size % 4 == 0 && stride == 1 && row_stride % 4 == 0 && ((unsigned long long)from & 15) == 0) {
        for (int i = threadIdx.x; i < rows * (padded / 4); i += THREADS) {
            const int r = i / (padded / 4), c = i % (padded / 4) * 4;
            const bool valid = first + r < n_rows;
            copy_async_16(to + r * pitch + c, valid ? from + (first + r) * row_stride + c : from, valid);
        }
    } else {
        for (int i = threadIdx.x; i < rows * padded; i += THREADS) {
            const int r = stride == 1 ? i / padded : i % rows, c = stride == 1 ? i % padded : i / rows;
            const bool valid = first + r < n_rows && c < size;
            to[r * pitch + c] = valid ? element(from, (first + r) * row_stride + c * stride) : (T)0;
        }
    }
}

DEVICE T exponential(float x) { return expf(x); }
DEVICE T exponential(double x) { return exp(x); }
DEVICE T hyperbolic_tangent(float x) { return tanhf(x); }
DEVICE T hyperbolic_tangent(double x) { return tanh(x); }

extern "C" __global__ void __launch_bounds__(THREADS) attention(PARAMETERS) {
    allow_next();
    DYNAMIC_SHARED(memory);
    T* const queries = (T*)memory;
    T* const keys = queries + BLOCK_Q * QK_PITCH;
    T* const values = keys + BLOCK_KV * QK_PITCH;
    T* const weights = values + BLOCK_KV * V_PITCH;
    const int lane = threadIdx.x % 16, first_row = threadIdx.x / 16 * ROWS;
    constexpr int n_q_tiles = (Q_LEN + BLOCK_Q - 1) / BLOCK_Q;
    const int first_q = blockIdx.x % n_q_tiles * BLOCK_Q;
    const unsigned problem = blockIdx.x / n_q_tiles;
    OFFSETS
    // Keys that some query of the block sees.
    const long long seen = CAUSAL ? (long long)first_q + BLOCK_Q + CAUSAL_OFFSET : KV_LEN;
    const int n_keys = seen < 0 ? 0 : seen < KV_LEN ? (int)seen : KV_LEN;

    T most[ROWS], total[ROWS];
    Four sums[ROWS][V_GROUPS];
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        most[r] = -INFINITE;
        total[r] = 0;
#pragma unroll
        for (int g = 0; g < V_GROUPS; g++) sums[r][g] = Four{};
    }
    if (n_keys > 0) {
        load_tile<BLOCK_Q, QK_SIZE, QK_PITCH>(queries, q, Q_ROW, Q_STRIDE, first_q, Q_LEN);
        load_tile<BLOCK_KV, QK_SIZE, QK_PITCH>(keys, k, K_ROW, K_STRIDE, 0, KV_LEN);
    }
    copy_async_commit();
    if (n_keys > 0) load_tile<BLOCK_KV, V_SIZE, V_PITCH>(values, v, V_ROW, V_STRIDE, 0, KV_LEN);
    copy_async_commit();

    for (int first_key = 0; first_key < n_keys; first_key += BLOCK_KV) {
        copy_async_wait<1>();
        __syncthreads();
        T scores[ROWS][COLUMNS];
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
#pragma unroll
            for (int c = 0; c < COLUMNS; c++) scores[r][c] = 0;
        }
#pragma unroll 4
        for (int i = 0; i < QK_PADDED; i += 4) {
            Four x[ROWS];
#pragma unroll
            for (int r = 0; r < ROWS; r++) x[r] = *(const Four*)(queries + (first_row + r) * QK_PITCH + i);
#pragma unroll
            for (int c = 0; c < COLUMNS; c++) {
                const Four y = *(const Four*)(keys + (lane + 16 * c) * QK_PITCH + i);
#pragma unroll
                for (int r = 0; r < ROWS; r++) {
#pragma unroll
                    for (int j = 0; j < 4; j++) scores[r][c] += x[r].x[j] * y.x[j];
                }
            }
        }
        __syncthreads();
        const bool more = first_key + BLOCK_KV < n_keys;
        if (more) load_tile<BLOCK_KV, QK_SIZE, QK_PITCH>(keys, k, K_ROW, K_STRIDE, first_key + BLOCK_KV, KV_LEN);
        copy_async_commit();

#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            const int query = first_q + first_row + r;
            T greatest = most[r];
#pragma unroll
            for (int c = 0; c < COLUMNS; c++) {
                const int key = first_key + lane + 16 * c;
                T score = scores[r][c] * SCALE;
                SOFTCAP
                if (key >= KV_LEN || query >= Q_LEN || (CAUSAL && key > query + CAUSAL_OFFSET)) {
                    score = -INFINITE;
                } else {
                    MASK
                }
                scores[r][c] = score;
                greatest = maximum(greatest, score);
            }
#pragma unroll
            for (int step = 8; step > 0; step /= 2) greatest = maximum(greatest, shuffle_xor(greatest, step));
            const T base = greatest == -INFINITE ? (T)0 : greatest;
            const T rescale = exponential(most[r] - base);
            most[r] = greatest;
            T sum = 0;
#pragma unroll
            for (int c = 0; c < COLUMNS; c++) {
                const T weight = exponential(scores[r][c] - base);
                weights[(first_row + r) * WEIGHTS_PITCH + lane + 16 * c] = weight;
                sum += weight;
            }
#pragma unroll
            for (int step = 8; step > 0; step /= 2) sum += shuffle_xor(sum, step);
            total[r] = total[r] * rescale + sum;
#pragma unroll
            for (int g = 0; g < V_GROUPS; g++) {
#pragma unroll
                for (int j = 0; j < 4; j++) sums[r][g].x[j] *= rescale;
            }
        }
        copy_async_wait<1>();
        __syncthreads();
#pragma unroll 2
        for (int i = 0; i < BLOCK_KV; i += 4) {
            Four w[ROWS];
#pragma unroll
            for (int r = 0; r < ROWS; r++) w[r] = *(const Four*)(weights + (first_row + r) * WEIGHTS_PITCH + i);
#pragma unroll
            for (int j = 0; j < 4; j++) {
#pragma unroll
                for (int g = 0; g < V_GROUPS; g++) {
                    const Four y = *(const Four*)(values + (i + j) * V_PITCH + (lane + 16 * g) * 4);
#pragma unroll
                    for (int r = 0; r < ROWS; r++) {
#pragma unroll
                        for (int n = 0; n < 4; n++) sums[r][g].x[n] += w[r].x[j] * y.x[n];
                    }
                }
            }
        }
        __syncthreads();
        if (more) load_tile<BLOCK_KV, V_SIZE, V_PITCH>(values, v, V_ROW, V_STRIDE, first_key + BLOCK_KV, KV_LEN);
        copy_async_commit();
    }

#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        const int query = first_q + first_row + r;
        if (query >= Q_LEN) continue;
        const T factor = total[r] == 0 ? (T)0 : (T)1 / total[r];
#pragma unroll
        for (int g = 0; g < V_GROUPS; g++) {
#pragma unroll
            for (int j = 0; j < 4; j++) sums[r][g].x[j] *= factor;
            const int column = (lane + 16 * g) * 4;
            E* const at = out + query * OUT_ROW + column * OUT_STRIDE;
            if (ASYNC && V_SIZE % 4 == 0 && OUT_STRIDE == 1 && ((unsigned long long)at & 15) == 0) {
                if (column < V_SIZE) *(Four*)at = sums[r][g];
            } else {
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    if (column + j < V_SIZE) put(at, j * OUT_STRIDE, sums[r][g].x[j]);
                }
            }
        }
    }
}
