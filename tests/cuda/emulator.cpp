// Runs the kernels compiled against emulator.h: threads of the resident blocks are fibers of this one process, and a
// seeded generator says which runs next and for how long. emulator.py sends the launches and reads the answers.
#include "emulator.h"

#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace emulated {
namespace {

constexpr size_t stack_size = 128 << 10, page = 4 << 10, red_zone = 64 << 10;
constexpr long pause_cost = 64;  // in steps: how much likelier a switch is here than at another access

struct Memory {  // exactly `size` bytes between poisoned red zones, aligned as cudaMalloc does
    char *start, *block;
    size_t size;

    explicit Memory(size_t size) : size(size) {
        block = static_cast<char *>(aligned_alloc(256, red_zone + (size + 255) / 256 * 256 + red_zone));
        start = block + red_zone;
        __asan_poison_memory_region(block, red_zone);
        __asan_poison_memory_region(start + size, (size + 255) / 256 * 256 - size + red_zone);
    }
    Memory(const Memory &) = delete;
    ~Memory() {
        __asan_unpoison_memory_region(block, red_zone + (size + 255) / 256 * 256 + red_zone);
        free(block);
    }
};

enum State { RUNNABLE, AT_BARRIER, AT_EXCHANGE, DONE };

struct Block;

struct Fiber : Thread {
    Block *block;
    unsigned number;  // within the block
    State state;
    int line, predicate;
    unsigned count;
    unsigned mask;
    const char *op;
    uint64_t value, lanes[32];
    char *stack;
    bool started = false;
    void *fake_stack = nullptr;
    void *jump[5];
};

struct Warp {
    unsigned present = 0, returned = 0, waiting = 0;  // masks of lanes
};

struct Block {
    dim3 index;
    std::vector<Fiber *> fibers;
    std::vector<Warp> warps;
    unsigned at_barrier = 0, done = 0;
    std::map<const void *, std::unique_ptr<Memory>> shared;
    size_t shared_size = 0;
};

struct Launch {
    const Kernel *kernel;
    dim3 grid, block;
    size_t shared_size, shared_limit;
    uint64_t seed, patience;
    std::vector<uint64_t> slots;
    std::vector<std::unique_ptr<Memory>> buffers;
} launch;

Fiber *current = nullptr;
std::vector<Fiber *> pool, runnable;
std::vector<Block *> resident;
long quantum = 0;
bool held = false;
uint64_t steps_left = 0;  // until the watchdog barks

uint64_t random_bits() {  // splitmix64
    uint64_t z = launch.seed += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

// ---- reports ----

std::string spelled(dim3 d) {
    return "(" + std::to_string(d.x) + ", " + std::to_string(d.y) + ", " + std::to_string(d.z) + ")";
}

void tell_where() {
    if (!launch.kernel) return;
    fprintf(stderr, "in kernel %s", launch.kernel->name);
    if (current)
        fprintf(stderr, ", block %s, thread %s", spelled(current->block->index).c_str(),
                spelled(current->thread_index).c_str());
    fprintf(stderr, "\n");
    if (!__asan_report_present()) return;
    char *address = static_cast<char *>(__asan_get_report_address());
    auto tell = [&](const Memory &memory, std::string what) {
        if (address >= memory.block && address < memory.start + memory.size + red_zone)
            fprintf(stderr, "at byte %td of %s, which has %zu bytes\n", address - memory.start, what.c_str(),
                    memory.size);
    };
    for (size_t i = 0; i < launch.buffers.size(); i++) tell(*launch.buffers[i], "array " + std::to_string(i));
    if (current)
        for (auto &[key, memory] : current->block->shared) tell(*memory, "a shared variable");
}

void tell_waiting() {
    for (Block *block : resident) {
        std::map<std::string, std::vector<unsigned>> groups;
        for (Fiber *f : block->fibers) {
            char what[100] = "running";
            if (f->state == DONE) strcpy(what, "returned");
            if (f->state == AT_BARRIER) snprintf(what, sizeof what, "at __syncthreads in line %d", f->line);
            if (f->state == AT_EXCHANGE) snprintf(what, sizeof what, "at %s with mask %#x", f->op, f->mask);
            groups[what].push_back(f->number);
        }
        fprintf(stderr, "block %s:", spelled(block->index).c_str());
        for (auto &[what, threads] : groups)
            fprintf(stderr, " %zu threads %s (the first is thread %u);", threads.size(), what.c_str(), threads[0]);
        fprintf(stderr, "\n");
    }
}

Warp &warp() { return current->block->warps[current->number / 32]; }
Fiber *mate(unsigned lane) { return current->block->fibers[current->number / 32 * 32 + lane]; }

// ---- fibers ----

void *scheduler_jump[5];
void *scheduler_fake_stack;
const void *scheduler_stack;
size_t scheduler_stack_size;
ucontext_t first_context;

// __builtin_setjmp, since swapcontext makes system calls, and AddressSanitizer wipes a stack's shadow at each longjmp.
__attribute__((noinline, noreturn)) void jump_to(void **target) { __builtin_longjmp(target, 1); }

__attribute__((noinline)) void yield_to_scheduler() {
    Fiber *me = current;
    __sanitizer_start_switch_fiber(&me->fake_stack, scheduler_stack, scheduler_stack_size);
    if (!__builtin_setjmp(me->jump)) jump_to(scheduler_jump);
    __sanitizer_finish_switch_fiber(current->fake_stack, nullptr, nullptr);
}

void check_return() {
    if (current->block->at_barrier) {
        tell_waiting();
        fail("deadlock: this thread returned while others of its block wait at __syncthreads");
    }
    warp().returned |= 1u << lane();
    for (unsigned rest = warp().waiting; rest; rest &= rest - 1) {
        Fiber *other = mate(__builtin_ctz(rest));
        if (other->mask >> lane() & 1)
            fail("deadlock: this thread returned, but lane %u waits for it at %s with mask %#x", other->number % 32,
                 other->op, other->mask);
    }
}

void fiber_main() {
    __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack, &scheduler_stack_size);
    for (;;) {  // a fiber is used again by later blocks
        launch.kernel->call(launch.kernel->function, launch.slots.data());
        check_return();
        current->state = DONE;
        yield_to_scheduler();
    }
}

__attribute__((noinline)) void resume(Fiber *fiber) {
    current = fiber;
    __sanitizer_start_switch_fiber(&scheduler_fake_stack, fiber->stack, stack_size);
    if (!__builtin_setjmp(scheduler_jump)) {
        if (fiber->started) jump_to(fiber->jump);
        fiber->started = true;
        getcontext(&first_context);
        first_context.uc_stack.ss_sp = fiber->stack;
        first_context.uc_stack.ss_size = stack_size;
        makecontext(&first_context, fiber_main, 0);
        setcontext(&first_context);
    }
    __sanitizer_finish_switch_fiber(scheduler_fake_stack, nullptr, nullptr);
    current = nullptr;
}

Fiber *new_fiber() {
    if (!pool.empty()) {
        Fiber *fiber = pool.back();
        pool.pop_back();
        return fiber;
    }
    auto *fiber = new Fiber;
    char *mapped = static_cast<char *>(
        mmap(nullptr, page + stack_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (mapped == MAP_FAILED) fail("no memory for the stack of a thread");
    mprotect(mapped, page, PROT_NONE);
    fiber->stack = mapped + page;
    return fiber;
}

void start_block(uint64_t i) {
    auto *block = new Block;
    block->index = {unsigned(i % launch.grid.x), unsigned(i / launch.grid.x % launch.grid.y),
                    unsigned(i / launch.grid.x / launch.grid.y)};
    unsigned threads = launch.block.x * launch.block.y * launch.block.z;
    block->warps.resize((threads + 31) / 32);
    for (unsigned t = 0; t < threads; t++) {
        Fiber *fiber = new_fiber();
        fiber->thread_index = {t % launch.block.x, t / launch.block.x % launch.block.y,
                               t / launch.block.x / launch.block.y};
        fiber->block_index = block->index;
        fiber->block_size = launch.block;
        fiber->grid_size = launch.grid;
        fiber->block = block;
        fiber->number = t;
        fiber->state = RUNNABLE;
        block->fibers.push_back(fiber);
        block->warps[t / 32].present |= 1u << t % 32;
        runnable.push_back(fiber);
    }
    resident.push_back(block);
}

void end_block(Block *block) {
    pool.insert(pool.end(), block->fibers.rbegin(), block->fibers.rend());
    for (auto &b : resident)
        if (b == block) {
            std::swap(b, resident.back());
            resident.pop_back();
            break;
        }
    delete block;
}

void run_grid(size_t residents) {
    uint64_t blocks = uint64_t(launch.grid.x) * launch.grid.y * launch.grid.z;
    if (launch.block.x * launch.block.y * launch.block.z > launch.kernel->max_threads)
        fail("a block larger than __launch_bounds__");
    std::vector<uint64_t> waiting(blocks);
    for (uint64_t i = 0; i < blocks; i++) waiting[i] = i;
    steps_left = launch.patience;
    // Short turns interleave threads, long ones let one run far ahead: each launch mixes them in its own proportion.
    unsigned longest = 1 + random_bits() % 8;
    while (!waiting.empty() || !resident.empty()) {
        while (!waiting.empty() && resident.size() < residents) {
            std::swap(waiting[random_bits() % waiting.size()], waiting.back());
            uint64_t next = waiting.back();
            waiting.pop_back();
            start_block(next);
        }
        if (runnable.empty()) {
            tell_waiting();
            fail("deadlock: every thread waits");
        }
        size_t chosen = random_bits() % runnable.size();
        Fiber *fiber = runnable[chosen];
        long granted = random_bits() % (2u << random_bits() % (longest + 1));
        quantum = granted;
        resume(fiber);
        uint64_t used = granted - (quantum > 0 ? quantum : 0) + 1;
        steps_left -= used < steps_left ? used : steps_left;
        if (!steps_left) {
            tell_waiting();
            fail("no progress: no thread has returned for %llu steps", (unsigned long long)launch.patience);
        }
        if (fiber->state == RUNNABLE) continue;
        runnable[chosen] = runnable.back();
        runnable.pop_back();
        if (fiber->state != DONE) continue;
        steps_left = launch.patience;
        Block *block = fiber->block;
        if (++block->done == block->fibers.size()) end_block(block);
    }
}

}  // namespace

// ---- what emulator.h calls ----

void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    tell_where();
    _exit(3);
}

Thread &self() { return *current; }
unsigned lane() { return current->number % 32; }
void hold() { held = true; }
void release() { held = false; }

static inline void step(long cost) {
    if (current && !held && (quantum -= cost) < 0) yield_to_scheduler();
}

void pause() { step(pause_cost); }

void barrier(int line, int predicate) {
    Fiber *me = current;
    Block *block = me->block;
    me->line = line;
    me->predicate = predicate;
    me->state = AT_BARRIER;
    block->at_barrier++;
    if (block->done) {
        tell_waiting();
        fail("deadlock: this thread waits at __syncthreads for threads that have returned");
    }
    if (block->at_barrier < block->fibers.size()) return yield_to_scheduler();
    unsigned count = 0;
    for (Fiber *f : block->fibers) {
        if (f->line != line) {
            tell_waiting();
            fail("divergent barrier: threads of one block wait at different __syncthreads");
        }
        count += f->predicate;
    }
    for (Fiber *f : block->fibers) {
        f->count = count;
        f->state = RUNNABLE;
        if (f != me) runnable.push_back(f);
    }
    block->at_barrier = 0;
    quantum = 0;
}

unsigned barrier_count() { return current->count; }

// Whether two lanes that name each other came to the same place; a lane that is not waiting cannot disagree yet.
static bool meet(Fiber *me, Fiber *other) {
    if (other->mask == me->mask && !strcmp(other->op, me->op)) return true;
    if (!(other->mask >> lane() & 1)) return false;  // it is busy with others first
    fail("deadlock: lane %u is at %s with mask %#x, lane %u at %s with mask %#x", lane(), me->op, me->mask,
         other->number % 32, other->op, other->mask);
}

const uint64_t *exchange(unsigned mask, uint64_t value, const char *op) {
    Fiber *me = current;
    if (!(mask >> lane() & 1)) fail("%s: the mask %#x does not name the calling lane %u", op, mask, lane());
    if (mask & (warp().returned | ~warp().present))
        fail("deadlock: %s with mask %#x waits for lanes %#x, which have returned, and %#x, which do not exist", op,
             mask, mask & warp().returned, mask & ~warp().present);
    me->mask = mask;
    me->op = op;
    me->value = value;
    me->state = AT_EXCHANGE;
    warp().waiting |= 1u << lane();
    bool complete = (warp().waiting & mask) == mask;
    for (unsigned rest = warp().waiting & mask; rest; rest &= rest - 1) {
        complete &= meet(me, mate(__builtin_ctz(rest)));
        if (!complete) break;  // one look is enough while lanes are missing
    }
    if (!complete) {
        yield_to_scheduler();
        return me->lanes;
    }
    for (unsigned i = 0; i < 32; i++) me->lanes[i] = mask >> i & 1 ? mate(i)->value : random_bits();
    for (unsigned rest = mask; rest; rest &= rest - 1) {
        Fiber *other = mate(__builtin_ctz(rest));
        other->state = RUNNABLE;
        if (other == me) continue;
        memcpy(other->lanes, me->lanes, sizeof me->lanes);
        runnable.push_back(other);
    }
    warp().waiting &= ~mask;
    quantum = 0;
    return me->lanes;
}

void *shared(const void *key, size_t size) {
    if (!current) fail("a __shared__ variable must be declared within a function");
    auto &memory = current->block->shared[key];
    if (!memory) {
        memory = std::make_unique<Memory>(size);
        memset(memory->start, random_bits(), size);  // a block must not find zeros to rely on
        if ((current->block->shared_size += size) > launch.shared_limit)
            fail("more than %zu bytes of shared memory", launch.shared_limit);
    }
    return memory->start;
}

void *dynamic_shared() {
    static char key;
    return shared(&key, launch.shared_size);
}

}  // namespace emulated

