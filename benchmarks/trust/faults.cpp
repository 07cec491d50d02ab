// Loaded before a program's libraries (LD_PRELOAD), this counts what the program changes in one folder: files that it
// opens for writing, writes, syncs, renames, links and removals, folders that it makes. Writes to one file in a row are
// one change. At a number of its choice the process is killed, with half of a write on the disk, or the disk is full from
// then on, with half of the first write on it.
//   FAULT_FOLDER  the folder, absolute      FAULT_AT  the number, from 1; 0 for never
//   FAULT_KIND    kill or full              FAULT_LOG a file that gets a line for each change
#include <atomic>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fcntl.h>
#include <string>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

namespace {
std::atomic<long> changes{0};

const char *setting(const char *name) { const char *value = getenv(name); return value ? value : ""; }

bool inside(const std::string &path) {
  const std::string folder = setting("FAULT_FOLDER");  // which a forked process may have set
  return !folder.empty() && path.compare(0, folder.size(), folder) == 0 && (path.size() == folder.size() || path[folder.size()] == '/');
}

std::string place_of(int fd) {
  char target[PATH_MAX], link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, target, sizeof target);
  return length < 0 ? "" : std::string(target, length);
}

// Counts a change. Returns true where it meets a full disk; does not return where the process is to be killed, unless
// it is a write, which leaves its half first.
enum Fate { PASSES, FULL, DIES };

Fate fate_of(const char *what, const std::string &path, bool needs_room) {
  if (!inside(path)) return PASSES;
  static const long at = atol(setting("FAULT_AT"));
  static const bool kills = !strcmp(setting("FAULT_KIND"), "kill");
  static const int log = syscall(SYS_openat, AT_FDCWD, setting("FAULT_LOG"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  static std::string written;  // by the change before
  bool writes = !strcmp(what, "write"), goes_on = writes && path == written;
  written = writes ? path : "";
  long number = goes_on ? changes.load() : ++changes;
  std::string line = std::string(what) + "\t" + path + "\n";
  if (log >= 0 && !goes_on) syscall(SYS_write, log, line.data(), line.size());
  if (!at || number < at) return PASSES;
  if (kills) return goes_on ? PASSES : DIES;
  return needs_room ? FULL : PASSES;
}

void die() { syscall(SYS_kill, getpid(), SIGKILL); for (;;) pause(); }

bool full(const char *what, const std::string &path, bool needs_room) {
  Fate fate = fate_of(what, path, needs_room);
  if (fate == DIES) die();
  if (fate == FULL) errno = ENOSPC;
  return fate == FULL;
}

template <typename F> F genuine(F, const char *name) { return reinterpret_cast<F>(dlsym(RTLD_NEXT, name)); }
}  // namespace

#define GENUINE(name) static const auto real = genuine(&name, #name)
#define OPENS(name, parameters, arguments, path)                                        \
  extern "C" int name parameters {                                                      \
    GENUINE(name);                                                                      \
    va_list rest; va_start(rest, flags); mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0; va_end(rest); \
    if (flags & (O_WRONLY | O_RDWR) && full("open", path, flags & O_CREAT)) return -1;  \
    return real arguments;                                                              \
  }

OPENS(open, (const char *path, int flags, ...), (path, flags, mode), path)
OPENS(open64, (const char *path, int flags, ...), (path, flags, mode), path)
OPENS(openat, (int folder, const char *path, int flags, ...), (folder, path, flags, mode), path)
OPENS(openat64, (int folder, const char *path, int flags, ...), (folder, path, flags, mode), path)

extern "C" ssize_t write(int fd, const void *data, size_t count) {
  GENUINE(write);
  Fate fate = fate_of("write", place_of(fd), true);
  if (fate == DIES) { real(fd, data, count / 2); die(); }
  if (fate == FULL) {
    static std::atomic<bool> halved{false};  // as the system does: what fits is written, and no error yet
    if (count > 1 && !halved.exchange(true)) return real(fd, data, count / 2);
    errno = ENOSPC;
    return -1;
  }
  return real(fd, data, count);
}

#define CHANGES(result, name, parameters, arguments, what, path, needs_room) \
  extern "C" result name parameters {                                       \
    GENUINE(name);                                                          \
    if (full(what, path, needs_room)) return -1;                            \
    return real arguments;                                                  \
  }

CHANGES(ssize_t, writev, (int fd, const struct iovec *data, int count), (fd, data, count), "write", place_of(fd), true)
CHANGES(ssize_t, pwrite, (int fd, const void *data, size_t count, off_t at), (fd, data, count, at), "write", place_of(fd), true)
CHANGES(ssize_t, pwrite64, (int fd, const void *data, size_t count, off64_t at), (fd, data, count, at), "write", place_of(fd), true)
CHANGES(int, ftruncate, (int fd, off_t length), (fd, length), "truncate", place_of(fd), false)
CHANGES(int, ftruncate64, (int fd, off64_t length), (fd, length), "truncate", place_of(fd), false)
CHANGES(int, fsync, (int fd), (fd), "sync", place_of(fd), true)
CHANGES(int, rename, (const char *from, const char *to), (from, to), "rename", to, false)
CHANGES(int, renameat, (int a, const char *from, int b, const char *to), (a, from, b, to), "rename", to, false)
CHANGES(int, link, (const char *from, const char *to), (from, to), "link", to, true)
CHANGES(int, linkat, (int a, const char *from, int b, const char *to, int flags), (a, from, b, to, flags), "link", to, true)
CHANGES(int, unlink, (const char *path), (path), "remove", path, false)
CHANGES(int, unlinkat, (int folder, const char *path, int flags), (folder, path, flags), "remove", path, false)
CHANGES(int, mkdir, (const char *path, mode_t mode), (path, mode), "mkdir", path, true)
CHANGES(int, mkdirat, (int folder, const char *path, mode_t mode), (folder, path, mode), "mkdir", path, true)
