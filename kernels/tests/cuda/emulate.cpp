// The scheduler of the emulated device, and the program around it.
#include "emulate.hpp"
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
#include <memory>
#include <thread>
#include <vector>

thread_local Extent3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulation {
namespace {

constexpr size_t STACK_BYTES = 256 << 10;
constexpr size_t MAX_SHARED = 228 << 10;
constexpr unsigned char POISON = 0xa5;

struct Copy {
    void* to;
    const void* from;
    int bytes, group;
};

enum class State { Ready, AtBlock, AtWarp, Done };

struct Fiber {
    ucontext_t context;
    unsigned char* stack = nullptr;
    State state = State::Done;
    Extent3 index;
    std::vector<Copy> copies;
    int n_groups;
    bool waited, allowed;
};

struct Warp {
    // What lanes offer in exchanges of even and odd number.
    unsigned long long offered[2][32];
    int n_arrived, turn[32];
};

// Where a host thread runs blocks, one after the other.
struct Processor {
    ucontext_t scheduler;
    std::vector<Fiber> fibers;
    std::vector<Warp> warps;
    std::vector<unsigned char> shared;
    int n_threads = 0, current = 0;
    const Launch* launch = nullptr;
    void** parameters = nullptr;
    bool backward = false;
};

thread_local Processor* processor;
const char* case_name = "";

void enter() {
    Processor& p = *processor;
    p.launch->function(p.parameters);
    Fiber& f = processor->fibers[processor->current];
    if (p.launch->starts_early && !f.waited) fail("a thread ends without wait_for_previous");
    if (p.launch->starts_early && !f.allowed) fail("a thread ends without allow_next");
    if (!f.copies.empty()) fail("a thread ends with copies under way");
    f.state = State::Done;
    swapcontext(&f.context, &processor->scheduler);
}

void stop_as(State state) {
    Fiber& f = processor->fibers[processor->current];
    f.state = state;
    swapcontext(&f.context, &processor->scheduler);
}

// Lets a warp's lanes go on if all that have not ended have arrived.
bool release_warp(Processor& p, int warp) {
    int first = 32 * warp, last = first + 32 < p.n_threads ? first + 32 : p.n_threads;
    bool any = false;
    for (int i = first; i < last; i++) {
        if (p.fibers[i].state == State::Ready || p.fibers[i].state == State::AtBlock) return false;
        any |= p.fibers[i].state == State::AtWarp;
    }
    if (!any) return false;
    for (int i = first; i < last; i++) {
        if (p.fibers[i].state == State::AtWarp) p.fibers[i].state = State::Ready;
    }
    return true;
}

void run_block(Processor& p, Extent3 block) {
    processor = &p;
    const Launch& launch = *p.launch;
    blockIdx = block;
    blockDim = launch.block;
    gridDim = launch.grid;
    p.n_threads = (int)(launch.block.x * launch.block.y * launch.block.z);
    if ((int)p.fibers.size() < p.n_threads) p.fibers.resize(p.n_threads);
    p.warps.assign((p.n_threads + 31) / 32, Warp());
    memset(p.shared.data(), 0xff, p.shared.size());
    for (int i = 0; i < p.n_threads; i++) {
        Fiber& f = p.fibers[i];
        if (!f.stack) {
            f.stack = (unsigned char*)mmap(nullptr, STACK_BYTES, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        }
        getcontext(&f.context);
        f.context.uc_stack.ss_sp = f.stack;
        f.context.uc_stack.ss_size = STACK_BYTES;
        f.context.uc_link = nullptr;
        makecontext(&f.context, enter, 0);
        f.state = State::Ready;
        unsigned n = (unsigned)i;
        f.index = {n % blockDim.x, n / blockDim.x % blockDim.y, n / blockDim.x / blockDim.y};
        f.copies.clear();
        f.n_groups = 0;
        f.waited = f.allowed = false;
    }
    while (true) {
        bool ran = false;
        for (int k = 0; k < p.n_threads; k++) {
            int i = p.backward ? p.n_threads - 1 - k : k;
            if (p.fibers[i].state != State::Ready) continue;
            p.current = i;
            threadIdx = p.fibers[i].index;
            swapcontext(&p.scheduler, &p.fibers[i].context);
            ran = true;
        }
        for (size_t w = 0; w < p.warps.size(); w++) ran |= release_warp(p, (int)w);
        if (ran) continue;
        bool at_block = false;
        for (int i = 0; i < p.n_threads; i++) {
            if (p.fibers[i].state == State::AtWarp) {
                fail("a warp waits for threads that wait for the block");
            }
            at_block |= p.fibers[i].state == State::AtBlock;
        }
        if (!at_block) return;
        for (int i = 0; i < p.n_threads; i++) {
            if (p.fibers[i].state == State::AtBlock) p.fibers[i].state = State::Ready;
        }
    }
}

void prepare(Processor& p, const Launch& launch, void** parameters, bool backward) {
    p.launch = &launch;
    p.parameters = parameters;
    p.backward = backward;
    if (launch.shared_bytes > MAX_SHARED) fail("more shared memory than a block can have");
    p.shared.resize(MAX_SHARED + 128);
}

void run_launch(const Launch& launch, void** parameters, bool backward) {
    static Processor own;
    Extent3 g = launch.grid;
    size_t n = (size_t)g.x * g.y * g.z;
    auto block = [&](size_t i) {
        return Extent3{(unsigned)(i % g.x), (unsigned)(i / g.x % g.y), (unsigned)(i / g.x / g.y)};
    };
    if (!launch.cooperative) {
        prepare(own, launch, parameters, backward);
        for (size_t i = 0; i < n; i++) run_block(own, block(backward ? n - 1 - i : i));
        return;
    }
    std::vector<std::thread> threads;
    for (size_t i = 0; i < n; i++) {
        threads.emplace_back([&, i] {
            Processor p;
            prepare(p, launch, parameters, backward);
            run_block(p, block(i));
            for (Fiber& f : p.fibers) munmap(f.stack, STACK_BYTES);
        });
    }
    for (std::thread& t : threads) t.join();
}

struct Memory {
    unsigned char *start = nullptr, *pages = nullptr;
    size_t bytes = 0, inner = 0, page = 0;

    // Bytes between two pages that must not be touched: at the first place between them, or at the
    // last one.
    Memory(size_t bytes, bool at_end) : bytes(bytes) {
        page = (size_t)sysconf(_SC_PAGESIZE);
        inner = (bytes + page - 1) / page * page;
        pages = (unsigned char*)mmap(nullptr, inner + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (inner) mprotect(pages + page, inner, PROT_READ | PROT_WRITE);
        memset(pages + page, POISON, inner);
        start = pages + page + (at_end ? inner - bytes : 0);
    }
    Memory(const Memory&) = delete;
    ~Memory() { munmap(pages, inner + 2 * page); }

    void check_borders() const {
        for (unsigned char* p = pages + page; p < pages + page + inner; p++) {
            if ((p < start || p >= start + bytes) && *p != POISON) fail("memory beside an argument is written");
        }
    }
};

struct File {
    FILE* file;
    void read(void* to, size_t n) {
        if (fread(to, 1, n, file) != n) fail("the arguments are cut off");
    }
    unsigned long long number() {
        unsigned long long n;
        read(&n, sizeof n);
        return n;
    }
    void write(const void* from, size_t n) {
        if (fwrite(from, 1, n, file) != n) fail("the results could not be written");
    }
};

struct Argument {
    std::vector<unsigned char> data;
    size_t start;
};

// Runs a case once; writes what its arguments and the fault word hold then.
void run_case(const Case& c, const std::vector<Argument>& args, bool at_end, File& out) {
    std::vector<std::unique_ptr<Memory>> memory;
    std::vector<void*> parameters;
    auto add = [&](size_t bytes) {
        memory.emplace_back(new Memory(bytes, at_end));
        return memory.back()->start;
    };
    for (const Argument& a : args) {
        unsigned char* p = add(a.data.size());
        memcpy(p, a.data.data(), a.data.size());
        parameters.push_back(p + a.start);
    }
    // The extras have places of their own, aligned as allocations are.
    auto aligned = [&](size_t bytes) { return add((bytes + 255) / 256 * 256); };
    unsigned char* counters = nullptr;
    unsigned* fault = nullptr;
    if (c.workspace) parameters.push_back(aligned(c.workspace));
    if (c.counters) {
        counters = aligned(c.counters);
        memset(counters, 0, c.counters);
        parameters.push_back(counters);
    }
    if (c.may_fault) {
        fault = (unsigned*)aligned(sizeof(unsigned));
        *fault = 0;
        parameters.push_back(fault);
    }
    for (int i = 0; i < c.n_launches; i++) run_launch(c.launches[i], parameters.data(), at_end);
    for (auto& m : memory) m->check_borders();
    for (size_t i = 0; i < c.counters; i++) {
        if (counters[i]) fail("a counter is not zero after the run");
    }
    for (size_t i = 0; i < args.size(); i++) out.write(memory[i]->start, args[i].data.size());
    unsigned word = fault ? *fault : 0;
    out.write(&word, sizeof word);
}

}  // namespace

unsigned char* dynamic_shared() {
    unsigned char* p = processor->shared.data();
    // At the end of what is there, so that memory after it is not its own.
    return p + (128 - (uintptr_t)p % 128) % 128;
}
void sync_block() { stop_as(State::AtBlock); }
const unsigned long long* exchange(unsigned long long offered) {
    int i = processor->current;
    Warp& w = processor->warps[i / 32];
    int turn = w.turn[i % 32];
    w.offered[turn][i % 32] = offered;
    w.turn[i % 32] = 1 - turn;
    stop_as(State::AtWarp);
    return w.offered[turn];
}
void copy_async(void* to, const void* from, int bytes) {
    Fiber& f = processor->fibers[processor->current];
    f.copies.push_back({to, from, bytes, f.n_groups});
}
void commit_copies() { processor->fibers[processor->current].n_groups += 1; }
void wait_copies(int pending) {
    Fiber& f = processor->fibers[processor->current];
    size_t kept = 0;
    for (const Copy& c : f.copies) {
        if (c.group >= f.n_groups - pending) {
            f.copies[kept++] = c;
        } else if (c.from) {
            memcpy(c.to, c.from, c.bytes);
        } else {
            memset(c.to, 0, c.bytes);
        }
    }
    f.copies.resize(kept);
}
void note_wait() { processor->fibers[processor->current].waited = true; }
void note_allowed() { processor->fibers[processor->current].allowed = true; }
void pause() { sched_yield(); }
void fail(const char* why) {
    fprintf(stderr, "%s: %s\n", case_name, why);
    _exit(3);
}

int run(const Case* cases, int n_cases, int argc, char** argv) {
    if (argc != 3) return 2;
    File in{fopen(argv[1], "rb")}, out{fopen(argv[2], "wb")};
    if (!in.file || !out.file) return 2;
    for (int i = 0; i < n_cases; i++) {
        case_name = cases[i].name;
        fprintf(stderr, "%s\n", case_name);
        std::vector<Argument> args(in.number());
        for (Argument& a : args) {
            a.data.resize(in.number());
            a.start = in.number();
            in.read(a.data.data(), a.data.size());
        }
        for (bool at_end : {false, true}) run_case(cases[i], args, at_end, out);
    }
    return fclose(out.file) ? 2 : 0;
}

}  // namespace emulation