// ---- what the compiler's instrumentation calls ----

using namespace emulated;

extern "C" const char *__asan_default_options() { return "detect_leaks=0:detect_stack_use_after_return=0"; }

extern "C" void __sanitizer_cov_trace_pc() { step(1); }  // -fsanitize-coverage=trace-pc: every branch

// -fsanitize=thread, of which only the calls before each memory access are used: another thread may run in between.
extern "C" void __asan_report_load_n(void *address, size_t size);
extern "C" void __asan_report_store_n(void *address, size_t size);

static void touch(void *address, size_t size, bool write, bool is_volatile = false) {
    if (!current) return;
    step(is_volatile ? pause_cost : 1);
    if (!__asan_region_is_poisoned(address, size)) return;
    fprintf(stderr, "a thread %s %zu bytes that it must not\n", write ? "writes" : "reads", size);
    write ? __asan_report_store_n(address, size) : __asan_report_load_n(address, size);
}

#define ACCESSES(SIZE)                                                                               \
    extern "C" void __tsan_read##SIZE(void *address) { touch(address, SIZE, false); }                \
    extern "C" void __tsan_write##SIZE(void *address) { touch(address, SIZE, true); }                \
    extern "C" void __tsan_unaligned_read##SIZE(void *address) { touch(address, SIZE, false); }      \
    extern "C" void __tsan_unaligned_write##SIZE(void *address) { touch(address, SIZE, true); }      \
    extern "C" void __tsan_volatile_read##SIZE(void *address) { touch(address, SIZE, false, true); } \
    extern "C" void __tsan_volatile_write##SIZE(void *address) { touch(address, SIZE, true, true); }
