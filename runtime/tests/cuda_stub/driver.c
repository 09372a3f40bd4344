// A CUDA driver without a device: it takes notes of calls, copies in host memory, and computes the
// few kernels of the tests. What it does is set by the environment:
//
//   STUB_LOG      the file that notes are added to
//   STUB_VERSION  what cuDriverGetVersion says; 13000 if not set
//   STUB_DEVICES  the number of devices; 1 if not set
//   STUB_ARCH     ten times the compute capability; 90 if not set
//   STUB_MEMORY   bytes of device memory; 1 GiB if not set
//   STUB_SLOW     how often an event is not reached yet when asked; 0 if not set
//   STUB_FAIL     name:n:code, the n-th call of a function (from 1) that fails, and how
//
// Compiled with -DWITHOUT_GRAPHS it lacks cuGraphLaunch.

#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int Result;
typedef unsigned long long Address;

enum { INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_IMAGE = 200, NOT_FOUND = 500,
       NOT_READY = 600, ILLEGAL_ADDRESS = 700 };

static pthread_mutex_t lock;
static __attribute__((constructor)) void start(void) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&lock, &attributes);
}

static void unlock(int *unused) { (void)unused; pthread_mutex_unlock(&lock); }
#define LOCKED pthread_mutex_lock(&lock); __attribute__((cleanup(unlock))) int locked = 0; (void)locked

static long number(const char *name, long otherwise) {
    const char *text = getenv(name);
    return text ? strtol(text, NULL, 0) : otherwise;
}

static void note(const char *format, ...) {
    const char *path = getenv("STUB_LOG");
    FILE *file = path ? fopen(path, "a") : NULL;
    if (!file) return;
    va_list args;
    va_start(args, format);
    vfprintf(file, format, args);
    va_end(args);
    fputc('\n', file);
    fclose(file);
}

// Calls of each function so far.
static struct { const char *name; int count; } calls[128];

// The primary context, and the error that broke it, for good, or will when it is waited for. The contexts
// of a thread are a stack, as in the driver.
typedef struct { Result broken, pending; int retained; } Context;
static Context primary;
static __thread Context *stack[16];
static __thread int depth;
static Context *current(void) { return depth > 0 ? stack[depth - 1] : NULL; }

static Result called(const char *name) {
    int i = 0;
    while (calls[i].name && strcmp(calls[i].name, name)) i++;
    calls[i].name = name;
    calls[i].count++;
    const char *fail = getenv("STUB_FAIL");
    size_t length = strlen(name);
    if (fail && !strncmp(fail, name, length) && fail[length] == ':') {
        int n = 0, code = 0;
        sscanf(fail + length, ":%d:%d", &n, &code);
        if (calls[i].count == n) {
            if (code >= 700 && current()) current()->broken = code;
            return code;
        }
    }
    return primary.broken;
}

// Every call may be told to fail.
#define CALLED LOCKED; { Result failed = called(__func__); if (failed) return failed; }

// Memory, numbered in the order in which it was asked for, so that notes are always the same.
#define MAX_PLACES 4096
static struct { char *at; size_t bytes; char kind; int is_free; } places[MAX_PLACES];
static int n_places;
static size_t used;

static Result allocate(void **at, size_t bytes, char kind) {
    if (kind == 'D' && (bytes > (size_t)number("STUB_MEMORY", 1l << 30) - used)) return OUT_OF_MEMORY;
    if (n_places == MAX_PLACES || posix_memalign(at, 4096, bytes)) return OUT_OF_MEMORY;
    memset(*at, 0xa5, bytes);
    if (kind == 'D') used += bytes;
    places[n_places].at = *at;
    places[n_places].bytes = bytes;
    places[n_places++].kind = kind;
    return 0;
}

static void release(void *at) {
    for (int i = 0; i < n_places; i++)
        if (places[i].at == at && !places[i].is_free) {
            if (places[i].kind == 'D') used -= places[i].bytes;
            places[i].is_free = 1;
            free(at);
        }
}

// An address as people read it. Four texts are kept at a time.
static const char *place(const void *at) {
    static char texts[8][64];
    static int next;
    char *text = texts[next++ % 8];
    for (int i = 0; i < n_places; i++) {
        ptrdiff_t offset = (const char *)at - places[i].at;
        if (!places[i].is_free && offset >= 0 && (size_t)offset < places[i].bytes) {
            snprintf(text, 64, "%c%d+%td", places[i].kind, i, offset);
            return text;
        }
    }
    snprintf(text, 64, at ? "elsewhere" : "null");
    return text;
}

