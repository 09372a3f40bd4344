// Two launches. The first multiplies all inputs with their weights. In the second, each block owns
// UNITS units of a direction and the rows of R for them, which it keeps in registers if they fit
// (Diamos et al. 2016), and takes all time steps; blocks of a direction meet between steps.

constexpr int ROWS = GATES * HIDDEN;
constexpr long long INPUTS_BYTES = (long long)DIRECTIONS * TIME * BATCH * ROWS * sizeof(T);
constexpr int STATE_LEN = DIRECTIONS * BATCH * HIDDEN;

// Of each direction, time, sequence and row: W x and the biases.
DEVICE T* inputs_in(unsigned char* workspace) { return (T*)workspace; }
// The state before even and odd steps, the state times the reset gate, the cell.
DEVICE T* states_in(unsigned char* workspace) { return (T*)(workspace + INPUTS_BYTES); }

extern "C" __global__ void __launch_bounds__(256, 2) recurrent_inputs(PARAMETERS) {
    constexpr int BLOCK_M = 32, BLOCK_N = 32, BLOCK_K = 32, PITCH = 34;
    constexpr int M = TIME * BATCH;
    allow_next();
    SHARED T xs[BLOCK_K * PITCH];
    SHARED T ws[BLOCK_K * PITCH];
    const int direction = blockIdx.z, first_m = blockIdx.y * BLOCK_M, first_n = blockIdx.x * BLOCK_N;
    const int column = threadIdx.x % 16, row = threadIdx.x / 16;
    T sums[2][2] = {};
    T next_x[4], next_w[4];
    const auto fetch = [&](int first_k) {
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const int i = threadIdx.x + j * 256, k = first_k + i % BLOCK_K;
            const int m = first_m + i / BLOCK_K, n = first_n + i / BLOCK_K;
            next_x[j] = m < M && k < INPUT ? X(m / BATCH, m % BATCH, k) : (T)0;
            next_w[j] = n < ROWS && k < INPUT ? W(direction, n, k) : (T)0;
        }
    };
    wait_for_previous();
    fetch(0);
    for (int first_k = 0; first_k < INPUT; first_k += BLOCK_K) {
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const int i = threadIdx.x + j * 256;
            xs[i % BLOCK_K * PITCH + i / BLOCK_K] = next_x[j];
            ws[i % BLOCK_K * PITCH + i / BLOCK_K] = next_w[j];
        }
        __syncthreads();
        if (first_k + BLOCK_K < INPUT) fetch(first_k + BLOCK_K);
#pragma unroll 8
        for (int k = 0; k < BLOCK_K; k++) {
            const T x[2] = {xs[k * PITCH + row * 2], xs[k * PITCH + row * 2 + 1]};
            const T w[2] = {ws[k * PITCH + column * 2], ws[k * PITCH + column * 2 + 1]};
#pragma unroll
            for (int i = 0; i < 4; i++) sums[i / 2][i % 2] += x[i / 2] * w[i % 2];
        }
        __syncthreads();
    }
    T* const to = inputs_in(workspace) + (long long)direction * M * ROWS;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const int m = first_m + row * 2 + i / 2, n = first_n + column * 2 + i % 2;
        if (m >= M || n >= ROWS) continue;
        T bias = BIAS(direction, n);
        // The reset gate applies to this one.
        if (!(RESET_AFTER && n >= 2 * HIDDEN)) bias += BIAS(direction, ROWS + n);
        to[(long long)m * ROWS + n] = sums[i / 2][i % 2] + bias;
    }
}

DEVICE T clipped(T x) { return CLIP ? (x > CLIP_AT ? CLIP_AT : x < -CLIP_AT ? -CLIP_AT : x) : x; }