ACCESSES(1)
ACCESSES(2)
ACCESSES(4)
ACCESSES(8)
ACCESSES(16)
extern "C" void __tsan_read_range(void *address, size_t size) { touch(address, size, false); }
extern "C" void __tsan_write_range(void *address, size_t size) { touch(address, size, true); }
extern "C" void __tsan_init() {}
extern "C" void __tsan_func_entry(void *) {}
extern "C" void __tsan_func_exit() {}

// -fsanitize=undefined: each report begins with the place in the source.
struct Place {
    const char *file;
    uint32_t line, column;
};
#define UNDEFINED(NAME, WHAT) \
    extern "C" void __ubsan_handle_##NAME(Place *place) { fail("%s:%u: " WHAT, place->file, place->line); }
UNDEFINED(out_of_bounds_abort, "index out of bounds")
UNDEFINED(shift_out_of_bounds_abort, "shift by a negative or too large number")
UNDEFINED(add_overflow_abort, "signed overflow of a sum")
UNDEFINED(sub_overflow_abort, "signed overflow of a difference")
UNDEFINED(mul_overflow_abort, "signed overflow of a product")
UNDEFINED(negate_overflow_abort, "signed overflow of a negation")
UNDEFINED(divrem_overflow_abort, "division by zero, or overflow of a quotient")
UNDEFINED(type_mismatch_v1_abort, "null or misaligned pointer")
UNDEFINED(missing_return, "a function ends without a value")

