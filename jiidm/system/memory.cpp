// What happens when C++ finds no memory. The effect comes with loading this library into Jittor's process.
#include <csignal>
#include <new>
#include <sys/mman.h>
#include <unistd.h>
#include "mem/allocator/aligned_allocator.h"

namespace {
// Jittor's own passes the null pointer on. Its cache catches an exception, gives back what it keeps and asks again.
struct Refusing : jittor::AlignedAllocator {
  void *alloc(size_t size, size_t &allocation) override {
    void *found = jittor::AlignedAllocator::alloc(size, allocation);
    if (!found && size) throw std::bad_alloc();
    return found;
  }
};

void end() {
  const char told[] = "\nerror: no memory is left; what was finished is kept, and the same command goes on\n";
  ssize_t ignored = write(2, told, sizeof told - 1);
  (void)ignored;
  _exit(2);
}

// oneDNN goes on with the null pointer that `malloc` gave it: it reads at address 0, or damages the heap. Where there is
// memory, a crash is a bug, and goes to the handler that was there before.
struct sigaction before[NSIG];
constexpr size_t PLENTY = 256 << 20;

void crash(int number) {
  if (mmap(nullptr, PLENTY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED) end();
  sigaction(number, &before[number], nullptr);
}

struct Prepared {
  Prepared() {
    new (&jittor::aligned_allocator) Refusing;
    std::set_new_handler(end);
    struct sigaction ours = {};
    ours.sa_handler = crash;
    for (int number : {SIGSEGV, SIGABRT}) sigaction(number, &ours, &before[number]);
  }
} prepared;
}  // namespace