Result cuDriverGetVersion(int *version) { LOCKED; *version = (int)number("STUB_VERSION", 13000); note("cuDriverGetVersion"); return 0; }
Result cuGetErrorName(Result code, const char **name) {
    switch (code) {
    case OUT_OF_MEMORY: *name = "CUDA_ERROR_OUT_OF_MEMORY"; return 0;
    case NO_DEVICE: *name = "CUDA_ERROR_NO_DEVICE"; return 0;
    case INVALID_IMAGE: *name = "CUDA_ERROR_INVALID_IMAGE"; return 0;
    case ILLEGAL_ADDRESS: *name = "CUDA_ERROR_ILLEGAL_ADDRESS"; return 0;
    default: return INVALID_VALUE;
    }
}
Result cuInit(unsigned flags) { CALLED note("cuInit %u", flags); return number("STUB_DEVICES", 1) ? 0 : NO_DEVICE; }
Result cuDeviceGetCount(int *count) { CALLED *count = (int)number("STUB_DEVICES", 1); return 0; }
Result cuDeviceGet(int *device, int ordinal) { CALLED *device = ordinal; return 0; }
Result cuDeviceGetName(char *name, int length, int device) { CALLED snprintf(name, length, "stub %d", device); return 0; }
Result cuDeviceGetAttribute(int *value, int attribute, int device) {
    CALLED
    int arch = (int)number("STUB_ARCH", 90);
    (void)device;
    *value = attribute == 75 ? arch / 10 : attribute == 76 ? arch % 10 : attribute == 16 ? 132 : 0;
    return 0;
}
Result cuDeviceTotalMem_v2(size_t *bytes, int device) { CALLED (void)device; *bytes = number("STUB_MEMORY", 1l << 30); return 0; }

Result cuDevicePrimaryCtxRetain(Context **out, int device) { CALLED note("cuDevicePrimaryCtxRetain %d", device); primary.retained++; *out = &primary; return 0; }
Result cuDevicePrimaryCtxRelease_v2(int device) {
    LOCKED;
    note("cuDevicePrimaryCtxRelease %d", device);
    primary.retained--;
    return 0;
}
Result cuCtxPushCurrent_v2(Context *context) { LOCKED; stack[depth++] = context; return 0; }
Result cuCtxPopCurrent_v2(Context **context) { LOCKED; if (depth <= 0) return 201; *context = stack[--depth]; return 0; }
#define CURRENT CALLED if (depth <= 0) return 201;

Result cuMemGetInfo_v2(size_t *free, size_t *total) { CURRENT *total = number("STUB_MEMORY", 1l << 30); *free = *total - used; return 0; }
Result cuMemAlloc_v2(Address *out, size_t bytes) {
    CURRENT
    void *at;
    Result result = allocate(&at, bytes, 'D');
    note("cuMemAlloc %zu: %s", bytes, result ? "no room" : place(at));
    if (!result) *out = (Address)at;
    return result;
}
Result cuMemFree_v2(Address at) { LOCKED; note("cuMemFree %s", place((void *)at)); release((void *)at); return 0; }
Result cuMemHostAlloc(void **out, size_t bytes, unsigned flags) {
    CURRENT
    Result result = allocate(out, bytes, 'H');
    note("cuMemHostAlloc %zu flags %u: %s", bytes, flags, result ? "no room" : place(*out));
    return result;
}
// The memory of the caller is pinned; it is a place from then on.
Result cuMemHostRegister_v2(void *at, size_t bytes, unsigned flags) {
    CURRENT
    if (n_places == MAX_PLACES) return OUT_OF_MEMORY;
    places[n_places].at = at;
    places[n_places].bytes = bytes;
    places[n_places++].kind = 'R';
    note("cuMemHostRegister %zu flags %u: %s", bytes, flags, place(at));
    return 0;
}
Result cuMemHostUnregister(void *at) {
    LOCKED;
    note("cuMemHostUnregister %s", place(at));
    for (int i = 0; i < n_places; i++)
        if (places[i].at == at) places[i].is_free = 1;
    return 0;
}
Result cuMemFreeHost(void *at) { LOCKED; note("cuMemFreeHost %s", place(at)); release(at); return 0; }
Result cuMemHostGetDevicePointer_v2(Address *out, void *at, unsigned flags) { CURRENT (void)flags; *out = (Address)at; return 0; }
Result cuMemsetD8Async(Address at, unsigned char value, size_t bytes, void *stream) {
    CURRENT (void)stream;
    note("cuMemsetD8Async %s = %u, %zu bytes", place((void *)at), value, bytes);
    memset((void *)at, value, bytes);
    return 0;
}
static Result copy(const char *name, void *to, const void *from, size_t bytes) {
    note("%s %s = %s, %zu bytes", name, place(to), place(from), bytes);
    memcpy(to, from, bytes);
    return 0;
}
Result cuMemcpyHtoDAsync_v2(Address to, const void *from, size_t bytes, void *stream) { CURRENT (void)stream; return copy("cuMemcpyHtoDAsync", (void *)to, from, bytes); }
Result cuMemcpyDtoHAsync_v2(void *to, Address from, size_t bytes, void *stream) { CURRENT (void)stream; return copy("cuMemcpyDtoHAsync", to, (void *)from, bytes); }
Result cuMemcpyDtoDAsync_v2(Address to, Address from, size_t bytes, void *stream) { CURRENT (void)stream; return copy("cuMemcpyDtoDAsync", (void *)to, (void *)from, bytes); }