extern "C" __global__ void __launch_bounds__(256, 2) recurrent_steps(PARAMETERS) {
    constexpr int BLOCKS = (HIDDEN + UNITS - 1) / UNITS;
    // Rows of a block, and of a warp; columns of a lane.
    constexpr int OWN = GATES * UNITS, OF_WARP = (OWN + 7) / 8, OF_LANE = (HIDDEN + 31) / 32;
    DYNAMIC_SHARED(memory);
    T* const products = (T*)memory;
    const int direction = blockIdx.x / BLOCKS, first_unit = blockIdx.x % BLOCKS * UNITS;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const bool backward = BACKWARD || direction == 1;
    unsigned* const barrier = counters + 2 * direction;
    unsigned round = 0;
    allow_next();

    // Row `own` of the block's is that of gate own / UNITS.
    const auto weight = [&](int own, int k) -> T {
        const int unit = first_unit + own % UNITS;
        return own < OWN && unit < HIDDEN && k < HIDDEN ? R(direction, own / UNITS * HIDDEN + unit, k) : (T)0;
    };
    T held[HOLD ? OF_WARP : 1][HOLD ? OF_LANE : 1];
    wait_for_previous();
    if (HOLD) {
#pragma unroll
        for (int j = 0; j < OF_WARP; j++) {
#pragma unroll
            for (int k = 0; k < OF_LANE; k++) held[HOLD ? j : 0][HOLD ? k : 0] = weight(warp + 8 * j, lane + 32 * k);
        }
    }
    const T* const inputs = inputs_in(workspace) + (long long)direction * TIME * BATCH * ROWS;
    T* const states = states_in(workspace) + direction * BATCH * HIDDEN;
    T* const resets = states + 2 * STATE_LEN;
    T* const cells = states + 3 * STATE_LEN;

    const auto meet = [&]() {
        if (BLOCKS > 1) sync_grid(barrier, BLOCKS, round); else __syncthreads();
    };
    // The products of rows of gates first_gate and following with `values`, a row of them a
    // sequence; before the first step with the initial state.
    const auto multiply = [&](int first_gate, int end_gate, const T* values, bool initial) {
        for (int b = 0; b < BATCH; b++) {
            T h[OF_LANE];
#pragma unroll
            for (int k = 0; k < OF_LANE; k++) {
                const int i = lane + 32 * k;
                h[k] = i >= HIDDEN ? (T)0 : initial ? INITIAL_H(direction, b, i) : *(const volatile T*)(values + b * HIDDEN + i);
            }
#pragma unroll
            for (int j = 0; j < OF_WARP; j++) {
                const int own = warp + 8 * j;
                if (own >= OWN || own < first_gate * UNITS || own >= end_gate * UNITS) continue;
                T sum = 0;
#pragma unroll
                for (int k = 0; k < OF_LANE; k++) {
                    sum += (HOLD ? held[HOLD ? j : 0][HOLD ? k : 0] : weight(own, lane + 32 * k)) * h[k];
                }
#pragma unroll
                for (int step = 16; step > 0; step /= 2) sum += shuffle_xor(sum, step);
                if (lane == 0) products[b * OWN + own] = sum;
            }
        }
        __syncthreads();
    };

    for (int step = 0; step < TIME; step++) {
        const T* const before = states + step % 2 * STATE_LEN;
        T* const after = states + (step + 1) % 2 * STATE_LEN;
        multiply(0, RESET_BEFORE ? 2 : GATES, before, step == 0);
        for (int phase = RESET_BEFORE ? 0 : 1; phase < 2; phase++) {
            if (RESET_BEFORE && phase == 1) {
                meet();
                multiply(2, 3, resets, false);
            }
            for (int i = threadIdx.x; i < UNITS * BATCH; i += 256) {
                const int unit = first_unit + i % UNITS, b = i / UNITS;
                if (unit >= HIDDEN) continue;
                const int length = LENGTH(b);
                const int t = step >= length || !backward ? step : length - 1 - step;
                const int at = b * HIDDEN + unit;
                const T old = step == 0 ? INITIAL_H(direction, b, unit) : before[at];
                const auto product = [&](int gate) -> T { return products[b * OWN + gate * UNITS + i % UNITS]; };
                const auto input = [&](int gate) -> T {
                    return inputs[((long long)t * BATCH + b) * ROWS + gate * HIDDEN + unit];
                };
                if (step >= length) {
                    if (phase == 0) {
                        resets[at] = 0;
                        continue;
                    }
                    after[at] = old;
                    if (CELL == LSTM && step == 0) cells[at] = INITIAL_C(direction, b, unit);
                    STORE_Y(t, direction, b, unit, (T)0);
                    continue;
                }
                T h;
                if (CELL == LSTM) {
                    const T cell = step == 0 ? INITIAL_C(direction, b, unit) : cells[at];
                    const T in = activate_0(direction, clipped(input(0) + product(0) + PEEPHOLE(direction, unit) * cell));
                    const T forget = INPUT_FORGET ? 1 - in
                        : activate_0(direction, clipped(input(2) + product(2) + PEEPHOLE(direction, 2 * HIDDEN + unit) * cell));
                    const T now = forget * cell + in * activate_1(direction, clipped(input(3) + product(3)));
                    cells[at] = now;
                    h = activate_0(direction, clipped(input(1) + product(1) + PEEPHOLE(direction, HIDDEN + unit) * now)) * activate_2(direction, now);
                } else if (CELL == GRU) {
                    const T reset = activate_0(direction, clipped(input(1) + product(1)));
                    if (phase == 0) {
                        resets[at] = reset * old;
                        continue;
                    }
                    const T from_state = RESET_BEFORE ? product(2)
                        : reset * (product(2) + BIAS(direction, ROWS + 2 * HIDDEN + unit));
                    const T update = activate_0(direction, clipped(input(0) + product(0)));
                    h = (1 - update) * activate_1(direction, clipped(input(2) + from_state)) + update * old;
                } else {
                    h = activate_0(direction, clipped(input(0) + product(0)));
                }
                after[at] = h;
                STORE_Y(t, direction, b, unit, h);
            }
        }
        if (step + 1 < TIME) meet();
    }
    for (int i = threadIdx.x; i < UNITS * BATCH; i += 256) {
        const int unit = first_unit + i % UNITS, b = i / UNITS, at = b * HIDDEN + unit;
        if (unit >= HIDDEN) continue;
        STORE_Y_H(direction, b, unit, TIME == 0 ? INITIAL_H(direction, b, unit) : states[TIME % 2 * STATE_LEN + at]);
        STORE_Y_C(direction, b, unit, TIME == 0 ? INITIAL_C(direction, b, unit) : cells[at]);
    }
    if (BLOCKS > 1) leave_grid(barrier, BLOCKS);
}