// ---- the server ----

static FILE *answers;

static void receive(void *data, size_t size) {
    if (size && fread(data, size, 1, stdin) != 1) exit(0);
}

static uint64_t receive_word() {
    uint64_t word;
    receive(&word, sizeof word);
    return word;
}

static dim3 receive_dim3() {
    unsigned x = receive_word(), y = receive_word(), z = receive_word();
    return {x, y, z};
}

int main() {
    answers = fdopen(dup(1), "w");
    dup2(2, 1);  // a kernel's printf must not mix with the answers
    __sanitizer_set_death_callback(tell_where);
    for (Kernel *kernel = Kernel::all; kernel; kernel = kernel->next)
        fprintf(answers, "%s%s\n", kernel->name, kernel->parameters);
    fprintf(answers, "\n");
    fflush(answers);
    for (;;) {
        Kernel *kernel = Kernel::all;
        for (uint64_t i = receive_word(); i; i--) kernel = kernel->next;
        launch.kernel = kernel;
        launch.grid = receive_dim3();
        launch.block = receive_dim3();
        launch.shared_size = receive_word();
        launch.shared_limit = receive_word();
        launch.seed = receive_word();
        launch.patience = receive_word();
        uint64_t residents = receive_word();
        for (uint64_t n = receive_word(); n; n--) {
            launch.buffers.push_back(std::make_unique<Memory>(receive_word()));
            receive(launch.buffers.back()->start, launch.buffers.back()->size);
        }
        for (uint64_t n = receive_word(); n; n--) {  // a scalar's bits, or an offset within a buffer
            uint64_t buffer = receive_word(), bits = receive_word();
            launch.slots.push_back(buffer ? (uint64_t)(launch.buffers[buffer - 1]->start + bits) : bits);
        }
        run_grid(residents);
        fputc('.', answers);
        for (auto &buffer : launch.buffers) fwrite(buffer->start, buffer->size, 1, answers);
        fflush(answers);
        launch.buffers.clear();
        launch.slots.clear();
    }
}