Result cuStreamCreate(void **out, unsigned flags) { CURRENT note("cuStreamCreate %u", flags); *out = malloc(1); return 0; }
Result cuStreamCreateWithPriority(void **out, unsigned flags, int priority) { CURRENT note("cuStreamCreateWithPriority %u %d", flags, priority); *out = malloc(1); return 0; }
Result cuCtxGetStreamPriorityRange(int *least, int *greatest) { CURRENT *least = 0; *greatest = -5; return 0; }
Result cuStreamWaitEvent(void *stream, float *event, unsigned flags) { CURRENT (void)stream; (void)event; (void)flags; note("cuStreamWaitEvent"); return 0; }
Result cuStreamDestroy_v2(void *stream) { LOCKED; note("cuStreamDestroy"); free(stream); return 0; }
Result cuStreamSynchronize(void *stream) {
    CURRENT (void)stream;
    note("cuStreamSynchronize");
    return current()->broken = current()->pending;
}

// Events count, instead of taking the time. Their second number says how often they are not reached yet.
static float now;
Result cuEventCreate(float **out, unsigned flags) { CURRENT (void)flags; *out = calloc(2, sizeof **out); return 0; }
Result cuEventDestroy_v2(float *event) { LOCKED; free(event); return 0; }
Result cuEventRecord(float *event, void *stream) { CURRENT (void)stream; note("cuEventRecord"); *event = now++; event[1] = number("STUB_SLOW", 0); return 0; }
Result cuEventSynchronize(float *event) { CURRENT event[1] = 0; note("cuEventSynchronize"); return current()->broken = current()->pending; }
Result cuEventQuery(float *event) {
    CURRENT
    if (event[1] > 0) return event[1]--, NOT_READY;
    return current()->broken = current()->pending;
}
Result cuEventElapsedTime_v2(float *out, const float *start, const float *end) { CURRENT *out = (*end - *start) / 1000; return 0; }

// A library is PTX; its functions are found by their names in it.
typedef struct { char name[32]; int n_params; int used; } Kernel;
typedef struct { char *text; Kernel kernels[16]; } Library;
Result cuLibraryLoadData(Library **out, const char *code, int *options, void **values, unsigned n,
                         void *library_options, void *library_values, unsigned n_library) {
    CURRENT (void)library_options; (void)library_values; (void)n_library;
    if (!strstr(code, ".version")) {
        for (unsigned i = 0; i + 1 < n; i++)
            if (options[i] == 5) snprintf(values[i], (size_t)values[i + 1], "line 1: no version");
        return INVALID_IMAGE;
    }
    const char *target = strstr(code, ".target ");
    note("cuLibraryLoadData %.5s", target ? target + 8 : "");
    *out = calloc(1, sizeof **out);
    (*out)->text = strdup(code);
    return 0;
}
Result cuLibraryUnload(Library *library) { LOCKED; note("cuLibraryUnload"); free(library->text); free(library); return 0; }
Result cuLibraryGetKernel(Kernel **out, Library *library, const char *name) {
    CURRENT
    char wanted[64];
    snprintf(wanted, sizeof wanted, ".entry %s(", name);
    const char *at = strstr(library->text, wanted);
    if (!at) return NOT_FOUND;
    Kernel *kernel = library->kernels;
    while (kernel->used) kernel++;
    kernel->used = 1;
    snprintf(kernel->name, sizeof kernel->name, "%s", name);
    for (const char *end = strchr(at, ')'); at < end; at++)
        kernel->n_params += !strncmp(at, ".param", 6);
    note("cuLibraryGetKernel %s", name);
    *out = kernel;
    return 0;
}
Result cuKernelSetAttribute(int attribute, int value, Kernel *kernel, int device) { CURRENT (void)device; note("cuKernelSetAttribute %s %d = %d", kernel->name, attribute, value); return 0; }
Result cuKernelGetParamInfo(Kernel *kernel, size_t n, size_t *offset, size_t *size) {
    CURRENT
    if (n >= (size_t)kernel->n_params) return INVALID_VALUE;
    *offset = 8 * n;
    *size = 8;
    return 0;
}
Result cuKernelGetFunction(Kernel **out, Kernel *kernel) { CURRENT *out = kernel; return 0; }
Result cuFuncLoad(Kernel *kernel) { CURRENT note("cuFuncLoad %s", kernel->name); return 0; }

// Graphs; the layouts are those of cuda.h.
typedef struct { unsigned char from_port, to_port, type, reserved[5]; } Edge;
typedef struct { void *function; unsigned grid[3], block[3], shared; void **params; void **extra; Kernel *kernel; void *context; } Launch;
typedef struct {
    size_t from_x, from_y, from_z, from_lod; int from_kind; const void *from_host; Address from_device; void *from_array, *reserved0; size_t from_pitch, from_height;
    size_t to_x, to_y, to_z, to_lod; int to_kind; void *to_host; Address to_device; void *to_array, *reserved1; size_t to_pitch, to_height;
    size_t width, height, depth;
} Copy;
typedef struct { int flags, reserved; void *context; Copy copy; } CopyNode;
typedef struct { int type, reserved0[3]; union { long long all[29]; Launch launch; CopyNode copy; float *event; }; long long reserved2; } Params;
typedef struct Node { struct Graph *graph; int number, type; union { Launch launch; CopyNode copy; float *event; }; Address args[16]; } Node;
typedef struct Graph { int n_nodes, n_copies; Node *nodes[4096]; } Graph;

Result cuGraphCreate(Graph **out, unsigned flags) { CURRENT (void)flags; note("cuGraphCreate"); *out = calloc(1, sizeof **out); (*out)->n_copies = 1; return 0; }
static void let_go(Graph *graph) {
    if (--graph->n_copies) return;
    for (int i = 0; i < graph->n_nodes; i++) free(graph->nodes[i]);
    free(graph);
}
Result cuGraphDestroy(Graph *graph) { LOCKED; note("cuGraphDestroy"); let_go(graph); return 0; }
static const void *source(const Copy *copy) { return copy->from_kind == 1 ? copy->from_host : (void *)copy->from_device; }
static void *target(const Copy *copy) { return copy->to_kind == 1 ? copy->to_host : (void *)copy->to_device; }
Result cuGraphAddNode_v2(Node **out, Graph *graph, Node **after, const Edge *edges, size_t n, const Params *params) {
    CURRENT
    Node *node = calloc(1, sizeof *node);
    char text[512] = "", dependencies[256] = "";
    node->graph = graph;
    node->number = graph->n_nodes;
    node->type = params->type;
    for (size_t i = 0; i < n; i++) {
        if (after[i]->graph != graph) return INVALID_VALUE;
        // An early edge is of type 1 and leaves port 1.
        if (edges[i].type != edges[i].from_port || edges[i].to_port) return INVALID_VALUE;
        if (edges[i].type && (params->type || after[i]->type)) return INVALID_VALUE;
        char one[32];
        snprintf(one, sizeof one, " %d%s", after[i]->number, edges[i].type ? " early" : "");
        strncat(dependencies, one, sizeof dependencies - strlen(dependencies) - 1);
    }
    switch (params->type) {
    case 0: {
        const Launch *launch = &params->launch;
        if (launch->function || !launch->kernel) return INVALID_VALUE;
        node->launch = *launch;
        snprintf(text, sizeof text, "%s <%u %u %u> <%u %u %u> %u:", launch->kernel->name, launch->grid[0], launch->grid[1], launch->grid[2], launch->block[0], launch->block[1], launch->block[2], launch->shared);
        for (int i = 0; i < launch->kernel->n_params; i++) {
            node->args[i] = *(Address *)launch->params[i];
            snprintf(text + strlen(text), sizeof text - strlen(text), " %s", place((void *)node->args[i]));
        }
        break;
    }
    case 1: {
        const Copy *copy = &params->copy.copy;
        if (copy->height != 1 || copy->depth != 1 || params->copy.context == NULL) return INVALID_VALUE;
        node->copy = params->copy;
        snprintf(text, sizeof text, "copy %s = %s, %zu bytes", place(target(copy)), place(source(copy)), copy->width);
        break;
    }
    case 7:
        node->event = params->event;
        snprintf(text, sizeof text, "clock");
        break;
    default:
        return INVALID_VALUE;
    }
    note("cuGraphAddNode %d %s%s%s", node->number, text, n ? " after" : "", dependencies);
    graph->nodes[graph->n_nodes++] = node;
    *out = node;
    return 0;
}
Result cuGraphKernelNodeSetAttribute(Node *node, int attribute, const unsigned *value) {
    CURRENT
    note("cuGraphKernelNodeSetAttribute %d %d = %u", node->number, attribute, value[0]);
    return 0;
}
typedef struct { unsigned long long flags; void *stream; Node *failed; int result; } Instantiate;
Result cuGraphInstantiateWithParams(Graph **out, Graph *graph, Instantiate *how) {
    LOCKED;
    note("cuGraphInstantiate %d nodes%s", graph->n_nodes, how->flags == 8 ? " by priority" : "");
    Result failed = called(__func__);
    // The last node is to blame.
    how->failed = failed ? graph->nodes[graph->n_nodes - 1] : NULL;
    if (failed) return failed;
    graph->n_copies++;
    *out = graph;
    return 0;
}
Result cuGraphExecDestroy(Graph *graph) { LOCKED; note("cuGraphExecDestroy"); let_go(graph); return 0; }
Result cuGraphUpload(Graph *graph, void *stream) { CURRENT (void)stream; note("cuGraphUpload %d nodes", graph->n_nodes); return 0; }

static void compute(const Node *node) {
    const char *name = node->launch.kernel->name;
    size_t n = (size_t)node->launch.grid[0] * node->launch.block[0];
    const float *a = (float *)node->args[0], *b = (float *)node->args[1];
    float *to = (float *)node->args[2], *workspace = (float *)node->args[3];
    unsigned *counters = (unsigned *)node->args[4], *fault = (unsigned *)node->args[3];
    if (!strcmp(name, "crash")) current()->pending = ILLEGAL_ADDRESS;
    if (!strcmp(name, "reset")) counters[0] = 0;
    if (!strcmp(name, "fill")) counters[0] += node->launch.grid[0];
    for (size_t i = 0; i < n; i++) {
        if (!strcmp(name, "add") || !strcmp(name, "checked")) to[i] = a[i] + b[i];
        if (!strcmp(name, "checked") && !(a[i] >= 0)) *fault = 1;
        if (!strcmp(name, "fill")) workspace[i] = a[i];
        if (!strcmp(name, "use")) to[i] = counters[0] == 8 ? workspace[i] + b[i] : workspace[i];
    }
}
#ifndef WITHOUT_GRAPHS
Result cuGraphLaunch(Graph *graph, void *stream) {
    CURRENT (void)stream;
    note("cuGraphLaunch %d nodes", graph->n_nodes);
    for (int i = 0; i < graph->n_nodes && !current()->pending; i++) {
        const Node *node = graph->nodes[i];
        if (node->type == 0) compute(node);
        if (node->type == 1) memcpy(target(&node->copy.copy), source(&node->copy.copy), node->copy.copy.width);
        if (node->type == 7) *node->event = now++;
    }
    return 0;
}
#endif
